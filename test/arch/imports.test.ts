/* The import rule of ARCHITECTURE.md, read from the sources by a scanner, and the proof that the scanner looked. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { projectRoot } from '../support/run.ts';

interface Import {
  readonly from: string;
  /** A path of a file in the project, or a package. */
  readonly to: string;
  readonly isType: boolean;
  readonly isDynamic: boolean;
}

const layers: readonly (readonly [prefix: string, layer: number])[] = [
  ['bin/', 8],
  ['src/index.ts', 8],
  ['src/launch/', 8],
  ['src/commands/', 7],
  ['src/qmp-shell/', 7],
  ['src/monitor/', 6],
  ['src/engine/', 5],
  ['src/jobs/', 4],
  ['src/machine/', 4],
  ['src/core/drivers/', 3],
  ['src/qcow2/', 3],
  ['src/luks/', 3],
  ['src/nbd/', 3],
  ['src/texts/', 3],
  ['src/core/block/', 2],
  ['src/core/objects/', 2],
  ['src/crypto/', 2],
  ['src/core/storage/', 1],
  ['src/cli/', 1],
  ['src/core/util/', 0],
];

function layerOf(file: string): number {
  const found = layers.find(([prefix]) => file.startsWith(prefix));
  if (found === undefined) throw new Error(`${file} is in no layer`);
  return found[1];
}

const folderOf = (file: string): string => layers.find(([prefix]) => file.startsWith(prefix))?.[0] ?? dirname(file);

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', 'src/**/*.ts', 'bin/*.ts'], { cwd: projectRoot, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(projectRoot, file)));

/** A file without its comments. */
function sourceOf(file: string): string {
  return readFileSync(join(projectRoot, file), 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '');
}

/** Imports of one file: static, type-only, re-exports and `import()`. */
function scan(file: string): Import[] {
  const text = sourceOf(file);
  const found: Import[] = [];
  const add = (specifier: string, isType: boolean, isDynamic: boolean): void => {
    const to = specifier.startsWith('.') ? relative(projectRoot, join(projectRoot, dirname(file), specifier)) : specifier;
    found.push({ from: file, to, isType, isDynamic });
  };
  for (const match of text.matchAll(/^\s*(?:import|export)\s+(type\s+)?([^'";]*?)\s*from\s+'([^']+)'/gms)) {
    const names = match[2] ?? '';
    const onlyTypes =
      match[1] !== undefined ||
      (/^\{/.test(names) &&
        names
          .replace(/[{}]/g, '')
          .split(',')
          .every((name) => name.trim() === '' || name.trim().startsWith('type ')));
    add(match[3] ?? '', onlyTypes, false);
  }
  for (const match of text.matchAll(/^\s*import\s+'([^']+)'/gm)) add(match[1] ?? '', false, false);
  for (const match of text.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g)) add(match[1] ?? '', false, true);
  return found;
}

const imports = files.flatMap(scan);
const inside = imports.filter((entry) => entry.to.startsWith('src/'));

function violations(list: readonly Import[], isAllowed: (entry: Import) => boolean): string[] {
  return list.filter((entry) => !isAllowed(entry)).map((entry) => `${entry.from} imports ${entry.to}`);
}

/** The names that lie on a cycle. */
function cyclesIn(edges: readonly (readonly [from: string, to: string])[]): string[] {
  const targets = new Map<string, Set<string>>();
  for (const [from, to] of edges) targets.set(from, (targets.get(from) ?? new Set()).add(to));
  const reachable = (from: string, seen: Set<string>): Set<string> => {
    for (const next of targets.get(from) ?? []) if (!seen.has(next)) reachable(next, seen.add(next));
    return seen;
  };
  return [...targets.keys()].filter((name) => reachable(name, new Set()).has(name));
}

describe('the import rule', () => {
  it('was checked on the sources that are there', () => {
    const tracked = execFileSync('git', ['ls-files', 'src/**/*.ts'], { cwd: projectRoot, encoding: 'utf8' }).split('\n').filter(Boolean);
    expect(files.length).toBeGreaterThanOrEqual(tracked.length * 0.9);
    expect(tracked.length).toBeGreaterThan(40);
    expect(imports.length).toBeGreaterThanOrEqual(files.length * 2);
  });

  it('R1: a file imports its own folder and lower layers', () => {
    const bad = violations(inside, ({ from, to, isType }) => {
      if (folderOf(from) === folderOf(to)) return true;
      const difference = layerOf(from) - layerOf(to);
      return difference > 0 || (difference === 0 && isType);
    });
    expect(bad).toEqual([]);
  });

  it('R1: no runtime cycles, neither of files nor of folders', () => {
    const isRuntime = ({ isType, isDynamic }: Import): boolean => !isType && !isDynamic;
    expect(cyclesIn(inside.filter(isRuntime).map(({ from, to }) => [from, to]))).toEqual([]);
    const betweenFolders = inside.filter(({ from, to }) => folderOf(from) !== folderOf(to));
    expect(cyclesIn(betweenFolders.filter(isRuntime).map(({ from, to }) => [folderOf(from), folderOf(to)]))).toEqual([]);
  });

  it('R2: formats are reached by driver name', () => {
    const core = inside.filter(({ from }) => from.startsWith('src/core/'));
    expect(violations(core, ({ to }) => to.startsWith('src/core/'))).toEqual([]);
    const users = inside.filter(({ from, isType }) => !isType && /^src\/(jobs|machine|commands|qmp-shell|monitor)\//.test(from));
    expect(
      violations(users, ({ to, from }) => !/^src\/(?:qcow2|luks|crypto)\//.test(to) && (!to.startsWith('src/nbd/') || from === 'src/commands/tsnbd.ts')),
    ).toEqual([]);
  });

  it('R2: what is shown to people is put together in src/texts, and used by the programs, the monitor and the language of requests', () => {
    const users = inside.filter(({ to, from }) => to.startsWith('src/texts/') && !from.startsWith('src/texts/'));
    expect(users.length).toBeGreaterThan(3);
    expect(violations(users, ({ from }) => /^src\/(?:commands|monitor|qmp-shell|engine\/io)\//.test(from))).toEqual([]);
    // facts come in: nothing there looks at a node by itself
    const needs = inside.filter(({ from, isType }) => from.startsWith('src/texts/') && !isType);
    expect(violations(needs, ({ to }) => to.startsWith('src/texts/') || to.startsWith('src/core/util/'))).toEqual([]);
  });

  it('R3: system access has its places', () => {
    const only = (name: RegExp, allowed: RegExp): string[] =>
      violations(
        imports.filter(({ to }) => name.test(to)),
        ({ from }) => allowed.test(from),
      );
    expect(only(/^koffi$/, /^src\/core\/storage\/native-library\.ts$/)).toEqual([]);
    expect(only(/^node:fs(\/promises)?$/, /^src\/(core\/storage|cli|launch|qmp-shell)\//)).toEqual([]);
    expect(only(/^node:(net|tls)$/, /^src\/(nbd\/socket|monitor\/qmp-server|monitor\/qmp-client)\.ts$/)).toEqual([]);
  });

  it('R3: the process belongs to the programs', () => {
    const users = files.filter((file) => !/^(?:bin|src\/(?:cli|commands|launch|qmp-shell))\//.test(file));
    const uses = users.flatMap((file) => [...sourceOf(file).matchAll(/\bprocess\.(\w+)/g)].map((match) => `${file} uses process.${match[1]}`));
    // a built-in module that few runs need, loaded at first use in a place that cannot wait
    const lazy = [
      'src/core/storage/native-library.ts',
      'src/core/objects/secret.ts',
      'src/crypto/node-crypto.ts',
      'src/qcow2/codec-deflate.ts',
      'src/qcow2/codec-zstd.ts',
    ].map((file) => `${file} uses process.getBuiltinModule`);
    const isAllowed = (text: string): boolean => (text.startsWith('src/core/storage/') && /process\.(?:platform|arch|pid)$/.test(text)) || lazy.includes(text);
    expect(uses.filter((text) => !isAllowed(text))).toEqual([]);
    expect(files.some((file) => /\bprocess\.\w/.test(sourceOf(file)))).toBe(true);
  });

  it('R4: nothing inside imports the public barrel', () => {
    expect(violations(inside, ({ to }) => to !== 'src/index.ts')).toEqual([]);
  });

  it('R5: yargs, chalk, ora and json5 are loaded where they are used', () => {
    const heavy = imports.filter(({ to, isType }) => !isType && /^(yargs|chalk|ora|json5)(\/|$)/.test(to));
    expect(violations(heavy, ({ from, isDynamic }) => isDynamic && /^src\/(cli|commands|qmp-shell)\//.test(from))).toEqual([]);
  });
});
