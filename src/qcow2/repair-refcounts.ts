/*
 * Repairs of refcounts: one count, or the whole structure anew, in the first free clusters, when counts are missing.
 * Rule source: observed repairs; new blocks and table are durable before the header names them.
 */
import { BlockError } from '../core/util/errors.ts';
import { alignUp } from '../core/util/math.ts';
import type { ReferenceCounts } from './check-counts.ts';
import type { Findings } from './check-findings.ts';
import type { Qcow2Image } from './image.ts';
import { registerRefcountBlocks } from './metadata-places.ts';
import { structure } from './overlap.ts';
import { writeRefcountTable } from './refcount-area.ts';
import { blockOf, maxRefcount, setRefcount } from './refcount-blocks.ts';
import { passDiscards } from './refcounts.ts';
import { repairWrite } from './repair-write.ts';
import { run as carryOut, type Steps } from './steps.ts';

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
    for (let at = from; at < start + length && at < counts.clusters; at++) if (counts.get(at) > 0) start = at + 1;
    counts.grow(start + length);
    counts.fill(1, start, start + length);
    return start;
  };
  /** Gives blocks to the windows, ascending, and to those that they come to lie in. True when the table became too short. */
  const cover = (windows: Iterable<number>): boolean => {
    const before = tableClusters;
    const later: number[] = [];
    const give = (index: number): void => {
      if (blocks.has(index)) return;
      const block = take(index * refcountsPerBlock, 1);
      blocks.set(index, block);
      // it needs to be counted itself
      const own = Math.floor(block / refcountsPerBlock);
      if (own !== index && !blocks.has(own) && !later.includes(own)) later.push(own);
      tableClusters = Math.max(tableClusters, alignUp((index + 1) * 8, clusterSize) / clusterSize);
    };
    const giveLater = (limit: number): void => {
      while (later.length > 0) {
        const next = Math.min(...later);
        if (next >= limit) return;
        later.splice(later.indexOf(next), 1);
        give(next);
      }
    };
    for (const window of windows) {
      giveLater(window);
      give(window);
    }
    giveLater(Infinity);
    return tableClusters > before;
  };
  cover([...counts.windows(refcountsPerBlock)]);
  for (;;) {
    const length = tableClusters;
    const tableStart = take(0, length);
    const own = [Math.floor(tableStart / refcountsPerBlock)];
    while ((own.at(-1) ?? 0) < Math.floor((tableStart + length - 1) / refcountsPerBlock)) own.push((own.at(-1) ?? 0) + 1);
    if (!cover(own)) return { blocks, tableStart, tableClusters };
    counts.fill(0, tableStart, tableStart + length);
  }
}

/** Writes new refcount blocks and a new table for `counts`, and switches the header to them. */
export async function rebuildRefcounts(image: Qcow2Image, counts: ReferenceCounts, findings: Findings): Promise<void> {
  const { clusterSize, refcountBits, refcountsPerBlock } = image.geometry;
  const { blocks, tableStart, tableClusters } = placeRefcounts(counts, { clusterSize, refcountsPerBlock });
  const table = new Float64Array((tableClusters * clusterSize) / 8);
  const bytes = new Uint8Array(clusterSize);
  const view = new DataView(bytes.buffer);
  for (const [index, cluster] of blocks) {
    bytes.fill(0);
    for (let i = 0; i < refcountsPerBlock; i++) {
      const count = counts.get(index * refcountsPerBlock + i);
      if (count > 0) setRefcount(view, refcountBits, i, count);
    }
    image.refcountCache.forget(cluster * clusterSize, clusterSize);
    await step(findings, 'writing refblock', repairWrite(image, cluster * clusterSize, bytes, 0));
    table[index] = cluster * clusterSize;
    await image.budget.tick(clusterSize);
  }
  await image.flushMedium();
  image.checkOverlap(tableStart * clusterSize, tableClusters * clusterSize, 0);
  await step(findings, 'writing reftable', writeRefcountTable(image, table, tableStart * clusterSize));
  await step(findings, 'setting reftable', image.updateFields({ refcountTableOffset: tableStart * clusterSize, refcountTableClusters: tableClusters }));
  const { metadata } = image;
  metadata.removeAll(structure.refcountTable);
  metadata.add(tableStart * clusterSize, tableClusters * clusterSize, structure.refcountTable);
  image.refcountTable = table;
  // what was queued may be in use by the new structure
  image.discards.drain();
  await registerRefcountBlocks(image);
  image.freeIndex = 0;
}

/** Carries out a part of the rebuild; tells which one failed. */
async function step(findings: Findings, what: string, steps: Steps<void>): Promise<void> {
  try {
    await carryOut(steps);
  } catch (error) {
    if (error instanceof BlockError) findings.output.error(`ERROR ${what}: ${error.message}`);
    throw error;
  }
}
