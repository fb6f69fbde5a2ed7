/*
 * What `tsimg info` and its like load: its modules and their size are the start-up time of a program. Time itself is for the
 * benchmark; here files, bytes and built-ins are counted.
 */

import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { builtProgram } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

/** Runs before the program and writes down at its end what was asked for. */
const hook = `
const Module = require('node:module');
const { writeFileSync } = require('node:fs');
const files = new Set();
const builtins = new Set();
const load = Module._load;
Module._load = function (request, parent, isMain) {
  if (Module.isBuiltin(request)) builtins.add(request.replace(/^node:/, ''));
  else files.add(Module._resolveFilename(request, parent, isMain));
  return load.apply(this, arguments);
};
process.on('exit', () => writeFileSync(process.env.TSIMG_MODULES, JSON.stringify({ files: [...files], builtins: [...builtins] })));
`;

/** Costly, and of no use to a command that looks at one file. */
const unwanted = ['net', 'tls', 'http', 'worker_threads', 'zlib', 'crypto', 'child_process', 'readline', 'fs/promises', 'util'];

let folder: TempFolder;
beforeAll(() => {
  folder = tempFolder('modules');
  writeFileSync(folder.file('hook.cjs'), hook);
  const { status, stderr } = spawnSync(process.execPath, [builtProgram('tsimg'), 'create', '-q', '-f', 'qcow2', folder.file('a.qcow2'), '1M'], {
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
afterAll(() => folder[Symbol.dispose]());

/** Output goes to a file: Node itself loads its network code for a pipe. */
function loadedBy(...args: string[]): { files: string[]; builtins: string[]; output: string } {
  const modules = folder.file('modules.json');
  const out = openSync(folder.file('out'), 'w');
  const { status } = spawnSync(process.execPath, ['--require', folder.file('hook.cjs'), builtProgram('tsimg'), ...args], {
    stdio: ['ignore', out, out],
    // with its code cache a program has its files from its own loader
    env: { ...process.env, TSIMG_MODULES: modules, TSIMG_NO_CACHE: '1' },
  });
  closeSync(out);
  const output = readFileSync(folder.file('out'), 'utf8');
  expect(status, output).toBe(0);
  return { ...(JSON.parse(readFileSync(modules, 'utf8')) as { files: string[]; builtins: string[] }), output };
}

describe.each([
  { command: 'info', maxFiles: 11, maxBytes: 640_000 },
  { command: 'check', maxFiles: 14, maxBytes: 660_000 },
  { command: 'map', maxFiles: 14, maxBytes: 640_000 },
])('tsimg $command', ({ command, maxFiles, maxBytes }) => {
  it('loads few modules, none of a heavy kind', () => {
    const { files, builtins, output } = loadedBy(command, '-f', 'qcow2', folder.file('a.qcow2'));
    expect(output).not.toBe('');
    expect(files.map((path) => basename(path)).filter((name) => /yargs|chalk|ora\b|json5/.test(name))).toEqual([]);
    expect(files.filter((path) => path.includes('node_modules') && !path.endsWith('/koffi.node'))).toEqual([]);
    expect(builtins.filter((name) => unwanted.includes(name))).toEqual([]);
    expect(files.length).toBeGreaterThan(2);
    expect(files.length).toBeLessThanOrEqual(maxFiles);
    const ours = files.filter((path) => !path.includes('node_modules'));
    expect(ours.reduce((sum, path) => sum + statSync(path).size, 0)).toBeLessThanOrEqual(maxBytes);
  });
});

it('the hook sees what a command loads', () => {
  const { files } = loadedBy('--help');
  expect(files.map((path) => basename(path))).toEqual(expect.arrayContaining([expect.stringMatching(/^tsimg/), expect.stringMatching(/^help/)]));
  expect(files[0]).toBe(join(builtProgram('tsimg')));
});
