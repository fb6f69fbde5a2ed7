/*
 * The file of a unix socket before a server binds it: what an ended server left behind is removed, as QEMU does.
 * Anything that is not a socket stays (binding then fails), because it may be somebody's image.
 */
import { lstatSync, statSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ErrnoName } from '../util/errno.ts';

/** Where a server listens that was given an empty path: somewhere of its own, as QEMU's. */
export function temporarySocketPath(): string {
  return join(tmpdir(), `tsimg-socket-${Math.random().toString(36).slice(2, 10)}`);
}

/** Removes a socket at `path`. Never fails: what is in the way shows when the caller binds. */
export function removeStaleSocket(path: string): void {
  try {
    if (lstatSync(path).isSocket()) unlinkSync(path);
  } catch {
    // missing, or not ours to remove
  }
}

/** The errno name for a failure to bind at `path`: libuv says EACCES where the folder is missing. */
export function bindFailure(path: string, code: ErrnoName): ErrnoName {
  if (code !== 'EACCES') return code;
  const folder = statSync(dirname(path), { throwIfNoEntry: false });
  if (folder === undefined) return 'ENOENT';
  return folder.isDirectory() ? code : 'ENOTDIR';
}
