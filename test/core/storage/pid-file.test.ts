/* Pid files: written, locked against other processes, and taken away only by whoever has them. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { writePidFile } from '../../../src/core/storage/pid-file.ts';
import { loadSyscalls, withoutSyscalls } from '../../../src/core/storage/syscalls.ts';
import { type TempFolder, tempFolder } from '../../support/tmp.ts';

let folder: TempFolder;
let path: string;
beforeEach(() => {
  folder = tempFolder('pid');
  path = folder.file('p');
});
afterEach(() => folder[Symbol.dispose]());

it('holds the process id in one line, for the owner only, and shorter than what was there', () => {
  writeFileSync(path, 'a longer line of somebody\n', { mode: 0o600 });
  const file = writePidFile(path);
  expect(readFileSync(path, 'latin1')).toBe(`${process.pid}\n`);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  file.remove();
  expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
});

it.skipIf(loadSyscalls() === undefined)('is locked: another process cannot have it', () => {
  writePidFile(path);
  const python = `import fcntl,sys\ntry: fcntl.lockf(open(sys.argv[1],'r+'), fcntl.LOCK_EX|fcntl.LOCK_NB)\nexcept OSError: sys.exit(3)`;
  const other = spawnSync('python3', ['-c', python, path]);
  if (other.error !== undefined) return;
  expect(other.status).toBe(3);
});

it('of another is not removed', () => {
  const file = writePidFile(path);
  renameSync(path, `${path}.old`);
  writeFileSync(path, '1\n');
  file.remove();
  expect(readFileSync(path, 'latin1')).toBe('1\n');
});

it('that cannot be made is told with its name', () => {
  expect(() => writePidFile(folder.file('nosuch/p'))).toThrow(`Could not create '${folder.file('nosuch/p')}': No such file or directory`);
  mkdirSync(folder.file('d'));
  expect(() => writePidFile(folder.file('d'))).toThrow('Is a directory');
});

it('is written where a link leads, and never waits for a reader', () => {
  symlinkSync('target', path);
  writePidFile(path);
  expect(readFileSync(folder.file('target'), 'latin1')).toBe(`${process.pid}\n`);
  execFileSync('mkfifo', [folder.file('pipe')]);
  expect(() => writePidFile(folder.file('pipe'))).toThrow('No such device or address');
});

it('is written without the extra system calls as well', () => {
  using _ = withoutSyscalls();
  writePidFile(path).remove();
  expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
});
