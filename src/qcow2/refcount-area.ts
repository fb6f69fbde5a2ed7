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
  const { clusterSize, refcountsPerBlock } = image.geometry;
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
  image.discards.take(start, end - start);
  const blocks: readonly AreaBlock[] = Array.from({ length: Math.max(0, blockCount - firstIndex) }, (_, at) => ({
    index: firstIndex + at,
    offset: table[firstIndex + at] ?? 0,
    isNew: isNew[firstIndex + at] === true,
  }));
  try {
    yield* setCounts(image, blocks, { from: start / clusterSize, to: end / clusterSize }, 1);
    yield* wait(image.raise('refblock_alloc_write_blocks'));
    yield* image.refcountCache.flush();
    yield* wait(image.raise('refblock_alloc_write_table'));
    yield* writeRefcountTable(image, table, tableOffset);
  } catch (error) {
    yield* dropBlocks(image, blocks, { from: start / clusterSize, to: end / clusterSize });
    throw error;
  }
  const old = { oldTableOffset: image.header.refcountTableOffset, oldTableBytes: image.header.refcountTableClusters * clusterSize };
  try {
    yield* wait(image.raise('refblock_alloc_switch_table'));
    yield* image.updateFields({ refcountTableOffset: tableOffset, refcountTableClusters: tableClusters });
  } catch (error) {
    // counts stay, where blocks of the old table hold them: a leak at worst
    yield* dropBlocks(image, blocks, { from: 0, to: 0 });
    throw error;
  }
  image.refcountTable = table;
  image.metadata.remove(old.oldTableOffset, old.oldTableBytes, structure.refcountTable);
  image.metadata.add(tableOffset, tableClusters * clusterSize, structure.refcountTable);
  return { end, ...old };
}

interface AreaBlock {
  readonly index: number;
  readonly offset: number;
  readonly isNew: boolean;
}

interface ClusterRange {
  readonly from: number;
  readonly to: number;
}

/** Sets the counts of the area's clusters in its blocks; new blocks are made, as tables of zeros. */
function* setCounts(image: Qcow2Image, blocks: readonly AreaBlock[], area: ClusterRange, count: 0 | 1): Steps<void> {
  const { refcountsPerBlock, refcountBits, clusterSize } = image.geometry;
  for (const { index, offset, isNew } of blocks) {
    const block: CachedTable = isNew ? image.refcountCache.create(offset) : yield* image.refcountCache.get(offset);
    if (isNew) image.metadata.add(offset, clusterSize, structure.refcountBlock);
    const base = index * refcountsPerBlock;
    const to = Math.min(base + refcountsPerBlock, area.to);
    for (let cluster = Math.max(base, area.from); cluster < to; cluster++) setRefcount(block.view, refcountBits, cluster - base, count);
    image.refcountCache.markDirty(block);
    yield* image.refcountCache.makeRoom();
  }
}

/** Forgets the blocks of an area that came to nothing: they must not be written where others may come to lie. */
function* dropBlocks(image: Qcow2Image, blocks: readonly AreaBlock[], area: ClusterRange): Steps<void> {
  const { clusterSize } = image.geometry;
  for (const { offset, isNew } of blocks) {
    if (!isNew) continue;
    image.refcountCache.forget(offset, clusterSize);
    image.metadata.remove(offset, clusterSize, structure.refcountBlock);
  }
  const kept = blocks.filter(({ isNew }) => !isNew);
  if (area.to > area.from) yield* setCounts(image, kept, area, 0);
}

/** Writes a whole refcount table, durably. */
export function* writeRefcountTable(image: Qcow2Image, table: Float64Array, offset: number): Steps<void> {
  yield* wait(image.writeFile(offset, encodeRefcountTable(table)));
  yield* wait(image.flushMedium());
}

export function encodeRefcountTable(table: Float64Array): Uint8Array {
  const bytes = new Uint8Array(table.length * 8);
  table.forEach((block, index) => {
    if (block !== 0) setU64(bytes, index * 8, block);
  });
  return bytes;
}
