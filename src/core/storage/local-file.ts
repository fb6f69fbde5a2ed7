/*
 * Regular files and block devices. Small cached requests are carried out synchronously on the caller's buffer; large
 * ones, flushes and files that were seen to be slow go through the thread pool, so that one cold image cannot stall everyone.
 * Errors carry the C library's text.
 */
import {
  close,
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  read,
  readSync,
  statSync,
  unlinkSync,
  write,
  writeSync,
} from 'node:fs';
import { type Clock, realClock } from '../util/clock.ts';
import { debugOnce } from '../util/debug.ts';
import { errnoCode, errnoText } from '../util/errno.ts';
import { BlockError } from '../util/errors.ts';
import { chain, isPending, type Maybe, settle } from '../util/maybe.ts';
import type { PermBits } from '../util/perm-bits.ts';
import { DirectMemory } from './direct-memory.ts';
import { hasLocks, ImageLock } from './image-lock.ts';
import type { LockChange, OpenStorage, OpenStorageOptions, Prealloc, Storage, StorageCaps, StorageExtent } from './storage.ts';
import { loadSyscalls, type Syscalls } from './syscalls.ts';

/** Requests up to this are synchronous in programs with several users. */
export const smallRequest = 65536;
/** A synchronous read that took longer was no cache hit. */
const slowReadMs = 2;
/** Requests that go to the pool after a slow one. */
const poolAfterSlow = 64;
/** The clock is read for one in so many reads: reading it costs a tenth of a cached read. */
const clockEvery = 8;
const zeroChunk = new Uint8Array(1024 * 1024);

export interface LocalFileOptions {
  /** Largest synchronous request; Infinity for programs with one user. */
  readonly syncLimit: number;
  /** Tells slow reads from cached ones; the real one by default. */
  readonly clock?: Clock;
}

/** How local files are opened by the engine. */
export function localStorage(options: LocalFileOptions = { syncLimit: smallRequest }): OpenStorage {
  const open: OpenStorage = async (path, how) => openLocalFile(path, how, options);
  open.remove = removeFile;
  open.isDevice = isDevice;
  return open;
}

/** Regular files only: a device stays. */
function removeFile(path: string): void {
  try {
    if (lstatSync(path).isFile()) unlinkSync(path);
  } catch {
    // the error that made it worthless is the one to tell
  }
}

function isDevice(path: string): boolean {
  try {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat !== undefined && (stat.isBlockDevice() || stat.isCharacterDevice());
  } catch {
    // opening tells what is wrong
    return false;
  }
}

function openLocalFile(path: string, how: OpenStorageOptions, options: LocalFileOptions): LocalFile {
  let fd: number;
  try {
    fd = openSync(path, openFlags(how), 0o644);
  } catch (error) {
    throw systemError(error);
  }
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) throw new BlockError('Is a directory', { code: 'EISDIR' });
    const kind = stat.isBlockDevice() ? 'block-device' : stat.isCharacterDevice() ? 'char-device' : 'file';
    return new LocalFile(path, fd, kind, how, options);
  } catch (error) {
    closeSync(fd);
    throw systemError(error);
  }
}

function openFlags(how: OpenStorageOptions): number {
  let flags = how.readOnly ? constants.O_RDONLY : constants.O_RDWR;
  if (how.create === 'truncate') flags |= constants.O_CREAT | constants.O_TRUNC;
  if (how.create === 'keep') flags |= constants.O_CREAT;
  if (how.create === 'exclusive') flags |= constants.O_CREAT | constants.O_EXCL;
  if (how.direct) flags |= constants.O_DIRECT ?? 0;
  return flags;
}

/** Our error for one of Node's: errno name and the C library's wording. */
export function systemError(error: unknown): BlockError {
  if (error instanceof BlockError) return error;
  const code = errnoCode(error);
  if (code === undefined) throw error;
  return new BlockError(errnoText(code), { code, cause: error });
}

class LocalFile implements Storage {
  readonly path: string;
  readonly caps: StorageCaps;
  readonly #fd: number;
  readonly #noFlush: boolean;
  readonly #syncLimit: number;
  readonly #clock: Clock;
  readonly #kind: StorageCaps['kind'];
  readonly setLocks?: (held: PermBits, unshared: PermBits) => LockChange;
  #poolLeft = 0;
  #reads = 0;
  #calls: Syscalls | undefined | null = null;
  #canZeroRange = true;
  /**
   * The run of data that was found last: finding the next hole costs a walk over the file's pages on some file systems.
   * A hole that somebody else made meanwhile is told as data, which is never wrong; our own end it.
   */
  #dataStart = 0;
  #dataEnd = 0;
  /** Where requests of a file opened past the page cache go through. */
  readonly #memory: DirectMemory | undefined;

  constructor(path: string, fd: number, kind: StorageCaps['kind'], how: OpenStorageOptions, options: LocalFileOptions) {
    this.path = path;
    this.#fd = fd;
    this.#kind = kind;
    this.#noFlush = how.noFlush;
    this.#memory = how.direct ? new DirectMemory(fd) : undefined;
    const isSlow = how.direct || kind !== 'file';
    // a program with one user may wait for the medium as well
    this.#syncLimit = isSlow && options.syncLimit !== Number.POSITIVE_INFINITY ? 0 : options.syncLimit;
    this.#clock = options.clock ?? realClock;
    this.caps = { kind, readOnly: how.readOnly, align: this.#memory?.requestAlign ?? 1, extents: true, punch: kind === 'file' };
    if (how.locking !== 'off' && kind !== 'char-device') {
      let lock: ImageLock | undefined;
      this.setLocks = (held, unshared) => {
        const isIdle = lock === undefined && ((held === 0 && unshared === 0) || (how.locking === 'look' && !hasLocks(fd)));
        const calls = isIdle ? undefined : this.#syscalls();
        if (calls === undefined) {
          if (!isIdle) debugOnce('no image locks here (koffi or the system calls are missing): other programs are not kept from writing');
          return { commit: () => {}, abort: () => {} };
        }
        lock ??= new ImageLock(calls, fd, path);
        return lock.set(held, unshared);
      };
    }
  }

  #syscalls(): Syscalls | undefined {
    if (this.#calls === null) this.#calls = loadSyscalls();
    return this.#calls;
  }

  size(): number {
    if (this.#kind === 'file') return fstatSync(this.#fd).size;
    if (this.#kind === 'char-device') return 0;
    return deviceSize(this.#fd, this.#syscalls());
  }

  get identity(): string {
    const { dev, ino, rdev } = fstatSync(this.#fd, { bigint: true });
    return this.#kind === 'file' ? `${dev}:${ino}` : `device ${rdev}`;
  }

  allocatedSize(): number {
    return fstatSync(this.#fd).blocks * 512;
  }

  read(offset: number, into: Uint8Array): Maybe<void> {
    const memory = this.#memory;
    if (memory === undefined) return this.#readInto(offset, into);
    const buffer = memory.take(into.length);
    return settle(
      () =>
        chain(this.#readInto(offset, buffer), () => {
          into.set(buffer);
        }),
      () => memory.give(buffer),
    );
  }

  #readInto(offset: number, into: Uint8Array): Maybe<void> {
    if (into.length > this.#syncLimit || this.#poolLeft > 0) return this.#readPooled(offset, into);
    const isTimed = (++this.#reads & (clockEvery - 1)) === 0;
    const since = isTimed ? this.#clock.now() : 0;
    let done = 0;
    try {
      while (done < into.length) {
        const count = readSync(this.#fd, into, done, into.length - done, offset + done);
        done += count;
        if (this.#isEnd(count)) break;
      }
    } catch (error) {
      throw systemError(error);
    }
    if (done < into.length) into.fill(0, done);
    if (isTimed && this.#clock.now() - since > slowReadMs) this.#poolLeft = poolAfterSlow;
  }

  async #readPooled(offset: number, into: Uint8Array): Promise<void> {
    if (this.#poolLeft > 0) this.#poolLeft--;
    let done = 0;
    while (done < into.length) {
      const count = await new Promise<number>((resolve, reject) => {
        read(this.#fd, into, done, into.length - done, offset + done, (error, bytes) => (error === null ? resolve(bytes) : reject(systemError(error))));
      });
      done += count;
      if (this.#isEnd(count)) break;
    }
    if (done < into.length) into.fill(0, done);
  }

  /** Nothing more comes; past the page cache, what is no whole block was the last one. */
  #isEnd(count: number): boolean {
    return count === 0 || (this.#memory !== undefined && count % this.#memory.requestAlign !== 0);
  }

  write(offset: number, from: Uint8Array): Maybe<void> {
    const memory = this.#memory;
    if (memory === undefined) return this.#writeFrom(offset, from);
    const buffer = memory.take(from.length);
    buffer.set(from);
    return settle(
      () => this.#writeFrom(offset, buffer),
      () => memory.give(buffer),
    );
  }

  #writeFrom(offset: number, from: Uint8Array): Maybe<void> {
    if (from.length > this.#syncLimit) return this.#writePooled(offset, from);
    try {
      for (let done = 0; done < from.length; ) done += writeSync(this.#fd, from, done, from.length - done, offset + done);
    } catch (error) {
      throw systemError(error);
    }
  }

  async #writePooled(offset: number, from: Uint8Array): Promise<void> {
    for (let done = 0; done < from.length; ) {
      done += await new Promise<number>((resolve, reject) => {
        write(this.#fd, from, done, from.length - done, offset + done, (error, bytes) => (error === null ? resolve(bytes) : reject(systemError(error))));
      });
    }
  }

  #forgetData(offset: number, length: number): void {
    if (offset < this.#dataEnd && offset + length > this.#dataStart) this.#dataEnd = this.#dataStart;
  }

  zero(offset: number, length: number, mayUnmap: boolean): Maybe<void> {
    this.#forgetData(offset, length);
    const calls = this.#syscalls();
    const size = this.size();
    const end = offset + length;
    if (calls !== undefined && this.#kind === 'file') {
      if (offset >= size && mayUnmap) return this.#grow(end);
      if (mayUnmap && calls.punchHole(this.#fd, offset, Math.min(length, size - offset))) return end > size ? this.#grow(end) : undefined;
      if (this.#canZeroRange && calls.zeroRange(this.#fd, offset, length)) return;
      this.#canZeroRange = false;
      // a hole and then space for it: zeros that are allocated, without writing them
      const inside = Math.min(length, size - offset);
      if (inside <= 0 || calls.punchHole(this.#fd, offset, inside)) {
        if (calls.allocate(this.#fd, offset, length)) return;
        if (end > size) this.#grow(end);
        if (inside > 0) return this.#writeZeros(offset, inside);
        return;
      }
    }
    return this.#writeZeros(offset, length);
  }

  #grow(size: number): void {
    // more than the system call's wrapper takes
    if (size > Number.MAX_SAFE_INTEGER) throw new BlockError(errnoText('EFBIG'), { code: 'EFBIG', cause: size });
    try {
      ftruncateSync(this.#fd, size);
    } catch (error) {
      throw systemError(error);
    }
  }

  #writeZeros(offset: number, length: number): Maybe<void> {
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const piece = zeroChunk.subarray(0, Math.min(zeroChunk.length, end - at));
      const result = this.write(at, piece);
      at += piece.length;
      if (isPending(result)) return at < end ? result.then(() => this.#writeZeros(at, end - at)) : result;
    }
  }

  discard(offset: number, length: number): void {
    const inside = Math.min(length, this.size() - offset);
    if (inside <= 0 || this.#kind !== 'file') return;
    this.#forgetData(offset, inside);
    this.#syscalls()?.punchHole(this.#fd, offset, inside);
  }

  extents(offset: number, length: number): StorageExtent {
    const calls = this.#kind === 'file' ? this.#syscalls() : undefined;
    if (calls === undefined) {
      // without the calls: a file without blocks is one hole; else all counts as data
      return { data: this.#kind !== 'file' || fstatSync(this.#fd).blocks !== 0, length };
    }
    if (offset >= this.#dataStart && offset < this.#dataEnd) return { data: true, length: Math.min(length, this.#dataEnd - offset) };
    const data = calls.seekData(this.#fd, offset);
    if (data === undefined) return { data: true, length };
    if (data === -1) return { data: false, length };
    if (data > offset) return { data: false, length: Math.min(length, data - offset) };
    const hole = calls.seekHole(this.#fd, offset);
    if (hole === undefined || hole <= offset) return { data: true, length };
    this.#dataStart = offset;
    this.#dataEnd = hole;
    return { data: true, length: Math.min(length, hole - offset) };
  }

  copyFrom(source: Storage, from: number, to: number, length: number): number {
    if (!(source instanceof LocalFile)) return 0;
    return this.#syscalls()?.copyRange(source.#fd, from, this.#fd, to, length) ?? 0;
  }

  truncate(size: number, prealloc: Prealloc = 'off'): Maybe<void> {
    const before = this.size();
    if (this.#kind !== 'file') {
      if (size > before) throw new BlockError('Cannot grow device files', { code: 'EINVAL' });
      return;
    }
    if (size < before) this.#forgetData(size, before - size);
    this.#grow(size);
    if (size <= before) return;
    if (prealloc === 'falloc') {
      const calls = this.#syscalls();
      if (calls?.allocate(this.#fd, before, size - before)) return;
      return this.#writeZeros(before, size - before);
    }
    if (prealloc === 'full') return this.#writeZeros(before, size - before);
  }

  flush(): Maybe<void> {
    if (this.#noFlush || this.caps.readOnly) return;
    return new Promise((resolve, reject) => fdatasync(this.#fd, (error) => (error === null || error === undefined ? resolve() : reject(systemError(error)))));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // nothing to be written out that a close could wait for; the first call of the thread pool starts four threads
    if (this.caps.readOnly) return closeSync(this.#fd);
    await new Promise<void>((resolve, reject) => close(this.#fd, (error) => (error === null || error === undefined ? resolve() : reject(systemError(error)))));
  }
}

/** Size of a device: where its last byte can still be read (fstat tells 0). */
function deviceSize(fd: number, calls: Syscalls | undefined): number {
  const end = calls?.seekHole(fd, 0);
  if (end !== undefined && end > 0) return end;
  const probe = new Uint8Array(512);
  let low = 0;
  let high = 1;
  const hasSector = (sector: number): boolean => {
    try {
      return readSync(fd, probe, 0, 512, sector * 512) > 0;
    } catch {
      return false;
    }
  };
  while (hasSector(high) && high < 2 ** 40) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (hasSector(middle)) low = middle;
    else high = middle;
  }
  return hasSector(low) ? (low + 1) * 512 : 0;
}
