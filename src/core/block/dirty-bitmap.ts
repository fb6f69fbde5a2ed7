/*
 * Dirty bitmaps of a node: which parts have changed since a bitmap was begun. They belong to the node, whoever made them:
 * a command, a job, or the format that keeps them on the medium (qcow2 loads them when it opens and stores them when it
 * closes). One observer of the node's changes feeds all of them, and is there only while there is a bitmap.
 * Must not know how bitmaps are stored, nor what they are used for.
 * Rule source: QEMU's documentation of dirty bitmaps; observed answers of QEMU 11.1.
 */
import { Bitmap } from '../util/bitmap.ts';
import { BlockError, invariant } from '../util/errors.ts';
import { ceilDiv, isPowerOfTwo } from '../util/math.ts';
import { encodeName } from '../util/name-codec.ts';
import type { BlockNode, ChangeKind, ChangeObserver } from './node.ts';

const maxNameBytes = 1023;
const minGranularity = 512;
/** Beyond it the peer has no number for it. */
const maxGranularity: number = 2 ** 32 - 1;

/** What a bitmap must not be for an operation to use it. */
export type BitmapObstacle = 'busy' | 'read-only' | 'inconsistent';
/** Obstacles of an operation that changes the bitmap. */
export const changeObstacles: readonly BitmapObstacle[] = ['busy', 'read-only', 'inconsistent'];
/** Obstacles of one that only looks at it. */
export const useObstacles: readonly BitmapObstacle[] = ['busy', 'inconsistent'];

export interface BitmapOptions {
  /** Absent: a bitmap of a job's own, which no command can name. */
  readonly name?: string | undefined;
  /** Bytes a bit; a power of two, at least 512. */
  readonly granularity: number;
  /** Default true. */
  readonly isEnabled?: boolean;
  readonly isPersistent?: boolean;
  readonly isReadOnly?: boolean;
  readonly isInconsistent?: boolean;
}

/** A run of equal state. */
export interface DirtyRun {
  readonly offset: number;
  readonly length: number;
}

export class DirtyBitmap {
  readonly node: BlockNode;
  readonly granularity: number;
  /** Undefined for one that no command can name. */
  name: string | undefined;
  /** Records changes. */
  isEnabled: boolean;
  /** An operation works with it: no other may. */
  isBusy = false;
  /** On a medium that cannot be written: it cannot record. */
  isReadOnly: boolean;
  /** What it says cannot be trusted: good for nothing but to be removed. */
  isInconsistent: boolean;
  /** Kept on the medium when the node closes. */
  isPersistent: boolean;
  /** Records in its place while an operation works with it. */
  successor: DirtyBitmap | undefined;
  /** Node size that it covers, in bytes. */
  #size: number;
  #bits: Bitmap;

  /** For DirtyBitmaps only. */
  constructor(node: BlockNode, options: BitmapOptions) {
    this.node = node;
    this.granularity = options.granularity;
    this.name = options.name;
    this.isEnabled = options.isEnabled ?? true;
    this.isReadOnly = options.isReadOnly ?? false;
    this.isInconsistent = options.isInconsistent ?? false;
    this.isPersistent = options.isPersistent ?? false;
    this.#size = node.size();
    this.#bits = new Bitmap(ceilDiv(this.#size, this.granularity));
  }

  get size(): number {
    return this.#size;
  }

  /** Bytes that are dirty, in whole grains. */
  get count(): number {
    return this.#bits.count * this.granularity;
  }

  /** It or its successor notes what changes. */
  get isRecording(): boolean {
    return this.isEnabled || (this.successor?.isEnabled ?? false);
  }

  isDirty(offset: number): boolean {
    return this.#bits.has(Math.floor(offset / this.granularity));
  }

  /** Marks every grain that the range touches. */
  set(offset: number, length: number): void {
    if (length > 0) this.#bits.set(Math.floor(offset / this.granularity), ceilDiv(offset + length, this.granularity));
  }

  /** Takes the marks of grains that lie whole in the range (or reach to the end of the node). */
  reset(offset: number, length: number): void {
    const end = offset + length >= this.#size ? this.#bits.size : Math.floor((offset + length) / this.granularity);
    this.#bits.clear(ceilDiv(offset, this.granularity), end);
  }

  /** The first run of dirty bytes in [offset, end), cut to that range and to the node's size; undefined when there is none. */
  nextDirty(offset: number, end: number = this.#size): DirtyRun | undefined {
    const stop = Math.min(end, this.#size);
    if (offset >= stop) return undefined;
    const lastBit = ceilDiv(stop, this.granularity);
    const first = this.#bits.nextSet(Math.floor(offset / this.granularity), lastBit);
    if (first >= lastBit) return undefined;
    const start = Math.max(offset, first * this.granularity);
    return { offset: start, length: Math.min(stop, this.#bits.nextClear(first, lastBit) * this.granularity) - start };
  }

  /** All runs of dirty bytes, in order. What is marked or cleared meanwhile may or may not be seen. */
  *runs(): IterableIterator<DirtyRun> {
    for (let run = this.nextDirty(0); run !== undefined; run = this.nextDirty(run.offset + run.length)) yield run;
  }

  // -- as bytes, the way qcow2 and migration write bitmaps: a bit a grain, lowest first -------------------------------------
  /** Length of the whole bitmap as bytes. */
  get byteLength(): number {
    return ceilDiv(this.#bits.size, 8);
  }

  /** Fills `into` from byte `start` of the serialised bitmap; past its end with zeros. */
  serialise(start: number, into: Uint8Array): void {
    this.#bits.readBytes(start, into);
  }

  /** Takes `from` as the bytes of the serialised bitmap from byte `start` on. */
  deserialise(start: number, from: Uint8Array): void {
    this.#bits.writeBytes(start, from);
  }

  /** Takes ones as the bytes from byte `start` to byte `end`. */
  deserialiseOnes(start: number, end: number): void {
    this.#bits.set(start * 8, end * 8);
  }

  /** Takes as the bytes from byte `to` on those that byte `from` and what follows have already; false where that costs as much as to have them given. */
  deserialiseAgain(to: number, from: number, length: number): boolean {
    return this.#bits.repeatBytes(to, from, length);
  }

  // -- for operations -------------------------------------------------------------------------------------------------------
  /** Throws, in the peer's words, when one of the obstacles is there. */
  check(obstacles: readonly BitmapObstacle[] = changeObstacles): void {
    const name = this.name ?? '';
    if (obstacles.includes('busy') && this.isBusy) {
      throw new BlockError(`Bitmap '${name}' is currently in use by another operation and cannot be used`, { code: 'EBUSY' });
    }
    if (obstacles.includes('read-only') && this.isReadOnly) {
      throw new BlockError(`Bitmap '${name}' is readonly and cannot be modified`, { code: 'EACCES' });
    }
    if (obstacles.includes('inconsistent') && this.isInconsistent) {
      throw new BlockError(`Bitmap '${name}' is inconsistent and cannot be used`, {
        code: 'EINVAL',
        detail: 'Try block-dirty-bitmap-remove to delete this bitmap from disk',
      });
    }
  }

  /** Throws unless a bitmap of `size` bytes can take it in. */
  checkSource(size: number): void {
    this.check(useObstacles);
    if (size !== this.#size) {
      throw new BlockError(`Bitmaps are of different sizes (destination size is ${size}, source size is ${this.#size}) and can't be merged`, {
        code: 'ERR_STATE',
      });
    }
  }

  /** Makes all clean; calling the returned function makes it as it was. */
  clear(): () => void {
    const before = this.#bits;
    this.#bits = new Bitmap(before.size);
    return () => {
      this.#bits = before;
    };
  }

  /** Marks what is marked in `from`, of whichever granularity; calling the returned function takes it back. Throws when it cannot be. */
  merge(from: DirtyBitmap): () => void {
    this.check();
    from.checkSource(this.#size);
    return this.#add(from);
  }

  #add(from: DirtyBitmap): () => void {
    const before = this.#bits;
    this.#bits = before.resized(before.size);
    if (from.granularity === this.granularity) this.#bits.merge(from.#bits);
    else for (const run of from.runs()) this.set(run.offset, run.length);
    return () => {
      this.#bits = before;
    };
  }

  /** Takes back what `successor` noted in its place, whatever stands against other changes. For DirtyBitmaps only. */
  reclaim(successor: DirtyBitmap): void {
    this.#add(successor);
    this.isBusy = false;
    this.isEnabled = successor.isEnabled;
  }

  /** The node has another size: new bytes are clean. For DirtyBitmaps only. */
  resize(size: number): void {
    this.#size = size;
    this.#bits = this.#bits.resized(ceilDiv(size, this.granularity));
  }
}

/** The dirty bitmaps of one node, newest first. */
export class DirtyBitmaps implements ChangeObserver {
  readonly #node: BlockNode;
  /** Oldest first: an image may have thousands. */
  readonly #all: DirtyBitmap[] = [];
  readonly #named = new Map<string, DirtyBitmap>();
  #watch: Disposable | undefined;

  constructor(node: BlockNode) {
    this.#node = node;
  }

  *[Symbol.iterator](): IterableIterator<DirtyBitmap> {
    for (let index = this.#all.length - 1; index >= 0; index--) {
      const bitmap = this.#all[index];
      if (bitmap !== undefined) yield bitmap;
    }
  }

  find(name: string): DirtyBitmap | undefined {
    return this.#named.get(name);
  }

  /** The bitmap with this name. Throws in the peer's words when there is none. */
  get(name: string): DirtyBitmap {
    const found = this.find(name);
    if (found === undefined) throw new BlockError(`Dirty bitmap '${name}' not found`, { code: 'ENOENT' });
    return found;
  }

  /** What QEMU takes when nobody says: the cluster size of the format, 4 KiB to 64 KiB. */
  get defaultGranularity(): number {
    const { clusterSize } = this.#node.limits;
    return clusterSize === 0 ? 65536 : Math.min(Math.max(4096, clusterSize), 65536);
  }

  /** Throws unless it is a power of two that is large enough. */
  checkGranularity(granularity: number): void {
    if (granularity < minGranularity || granularity > maxGranularity || !isPowerOfTwo(granularity))
      throw new BlockError('Granularity must be power of 2 and at least 512', { code: 'ERR_OPTION' });
  }

  /** Adds a bitmap, all clean. Throws in the peer's words for a name or a granularity that cannot be. */
  add(options: BitmapOptions): DirtyBitmap {
    const { name, granularity } = options;
    if (name === '') throw new BlockError('Bitmap name cannot be empty', { code: 'ERR_NAME' });
    this.checkGranularity(granularity);
    if (name !== undefined) {
      if (this.find(name) !== undefined) throw new BlockError(`Bitmap already exists: ${name}`, { code: 'EEXIST' });
      if (encodeName(name).length > maxNameBytes) throw new BlockError(`Bitmap name too long: ${name}`, { code: 'ERR_NAME' });
    }
    const bitmap = new DirtyBitmap(this.#node, options);
    this.#all.push(bitmap);
    if (name !== undefined) this.#named.set(name, bitmap);
    this.#watch ??= this.#node.observe(this);
    return bitmap;
  }

  /** Takes a bitmap away, whatever it is; what stands against it the caller has checked. */
  remove(bitmap: DirtyBitmap): void {
    const index = this.#all.indexOf(bitmap);
    invariant(index >= 0, 'removal of a bitmap that is not there');
    this.#all.splice(index, 1);
    if (bitmap.name !== undefined) this.#named.delete(bitmap.name);
    if (this.#all.length > 0) return;
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
  }

  // -- while an operation works with a bitmap -------------------------------------------------------------------------------
  /** Makes `bitmap` busy and still: a successor records in its place, if it was recording. Throws when it is busy. */
  createSuccessor(bitmap: DirtyBitmap): DirtyBitmap {
    bitmap.check(['busy']);
    invariant(bitmap.successor === undefined, 'a bitmap that is not busy has no successor');
    const successor = this.add({ granularity: bitmap.granularity, isEnabled: bitmap.isEnabled });
    bitmap.successor = successor;
    bitmap.isEnabled = false;
    bitmap.isBusy = true;
    return successor;
  }

  /** The operation did its work: the successor takes the name and the place of `bitmap`, which goes. */
  abdicate(bitmap: DirtyBitmap): DirtyBitmap {
    const successor = takeSuccessor(bitmap);
    const { name } = bitmap;
    this.remove(bitmap);
    successor.name = name;
    if (name !== undefined) this.#named.set(name, successor);
    successor.isPersistent = bitmap.isPersistent;
    return successor;
  }

  /** The operation failed: what the successor noted is added to what `bitmap` says, and `bitmap` records again if it did. */
  reclaim(bitmap: DirtyBitmap): void {
    const successor = takeSuccessor(bitmap);
    bitmap.reclaim(successor);
    this.remove(successor);
  }

  // -- as an observer -------------------------------------------------------------------------------------------------------
  changed(_kind: ChangeKind, offset: number, length: number): void {
    for (const bitmap of this.#all) if (bitmap.isEnabled && !bitmap.isReadOnly && !bitmap.isInconsistent) bitmap.set(offset, length);
  }

  resized(size: number): void {
    for (const bitmap of this.#all) bitmap.resize(size);
  }
}

function takeSuccessor(bitmap: DirtyBitmap): DirtyBitmap {
  const { successor } = bitmap;
  invariant(successor !== undefined, 'bitmap has no successor');
  bitmap.successor = undefined;
  return successor;
}

/** BlockDirtyInfo of QAPI. */
export function bitmapInfo(bitmap: DirtyBitmap): Record<string, unknown> {
  return {
    ...(bitmap.name === undefined ? {} : { name: bitmap.name }),
    count: bitmap.count,
    granularity: bitmap.granularity,
    recording: bitmap.isRecording,
    busy: bitmap.isBusy,
    persistent: bitmap.isPersistent,
    ...(bitmap.isInconsistent ? { inconsistent: true } : {}),
  };
}
