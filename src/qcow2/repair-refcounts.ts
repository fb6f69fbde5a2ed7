/*
 * Repairs of refcounts: one count, or the whole structure anew, in the first free clusters, when counts are missing.
 * Rule source: observed repairs; new blocks and table are durable before the header names them.
 */
import { BlockError } from '../core/util/errors.ts';
import { alignUp } from '../core/util/math.ts';
import type { ReferenceCounts } from './check-map.ts';
import type { Qcow2Image } from './image.ts';
import { registerRefcountBlocks } from './metadata-places.ts';
import { structure } from './overlap.ts';
import { writeRefcountTable } from './refcount-area.ts';
import { blockOf, maxRefcount, setRefcount } from './refcount-blocks.ts';
import { passDiscards } from './refcounts.ts';
import { run as carryOut, type Steps } from './steps.ts';

export interface Comparison {
  /** The last cluster with a count or a reference. */
  highest: number;
  /** A referenced cluster has no count: no structure to trust. */
  mustRebuild: boolean;
}

/** Sets the stored count of one cluster. False when that failed. */
export async function fixRefcount(image: Qcow2Image, cluster: number, count: number): Promise<boolean> {
  if (count > maxRefcount(image.geometry.refcountBits)) return false;
  try {
    await carryOut(setCount(image, cluster, count));
    return true;
  } catch (error) {
    if (error instanceof BlockError) return false;
    throw error;
  }
}

function* setCount(image: Qcow2Image, cluster: number, count: number): Steps<void> {
  const { clusterSize, refcountBits, refcountsPerBlock } = image.geometry;
  const block = yield* blockOf(image, cluster);
  if (block === undefined) throw new BlockError('Input/output error', { code: 'EIO' });
  setRefcount(block.view, refcountBits, cluster % refcountsPerBlock, count);
  image.refcountCache.markDirty(block);
  if (count > 0) return;
  if (cluster < image.freeIndex) image.freeIndex = cluster;
  image.l2Cache.forget(cluster * clusterSize, clusterSize);
  image.discards.add(cluster * clusterSize, clusterSize);
  yield* passDiscards(image);
}

/** Where a new refcount structure lies, in clusters. */
export interface RefcountPlaces {
  /** By index in the table. */
  readonly blocks: ReadonlyMap<number, number>;
  readonly tableStart: number;
  readonly tableClusters: number;
}

/**
 * Finds places for a new refcount structure that counts `counts`, and itself, and enters them there. A block lies among
 * the clusters that it counts, or behind them: the search for a free one never goes back to those of earlier blocks.
 * The table takes the first gap that is long enough.
 */
export function placeRefcounts(counts: ReferenceCounts, how: { readonly clusterSize: number; readonly refcountsPerBlock: number }): RefcountPlaces {
  const { clusterSize, refcountsPerBlock } = how;
  const blocks = new Map<number, number>();
  let tableClusters = 0;
  const take = (from: number, length: number): number => {
    let start = from;
    for (let at = from; at < start + length && at < counts.clusters; at++) if ((counts.counts[at] ?? 0) > 0) start = at + 1;
    counts.grow(start + length);
    counts.counts.fill(1, start, start + length);
    return start;
  };
  /** Gives a block to each cluster of the range that is in use. True when the table became too short for them. */
  const cover = (from: number, to: number): boolean => {
    const before = tableClusters;
    let end = to;
    for (let cluster = from; cluster < end; cluster++) {
      if ((counts.counts[cluster] ?? 0) === 0) continue;
      const index = Math.floor(cluster / refcountsPerBlock);
      if (!blocks.has(index)) {
        const block = take(index * refcountsPerBlock, 1);
        blocks.set(index, block);
        // it needs to be counted itself
        end = Math.max(end, block + 1);
        tableClusters = Math.max(tableClusters, alignUp((index + 1) * 8, clusterSize) / clusterSize);
      }
      cluster = (index + 1) * refcountsPerBlock - 1;
    }
    return tableClusters > before;
  };
  cover(0, counts.clusters);
  for (;;) {
    const length = tableClusters;
    const tableStart = take(0, length);
    if (!cover(tableStart, tableStart + length)) return { blocks, tableStart, tableClusters };
    counts.counts.fill(0, tableStart, tableStart + length);
  }
}

/** Writes new refcount blocks and a new table for `counts`, and switches the header to them. */
export async function rebuildRefcounts(image: Qcow2Image, counts: ReferenceCounts): Promise<void> {
  const { clusterSize, refcountBits, refcountsPerBlock } = image.geometry;
  const { blocks, tableStart, tableClusters } = placeRefcounts(counts, { clusterSize, refcountsPerBlock });
  const table = new Float64Array((tableClusters * clusterSize) / 8);
  image.refcountCache.forget(0, 0);
  for (const [index, cluster] of blocks) {
    const bytes = new Uint8Array(clusterSize);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < refcountsPerBlock; i++) {
      const count = counts.counts[index * refcountsPerBlock + i] ?? 0;
      if (count > 0) setRefcount(view, refcountBits, i, count);
    }
    image.refcountCache.forget(cluster * clusterSize, clusterSize);
    await image.writeFile(cluster * clusterSize, bytes);
    table[index] = cluster * clusterSize;
  }
  await image.flushMedium();
  await carryOut(writeRefcountTable(image, table, tableStart * clusterSize));
  const { refcountTableOffset: oldOffset, refcountTableClusters: oldClusters } = image.header;
  await carryOut(image.updateFields({ refcountTableOffset: tableStart * clusterSize, refcountTableClusters: tableClusters }));
  image.metadata.remove(oldOffset, oldClusters * clusterSize, structure.refcountTable);
  image.refcountTable = table;
  // what was queued may be in use by the new structure
  image.discards.drain();
  image.metadata.add(tableStart * clusterSize, tableClusters * clusterSize, structure.refcountTable);
  await registerRefcountBlocks(image);
  image.freeIndex = 0;
}
