/*
 * What an L1 table reaches, counted once more or once less: its L2 tables and the clusters that these name. The COPIED flags
 * follow the counts. A count is on the medium before the flag that it takes away, and a flag that it brings back before the
 * count that is gone: a cut never leaves a flag on what two tables share.
 * Rule source: qcow2 specification, snapshots; observed order of snapshot operations.
 */
import { setU32 } from '../core/util/bytes.ts';
import type { HostPosition } from '../core/util/offsets.ts';
import type { Qcow2Image } from './image.ts';
import { compressedExtent, newEntry, readEntry } from './l2-entry.ts';
import { COPIED_HI, OFFSET_HI, OFFSET_LO, two32 } from './layout.ts';
import { badCluster, badTable } from './mapping.ts';
import { blockOf, getRefcount, refcountOf } from './refcount-blocks.ts';
import { changeRefcounts } from './refcounts.ts';
import { type Steps, wait } from './steps.ts';
import type { CachedTable } from './table-cache.ts';

/** How far a change has come: `tables` L1 entries, and of the next table `bytes` bytes of its entries. */
export interface Reached {
  tables: number;
  bytes: number;
}

const whole: Reached = { tables: Infinity, bytes: 0 };

/**
 * Adds `delta` to the counts of all that `l1` reaches, which 0 leaves as they are, and sets the flags right, in `l1` too. Tells
 * `reached` how far it came, for `undoReferences`. What it changed may still be in the caches. Under the metadata mutex, while
 * no request is in flight.
 */
export function* changeReferences(image: Qcow2Image, l1: Uint8Array, delta: 1 | 0 | -1, reached: Reached = { tables: 0, bytes: 0 }): Steps<void> {
  yield* walk(image, l1, delta, whole, reached);
}

/** Takes back what `changeReferences` did until it failed. */
export function* undoReferences(image: Qcow2Image, l1: Uint8Array, delta: 1 | -1, reached: Reached): Steps<void> {
  yield* walk(image, l1, delta === 1 ? -1 : 1, reached, { tables: 0, bytes: 0 });
}

function* walk(image: Qcow2Image, l1: Uint8Array, delta: 1 | 0 | -1, until: Reached, reached: Reached): Steps<void> {
  const { clusterSize } = image.geometry;
  const view = new DataView(l1.buffer, l1.byteOffset, l1.length);
  if (delta < 0) image.compressedCache.clear();
  for (let index = 0; index < l1.length / 8 && index <= until.tables; index++) {
    const hi = view.getUint32(index * 8);
    const lo = view.getUint32(index * 8 + 4);
    const offset = (hi & OFFSET_HI) * two32 + ((lo & OFFSET_LO) >>> 0);
    if (offset === 0) {
      reached.tables = index + 1;
      continue;
    }
    if (offset % clusterSize !== 0) throw badTable(image, offset, index);
    yield* changeTable(image, offset, delta, index === until.tables ? until.bytes : clusterSize, reached);
    if (index === until.tables) return;
    if (delta !== 0) yield* count(image, offset, clusterSize, delta);
    reached.tables = index + 1;
    reached.bytes = 0;
    const isOurs = (yield* refcountOf(image, offset / clusterSize)) === 1;
    setU32(l1, index * 8, isOurs ? (hi | COPIED_HI) >>> 0 : (hi & ~COPIED_HI) >>> 0);
    yield* wait(image.budget.tick(clusterSize));
  }
}

function* changeTable(image: Qcow2Image, offset: HostPosition, delta: 1 | 0 | -1, bytes: number, reached: Reached): Steps<void> {
  const { sliceSize } = image.geometry;
  for (let at = 0; at < bytes; at += sliceSize) yield* changeSlice(image, offset + at, delta, { from: at, bytes: Math.min(bytes - at, sliceSize) }, reached);
}

interface Part {
  /** Where the slice begins in its table, in bytes. */
  readonly from: number;
  readonly bytes: number;
}

function* changeSlice(image: Qcow2Image, offset: HostPosition, delta: 1 | 0 | -1, part: Part, reached: Reached): Steps<void> {
  const { geometry } = image;
  const entries = part.bytes / geometry.entrySize;
  const table = yield* image.l2Cache.get(offset);
  if (delta !== 0) {
    for (let index = 0; index < entries; ) {
      index += yield* changeRun(image, table, index, entries, delta);
      reached.bytes = part.from + index * geometry.entrySize;
    }
  }
  const flags = new Uint8Array(entries);
  const hasChanged = yield* wantedFlags(image, table, flags);
  if (hasChanged) yield* setFlags(image, offset, flags, delta);
}

/** Changes the counts of the entries from `index` on whose clusters lie in one piece. Returns how many entries these are. */
function* changeRun(image: Qcow2Image, table: CachedTable, index: number, end: number, delta: 1 | -1): Steps<number> {
  const { geometry } = image;
  const { clusterSize } = geometry;
  const entry = readEntry(geometry, table, index, newEntry());
  if (entry.isCompressed) {
    const extent = compressedExtent(geometry, entry.hi, entry.lo);
    yield* count(image, extent.offset, extent.length, delta);
    return 1;
  }
  const { offset } = entry;
  if (offset === 0) return 1;
  if (offset % clusterSize !== 0) throw badCluster(image, table, index, offset);
  let run = 1;
  for (; index + run < end; run++) {
    readEntry(geometry, table, index + run, entry);
    if (entry.isCompressed || entry.offset !== offset + run * clusterSize) break;
  }
  yield* count(image, offset, run * clusterSize, delta);
  return run;
}

/** Changes counts; a block that had to be made first is no reason to stop. */
function* count(image: Qcow2Image, offset: HostPosition, length: number, delta: 1 | -1): Steps<void> {
  while (!(yield* changeRefcounts(image, offset, length, delta, delta > 0 ? 'never' : 'snapshot')));
  // the disk may have left such a cluster by a table that is in the cache only
  if (delta < 0) image.discards.orderBehindTables();
}

/** Sets `flags` to 1 for each entry that is to have the COPIED flag. True when one of them differs from what the table has. */
function* wantedFlags(image: Qcow2Image, table: CachedTable, flags: Uint8Array): Steps<boolean> {
  const { geometry } = image;
  const { clusterSize, refcountsPerBlock, refcountBits } = geometry;
  const entry = newEntry();
  let hasChanged = false;
  let block: CachedTable | undefined;
  let blockIndex = -1;
  for (let index = 0; index < flags.length; index++) {
    readEntry(geometry, table, index, entry);
    let isOurs = false;
    // compressed clusters are never written again, nor shared as a whole
    if (!entry.isCompressed && entry.offset !== 0) {
      const cluster = Math.floor(entry.offset / clusterSize);
      if (Math.floor(cluster / refcountsPerBlock) !== blockIndex) {
        block = yield* blockOf(image, cluster);
        blockIndex = Math.floor(cluster / refcountsPerBlock);
      }
      isOurs = block !== undefined && getRefcount(block.view, refcountBits, cluster % refcountsPerBlock) === 1;
    }
    flags[index] = isOurs ? 1 : 0;
    hasChanged ||= isOurs !== entry.isCopied;
  }
  return hasChanged;
}

function* setFlags(image: Qcow2Image, offset: HostPosition, flags: Uint8Array, delta: 1 | 0 | -1): Steps<void> {
  const { entrySize } = image.geometry;
  for (;;) {
    yield* image.l2Cache.get(offset);
    // loading may have used the order up: it is set last, then the flags change at once
    if (delta >= 0) yield* image.l2Cache.dependOn(image.refcountCache);
    const table = image.l2Cache.peek(offset);
    if (table === undefined) continue;
    for (let index = 0; index < flags.length; index++) {
      const hi = table.view.getUint32(index * entrySize);
      table.view.setUint32(index * entrySize, flags[index] === 1 ? (hi | COPIED_HI) >>> 0 : (hi & ~COPIED_HI) >>> 0);
    }
    image.l2Cache.markDirty(table);
    return;
  }
}
