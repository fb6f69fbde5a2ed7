/*
 * Lookup of guest ranges: the longest run at a guest offset that is of one kind and lies in one piece on the host.
 * Takes no lock and makes no promise: when the L2 slice is not cached it says so, and `loadSlice` gets it. A writer's
 * variant looks for clusters that may be overwritten in place.
 * Rule source: qcow2 specification, cluster mapping.
 */

import type { BlockError } from '../core/util/errors.ts';
import { chain, type Maybe } from '../core/util/maybe.ts';
import type { GuestPosition, HostPosition } from '../core/util/offsets.ts';
import { l1IndexOf, sliceIndexOf, sliceOffsetOf } from './address.ts';
import type { Qcow2Image } from './image.ts';
import { type ClusterKind, clusterKind, type L2Entry, newEntry, readEntry, standardKind, subclusterKind, subclusterRun } from './l2-entry.ts';
import { ZERO_LO } from './layout.ts';
import { type Steps, wait } from './steps.ts';
import type { CachedTable } from './table-cache.ts';

/** What lookup found. Owned and reused by the caller. */
export interface Run {
  kind: ClusterKind;
  /** Host offset of the first byte for data and placed kinds. */
  host: HostPosition;
  /** Bytes of the run, at most what was asked. */
  length: number;
  /** The entry, for compressed clusters. */
  hi: number;
  lo: number;
}

export function newRun(): Run {
  return { kind: clusterKind.unallocated, host: 0, length: 0, hi: 0, lo: 0 };
}

// scratch of the synchronous lookups below: never live across a yield
const first = newEntry();
const next = newEntry();

/**
 * Looks up the run at `guest` (< virtual size), at most `length` > 0 bytes. False: the slice has to be loaded first.
 * Throws EIO, marking the image corrupt, when an entry is unaligned or contradictory.
 */
export function lookup(image: Qcow2Image, guest: GuestPosition, length: number, run: Run): boolean {
  const { geometry } = image;
  const l1Index = l1IndexOf(geometry, guest);
  const tableOffset = image.l2TableOf(l1Index);
  if (tableOffset === 0) {
    // whole L2 ranges without a table: one run
    let end = (l1Index + 1) * geometry.bytesPerL2;
    for (let index = l1Index + 1; end < guest + length && image.l2TableOf(index) === 0; index++) end += geometry.bytesPerL2;
    run.kind = clusterKind.unallocated;
    run.length = Math.min(length, end - guest);
    return true;
  }
  if (tableOffset % geometry.clusterSize !== 0) throw badTable(image, tableOffset, l1Index);
  const table = image.l2Cache.peek(tableOffset + sliceOffsetOf(geometry, guest));
  if (table === undefined) return false;
  const index = sliceIndexOf(geometry, guest);
  if (geometry.isExtended) lookupExtended(image, table, index, guest, length, run);
  else lookupStandard(image, table, index, guest, length, run);
  return true;
}

function lookupStandard(image: Qcow2Image, table: CachedTable, index: number, guest: GuestPosition, length: number, run: Run): void {
  const { geometry } = image;
  const { clusterSize } = geometry;
  const entry = readEntry(geometry, table, index, first);
  const kind = standardKind(entry, image.hasDataFile);
  const inside = guest % clusterSize;
  run.kind = kind;
  run.hi = entry.hi;
  run.lo = entry.lo;
  checkEntry(image, table, index, entry, kind, guest);
  let run_ = clusterSize - inside;
  if (kind === clusterKind.compressed) {
    run.length = Math.min(length, run_);
    return;
  }
  run.host = entry.offset + inside;
  const isPlaced = kind === clusterKind.data || kind === clusterKind.zeroPlaced;
  let host = entry.offset;
  for (let at = index + 1; run_ < length && at < geometry.sliceEntries; at++) {
    readEntry(geometry, table, at, next);
    if (standardKind(next, image.hasDataFile) !== kind) break;
    if (isPlaced) {
      host += clusterSize;
      if (next.offset !== host) break;
    }
    run_ += clusterSize;
  }
  run.length = Math.min(length, run_);
}

function lookupExtended(image: Qcow2Image, table: CachedTable, index: number, guest: GuestPosition, length: number, run: Run): void {
  const { geometry } = image;
  const { clusterSize, subclusterSize } = geometry;
  const entry = readEntry(geometry, table, index, first);
  const inside = guest % clusterSize;
  const sub = Math.floor(inside / subclusterSize);
  const kind = subclusterKind(entry, sub, image.hasDataFile);
  run.kind = kind;
  run.hi = entry.hi;
  run.lo = entry.lo;
  run.host = entry.offset + inside;
  checkEntry(image, table, index, entry, kind, guest);
  let end = sub + subclusterRun(entry, sub);
  let found = end * subclusterSize - inside;
  const isPlaced = kind === clusterKind.data || kind === clusterKind.zeroPlaced || kind === clusterKind.unallocatedPlaced;
  let host = entry.offset;
  for (let at = index + 1; kind !== clusterKind.compressed && end === 32 && found < length && at < geometry.sliceEntries; at++) {
    readEntry(geometry, table, at, next);
    if (subclusterKind(next, 0, image.hasDataFile) !== kind) break;
    host += clusterSize;
    if (isPlaced && next.offset !== host) break;
    end = subclusterRun(next, 0);
    found += end * subclusterSize;
  }
  run.length = Math.min(length, found);
}

function checkEntry(image: Qcow2Image, table: CachedTable, index: number, entry: L2Entry, kind: ClusterKind, guest: GuestPosition): void {
  if (kind === clusterKind.unallocated) return;
  const { geometry } = image;
  const isAligned = entry.offset % geometry.clusterSize === 0;
  if (kind === clusterKind.data || kind === clusterKind.unallocatedPlaced) {
    if (!isAligned) throw badEntry(image, `Cluster allocation offset ${hex(entry.offset)} unaligned`, table, index);
  } else if (kind === clusterKind.compressed) {
    if (image.hasDataFile) throw badEntry(image, 'Compressed cluster entry found in image with external data file', table, index);
  } else if (kind === clusterKind.invalid) {
    throw badEntry(image, 'Invalid cluster entry found ', table, index);
  } else {
    if (geometry.version < 3 && (entry.lo & ZERO_LO) !== 0) throw badEntry(image, 'Zero cluster entry found in pre-v3 image', table, index);
    if (!isAligned) throw badEntry(image, `Cluster allocation offset ${hex(entry.offset)} unaligned`, table, index);
  }
  if (image.hasDataFile && kind !== clusterKind.zero && kind !== clusterKind.compressed) {
    const expected = guest - (guest % geometry.clusterSize);
    if (entry.offset !== expected) {
      const text = `External data file host cluster offset ${hex(entry.offset)} does not match guest cluster offset: ${hex(expected)}, L2 index: ${hex(index)})`;
      throw image.reportCorruption(text, { isFatal: true });
    }
  }
}

/** C's `%#x`: a zero has no prefix. */
export function hex(value: number): string {
  return value === 0 ? '0' : `0x${value.toString(16)}`;
}

function badEntry(image: Qcow2Image, what: string, table: CachedTable, index: number): BlockError {
  const { clusterSize, sliceSize, entrySize } = image.geometry;
  const tableOffset = table.offset - (table.offset % clusterSize);
  const indexInTable = index + (table.offset - tableOffset) / entrySize;
  return image.reportCorruption(`${what} (L2 offset: ${hex(tableOffset)}, L2 index: ${hex(sliceSize === clusterSize ? index : indexInTable)})`, {
    isFatal: true,
  });
}

/** A cluster that cannot be where entry `index` of a slice says. */
export function badCluster(image: Qcow2Image, table: CachedTable, index: number, offset: HostPosition): BlockError {
  const { clusterSize, entrySize } = image.geometry;
  const tableOffset = table.offset - (table.offset % clusterSize);
  const inTable = index + (table.offset - tableOffset) / entrySize;
  const text = `Cluster allocation offset ${hex(offset)} unaligned (L2 offset: ${hex(tableOffset)}, L2 index: ${hex(inTable)})`;
  return image.reportCorruption(text, { isFatal: true });
}

export function badTable(image: Qcow2Image, offset: HostPosition, l1Index: number): BlockError {
  return image.reportCorruption(`L2 table offset ${hex(offset)} unaligned (L1 index: ${hex(l1Index)})`, { isFatal: true });
}

/** Loads the slice that maps `guest`; the caller looks up again afterwards. Takes no lock. */
export function loadSlice(image: Qcow2Image, guest: GuestPosition): Maybe<void> {
  const tableOffset = image.l2TableOf(l1IndexOf(image.geometry, guest));
  if (tableOffset === 0) return;
  if (tableOffset % image.geometry.clusterSize !== 0) throw badTable(image, tableOffset, l1IndexOf(image.geometry, guest));
  return image.l2Cache.load(tableOffset + sliceOffsetOf(image.geometry, guest));
}

/** Lookup that loads what it needs. */
export function lookupLoaded(image: Qcow2Image, guest: GuestPosition, length: number, run: Run): Maybe<Run> {
  if (lookup(image, guest, length, run)) return run;
  return chain(loadSlice(image, guest), () => lookupLoaded(image, guest, length, run));
}

export function* lookupSteps(image: Qcow2Image, guest: GuestPosition, length: number, run: Run): Steps<Run> {
  while (!lookup(image, guest, length, run)) yield* wait(loadSlice(image, guest));
  return run;
}

/**
 * Bytes from `guest` on, at most `length`, that can be overwritten where they lie, in one piece: allocated data whose
 * clusters are ours alone. 0 when the first cluster is not such, or its slice is not cached. Sets `run.host`.
 */
export function lookupInPlace(image: Qcow2Image, guest: GuestPosition, length: number, run: Run): number {
  const { geometry } = image;
  const tableOffset = image.l2TableOf(l1IndexOf(geometry, guest));
  // a table shared with a snapshot must be copied before its clusters can be told to be ours
  if (tableOffset === 0 || tableOffset % geometry.clusterSize !== 0 || !image.isL2Copied(l1IndexOf(geometry, guest))) return 0;
  const table = image.l2Cache.peek(tableOffset + sliceOffsetOf(geometry, guest));
  if (table === undefined) return 0;
  const { clusterSize, subclusterSize } = geometry;
  const inside = guest % clusterSize;
  let index = sliceIndexOf(geometry, guest);
  const entry = readEntry(geometry, table, index, first);
  if (!entry.isCopied) return 0;
  let found: number;
  if (geometry.isExtended) {
    const sub = Math.floor(inside / subclusterSize);
    const kind = subclusterKind(entry, sub, image.hasDataFile);
    if (kind !== clusterKind.data) return 0;
    checkEntry(image, table, index, entry, kind, guest);
    found = (sub + subclusterRun(entry, sub)) * subclusterSize - inside;
  } else {
    const kind = standardKind(entry, image.hasDataFile);
    if (kind !== clusterKind.data) return 0;
    checkEntry(image, table, index, entry, kind, guest);
    found = clusterSize - inside;
  }
  run.host = entry.offset + inside;
  let host = entry.offset;
  while (found < length && (inside + found) % clusterSize === 0 && ++index < geometry.sliceEntries) {
    readEntry(geometry, table, index, next);
    host += clusterSize;
    if (!next.isCopied || next.offset !== host) break;
    if (geometry.isExtended) {
      if (subclusterKind(next, 0, image.hasDataFile) !== clusterKind.data) break;
      found += subclusterRun(next, 0) * subclusterSize;
    } else {
      if (standardKind(next, image.hasDataFile) !== clusterKind.data) break;
      found += clusterSize;
    }
  }
  return Math.min(found, length);
}
