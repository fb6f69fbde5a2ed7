/* The manual pages tell the options of the tables and of the help texts: each option under its command, and no other. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type OptionTable, spellings } from '../../src/cli/options.ts';
import { commands, globalOptions } from '../../src/commands/tsimg.ts';
import { ioOptions } from '../../src/commands/tsio-options.ts';
import { nbdOptions } from '../../src/commands/tsnbd-options.ts';
import { commands as ioCommands } from '../../src/engine/io/commands.ts';
import { daemonTable } from '../../src/qmp-shell/daemon.ts';
import { shellTable } from '../../src/qmp-shell/options.ts';
import { ownCommands } from '../../src/qmp-shell/own-commands.ts';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram, projectRoot, run } from '../support/run.ts';

const pages = ['tsimg', 'tsio', 'tsnbd', 'tsqmp'];
/** Understood before the tables are asked. */
const completion = '--completion ARG';

/** Options of each section or subsection, `-f --format ARG` as a line; sections without options are left out. */
function documented(page: string): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  let section = '';
  for (const line of readFileSync(join(projectRoot, 'man', `${page}.1`), 'utf8').split('\n')) {
    const heading = /^\.S[hs] (.*)$/.exec(line);
    if (heading) section = heading[1] ?? '';
    if (!line.startsWith('.It Fl ')) continue;
    const words = line.slice('.It Fl '.length).split(' ');
    const end = words.findIndex((word) => !/^(?:,|Fl|-?[\w-]+)$/.test(word) || ['Ar', 'Cm', 'Op', 'Ns', 'Oo'].includes(word));
    const names = (end < 0 ? words : words.slice(0, end)).filter((word) => word !== ',' && word !== 'Fl').map((word) => `-${word}`);
    const list = found[section] ?? [];
    found[section] = list;
    list.push(`${names.sort().join(' ')}${end < 0 ? '' : ' ARG'}`);
  }
  for (const list of Object.values(found)) list.sort();
  return found;
}

/** The same lines, of a table. */
function declared(table: OptionTable, more: readonly string[] = []): string[] {
  const lines = Object.entries(table)
    .filter(([, spec]) => spec.hidden !== true)
    .map(([key, spec]) => `${spellings(key, spec).sort().join(' ')}${spec.arg === undefined ? '' : ' ARG'}`);
  return [...lines, ...more].sort();
}

/** The same lines, of a text that `--help` prints: its lines that begin with a spelling. */
async function helped(program: string, ...words: string[]): Promise<string[]> {
  const { code, stdout } = await run(process.execPath, [builtProgram(program), ...words, '--help']);
  expect(code).toBe(0);
  const lines = stdout.split('\n').flatMap((line) => {
    const [, names, rest] = /^ {2,6}(-[\w-]+(?:, -[\w-]+)*)(.*)$/.exec(line) ?? [];
    return names === undefined ? [] : [`${names.split(', ').sort().join(' ')}${/^[ =[]\S/.test(rest ?? '') ? ' ARG' : ''}`];
  });
  return lines.sort();
}

describe('tsimg(1)', () => {
  const page = documented('tsimg');

  it('has a section for each command and for nothing else', () => {
    expect(Object.keys(page).sort()).toEqual(['Global options', ...Object.keys(commands)].sort());
  });

  it('tells the options before the command', () => {
    expect(page['Global options']).toEqual(declared(globalOptions));
  });

  it.each(Object.keys(commands))('tells the options of %s', async (name) => {
    const command = await commands[name]?.load();
    expect(page[name]).toEqual(declared(command?.help(name).options ?? {}));
  });

  it('tells what --help tells', async () => {
    expect(page['Global options']).toEqual(await helped('tsimg'));
  });

  it.each(Object.keys(commands))('tells what %s --help tells', async (name) => {
    expect(page[name]).toEqual(await helped('tsimg', name));
  });
});

describe('tsio(1)', () => {
  it('tells all options', () => {
    expect(documented('tsio')['OPTIONS']).toEqual(declared(ioOptions, [completion]));
  });

  it('tells what --help tells', async () => {
    expect(documented('tsio')['OPTIONS']).toEqual(await helped('tsio'));
  });

  it('tells all commands', () => {
    const page = readFileSync(join(projectRoot, 'man', 'tsio.1'), 'utf8');
    for (const { name } of ioCommands) expect(page).toMatch(new RegExp(`^\\.It Cm (?:\\w+ , )*${name}\\b`, 'm'));
  });
});

describe('tsnbd(1)', () => {
  it('tells all options', () => {
    expect(Object.values(documented('tsnbd')).flat().sort()).toEqual(declared(nbdOptions, [completion]));
  });

  it('tells what --help tells', async () => {
    expect(Object.values(documented('tsnbd')).flat().sort()).toEqual(await helped('tsnbd'));
  });
});

describe('tsqmp(1)', () => {
  const page = documented('tsqmp');

  it('tells the options of the shell and of the daemon', () => {
    expect(page['Shell']).toEqual(declared(shellTable, ['--daemon', completion]));
    expect(page['Daemon']).toEqual(declared(daemonTable));
    expect(Object.keys(page)).toEqual(['Shell', 'Daemon']);
  });

  it('tells what --help tells', async () => {
    // --daemon stands in the usage lines
    const ofShell = (page['Shell'] ?? []).filter((line) => line !== '--daemon' && line !== completion);
    expect(ofShell).toEqual((await helped('tsqmp')).filter((line) => line !== completion));
    expect(page['Daemon']).toEqual(await helped('tsqmp', '--daemon'));
  });

  it('tells the commands of the shell', () => {
    const lines = readFileSync(join(projectRoot, 'man', 'tsqmp.1'), 'utf8');
    for (const name of ownCommands(true).flatMap(([usage]) => /^[a-z][\w-]*/.exec(usage)?.[0] ?? []))
      expect(lines).toMatch(new RegExp(`^\\.It Cm ${name}\\b`, 'm'));
  });
});

describeWithPeers(['mandoc'], 'mandoc', () => {
  it.each(pages)('finds nothing wrong with %s(1)', async (page) => {
    const { code, stdout, stderr } = await run(peer('mandoc'), ['-T', 'lint', '-W', 'warning', join(projectRoot, 'man', `${page}.1`)]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '', stderr: '' });
  });
});
