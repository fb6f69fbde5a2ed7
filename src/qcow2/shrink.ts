/*
 * What shrinking gives back: L2 tables that map nothing any more, refcount blocks that count only themselves, and the end of
 * the file.
 * Rule source: observed order of a shrinking resize.
 */
import { isZero } from '../core/util/bytes.ts';
import { alignUp } from '../core/util/math.ts';
import type { Qcow2Image } from './image.ts';
import { structure } from './overlap.ts';
import { encodeRefcountTable } from './refcount-area.ts';
import { blockOf, getRefcount, setRefcount } from './refcount-blocks.ts';
import { freeClusters } from './refcounts.ts';
import { type Steps, wait } from './steps.ts';

/** Drops the L2 tables behind the first `entries` entries. The table keeps its length; entries become 0, durably, first. */
export function* shrinkL1(image: Qcow2Image, entries: number): Steps<void> {
  if (entries >= image.l1Entries) return;
  const { clusterSize } = image.geometry;
  const gone: number[] = [];
  for (let index = entries; index < image.l1Entries; index++) {
    const offset = image.l2TableOf(index);
    if (offset !== 0) gone.push(offset);
  }
  yield* wait(image.raise('l1_shrink_write_table'));
  yield* image.writeThrough(image.header.l1Offset + entries * 8, new Uint8Array((image.l1Entries - entries) * 8), image.l1.slice(entries * 8));
  image.l1.fill(0, entries * 8);
  yield* wait(image.raise('l1_shrink_free_l2_clusters'));
  for (const offset of gone) {
    image.metadata.remove(offset, clusterSize, structure.activeL2);
    yield* freeClusters(image, offset, clusterSize, 'always');
  }
}

/** Drops refcount blocks whose counts are all 0 but their own. */
export function* shrinkRefcountTable(image: Qcow2Image): Steps<void> {
  const { clusterSize, refcountBits, refcountsPerBlock } = image.geometry;
  const table = image.refcountTable.slice();
  const gone: { index: number; offset: number }[] = [];
  for (let index = 0; index < table.length; index++) {
    const offset = table[index] ?? 0;
    if (offset === 0) continue;
    const block = yield* blockOf(image, index * refcountsPerBlock);
    if (block === undefined) continue;
    const own = offset / clusterSize - index * refcountsPerBlock;
    let isUnused: boolean;
    if (own >= 0 && own < refcountsPerBlock) {
      const kept = getRefcount(block.view, refcountBits, own);
      setRefcount(block.view, refcountBits, own, 0);
      isUnused = isZero(block.bytes);
      setRefcount(block.view, refcountBits, own, kept);
    } else isUnused = isZero(block.bytes);
    if (!isUnused) continue;
    table[index] = 0;
    gone.push({ index, offset });
  }
  // the counts that the old blocks hold must not be missed: they are zero, or the blocks' own
  yield* image.l2Cache.flush();
  yield* image.refcountCache.flush();
  yield* image.writeThrough(image.header.refcountTableOffset, encodeRefcountTable(table), encodeRefcountTable(image.refcountTable));
  image.refcountTable = table;
  for (const { index, offset } of gone) {
    const cluster = offset / clusterSize;
    image.metadata.remove(offset, clusterSize, structure.refcountBlock);
    // a block that counted itself took its count along
    if (Math.floor(cluster / refcountsPerBlock) === index) image.refcountCache.forget(offset, clusterSize);
    else yield* freeClusters(image, offset, clusterSize, 'always');
    if (cluster < image.freeIndex) image.freeIndex = cluster;
  }
}

/** The last cluster in use inside the file; -1 when there is none. */
export function* lastUsedCluster(image: Qcow2Image): Steps<number> {
  const { clusterSize, refcountBits, refcountsPerBlock } = image.geometry;
  for (let cluster = alignUp(image.file.size(), clusterSize) / clusterSize - 1; cluster >= 0; ) {
    const block = yield* blockOf(image, cluster);
    const base = cluster - (cluster % refcountsPerBlock);
    if (block !== undefined) {
      for (; cluster >= base; cluster--) if (getRefcount(block.view, refcountBits, cluster - base) > 0) return cluster;
    }
    cluster = base - 1;
  }
  return -1;
}
