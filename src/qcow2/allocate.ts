/*
 * Where the bytes of a write go: in place, into a cluster that has a place but reads as zeros, or into newly taken
 * clusters; and the L2 update once the data is written. Also makes L2 tables. All of it under the metadata mutex; the
 * data itself is written between `planWrite` and `linkPlan`, outside of it.
 * Rule source: qcow2 specification; observed allocation order and write ordering (refcounts, data, then pointers).
 */

import { BlockError } from '../core/util/errors.ts';
import { alignDown, ceilDiv } from '../core/util/math.ts';
import { type GuestPosition, type HostPosition, hostOffset } from '../core/util/offsets.ts';
import { type Geometry, l1IndexOf, sliceIndexOf, sliceOffsetOf } from './address.ts';
import type { Qcow2Image } from './image.ts';
import { clusterKind, compressedExtent, type L2Entry, newEntry, readEntry, subclusterKind, subclusterMask, writeEntry, writeSubclusters } from './l2-entry.ts';
import { incompatible, ZERO_LO } from './layout.ts';
import { badTable, hex } from './mapping.ts';
import { structure } from './overlap.ts';
import { allocateClusters, allocateClustersAt, type FreeReason, freeClusters, releaseClusters } from './refcounts.ts';
import { type Steps, wait } from './steps.ts';
import type { CachedTable } from './table-cache.ts';

/** What to do for the first part of a write. Offsets in bytes. */
export interface WritePlan {
  /** The part of the request: guest range and where it goes. */
  readonly guest: GuestPosition;
  readonly length: number;
  readonly host: HostPosition;
  /** The clusters concerned. */
  readonly firstCluster: number;
  readonly hostCluster: HostPosition;
  readonly clusters: number;
  /** The clusters were taken for this plan. */
  readonly isNew: boolean;
  /** The L2 entries change. */
  readonly needsLink: boolean;
  /** Guest range that must be complete in the clusters: the request and what is copied around it. */
  readonly copyFrom: number;
  readonly copyTo: number;
}

/** The cluster can be written where it lies: it has a place and no snapshot shares it. */
function isOurs(image: Qcow2Image, entry: L2Entry): boolean {
  return entry.isCopied && !entry.isCompressed && (entry.offset !== 0 || image.hasDataFile);
}

// -- L2 tables --------------------------------------------------------------------------------------------------------

/** The slice that maps `guest`, in a table that is ours alone: made or copied when it is not. */
export function* writableSlice(image: Qcow2Image, guest: GuestPosition): Steps<CachedTable> {
  const { geometry } = image;
  const index = l1IndexOf(geometry, guest);
  if (index >= image.l1Entries) throw new BlockError('Input/output error', { code: 'EIO' });
  const old = image.l2TableOf(index);
  if (old % geometry.clusterSize !== 0) throw badTable(image, old, index);
  // what cannot be written must not be changed in memory either
  hostOffset(old);
  if (old === 0 || !image.isL2Copied(index)) {
    yield* makeTable(image, index, old);
    if (old !== 0) {
      image.metadata.remove(old, geometry.clusterSize, structure.activeL2);
      yield* freeClusters(image, old, geometry.clusterSize, 'other');
    }
  }
  return yield* image.l2Cache.get(image.l2TableOf(index) + sliceOffsetOf(geometry, guest));
}

/** A new L2 table for L1 entry `index`: zeros, or a copy of `old`. Durable before the entry names it. */
function* makeTable(image: Qcow2Image, index: number, old: number): Steps<void> {
  const { clusterSize, sliceSize } = image.geometry;
  const offset = yield* allocateClusters(image, clusterSize);
  if (offset === 0) throw image.reportCorruption('Preventing invalid allocation of L2 table at offset 0', { isFatal: true });
  try {
    yield* image.refcountCache.flush();
    if (old !== 0) yield* wait(image.raise('l2_alloc_cow_read'));
    for (let at = 0; at < clusterSize; at += sliceSize) {
      const source = old === 0 ? undefined : yield* image.l2Cache.get(old + at);
      const slice = image.l2Cache.create(offset + at);
      if (source !== undefined) slice.bytes.set(source.bytes);
      yield* image.l2Cache.makeRoom();
    }
    yield* wait(image.raise('l2_alloc_write'));
    yield* image.l2Cache.flush();
  } catch (error) {
    image.l2Cache.forget(offset, clusterSize);
    yield* freeClusters(image, offset, clusterSize, 'always');
    throw error;
  }
  image.metadata.add(offset, clusterSize, structure.activeL2);
  try {
    yield* image.updateL1Entry(index, offset);
  } catch (error) {
    // whether the entry reached the medium is unknown: the new table stays taken (a leak at worst)
    image.metadata.remove(offset, clusterSize, structure.activeL2);
    throw error;
  }
}

/** The slice that maps `guest`, cached, after `order` has set what must reach the medium before it. Ours alone already. */
export function* sliceForUpdate(image: Qcow2Image, guest: GuestPosition, order: () => Steps<void>): Steps<CachedTable> {
  const at = image.l2TableOf(l1IndexOf(image.geometry, guest)) + sliceOffsetOf(image.geometry, guest);
  for (;;) {
    yield* image.l2Cache.get(at);
    // loading may have written tables out and thereby used the order up: set it last, then change at once
    yield* order();
    const table = image.l2Cache.peek(at);
    if (table !== undefined) return table;
  }
}

// -- planning ---------------------------------------------------------------------------------------------------------

const first = newEntry();
const next = newEntry();

/**
 * Plans the first part of a write of `length` bytes at `guest`, taking clusters when needed. `wantHost`: where the part
 * before ended, so that a request stays in one piece when it can.
 */
export function* planWrite(image: Qcow2Image, guest: GuestPosition, length: number, wantHost: HostPosition | undefined): Steps<WritePlan> {
  const { geometry } = image;
  const { clusterSize } = geometry;
  const slice = yield* writableSlice(image, guest);
  const firstCluster = alignDown(guest, clusterSize);
  const index = sliceIndexOf(geometry, guest);
  const limit = Math.min(ceilDiv(guest + length - firstCluster, clusterSize), geometry.sliceEntries - index);
  readEntry(geometry, slice, index, first);
  const isNew = !isOurs(image, first);
  if (!isNew && first.offset % clusterSize !== 0) {
    const what = (first.lo & ZERO_LO) !== 0 ? 'Preallocated zero' : 'Data';
    throw image.reportCorruption(`${what} cluster offset ${hex(first.offset)} unaligned (guest offset: ${hex(guest)})`, { isFatal: true });
  }
  let clusters = 1;
  for (; clusters < limit; clusters++) {
    readEntry(geometry, slice, index + clusters, next);
    if (isOurs(image, next) === isNew) break;
    if (!isNew && next.offset !== first.offset + clusters * clusterSize) break;
  }
  let hostCluster = first.offset;
  if (isNew) {
    if (image.hasDataFile) hostCluster = firstCluster;
    else [hostCluster, clusters] = yield* takeClusters(image, clusters, guest === firstCluster ? wantHost : undefined);
  }
  // taking clusters may have dropped the slice
  const end = Math.min(guest + length, firstCluster + clusters * clusterSize);
  const table = yield* image.l2Cache.get(slice.offset);
  const copied = copyRange(image, table, index, { guest, end, firstCluster, clusters, isNew });
  return {
    guest,
    length: end - guest,
    host: hostCluster + (guest - firstCluster),
    firstCluster,
    hostCluster,
    clusters,
    isNew,
    needsLink: isNew || copied.needsLink,
    copyFrom: copied.from,
    copyTo: copied.to,
  };
}

function* takeClusters(image: Qcow2Image, count: number, wantHost: HostPosition | undefined): Steps<[number, number]> {
  const { clusterSize } = image.geometry;
  let taken = 0;
  let offset = 0;
  if (wantHost !== undefined) {
    offset = wantHost;
    taken = yield* allocateClustersAt(image, wantHost, count);
  }
  if (taken === 0) {
    offset = yield* allocateClusters(image, count * clusterSize);
    taken = count;
  }
  if (offset === 0) throw image.reportCorruption('Preventing invalid allocation of data cluster at offset 0', { isFatal: true });
  return [offset, taken];
}

/** How much around the request has to be copied into the clusters, and whether entries change at all. */
function copyRange(
  image: Qcow2Image,
  table: CachedTable,
  index: number,
  plan: { guest: GuestPosition; end: number; firstCluster: number; clusters: number; isNew: boolean },
): { from: number; to: number; needsLink: boolean } {
  const { geometry } = image;
  const { clusterSize, subclusterSize } = geometry;
  const { guest, end, firstCluster, clusters, isNew } = plan;
  const lastCluster = firstCluster + (clusters - 1) * clusterSize;
  readEntry(geometry, table, index, first);
  readEntry(geometry, table, index + clusters - 1, next);
  if (!geometry.isExtended) {
    if (isNew) return { from: firstCluster, to: lastCluster + clusterSize, needsLink: true };
    let needsLink = false;
    for (let i = 0; i < clusters && !needsLink; i++) needsLink = (table.view.getUint32((index + i) * geometry.entrySize + 4) & ZERO_LO) !== 0;
    const isFirstZero = (first.lo & ZERO_LO) !== 0;
    const isLastZero = (next.lo & ZERO_LO) !== 0;
    return { from: isFirstZero ? firstCluster : guest, to: isLastZero ? lastCluster + clusterSize : end, needsLink };
  }
  const firstSub = Math.floor((guest - firstCluster) / subclusterSize);
  const lastSub = Math.floor((end - 1 - lastCluster) / subclusterSize);
  let from = firstCluster + firstSub * subclusterSize;
  let to = lastCluster + (lastSub + 1) * subclusterSize;
  if (isNew) {
    // a cluster that moves takes along what it holds
    if (first.isCompressed) from = firstCluster;
    else if (first.offset !== 0 && first.allocated !== 0) from = Math.min(from, firstCluster + trailingZeros(first.allocated) * subclusterSize);
    if (next.isCompressed) to = lastCluster + clusterSize;
    else if (next.offset !== 0 && next.allocated !== 0) to = Math.max(to, lastCluster + (32 - Math.clz32(next.allocated)) * subclusterSize);
    return { from, to, needsLink: true };
  }
  if (subclusterKind(first, firstSub, image.hasDataFile) === clusterKind.data) from = guest;
  if (subclusterKind(next, lastSub, image.hasDataFile) === clusterKind.data) to = end;
  return { from, to, needsLink: !isAllData(geometry, table, index, { firstSub, lastSub, clusters }) };
}

function trailingZeros(word: number): number {
  return word === 0 ? 32 : 31 - Math.clz32(word & -word);
}

function isAllData(geometry: Geometry, table: CachedTable, index: number, span: { firstSub: number; lastSub: number; clusters: number }): boolean {
  const entry = newEntry();
  for (let i = 0; i < span.clusters; i++) {
    readEntry(geometry, table, index + i, entry);
    const from = i === 0 ? span.firstSub : 0;
    const to = i === span.clusters - 1 ? span.lastSub + 1 : 32;
    const mask = subclusterMask(from, to - from);
    if ((entry.allocated & mask) >>> 0 !== mask || (entry.zeros & mask) !== 0) return false;
  }
  return true;
}

// -- after the data ---------------------------------------------------------------------------------------------------

/**
 * Points the L2 entries at the written clusters and gives the old ones back. `hasCopied`: old content was copied along.
 * `keepsSubclusters`: nothing was written, the clusters are only there for later.
 */
export function* linkPlan(image: Qcow2Image, plan: WritePlan, hasCopied: boolean, keepsSubclusters = false): Steps<void> {
  const { geometry } = image;
  const { clusterSize, subclusterSize } = geometry;
  let table: CachedTable;
  try {
    yield* markDirtyBit(image);
    table = yield* sliceForUpdate(image, plan.firstCluster, function* () {
      if (plan.isNew && !image.hasDataFile && image.needsAccurateRefcounts) yield* image.l2Cache.dependOn(image.refcountCache);
      // without the refcounts' flush between them nothing else orders an entry behind its data
      if (hasCopied || !plan.isNew || image.hasDataFile || !image.needsAccurateRefcounts) image.l2Cache.dependOnData();
    });
  } catch (error) {
    // no entry names them yet
    yield* abandonPlan(image, plan);
    throw error;
  }
  const old: L2Entry[] = [];
  const index = sliceIndexOf(geometry, plan.firstCluster);
  for (let i = 0; i < plan.clusters; i++) {
    const entry = readEntry(geometry, table, index + i, newEntry());
    writeEntry(geometry, table, index + i, plan.hostCluster + i * clusterSize, { isCopied: true });
    if (geometry.isExtended) {
      const start = plan.firstCluster + i * clusterSize;
      const from = Math.floor(Math.max(0, plan.copyFrom - start) / subclusterSize);
      const to = ceilDiv(Math.min(clusterSize, plan.copyTo - start), subclusterSize);
      const mask = keepsSubclusters && !entry.isCompressed ? 0 : subclusterMask(from, to - from);
      const before = entry.isCompressed ? { allocated: 0, zeros: 0 } : entry;
      writeSubclusters(geometry, table, index + i, (before.allocated | mask) >>> 0, (before.zeros & ~mask) >>> 0);
    }
    if (plan.isNew && (entry.hi !== 0 || entry.lo !== 0)) old.push(entry);
  }
  image.l2Cache.markDirty(table);
  // one step in memory: a failure to give back leaks
  for (const entry of old) yield* freeEntry(image, entry, 'never');
}

/** Takes back what a plan took, after its data could not be written. */
export function* abandonPlan(image: Qcow2Image, plan: WritePlan): Steps<void> {
  if (!plan.isNew || image.hasDataFile) return;
  yield* freeClusters(image, plan.hostCluster, plan.clusters * image.geometry.clusterSize, 'never');
}

/** Gives back the cluster of an entry that is gone. What may be discarded is queued: `passDiscards` is the caller's. */
export function* freeEntry(image: Qcow2Image, entry: L2Entry, reason: FreeReason): Steps<void> {
  const { geometry } = image;
  if (entry.isCompressed) {
    const { offset, length } = compressedExtent(geometry, entry.hi, entry.lo);
    image.compressedCache.clear();
    yield* releaseClusters(image, offset, length, reason);
    image.discards.orderBehindTables();
    return;
  }
  if (entry.offset === 0 || image.hasDataFile) return;
  if (entry.offset % geometry.clusterSize !== 0) {
    image.reportCorruption(`Cannot free unaligned cluster ${hex(entry.offset)}`, { isFatal: false });
    return;
  }
  yield* releaseClusters(image, entry.offset, geometry.clusterSize, reason);
}

/** With lazy refcounts: before the first change the image says that its refcounts may be behind. */
export function* markDirtyBit(image: Qcow2Image): Steps<void> {
  if (!image.options.lazyRefcounts || (image.header.incompatible & incompatible.dirty) !== 0n) return;
  yield* image.updateFields({ incompatible: image.header.incompatible | incompatible.dirty });
}
