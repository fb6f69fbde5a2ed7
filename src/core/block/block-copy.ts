/*
 * BlockCopy: copies clusters from one edge to another, each at most once, however many ask for it: the copy-before-write
 * filter for clusters about to be overwritten, a backup job for all the rest. A request that meets a copy in flight waits
 * for it; a failed copy leaves its clusters to be copied. Completes synchronously when both sides do.
 * Must not know who asks, nor what happens to a guest's write when a copy fails.
 */

import { Bitmap } from '../util/bitmap.ts';
import { BlockError } from '../util/errors.ts';
import { alignDown, ceilDiv } from '../util/math.ts';
import { chain, isPending, type Maybe } from '../util/maybe.ts';
import { type RangeHold, RangeLock } from '../util/range-lock.ts';
import { chainStatus } from './block-status.ts';
import { imageBelow, isReachable } from './chain.ts';
import type { Child } from './child.ts';
import { type ReqFlags, reqFlag } from './driver.ts';

/** Largest piece read into one buffer. */
const maxPiece = 1024 * 1024;

/** What one step of a copy does with a run. */
interface Piece {
  readonly kind: 'data' | 'zero' | 'skip';
  readonly length: number;
}

export type CopySide = 'read' | 'write';

/** Which side of a copy failed: 'read' = the source. Undefined for an error that no copy raised. */
export function failedSide(error: unknown): CopySide | undefined {
  return typeof error === 'object' && error !== null ? sides.get(error) : undefined;
}
const sides = new WeakMap<object, CopySide>();

export class BlockCopy {
  readonly clusterSize: number;
  readonly size: number;
  /** Data go to the target as compressed clusters; one cluster at a time then. */
  compress = false;
  /** What was copied is discarded from the source. */
  discardSource = false;
  /** Copy only what the top layer of the source itself holds (backup sync=top). */
  skipUnallocated = false;
  /** Told of each change of the number of bytes copied or left. */
  onProgress: () => void = () => {};
  readonly #source: Child;
  readonly #target: Child;
  /** Flags of all writes to the target. */
  readonly writeFlags: ReqFlags;
  /** Clusters still to copy. */
  readonly #left: Bitmap;
  /** Clusters that are being copied. Whoever clears bits of #left has claimed them; others wait here for the end of it. */
  readonly #copying = new RangeLock();
  #copyingClusters = 0;
  readonly #buffers: Uint8Array[] = [];
  #copiedBytes = 0;

  /** Copies between two edges of one parent. `clusterSize` is a power of two. */
  constructor(source: Child, target: Child, clusterSize: number) {
    this.#source = source;
    this.#target = target;
    this.clusterSize = clusterSize;
    this.size = source.size();
    this.#left = new Bitmap(ceilDiv(this.size, clusterSize), true);
    // readers of the target may be reading the source through it: they must not see the two halves of a change
    this.writeFlags = isReachable(target.node, source.node) ? reqFlag.serialising : reqFlag.none;
  }

  /** Bytes copied so far, in whole clusters. */
  get copiedBytes(): number {
    return this.#copiedBytes;
  }

  /** Bytes left to copy or being copied, in whole clusters. */
  get remainingBytes(): number {
    return (this.#left.count + this.#copyingClusters) * this.clusterSize;
  }

  /** The first offset at or after `offset` that is left to copy, or undefined. */
  nextLeft(offset: number): number | undefined {
    const found = this.#left.nextSet(Math.floor(offset / this.clusterSize), this.#left.size);
    return found === this.#left.size ? undefined : found * this.clusterSize;
  }

  /** Gives up the range: nobody needs it copied any more (discard of a snapshot). Whole clusters inside it only. */
  forget(offset: number, length: number): void {
    const first = ceilDiv(offset, this.clusterSize);
    const end = offset + length >= this.size ? this.#left.size : Math.floor((offset + length) / this.clusterSize);
    if (end > first) this.#left.clear(first, end);
    this.onProgress();
  }

  /**
   * Drops the clusters at `offset` that the top layer of the source does not hold; returns where to go on, or undefined at
   * the end. With `skipUnallocated` set meanwhile, no such cluster is copied in between.
   */
  dropUnallocated(offset: number): Maybe<number | undefined> {
    const at = this.nextLeft(offset);
    if (at === undefined) return undefined;
    const { node } = this.#source;
    return chain(chainStatus(node, imageBelow(node), at, this.size - at, false), (found) => {
      const end = at + found.length;
      if (!found.allocated) this.forget(at, found.length);
      // a cluster that is partly held is copied: go on behind it
      return end >= this.size ? undefined : Math.max(alignDown(end, this.clusterSize), at + this.clusterSize);
    });
  }

  /** Copies every cluster of the range that was not copied yet, and waits for those that others are copying. */
  copy(offset: number, length: number): Maybe<void> {
    const first = Math.floor(offset / this.clusterSize);
    const last = Math.min(ceilDiv(offset + length, this.clusterSize), this.#left.size);
    for (let at = this.#left.nextSet(first, last); at < last; at = this.#left.nextSet(first, last)) {
      const result = this.#copyRun(at, this.#left.nextClear(at, Math.min(last, at + this.#clustersPerRun)));
      if (isPending(result)) return this.#copySlow(result, first, last);
    }
    if (!this.#copying.isFree(first, last, 'shared')) return this.#copySlow(undefined, first, last);
  }

  async #copySlow(pending: Promise<void> | undefined, first: number, last: number): Promise<void> {
    await pending;
    for (;;) {
      for (let at = this.#left.nextSet(first, last); at < last; at = this.#left.nextSet(first, last)) {
        await this.#copyRun(at, this.#left.nextClear(at, Math.min(last, at + this.#clustersPerRun)));
      }
      if (this.#copying.isFree(first, last, 'shared')) return;
      // a copy of somebody else may fail: then its clusters are left again and are ours to copy
      this.#copying.release(await this.#copying.acquire(first, last, 'shared'));
    }
  }

  get #clustersPerRun(): number {
    return this.compress ? 1 : Math.max(1, Math.floor(maxPiece / this.clusterSize));
  }

  /** Copies clusters [first, last), none of which is copied or in flight. */
  #copyRun(first: number, last: number): Maybe<void> {
    const offset = first * this.clusterSize;
    const end = Math.min(last * this.clusterSize, this.size);
    this.#left.clear(first, last);
    this.#copyingClusters += last - first;
    const hold = this.#copying.hold(first, last, 'exclusive');
    let result: Maybe<void>;
    try {
      result = this.#pieces(offset, end);
    } catch (error) {
      this.#fail(hold);
      throw error;
    }
    if (!isPending(result)) return this.#succeed(hold);
    return result.then(
      () => this.#succeed(hold),
      (error: unknown) => {
        this.#fail(hold);
        throw error;
      },
    );
  }

  #succeed(hold: RangeHold): void {
    this.#copiedBytes += (hold.end - hold.start) * this.clusterSize;
    this.#release(hold);
    this.onProgress();
  }

  #fail(hold: RangeHold): void {
    // left again before anybody is let in
    this.#left.set(hold.start, hold.end);
    this.#release(hold);
  }

  #release(hold: RangeHold): void {
    this.#copyingClusters -= hold.end - hold.start;
    this.#copying.release(hold);
  }

  #pieces(offset: number, end: number): Maybe<void> {
    for (let at = offset; at < end; ) {
      const piece = this.#classify(at, end - at);
      if (isPending(piece)) return this.#piecesSlow(piece, at, end);
      const result = this.#move(piece, at);
      at += piece.length;
      if (isPending(result)) return this.#piecesAfter(result, at, end);
    }
  }

  async #piecesAfter(pending: Promise<void>, offset: number, end: number): Promise<void> {
    await pending;
    await this.#pieces(offset, end);
  }

  async #piecesSlow(pending: Promise<Piece>, offset: number, end: number): Promise<void> {
    const piece = await pending;
    await this.#move(piece, offset);
    await this.#pieces(offset + piece.length, end);
  }

  /** What lies at the cluster boundary `offset`: a run of whole clusters (or up to the end of the source). */
  #classify(offset: number, length: number): Maybe<Piece> {
    const { node } = this.#source;
    const base = this.skipUnallocated ? imageBelow(node) : undefined;
    const wholeCluster: Piece = { kind: 'data', length: Math.min(length, this.clusterSize) };
    let status: Maybe<Piece>;
    try {
      status = chain(chainStatus(node, base, offset, length, true), (found): Piece => {
        if (found.length < length && found.length < this.clusterSize && offset + found.length < this.size) return wholeCluster;
        const run = found.length >= length ? length : alignDown(found.length, this.clusterSize);
        if (run === 0) return wholeCluster;
        if (this.skipUnallocated && !found.allocated) return { kind: 'skip', length: run };
        return { kind: found.zero ? 'zero' : 'data', length: run };
      });
    } catch (error) {
      return statusFailed(error, wholeCluster);
    }
    return isPending(status) ? status.catch((error: unknown) => statusFailed(error, wholeCluster)) : status;
  }

  #move(piece: Piece, offset: number): Maybe<void> {
    if (piece.kind === 'skip') return;
    const copied = this.#transfer(piece, offset);
    return this.discardSource ? chain(copied, () => this.#discard(offset, piece.length)) : copied;
  }

  /** The copy is what counts: a source that cannot discard keeps its data. */
  #discard(offset: number, length: number): Maybe<void> {
    const ignored = (error: unknown): void => {
      if (!(error instanceof BlockError)) throw error;
    };
    try {
      const result = this.#source.discard(offset, length);
      return isPending(result) ? result.catch(ignored) : undefined;
    } catch (error) {
      ignored(error);
    }
  }

  #transfer(piece: Piece, offset: number): Maybe<void> {
    if (offset + piece.length > this.#target.size()) {
      throw onSide('write', new BlockError('Input/output error', { code: 'EIO' }));
    }
    if (piece.kind === 'zero') return onSideOf('write', () => this.#target.zero(offset, piece.length, this.writeFlags));
    const buffer = this.#takeBuffer(piece.length);
    const bytes = buffer.length === piece.length ? buffer : buffer.subarray(0, piece.length);
    const flags = this.compress ? this.writeFlags | reqFlag.compressed : this.writeFlags;
    let result: Maybe<void>;
    try {
      result = chain(
        onSideOf('read', () => this.#source.read(offset, bytes)),
        () => onSideOf('write', () => this.#target.write(offset, bytes, flags)),
      );
    } catch (error) {
      this.#buffers.push(buffer);
      throw error;
    }
    if (!isPending(result)) {
      this.#buffers.push(buffer);
      return;
    }
    return result.finally(() => this.#buffers.push(buffer));
  }

  /** A buffer of at least `length` bytes; goes back to #buffers when the copy is over. */
  #takeBuffer(length: number): Uint8Array {
    const last = this.#buffers.pop();
    if (last !== undefined && last.length >= length) return last;
    return Buffer.allocUnsafeSlow(Math.max(length, this.clusterSize));
  }
}

/** A failed query is no reason to fail the copy: the read will tell. */
function statusFailed(error: unknown, fallback: Piece): Piece {
  if (error instanceof BlockError) return fallback;
  throw error;
}

function onSide(side: CopySide, error: unknown): unknown {
  if (typeof error === 'object' && error !== null) sides.set(error, side);
  return error;
}

function onSideOf(side: CopySide, body: () => Maybe<void>): Maybe<void> {
  let result: Maybe<void>;
  try {
    result = body();
  } catch (error) {
    throw onSide(side, error);
  }
  if (!isPending(result)) return;
  return result.catch((error: unknown) => {
    throw onSide(side, error);
  });
}
