/*
 * Opening regular files and devices by name: what holds no bytes is refused, and nothing ever waits for somebody at the
 * other end. Programs with several users open in the thread pool, two at a time at most, so that a dead file server
 * leaves the pool usable. Names are bytes (name-codec.ts). Errors carry the C library's text.
 */
import { closeSync, constants, fstatSync, lstatSync, open, openSync, type Stats, statSync, unlinkSync } from 'node:fs';
import { errnoText } from '../util/errno.ts';
import { BlockError } from '../util/errors.ts';
import { systemName } from '../util/name-codec.ts';
import { Waiters } from '../util/waiters.ts';
import { LocalFile, type LocalFileOptions, smallRequest } from './local-file.ts';
import type { OpenStorage, OpenStorageOptions, StorageCaps } from './storage.ts';
import { loadSyscalls } from './syscalls.ts';
import { systemError } from './system-error.ts';

/** Opens under way in the thread pool, which has four threads. */
const maxOpens = 2;

/** How local files are opened by the engine. */
export function localStorage(options: LocalFileOptions = { syncLimit: smallRequest }): OpenStorage {
  const opened: OpenStorage = async (path, how) => {
    const fd = options.syncLimit === Number.POSITIVE_INFINITY ? openNow(path, how) : await openPooled(path, how);
    try {
      return new LocalFile(path, fd, kindOf(fstatSync(fd)), how, options);
    } catch (error) {
      closeSync(fd);
      throw systemError(error);
    }
  };
  opened.remove = removeFile;
  opened.isDevice = isDevice;
  opened.isDiscDrive = isDiscDrive;
  return opened;
}

function openNow(path: string, how: OpenStorageOptions): number {
  try {
    return openSync(nameFor(path), openFlags(how), 0o644);
  } catch (error) {
    throw openError(error, path, how);
  }
}

let opensUnderWay = 0;
const waitingOpens = new Waiters();

async function openPooled(path: string, how: OpenStorageOptions): Promise<number> {
  const name = nameFor(path);
  if (opensUnderWay < maxOpens) opensUnderWay++;
  else await waitingOpens.wait();
  try {
    return await new Promise<number>((resolve, reject) => {
      open(name, openFlags(how), 0o644, (error, fd) => (error === null ? resolve(fd) : reject(openError(error, path, how))));
    });
  } finally {
    // the place is handed over: nobody can slip in between
    if (!waitingOpens.wakeOne()) opensUnderWay--;
  }
}

/** The system's calls end a name at a NUL: one that holds a NUL is no name. */
function nameFor(path: string): string | Buffer {
  if (path.includes('\0')) throw new BlockError(errnoText('ENOENT'), { code: 'ENOENT' });
  return systemName(path);
}

function openError(error: unknown, path: string, how: OpenStorageOptions): BlockError {
  const told = systemError(error);
  if (!how.direct || told.code !== 'EINVAL' || !existsSync(path)) return told;
  return told.with({ message: 'filesystem does not support O_DIRECT' });
}

function existsSync(path: string): boolean {
  return statSync(systemName(path), { throwIfNoEntry: false }) !== undefined;
}

function openFlags(how: OpenStorageOptions): number {
  // a pipe opens at once, and is refused then
  let flags = (how.readOnly ? constants.O_RDONLY : constants.O_RDWR) | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0);
  if (how.create === 'truncate') flags |= constants.O_CREAT | constants.O_TRUNC;
  if (how.create === 'keep') flags |= constants.O_CREAT;
  if (how.create === 'exclusive') flags |= constants.O_CREAT | constants.O_EXCL;
  if (how.direct) flags |= constants.O_DIRECT ?? 0;
  return flags;
}

function kindOf(stat: Stats): StorageCaps['kind'] {
  if (stat.isFile()) return 'file';
  if (stat.isBlockDevice()) return 'block-device';
  if (stat.isCharacterDevice()) return 'char-device';
  const code = stat.isDirectory() ? 'EISDIR' : 'ESPIPE';
  throw new BlockError(errnoText(code), { code });
}

/** Regular files only: a device stays. */
function removeFile(path: string): void {
  try {
    if (lstatSync(systemName(path)).isFile()) unlinkSync(systemName(path));
  } catch {
    // the error that made it worthless is the one to tell
  }
}

/** Asks the drive itself, which needs no disc to be opened. */
function isDiscDrive(path: string): boolean {
  try {
    if (statSync(systemName(path), { throwIfNoEntry: false })?.isBlockDevice() !== true) return false;
    const fd = openSync(systemName(path), constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      return loadSyscalls()?.hasDisc(fd) !== undefined;
    } finally {
      closeSync(fd);
    }
  } catch {
    // opening tells what is wrong
    return false;
  }
}

function isDevice(path: string): boolean {
  try {
    const stat = statSync(systemName(path), { throwIfNoEntry: false });
    return stat !== undefined && (stat.isBlockDevice() || stat.isCharacterDevice());
  } catch {
    // opening tells what is wrong
    return false;
  }
}
