/*
 * Regular files and block devices. Small cached requests are carried out synchronously on the caller's buffer; large
 * ones, flushes and files that were seen to be slow go through the thread pool, so that one cold image cannot stall everyone.
 * Errors carry the C library's text.
 */
import { close, closeSync, fdatasync, fstatSync, ftruncateSync, read, readSync, write, writeSync } from 'node:fs';
import { type Clock, realClock } from '../util/clock.ts';
import { debugOnce } from '../util/debug.ts';
import { errnoText } from '../util/errno.ts';
import { BlockError } from '../util/errors.ts';
import { chain, isPending, type Maybe, recover, settle } from '../util/maybe.ts';
import type { PermBits } from '../util/perm-bits.ts';
import { checkRange } from './check-range.ts';
import { deviceLimits, endOffset, sectorSize } from './device.ts';
import { DirectMemory } from './direct-memory.ts';
import { ImageLock } from './image-lock.ts';
import type { LockChange, OpenStorageOptions, Prealloc, Storage, StorageCaps, StorageExtent } from './storage.ts';
import { cannot, type Errno, loadSyscalls, type Syscalls } from './syscalls.ts';
import { systemError, systemFailure } from './system-error.ts';

/** Requests up to this are synchronous in programs with several users. */
export const smallRequest = 65536;
/** A synchronous read that took longer was no cache hit. */
const slowReadMs = 2;
/** Requests that go to the pool after a slow one. */
const poolAfterSlow = 64;
/** The clock is read for one in so many reads: reading it costs a tenth of a cached read. */
const clockEvery = 8;
/** No system call carries more at once. */
const maxTransfer = 0x7ffff000;
const resizing = 'Could not resize file: ';
const zeroChunk = new Uint8Array(1024 * 1024);

export interface LocalFileOptions {
  /** Largest synchronous request; Infinity for programs with one user. */
  readonly syncLimit: number;
  /** Tells slow reads from cached ones; the real one by default. */
  readonly clock?: Clock;
}

export class LocalFile implements Storage {
  readonly path: string;
  readonly caps: StorageCaps;
  readonly #fd: number;
  readonly #noFlush: boolean;
  readonly #syncLimit: number;
  readonly #clock: Clock;
  readonly #kind: StorageCaps['kind'];
  readonly setLocks?: (held: PermBits, unshared: PermBits, isTested?: boolean) => LockChange;
  #poolLeft = 0;
  #reads = 0;
  #calls: Syscalls | undefined | null = null;
  /** An empty regular file was asked once whether it has a size at all: files of the system below /proc have none. */
  #hasSize = false;
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
    if (how.direct && kind !== 'char-device') {
      const calls = this.#syscalls();
      this.#memory = new DirectMemory(fd, { sector: sectorSize(fd, calls), addressOf: calls?.addressOf });
    }
    const isSlow = how.direct || kind !== 'file';
    // a program with one user may wait for the medium as well
    this.#syncLimit = isSlow && options.syncLimit !== Number.POSITIVE_INFINITY ? 0 : options.syncLimit;
    this.#clock = options.clock ?? realClock;
    this.caps = {
      kind,
      readOnly: how.readOnly,
      align: this.#memory?.requestAlign ?? 1,
      memoryAlign: this.#memory?.memoryAlign ?? 1,
      ...(kind === 'block-device' ? { device: deviceLimits(fd, this.#syscalls()) } : {}),
      extents: true,
      punch: kind !== 'char-device',
    };
    if (how.locking !== 'off' && kind !== 'char-device') {
      let lock: ImageLock | undefined;
      this.setLocks = (held, unshared, isTested) => {
        const isIdle = lock === undefined && held === 0 && unshared === 0;
        const calls = isIdle ? undefined : this.#syscalls();
        if (calls === undefined) {
          if (!isIdle) debugOnce('no image locks here (koffi or the system calls are missing): other programs are not kept from writing');
          return { commit: () => {}, abort: () => {} };
        }
        lock ??= new ImageLock(calls, fd, path);
        return lock.set(held, unshared, isTested);
      };
    }
  }

  #syscalls(): Syscalls | undefined {
    if (this.#calls === null) this.#calls = loadSyscalls();
    return this.#calls;
  }

  size(): number {
    if (this.#kind === 'file') {
      const { size } = fstatSync(this.#fd);
      if (size > 0 || this.#hasSize) return size;
    }
    const end = endOffset(this.#fd, this.#syscalls());
    this.#hasSize = true;
    return end;
  }

  hasDisc(): boolean | undefined {
    const calls = this.#syscalls();
    return calls === undefined ? undefined : (calls.hasDisc(this.#fd) ?? false);
  }

  get identity(): string {
    const { dev, ino, rdev } = fstatSync(this.#fd, { bigint: true });
    return this.#kind === 'file' ? `${dev}:${ino}` : `device ${rdev}`;
  }

  allocatedSize(): number {
    return fstatSync(this.#fd).blocks * 512;
  }

  read(offset: number, into: Uint8Array): Maybe<void> {
    checkRange(offset, into.length);
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
        const count = readSync(this.#fd, into, done, Math.min(maxTransfer, into.length - done), offset + done);
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
        read(this.#fd, into, done, Math.min(maxTransfer, into.length - done), offset + done, (error, bytes) =>
          error === null ? resolve(bytes) : reject(systemError(error)),
        );
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
    checkRange(offset, from.length);
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
      for (let done = 0; done < from.length; ) done += writeSync(this.#fd, from, done, Math.min(maxTransfer, from.length - done), offset + done);
    } catch (error) {
      throw systemError(error);
    }
  }

  async #writePooled(offset: number, from: Uint8Array): Promise<void> {
    for (let done = 0; done < from.length; ) {
      done += await new Promise<number>((resolve, reject) => {
        write(this.#fd, from, done, Math.min(maxTransfer, from.length - done), offset + done, (error, bytes) =>
          error === null ? resolve(bytes) : reject(systemError(error)),
        );
      });
    }
  }

  #forgetData(offset: number, length: number): void {
    if (offset < this.#dataEnd && offset + length > this.#dataStart) this.#dataEnd = this.#dataStart;
  }

  zero(offset: number, length: number, mayUnmap: boolean): Maybe<void> {
    checkRange(offset, length);
    if (length === 0) return;
    this.#forgetData(offset, length);
    const calls = this.#kind === 'char-device' ? undefined : this.#syscalls();
    if (calls !== undefined) {
      if (mayUnmap && this.#punchAll(calls, offset, length)) return;
      if (worked(calls.zeroRange(this.#fd, offset, length))) return;
      // a hole and then space for it: zeros that are allocated, without writing them
      if (worked(calls.punchHole(this.#fd, offset, length)) && worked(calls.allocate(this.#fd, offset, length))) return;
    }
    return this.#writeZeros(offset, length);
  }

  /**
   * Makes the range a hole, and the file as long as its end. It grows by its last byte, which is then taken out again: a
   * truncate to this length would cut off what another thread has written beyond it meanwhile.
   */
  #punchAll(calls: Syscalls, offset: number, length: number): boolean {
    const end = offset + length;
    if (this.#kind === 'file' && end > fstatSync(this.#fd).size && !worked(calls.allocate(this.#fd, end - 1, 1))) return false;
    return worked(calls.punchHole(this.#fd, offset, length));
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
    checkRange(offset, length);
    const inside = Math.min(length, this.size() - offset);
    if (inside <= 0 || this.#kind === 'char-device') return;
    this.#forgetData(offset, inside);
    worked(this.#syscalls()?.punchHole(this.#fd, offset, inside) ?? 0);
  }

  extents(offset: number, length: number): StorageExtent {
    checkRange(offset, length);
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
    checkRange(from, length);
    checkRange(to, length);
    if (!(source instanceof LocalFile)) return 0;
    return this.#syscalls()?.copyRange(source.#fd, from, this.#fd, to, length) ?? 0;
  }

  truncate(size: number, prealloc: Prealloc = 'off'): Maybe<void> {
    try {
      checkRange(size, 0);
    } catch (error) {
      throw systemError(error, resizing);
    }
    const before = this.size();
    if (this.#kind !== 'file') {
      if (size === before) return;
      throw new BlockError('Cannot resize device files', { code: 'ENOTSUP' });
    }
    if (size < before && prealloc !== 'off') throw new BlockError('Cannot use preallocation for shrinking files', { code: 'ENOTSUP' });
    if (size < before) this.#forgetData(size, before - size);
    return recover(
      () => this.#resize(before, size, prealloc),
      (error) => {
        this.#restore(before);
        throw error;
      },
    );
  }

  /** Gives back what a growth took that could not be finished. */
  #restore(size: number): void {
    try {
      ftruncateSync(this.#fd, size);
    } catch (error) {
      debugOnce(`${this.path} could not be given its old length again: ${errnoText(error)}`);
    }
  }

  /** Throws with the peer's words before the system's. */
  #resize(before: number, size: number, prealloc: Prealloc): Maybe<void> {
    if (prealloc === 'falloc' && size > before) {
      const errno = this.#syscalls()?.allocate(this.#fd, before, size - before);
      if (errno !== undefined && errno !== 0 && !cannot(errno)) throw systemFailure(errno, 'Could not preallocate new data: ');
      // where there is no such call, all is written
      if (errno !== 0) return this.#fill(before, size - before, 'Could not preallocate new data: ');
    } else {
      try {
        ftruncateSync(this.#fd, size);
      } catch (error) {
        throw systemError(error, resizing);
      }
      if (prealloc === 'full') return this.#fill(before, size - before, 'Could not write zeros for preallocation: ');
    }
    if (before === 0) return this.#writeFirstBlock(size);
  }

  #fill(offset: number, length: number, context: string): Maybe<void> {
    return recover(
      () => this.#writeZeros(offset, length),
      (error) => {
        throw systemError(error, context);
      },
    );
  }

  /**
   * Who opens the file for direct access can then find out the alignment, which no hole tells. Without it the file is as
   * good, so a failure is none.
   */
  #writeFirstBlock(size: number): Maybe<void> {
    if (size < 512) return;
    return recover(
      () => this.write(0, zeroChunk.subarray(0, size < 4096 ? 512 : 4096)),
      () => undefined,
    );
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

/** True when a call worked, false when there is none of it here. Throws every other error. */
function worked(errno: Errno): boolean {
  if (errno === 0) return true;
  if (cannot(errno)) return false;
  throw systemFailure(errno);
}
