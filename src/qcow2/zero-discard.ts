/*
 * Zero writes and discards: changes of L2 entries alone, where the format has them. What it cannot express answers false,
 * and the request path writes zeros instead.
 * Rule source: observed results for each state of a cluster (zero, zero with unmap, discard), standard and extended L2.
 */

import { chainStatus } from '../core/block/block-status.ts';
import { type ReqFlags, reqFlag } from '../core/block/driver.ts';
import { alignDown, alignUp, ceilDiv } from '../core/util/math.ts';
import type { Maybe } from '../core/util/maybe.ts';
import type { GuestPosition } from '../core/util/offsets.ts';
import { sliceIndexOf } from './address.ts';
import { freeEntry, writableSlice } from './allocate.ts';
import { DiscardQueue } from './discard-queue.ts';
import type { Qcow2Image } from './image.ts';
import { exclusively } from './io.ts';
import { clusterKind, type L2Entry, newEntry, readEntry, standardKind, subclusterMask, writeEntryWords, writeSubclusters } from './l2-entry.ts';
import { autoclear, COPIED_HI, OFFSET_HI, OFFSET_LO, two32, ZERO_LO } from './layout.ts';
import { lookupSteps, newRun } from './mapping.ts';
import { discardFile, needsTablesFirst, passDiscards } from './refcounts.ts';
import { run as carryOut, locked, type Steps, wait } from './steps.ts';
import type { CachedTable } from './table-cache.ts';

type Change = 'zero' | 'zero-unmap' | 'discard' | 'forget';

// -- zero -------------------------------------------------------------------------------------------------------------

/** Makes the range read as zeros by its entries. False when zeros have to be written. */
export function zeroGuest(image: Qcow2Image, guest: GuestPosition, length: number, flags: ReqFlags): Maybe<boolean> {
  if (image.broken !== undefined) throw image.broken;
  if (image.geometry.version < 3 && image.node.backing !== undefined) return false;
  return carryOut(zeroSteps(image, guest, length, flags));
}

function* zeroSteps(image: Qcow2Image, guest: GuestPosition, length: number, flags: ReqFlags): Steps<boolean> {
  const unit = image.geometry.subclusterSize;
  const end = guest + length;
  const start = alignDown(guest, unit);
  const stop = end === image.size ? end : alignUp(end, unit);
  const isPartial = start !== guest || stop !== end;
  if (isPartial) {
    if (stop - start > unit) return false;
    // the rest of the unit must read as zeros already: then all of it may become zero
    if (!(yield* readsAsZerosDeep(image, start, guest - start)) || !(yield* readsAsZerosDeep(image, end, stop - end))) return false;
  }
  return yield* exclusively(image, start, stop - start, function* () {
    if (isPartial) {
      // data may have been written between the look and the hold
      const run = yield* lookupSteps(image, start, stop - start, newRun());
      if (run.kind === clusterKind.data || run.kind === clusterKind.compressed || run.length < stop - start) return false;
    }
    if (yield* hasCompressedEdge(image, start, stop)) return false;
    yield* zeroHeld(image, start, stop, flags);
    return true;
  });
}

/** Makes [start, stop), whole subclusters, zero by its entries. For holders of the range. */
export function* zeroHeld(image: Qcow2Image, start: number, stop: number, flags: ReqFlags = 0): Steps<void> {
  if (isRawDataFile(image)) yield* wait(image.zeroData(start, stop - start, flags & reqFlag.mayUnmap));
  yield* changeRange(image, start, stop, (flags & reqFlag.mayUnmap) !== 0 ? 'zero-unmap' : 'zero');
}

function isRawDataFile(image: Qcow2Image): boolean {
  return image.hasDataFile && (image.header.autoclear & autoclear.rawDataFile) !== 0n;
}

/** True when the range reads as zeros through the whole chain. */
function* readsAsZerosDeep(image: Qcow2Image, guest: GuestPosition, length: number): Steps<boolean> {
  const end = Math.min(guest + length, image.size);
  const run = newRun();
  for (let at = guest; at < end; ) {
    yield* lookupSteps(image, at, end - at, run);
    let { length: step } = run;
    if (run.kind === clusterKind.unallocated || run.kind === clusterKind.unallocatedPlaced) {
      const { backing } = image.node;
      if (backing !== undefined && at < backing.size()) {
        const below = yield* wait(chainStatus(backing.node, undefined, at, Math.min(step, backing.size() - at), true));
        if (!below.zero) return false;
        step = below.length;
      }
    } else if (run.kind !== clusterKind.zero && run.kind !== clusterKind.zeroPlaced) return false;
    at += step;
  }
  return true;
}

/** Extended L2: parts of a compressed cluster cannot become zero by themselves. */
function* hasCompressedEdge(image: Qcow2Image, start: number, end: number): Steps<boolean> {
  const { clusterSize } = image.geometry;
  for (const edge of [start, end]) {
    if (edge % clusterSize === 0 || edge === image.size) continue;
    if ((yield* lookupSteps(image, alignDown(edge, clusterSize), 1, newRun())).kind === clusterKind.compressed) return true;
  }
  return false;
}

// -- discard ----------------------------------------------------------------------------------------------------------

/** Gives whole clusters of the range back; partial ones stay, but for the last one of the disk. */
export function discardGuest(image: Qcow2Image, guest: GuestPosition, length: number): Maybe<void> {
  if (image.broken !== undefined) throw image.broken;
  // without zero clusters the backing file would show through
  if (image.geometry.version < 3 && image.node.backing !== undefined) return;
  const { clusterSize } = image.geometry;
  const end = guest + length;
  const start = alignUp(guest, clusterSize);
  const stop = end === image.size ? end : alignDown(end, clusterSize);
  if (start >= stop) return;
  return carryOut(exclusively(image, start, stop - start, () => changeRange(image, start, stop, 'discard')));
}

/** Makes the range unallocated, so that the backing file shows (shrinking, emptying). Cluster aligned. */
export function* forgetRange(image: Qcow2Image, start: number, end: number): Steps<void> {
  yield* changeRange(image, start, end, 'forget');
}

// -- entries ----------------------------------------------------------------------------------------------------------

function* changeRange(image: Qcow2Image, start: number, end: number, change: Change): Steps<void> {
  const { geometry } = image;
  const { clusterSize, bytesPerL2, sliceEntries } = geometry;
  for (let at = start; at < end; ) {
    if (change === 'forget' && image.l2TableOf(Math.floor(at / bytesPerL2)) === 0) {
      at = (Math.floor(at / bytesPerL2) + 1) * bytesPerL2;
      continue;
    }
    const sliceEnd = (Math.floor(at / clusterSize / sliceEntries) + 1) * sliceEntries * clusterSize;
    const stop = Math.min(end, sliceEnd);
    const from = at;
    yield* locked(image.mutex, function* () {
      const table = yield* writableSlice(image, from);
      const old = changeSlice(image, table, from, stop, change);
      for (const entry of old.given) yield* freeEntry(image, entry, change === 'forget' ? 'always' : 'request');
      // what is below may be shown only once the entries are gone for good: until then they are to show what they did
      if (change === 'forget' && old.given.length > 0) image.discards.orderBehindTables();
      yield* passDiscards(image);
      // not by way of the queue: these clusters stay in use
      if (!image.options.passDiscardRequest || old.emptied.isEmpty) return;
      if (needsTablesFirst(image)) yield* image.l2Cache.flush();
      for (const { offset, length } of old.emptied.drain()) yield* discardFile(image, offset, length);
    });
    at = stop;
  }
}

interface ChangedClusters {
  /** Entries whose clusters are to be given back. */
  readonly given: L2Entry[];
  /** Clusters that keep their place, and whose content does not count any more. */
  readonly emptied: DiscardQueue;
}

// atomic: no yield
function changeSlice(image: Qcow2Image, table: CachedTable, start: number, end: number, change: Change): ChangedClusters {
  const { geometry } = image;
  const { clusterSize, subclusterSize } = geometry;
  const changed: ChangedClusters = { given: [], emptied: new DiscardQueue() };
  let hasChanged = false;
  const entry = newEntry();
  for (let at = start; at < end; at = alignDown(at, clusterSize) + clusterSize) {
    const index = sliceIndexOf(geometry, at);
    readEntry(geometry, table, index, entry);
    const clusterStart = alignDown(at, clusterSize);
    const stop = Math.min(end, clusterStart + clusterSize);
    const isWhole = at === clusterStart && (stop === clusterStart + clusterSize || stop === image.size);
    if (!isWhole) {
      // extended L2 only: some subclusters of a cluster
      const from = Math.floor((at - clusterStart) / subclusterSize);
      const mask = subclusterMask(from, ceilDiv(stop - clusterStart, subclusterSize) - from);
      writeSubclusters(geometry, table, index, (entry.allocated & ~mask) >>> 0, (entry.zeros | mask) >>> 0);
      hasChanged = true;
      continue;
    }
    const fate = changeCluster(image, table, index, entry, clusterStart, change);
    if (fate === 'given') changed.given.push({ ...entry });
    else if (fate === 'emptied') changed.emptied.add(entry.offset, clusterSize);
    hasChanged ||= !isSame(image, table, index, entry);
  }
  if (hasChanged) image.l2Cache.markDirty(table);
  return changed;
}

function isSame(image: Qcow2Image, table: CachedTable, index: number, before: L2Entry): boolean {
  const now = readEntry(image.geometry, table, index, newEntry());
  return now.hi === before.hi && now.lo === before.lo && now.allocated === before.allocated && now.zeros === before.zeros;
}

type ClusterFate = 'given' | 'emptied' | 'kept';

/** Changes one whole cluster's entry; tells what becomes of the old entry's cluster. */
function changeCluster(image: Qcow2Image, table: CachedTable, index: number, entry: L2Entry, guest: GuestPosition, change: Change): ClusterFate {
  const { geometry } = image;
  const { isExtended } = geometry;
  const hasZeros = geometry.version >= 3;
  const isAllocated = entry.isCompressed || entry.offset !== 0 || (image.hasDataFile && entry.isCopied);
  const setEmpty = (isZero: boolean): void => {
    writeEntryWords(geometry, table, index, 0, isZero && !isExtended ? ZERO_LO : 0);
    writeSubclusters(geometry, table, index, 0, isZero ? 0xffffffff : 0);
  };
  const keepAsZero = (): void => {
    writeEntryWords(geometry, table, index, entry.hi, isExtended ? entry.lo : entry.lo | ZERO_LO);
    writeSubclusters(geometry, table, index, 0, 0xffffffff);
  };
  if (change === 'forget') {
    setEmpty(false);
    return isAllocated ? 'given' : 'kept';
  }
  // what a snapshot shares keeps its content
  const emptied = entry.isCopied && entry.offset !== 0 && !image.hasDataFile ? 'emptied' : 'kept';
  const mayKeep = image.options.discardNoUnref && !entry.isCompressed && isAllocated;
  if (change === 'discard') {
    if (mayKeep) {
      keepAsZero();
      return emptied;
    }
    if (isAllocated || image.node.backing !== undefined) setEmpty(hasZeros);
    return isAllocated ? 'given' : 'kept';
  }
  if (!hasZeros) {
    // version 2 without a backing file: what is not there reads as zeros
    setEmpty(false);
    return isAllocated ? 'given' : 'kept';
  }
  const mustUnmap = entry.isCompressed || (change === 'zero-unmap' && isAllocated);
  if (mustUnmap && mayKeep) {
    keepAsZero();
    return emptied;
  }
  if (mustUnmap) {
    setEmpty(true);
    return 'given';
  }
  if (isRawDataFile(image) && standardKind(entry, true) === clusterKind.unallocated) {
    const hi = (Math.floor(guest / two32) & OFFSET_HI) | COPIED_HI;
    writeEntryWords(geometry, table, index, hi, ((guest % two32) & OFFSET_LO) | (isExtended ? 0 : ZERO_LO));
    writeSubclusters(geometry, table, index, 0, 0xffffffff);
    return 'kept';
  }
  keepAsZero();
  return 'kept';
}
