/*
 * Changes of refcounts: taking clusters, giving them back, and the growth of the structures that count them. All of it runs
 * under the metadata mutex. A change that first has to make a refcount block answers "again": the caller searches anew, since
 * the block itself took a cluster.
 * Rule source: qcow2 specification, reference counts; observed allocation order.
 */
import { setU64 } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { ceilDiv } from '../core/util/math.ts';
import { hostOffset } from '../core/util/offsets.ts';
import { countFreeAt, findFree } from './free-clusters.ts';
import type { Qcow2Image } from './image.ts';
import { maxRefcountTableBytes } from './layout.ts';
import { structure } from './overlap.ts';
import { growRefcountArea, type RefcountArea } from './refcount-area.ts';
import { blockOf, getRefcount, maxRefcount, setRefcount } from './refcount-blocks.ts';
import { type Steps, wait } from './steps.ts';

/** Why clusters are given back: decides whether the file below is told. */
export type FreeReason = 'never' | 'request' | 'snapshot' | 'other' | 'always';

function mayDiscard(image: Qcow2Image, reason: FreeReason): boolean {
  const { options } = image;
  switch (reason) {
    case 'never':
      return false;
    case 'request':
      return options.passDiscardRequest;
    case 'snapshot':
      return options.passDiscardSnapshot;
    case 'other':
      return options.passDiscardOther;
    case 'always':
      return true;
  }
}

/** Adds 1 to (or takes 1 from) the refcount of every cluster that the byte range touches. False: search again (see above). */
export function* changeRefcounts(image: Qcow2Image, offset: number, length: number, delta: 1 | -1, reason: FreeReason): Steps<boolean> {
  if (length <= 0) return true;
  const { clusterSize, refcountBits, refcountsPerBlock } = image.geometry;
  const start = Math.floor(offset / clusterSize);
  // offsets that images name may be too large to be added to
  const end = start + ceilDiv((offset % clusterSize) + length, clusterSize);
  // a decrease may reach the medium only after the pointers that are gone
  if (delta < 0) yield* image.refcountCache.dependOn(image.l2Cache);
  else {
    if (!image.isSettled) yield* image.settle();
    image.discards.take(start * clusterSize, (end - start) * clusterSize);
  }
  const limit = maxRefcount(refcountBits);
  let cluster = start;
  try {
    while (cluster < end) {
      const block = yield* blockOf(image, cluster);
      if (block === undefined) {
        if (delta < 0) throw uncounted(Math.floor(cluster / refcountsPerBlock));
        yield* makeBlock(image, cluster);
        yield* undo(image, start, cluster, delta);
        if (image.freeIndex > start) image.freeIndex = start;
        return false;
      }
      // what cannot be written must not be changed in memory either
      hostOffset(block.offset);
      const base = cluster - (cluster % refcountsPerBlock);
      const stop = Math.min(end, base + refcountsPerBlock);
      for (; cluster < stop; cluster++) {
        const count = getRefcount(block.view, refcountBits, cluster - base) + delta;
        if (count < 0 || count > limit) throw new BlockError('Invalid argument', { code: 'EINVAL' });
        setRefcount(block.view, refcountBits, cluster - base, count);
        image.refcountCache.markDirty(block);
        if (count === 0) noteFree(image, cluster, reason);
      }
    }
  } catch (error) {
    yield* undo(image, start, cluster, delta);
    throw error;
  }
  return true;
}

/** A cluster that no block counts is to be given back. */
function uncounted(index: number): BlockError {
  if (index >= maxRefcountTableBytes / 8) return new BlockError('File too large', { code: 'EFBIG' });
  return new BlockError('Invalid argument', { code: 'EINVAL' });
}

function noteFree(image: Qcow2Image, cluster: number, reason: FreeReason): void {
  const { clusterSize } = image.geometry;
  if (cluster < image.freeIndex) image.freeIndex = cluster;
  const offset = cluster * clusterSize;
  image.l2Cache.forget(offset, clusterSize);
  image.refcountCache.forget(offset, clusterSize);
  // compressed clusters must not go on inside what somebody else may take now
  if (Math.floor(image.freeByte / clusterSize) === cluster) image.freeByte = 0;
  if (mayDiscard(image, reason)) image.discards.add(offset, clusterSize);
}

/** Takes back what was changed of [start, end) before a failure. */
function* undo(image: Qcow2Image, start: number, end: number, delta: 1 | -1): Steps<void> {
  const { refcountBits, refcountsPerBlock } = image.geometry;
  for (let cluster = start; cluster < end; cluster++) {
    const block = yield* blockOf(image, cluster);
    if (block === undefined) continue;
    const index = cluster % refcountsPerBlock;
    setRefcount(block.view, refcountBits, index, getRefcount(block.view, refcountBits, index) - delta);
    image.refcountCache.markDirty(block);
  }
  if (delta < 0) image.discards.take(start * image.geometry.clusterSize, (end - start) * image.geometry.clusterSize);
}

/** Tells the file below of the ranges that were freed. Before the mutex is let go: they may be taken again right after. */
export function* passDiscards(image: Qcow2Image): Steps<void> {
  if (image.discards.isEmpty) return;
  if (image.discards.needsOrder || needsTablesFirst(image)) yield* image.l2Cache.flush();
  for (const { offset, length } of image.discards.drain()) yield* discardFile(image, offset, length);
}

/** Whether a cut that brings an entry back must find its cluster as it was: zeros in its place would not be zeros once they are deciphered. */
export function needsTablesFirst(image: Qcow2Image): boolean {
  return image.encryption !== undefined;
}

/** Tells the file below that it need not keep [offset, offset + length). */
export function* discardFile(image: Qcow2Image, offset: number, length: number): Steps<void> {
  try {
    yield* wait(image.file.discard(hostOffset(offset), length));
  } catch (error) {
    // only a hint
    if (!(error instanceof BlockError)) throw error;
  }
}

// -- taking and giving back -------------------------------------------------------------------------------------------

/** Takes `bytes` (rounded up to clusters) in one piece. Returns the host offset. */
export function* allocateClusters(image: Qcow2Image, bytes: number): Steps<number> {
  const { clusterSize } = image.geometry;
  const count = ceilDiv(bytes, clusterSize);
  yield* wait(image.raise('cluster_alloc'));
  for (;;) {
    const offset = (yield* findFree(image, count)) * clusterSize;
    if (!(yield* changeRefcounts(image, offset, count * clusterSize, 1, 'never'))) continue;
    yield* settleGivenUp(image, offset, count * clusterSize);
    return offset;
  }
}

/**
 * Clusters given up by entries that are not durable yet may be among those that were taken: what is written there must not
 * show through the old entries after a power cut. The entries may be written already, and only the flush is missing. After a
 * failure the range is free again.
 */
function* settleGivenUp(image: Qcow2Image, offset: number, length: number): Steps<void> {
  if (image.refcountCache.dependency === undefined) return;
  try {
    yield* image.refcountCache.settleOrder();
  } catch (error) {
    yield* releaseClusters(image, offset, length, 'never');
    throw error;
  }
}

/** Takes the clusters from `offset` on that are free, at most `count`. Returns how many; 0 when the first one is taken. */
export function* allocateClustersAt(image: Qcow2Image, offset: number, count: number): Steps<number> {
  const { clusterSize } = image.geometry;
  for (;;) {
    const free = yield* countFreeAt(image, offset / clusterSize, count);
    if (!(yield* changeRefcounts(image, offset, free * clusterSize, 1, 'never'))) continue;
    yield* settleGivenUp(image, offset, free * clusterSize);
    return free;
  }
}

/**
 * Takes one reference off every cluster of the range. A failure leaves a leak, which is legal and no error of the request:
 * what it gave back is referenced by nothing any more. It is told as a warning.
 */
export function* freeClusters(image: Qcow2Image, offset: number, length: number, reason: FreeReason): Steps<void> {
  yield* releaseClusters(image, offset, length, reason);
  yield* passDiscards(image);
}

/** Like `freeClusters`; what may be discarded stays queued until the caller's `passDiscards`. */
export function* releaseClusters(image: Qcow2Image, offset: number, length: number, reason: FreeReason): Steps<void> {
  yield* wait(image.raise('cluster_free'));
  try {
    yield* changeRefcounts(image, offset, length, -1, reason);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    image.warn(`qcow2_free_clusters failed: ${error.message}`);
  }
}

/** Takes bytes for one compressed cluster, behind the last one when it still fits there. */
export function* allocateBytes(image: Qcow2Image, length: number): Steps<number> {
  const { clusterSize, refcountBits, refcountsPerBlock } = image.geometry;
  yield* wait(image.raise('cluster_alloc_bytes'));
  let offset = image.freeByte;
  let left = 0;
  if (offset !== 0) {
    const cluster = Math.floor(offset / clusterSize);
    const block = yield* blockOf(image, cluster);
    const count = block === undefined ? 0 : getRefcount(block.view, refcountBits, cluster % refcountsPerBlock);
    if (count === 0 || count === maxRefcount(refcountBits)) offset = 0;
    else left = clusterSize - (offset % clusterSize);
  }
  for (;;) {
    if (offset === 0 || left < length) {
      const fresh = (yield* findFree(image, 1)) * clusterSize;
      if (fresh === 0) throw image.reportCorruption('Preventing invalid allocation of compressed cluster at offset 0', { isFatal: true });
      const isNext = offset !== 0 && ceilDiv(offset, clusterSize) * clusterSize === fresh;
      if (!isNext) {
        offset = fresh;
        left = 0;
      }
      left += clusterSize;
    }
    if (yield* changeRefcounts(image, offset, length, 1, 'never')) break;
    offset = 0;
  }
  yield* settleGivenUp(image, offset, length);
  const end = offset + length;
  image.freeByte = end % clusterSize === 0 ? 0 : end;
  return offset;
}

// -- growth -----------------------------------------------------------------------------------------------------------

/** Makes the missing block that counts `cluster`, and a larger table if needed. The caller's search starts anew. */
function* makeBlock(image: Qcow2Image, cluster: number): Steps<void> {
  const { clusterSize, refcountsPerBlock } = image.geometry;
  const index = Math.floor(cluster / refcountsPerBlock);
  if (index >= maxRefcountTableBytes / 8) throw new BlockError('File too large', { code: 'EFBIG' });
  yield* wait(image.raise('refblock_alloc'));
  // the block may come to lie where it counts itself, else an existing block counts it
  const offset = (yield* findFree(image, 1)) * clusterSize;
  if (offset === 0) throw image.reportCorruption('Preventing invalid allocation of refcount block at offset 0', { isFatal: true });
  image.checkOverlap(offset, clusterSize, 0);
  const own = offset / clusterSize;
  const countsItself = Math.floor(own / refcountsPerBlock) === index;
  if (!countsItself) {
    if (!(yield* changeRefcounts(image, offset, clusterSize, 1, 'never'))) return;
    yield* image.refcountCache.flush();
  }
  image.discards.take(offset, clusterSize);
  const block = image.refcountCache.create(offset);
  if (countsItself) setRefcount(block.view, image.geometry.refcountBits, own % refcountsPerBlock, 1);
  image.metadata.add(offset, clusterSize, structure.refcountBlock);
  try {
    yield* wait(image.raise('refblock_alloc_write'));
    yield* image.refcountCache.flush();
    if (index < image.refcountTable.length) {
      yield* nameBlock(image, index, offset);
      return;
    }
  } catch (error) {
    image.refcountCache.forget(offset, clusterSize);
    image.metadata.remove(offset, clusterSize, structure.refcountBlock);
    throw error;
  }
  yield* growTable(image, { index, offset }, ceilDiv(Math.max(cluster + 1, own), refcountsPerBlock));
}

/** Enters a block into the refcount table: on the medium, durably, then in memory. */
function* nameBlock(image: Qcow2Image, index: number, offset: number): Steps<void> {
  const entry = new Uint8Array(8);
  setU64(entry, 0, offset);
  const at = image.header.refcountTableOffset + index * 8;
  yield* wait(image.raise('refblock_alloc_hookup'));
  image.checkOverlap(at, 8, structure.refcountTable);
  yield* image.writeThrough(at, entry, new Uint8Array(8));
  image.refcountTable[index] = offset;
}

/** The table is full: a new one, with blocks that count it, at the start of what the first missing block would count. */
function* growTable(image: Qcow2Image, newBlock: { index: number; offset: number }, covered: number): Steps<void> {
  const { clusterSize, refcountsPerBlock } = image.geometry;
  let old: RefcountArea;
  try {
    yield* wait(image.raise('reftable_grow'));
    old = yield* growRefcountArea(image, { start: covered * refcountsPerBlock * clusterSize, additional: 0, isExact: false, newBlock });
  } catch (error) {
    image.refcountCache.forget(newBlock.offset, clusterSize);
    image.metadata.remove(newBlock.offset, clusterSize, structure.refcountBlock);
    throw error;
  }
  yield* freeClusters(image, old.oldTableOffset, old.oldTableBytes, 'other');
}
