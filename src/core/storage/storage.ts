/*
 * Storage: bytes on a medium, no format knowledge. The port under the file driver; local files, memory, and the delayed
 * and faulty wrappers of the tests implement it, and `Engine({ openStorage })` injects it.
 */
import type { Maybe } from '../util/maybe.ts';
import type { PermBits } from '../util/perm-bits.ts';

/** How far a file is filled when it grows. `metadata` is for formats and counts as `off` here. */
export type Prealloc = 'off' | 'metadata' | 'falloc' | 'full';

export function isPrealloc(value: unknown): value is Prealloc {
  return value === 'off' || value === 'metadata' || value === 'falloc' || value === 'full';
}

export interface StorageCaps {
  readonly kind: 'file' | 'block-device' | 'char-device' | 'memory';
  readonly readOnly: boolean;
  /** Offsets and lengths of requests must be multiples of this (1, or more with O_DIRECT). */
  readonly align: number;
  /** What the medium demands of the memory of requests; that of callers is copied where it does not fit. Absent: nothing. */
  readonly memoryAlign?: number;
  /** What a block device says of itself. */
  readonly device?: DeviceLimits;
  /** `extents` tells data from holes. */
  readonly extents: boolean;
  /** `discard` gives space back; else it is a no-op. */
  readonly punch: boolean;
}

/** Limits of a block device's queue, in bytes; 0 = none told. */
export interface DeviceLimits {
  readonly zeroAlign: number;
  readonly discardAlign: number;
  readonly maxHwTransfer: number;
  /** Pieces of memory in one transfer. */
  readonly maxHwIov: number;
  /** The device takes no writes, although it can be opened for them. */
  readonly isReadOnly: boolean;
}

/** A run of equal state. `length` > 0. */
export interface StorageExtent {
  readonly data: boolean;
  readonly length: number;
}

/** A lock change that was tried and can still be undone. Both are synchronous; exactly one is called. */
export interface LockChange {
  commit(): void;
  abort(): void;
}

/**
 * Offsets and lengths are whole numbers from 0 to 2^53 - 1, and so are their sums: every implementation refuses others
 * with EINVAL or EFBIG (`checkRange`) before anything is done. Only `truncate` makes a medium shorter, whatever runs beside it.
 */
export interface Storage extends AsyncDisposable {
  readonly path: string;
  /** Tells the medium from all others, whatever name it was opened by (device and inode). Absent: its path does. */
  readonly identity?: string | undefined;
  readonly caps: StorageCaps;
  /** Size in bytes now; the medium may have been changed from outside. */
  size(): Maybe<number>;
  /** Whether it is a drive for discs that has one; undefined where nobody can tell. */
  hasDisc?(): boolean | undefined;
  /** Bytes that the medium occupies. */
  allocatedSize(): Maybe<number>;
  /** Fills all of `into` from `offset`; past the end reads zeros. The caller owns `into`; it is touched until the call settles. */
  read(offset: number, into: Uint8Array): Maybe<void>;
  /** Writes all of `from` at `offset`; grows the medium. */
  write(offset: number, from: Uint8Array): Maybe<void>;
  /** Makes the range read as zeros; with `mayUnmap` it may become a hole. Grows the medium when the range ends past it. */
  zero(offset: number, length: number, mayUnmap: boolean): Maybe<void>;
  /** Gives the range back if the medium can; its content is then undefined (zeros on files). Never grows. */
  discard(offset: number, length: number): Maybe<void>;
  /** The state of the run that starts at `offset`, at most `length` long. Without the capability: all data. */
  extents(offset: number, length: number): Maybe<StorageExtent>;
  /** Copies up to `length` bytes from another storage inside the kernel. Returns the bytes copied, 0 when it cannot. */
  copyFrom?(source: Storage, from: number, to: number, length: number): Maybe<number>;
  /** A new size. A file that cannot be grown or filled as asked has its old size and space again. Devices keep theirs. */
  truncate(size: number, prealloc?: Prealloc): Maybe<void>;
  /**
   * Takes image locks for the permissions held by us and unshared with others (qcow2 reference: image locking).
   * Throws BlockError `Failed to get "write" lock` / `Failed to get shared "write" lock` with detail and a hint naming
   * the holder. Absent where the system has no such locks.
   * `isTested`: another storage of the same medium holds these locks for us, so that nobody is looked for.
   */
  setLocks?(held: PermBits, unshared: PermBits, isTested?: boolean): LockChange;
  /** Everything that settled before is on stable storage after. */
  flush(): Maybe<void>;
}

export interface OpenStorageOptions {
  readonly readOnly: boolean;
  /** `never`: the file must exist. `truncate`: made or emptied. `exclusive`: must not exist. `keep`: made if missing, kept if there. */
  readonly create: 'never' | 'truncate' | 'exclusive' | 'keep';
  readonly direct: boolean;
  /** Ignore flushes (cache.no-flush). */
  readonly noFlush: boolean;
  readonly locking: 'auto' | 'on' | 'off';
}

/**
 * Opens the medium at `path` (bytes that are no UTF-8 escaped as in name-codec.ts). Rejects with a BlockError whose message
 * is the C library's text (`No such file or directory`); code EISDIR for a folder, ESPIPE for what else holds no bytes
 * (pipes, sockets). Never waits for another program to open the other end.
 */
export interface OpenStorage {
  (path: string, how: OpenStorageOptions): Promise<Storage>;
  /** Takes away what a failed creation left at `path`; fails silently. Absent: nothing can be taken away. */
  remove?(path: string): void;
  /** Whether a drive for discs (CD-ROM) is at `path`; absent: never. */
  isDiscDrive?(path: string): boolean;
  /** Whether a device of the host is at `path`; absent: never. */
  isDevice?(path: string): boolean;
}
