/*
 * A new refcount table with the blocks that count it, laid down in free space behind `start`: when the table is full, and
 * before preallocated data. The new structures are durable before the header names them; the old table is the caller's to
 * give back.
 * Rule source: observed layout of grown and preallocated images.
 */
import { setU64 } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp, ceilDiv } from '../core/util/math.ts';
import type { Qcow2Image } from './image.ts';
import { maxRefcountTableBytes } from './layout.ts';
import { structure } from './overlap.ts';
import { setRefcount } from './refcount-blocks.ts';
import { type Steps, wait } from './steps.ts';
import type { CachedTable } from './table-cache.ts';

export interface RefcountArea {
  /** First byte behind the new structures. */
  readonly end: number;
  readonly oldTableOffset: number;
  readonly oldTableBytes: number;
}

/**
 * Blocks needed so that `clusters` clusters, the blocks themselves and the table are counted. With `isGenerous` the table
 * may grow by half without running out of blocks again.
 */
export function blocksFor(parts: { clusters: number; clusterSize: number; refcountsPerBlock: number; isGenerous: boolean }): {
  blocks: number;
  tableClusters: number;
} {
  const { clusterSize, refcountsPerBlock } = parts;
  let { clusters } = parts;
  let generous = parts.isGenerous;
  let blocks = 0;
  let tableClusters = 0;
  for (let before = -1; ; ) {
    blocks = ceilDiv(clusters + tableClusters + blocks, refcountsPerBlock);
    tableClusters = ceilDiv(blocks, clusterSize / 8);
    const total = clusters + blocks + tableClusters;
    if (total === before) {
      if (!generous) return { blocks, tableClusters };
      clusters += ceilDiv(tableClusters, 2);
      generous = false;
      before = -1;
      continue;
    }
    before = total;
  }
}

/**
 * Lays the area down at `start` (cluster aligned, nothing in use from there on) and switches the header to it.
 * `additional` clusters behind it are covered by blocks too, but not taken.
 */
export function* growRefcountArea(
  image: Qcow2Image,
  how: { start: number; additional: number; isExact: boolean; newBlock?: { index: number; offset: number } },
): Steps<RefcountArea> {
  const { clusterSize, refcountsPerBlock, refcountBits } = image.geometry;
  const { start } = how;
  const needed = blocksFor({ clusters: start / clusterSize + how.additional, clusterSize, refcountsPerBlock, isGenerous: !how.isExact });
  const blockCount = needed.blocks;
  const entries = alignUp(how.isExact ? blockCount : blockCount + ceilDiv(blockCount, 2), clusterSize / 8);
  if (entries * 8 > maxRefcountTableBytes) throw new BlockError('File too large', { code: 'EFBIG' });
  const tableClusters = (entries * 8) / clusterSize;
  const table = new Float64Array(entries);
  table.set(image.refcountTable.subarray(0, entries));
  if (how.newBlock !== undefined) table[how.newBlock.index] = how.newBlock.offset;
  const firstIndex = Math.floor(start / clusterSize / refcountsPerBlock);
  const isNew: boolean[] = [];
  let next = start;
  for (let index = firstIndex; index < blockCount; index++) {
    isNew[index] = table[index] === 0;
    if (isNew[index]) {
      table[index] = next;
      next += clusterSize;
    }
  }
  const tableOffset = next;
  const end = tableOffset + tableClusters * clusterSize;
  image.checkOverlap(start, end - start, 0);
  for (let index = firstIndex; index < blockCount; index++) {
    const offset = table[index] ?? 0;
    const block: CachedTable = isNew[index] ? image.refcountCache.create(offset) : yield* image.refcountCache.get(offset);
    if (isNew[index]) image.metadata.add(offset, clusterSize, structure.refcountBlock);
    const base = index * refcountsPerBlock;
    const from = Math.max(base, start / clusterSize);
    const to = Math.min(base + refcountsPerBlock, end / clusterSize);
    for (let cluster = from; cluster < to; cluster++) setRefcount(block.view, refcountBits, cluster - base, 1);
    image.refcountCache.markDirty(block);
    yield* image.refcountCache.makeRoom();
  }
  yield* image.refcountCache.flush();
  yield* writeRefcountTable(image, table, tableOffset);
  const old = { oldTableOffset: image.header.refcountTableOffset, oldTableBytes: image.header.refcountTableClusters * clusterSize };
  image.header.refcountTableOffset = tableOffset;
  image.header.refcountTableClusters = tableClusters;
  yield* image.writeRefcountTableFields();
  image.refcountTable = table;
  image.metadata.remove(old.oldTableOffset, old.oldTableBytes, structure.refcountTable);
  image.metadata.add(tableOffset, tableClusters * clusterSize, structure.refcountTable);
  return { end, ...old };
}

/** Writes a whole refcount table, durably. */
export function* writeRefcountTable(image: Qcow2Image, table: Float64Array, offset: number): Steps<void> {
  const bytes = new Uint8Array(table.length * 8);
  table.forEach((block, index) => {
    if (block !== 0) setU64(bytes, index * 8, block);
  });
  yield* wait(image.writeFile(offset, bytes));
  yield* wait(image.flushMedium());
}
