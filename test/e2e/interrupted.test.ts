/* Long commands that a signal ends: a target that was being made is gone, one that was there is still there. */
import { spawn } from 'node:child_process';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { builtProgram, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

let folder: TempFolder;
beforeEach(() => {
  folder = tempFolder('interrupted');
  writeFileSync(folder.file('disk.raw'), Buffer.alloc(64 * 1024 * 1024, 7));
});
afterEach(() => folder[Symbol.dispose]());

/** Starts a copy that takes minutes, and ends it once `target` holds data. */
async function ended(signal: NodeJS.Signals, target: string): Promise<NodeJS.Signals | null> {
  const args = ['convert', '-f', 'raw', '-O', 'qcow2', '-r', '100k', 'disk.raw', target];
  const child = spawn(process.execPath, [builtProgram('tsimg'), ...args], { cwd: folder.path, stdio: 'ignore' });
  const exit = new Promise<NodeJS.Signals | null>((resolve) => child.once('exit', (_, by) => resolve(by)));
  const hasData = (): boolean => existsSync(folder.file(target)) && statSync(folder.file(target)).size > 1024 * 1024;
  while (!hasData()) await new Promise((resolve) => setImmediate(resolve));
  child.kill(signal);
  return exit;
}

it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s takes the new image away', async (signal) => {
  expect(await ended(signal, 'new.qcow2')).toBe(signal);
  expect(existsSync(folder.file('new.qcow2'))).toBe(false);
});

it('an image that was there is left, and can be made again', async () => {
  expect((await run(process.execPath, [builtProgram('tsimg'), 'create', '-q', '-f', 'qcow2', folder.file('old.qcow2'), '1M'])).code).toBe(0);
  expect(await ended('SIGTERM', 'old.qcow2')).toBe('SIGTERM');
  expect((await run(process.execPath, [builtProgram('tsimg'), 'check', '-q', folder.file('old.qcow2')])).code).not.toBe(2);
});
