/*
 * BlockCopy: copies clusters from one edge to another, each at most once, however many ask for it: the copy-before-write
 * filter for clusters about to be overwritten, a backup job for all the rest. A request that meets a copy in flight waits
 * for it; a failed copy leaves its clusters to be copied. Completes synchronously when both sides do.
 * Must not know who asks, nor what happens to a guest's write when a copy fails.
 */

import { Bitmap } from '../util/bitmap.ts';
import { alignDown, ceilDiv } from '../util/math.ts';
import { chain, isPending, type Maybe } from '../util/maybe.ts';
import { type RangeHold, RangeLock } from '../util/range-lock.ts';
import type { Child } from './child.ts';
import type { DirtyBitmap } from './dirty-bitmap.ts';
import { maxPiece, RangeCopy } from './range-copy.ts';

export class BlockCopy {
  readonly clusterSize: number;
  readonly size: number;
  /** How a cluster is moved. */
  readonly range: RangeCopy;
  /** Told of each change of the number of bytes copied or left. */
  onProgress: () => void = () => {};
  /** Clusters still to copy. */
  readonly #left: Bitmap;
  /** Clusters that are being copied. Whoever clears bits of #left has claimed them; others wait here for the end of it. */
  readonly #copying = new RangeLock();
  #copyingClusters = 0;
  #copiedBytes = 0;

  /** Copies between two edges of one parent. `clusterSize` is a power of two. */
  constructor(source: Child, target: Child, clusterSize: number) {
    this.range = new RangeCopy(source, target, clusterSize);
    this.clusterSize = clusterSize;
    this.size = source.size();
    this.#left = new Bitmap(ceilDiv(this.size, clusterSize), true);
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

  /** Gives up all that `wanted`, a bitmap of a node of this size, does not have, in whole clusters. */
  keepOnly(wanted: DirtyBitmap): void {
    let at = 0;
    for (const { offset, length } of wanted.runs()) {
      const first = Math.floor(offset / this.clusterSize);
      if (first > at) this.#left.clear(at, first);
      at = Math.max(at, ceilDiv(offset + length, this.clusterSize));
    }
    this.#left.clear(at, this.#left.size);
    this.onProgress();
  }

  /** Marks in `bitmap` all that is left to copy. */
  markLeft(bitmap: DirtyBitmap): void {
    const end = this.#left.size;
    for (let first = this.#left.nextSet(0, end); first < end; ) {
      const last = this.#left.nextClear(first, end);
      bitmap.set(first * this.clusterSize, Math.min(last * this.clusterSize, this.size) - first * this.clusterSize);
      first = this.#left.nextSet(last, end);
    }
  }

  /**
   * Drops the clusters at `offset` that the top layer of the source does not hold; returns where to go on, or undefined at
   * the end. With `range.skipUnallocated` set meanwhile, no such cluster is copied in between.
   */
  dropUnallocated(offset: number): Maybe<number | undefined> {
    const at = this.nextLeft(offset);
    if (at === undefined) return undefined;
    return chain(this.range.ownRun(at, this.size - at), (found) => {
      const end = at + found.length;
      if (!found.isHeld) this.forget(at, found.length);
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
    return this.range.compress ? 1 : Math.max(1, Math.floor(maxPiece / this.clusterSize));
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
      result = this.range.move(offset, end);
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
}
