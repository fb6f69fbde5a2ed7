import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { commands, main } from '../../src/commands/tsimg.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

let stdout = '';
let stderr = '';
let folder: TempFolder;

beforeEach(() => {
  folder = tempFolder('main');
  stdout = '';
  stderr = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    stdout += String(text);
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    stderr += String(text);
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  folder[Symbol.dispose]();
});

it('speaks under the name it was started by', async () => {
  expect(await main(['info'], 'qemu-img')).toBe(1);
  expect(stderr).toBe("qemu-img: Expecting one image file name\nTry 'qemu-img info --help' for more information\n");
});

describe('help', () => {
  it('of the program lists every subcommand and its summary', async () => {
    expect(await main(['--help', 'whatever'], 'tsimg')).toBe(0);
    for (const [name, { summary }] of Object.entries(commands)) expect(stdout).toContain(`\n  ${name} - ${summary}\n`);
  });

  it.each(Object.keys(commands))('of %s names each of its options', async (name) => {
    expect(await main([name, '--help'], 'tsimg')).toBe(0);
    const command = await commands[name]?.load();
    const { options = {}, usage = [] } = command?.help(`tsimg ${name}`) ?? {};
    expect(stdout.startsWith(`Usage:\n  tsimg ${name} ${usage[0]}\n`)).toBe(true);
    for (const option of Object.values(options)) expect(stdout).toContain(`     ${option.help.split('\n')[0]}`);
    expect(stdout.endsWith('\n\n')).toBe(true);
  });

  it('comes only when it is met: a wrong option before it wins', async () => {
    expect(await main(['info', '--nope', '--help'], 'tsimg')).toBe(1);
    expect(stderr).toContain("tsimg info: unrecognized option '--nope'\n");
  });
});

it('prints hints on a line of their own when asked to', async () => {
  expect(await main(['--hints', 'info', folder.file('missing')], 'tsimg')).toBe(1);
  expect(stderr.split('\n')[0]).toMatch(/^tsimg: Could not open .*: No such file or directory$/);
});

it('tells of trace points that do not exist, and goes on', async () => {
  writeFileSync(folder.file('r'), 'x');
  expect(await main(['-T', 'nope', 'info', '-f', 'raw', folder.file('r')], 'tsimg')).toBe(0);
  expect(stderr).toBe("tsimg: warning: trace event 'nope' does not exist\n");
});

it('one snapshot is listed, made, applied or deleted at a time', async () => {
  writeFileSync(folder.file('r'), 'x');
  for (const [option, what] of [
    ['-c', 'create'],
    ['-a', 'apply'],
    ['-d', 'delete'],
  ] as const) {
    stderr = '';
    expect(await main(['snapshot', '-f', 'raw', option, 's', folder.file('r')], 'tsimg')).toBe(1);
    expect(stderr).toMatch(new RegExp(`^tsimg: Could not ${what} snapshot 's': `));
    expect(await main(['snapshot', '-l', option, 's', folder.file('r')], 'tsimg')).toBe(1);
    expect(stderr).toContain("Cannot mix '-l', '-a', '-c', '-d'");
  }
});

it('`help COMMAND` is `COMMAND --help`', async () => {
  expect(await main(['convert', '--help'], 'tsimg')).toBe(0);
  const wanted = stdout;
  stdout = '';
  expect(await main(['help', 'convert'], 'tsimg')).toBe(0);
  expect(stdout).toBe(wanted);
});

it('asks whether another command was meant', async () => {
  expect(await main(['--hints', 'covnert'], 'tsimg')).toBe(1);
  expect(stderr).toBe("tsimg: Command not found: covnert\nTry 'tsimg --help' for more information\nhint: did you mean 'convert'?\n");
});
