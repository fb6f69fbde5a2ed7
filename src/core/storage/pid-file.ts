/*
 * The file that tells other programs our process id: mode 0600, one line, locked for as long as we run, so that a second
 * program neither overwrites nor removes it. Rule source: observed behaviour of QEMU 11.1 (fcntl locks of the process).
 */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, type Stats, statSync, unlinkSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { systemName } from '../util/name-codec.ts';
import { loadSyscalls, type Syscalls } from './syscalls.ts';
import { systemError, systemFailure } from './system-error.ts';

export interface PidFile {
  /** Takes the file away, if it is still ours. */
  remove(): void;
}

/**
 * Makes and locks the file at `path` and writes our process id. The descriptor stays open: closing any on this file would
 * end the lock. Throws `Cannot lock pid file: …` when another process has it, `Could not create 'PATH': …`.
 */
export function writePidFile(path: string): PidFile {
  const name = systemName(path);
  const calls = loadSyscalls();
  for (;;) {
    const fd = create(name, path);
    let mine: Stats;
    try {
      mine = fstatSync(fd);
      lock(fd, calls);
      if (!isAt(name, mine)) {
        // taken away by whoever had it before: it is made anew
        closeSync(fd);
        continue;
      }
      writeId(fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    // the folder may be another one by then
    const full = typeof name === 'string' ? resolve(name) : name;
    return {
      remove: () => {
        try {
          if (isAt(full, mine)) unlinkSync(full);
        } catch {
          // a file without a lock is as good as none
        }
      },
    };
  }
}

function create(name: string | Buffer, path: string): number {
  try {
    return openSync(name, constants.O_WRONLY | constants.O_CREAT | (constants.O_NONBLOCK ?? 0), 0o600);
  } catch (error) {
    throw systemError(error, `Could not create '${path}': `);
  }
}

function lock(fd: number, calls: Syscalls | undefined): void {
  const errno = calls?.lockWhole(fd) ?? 0;
  if (errno !== 0) throw systemFailure(errno, 'Cannot lock pid file: ');
}

function writeId(fd: number): void {
  try {
    ftruncateSync(fd, 0);
  } catch (error) {
    throw systemError(error, 'Failed to truncate pid file: ');
  }
  try {
    writeSync(fd, `${process.pid}\n`, 0);
  } catch (error) {
    throw systemError(error, 'Failed to write pid file: ');
  }
}

function isAt(name: string | Buffer, file: Stats): boolean {
  const found = statSync(name, { throwIfNoEntry: false });
  return found !== undefined && found.ino === file.ino && found.dev === file.dev;
}
