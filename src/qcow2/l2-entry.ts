/*
 * L2 entries, standard and extended: what an entry says about a cluster or a subcluster, and how entries are made. Works on
 * u32 halves (bit operators are safe there).
 * Rule source: qcow2 specification, L2 table entry, extended L2 entries, compressed cluster descriptor.
 */
import type { HostPosition } from '../core/util/offsets.ts';
import type { Geometry } from './address.ts';
import { COMPRESSED_HI, COPIED_HI, OFFSET_HI, OFFSET_LO, two32, ZERO_LO } from './layout.ts';
import type { CachedTable } from './table-cache.ts';

/** What a cluster (or subcluster) is. */
export const clusterKind = {
  /** Not here: the backing file has it, else zeros. */
  unallocated: 0,
  /** Extended L2: not here, though the cluster has a place. */
  unallocatedPlaced: 1,
  zero: 2,
  /** Reads as zeros, and the cluster has a place. */
  zeroPlaced: 3,
  data: 4,
  compressed: 5,
  /** A contradiction: allocated and zero, or allocated without a place. */
  invalid: 6,
} as const;
export type ClusterKind = number;

/** An entry taken apart; reused by its owner. */
export interface L2Entry {
  hi: number;
  lo: number;
  /** Extended L2: allocated and zero bits of the 32 subclusters. */
  allocated: number;
  zeros: number;
  /** Host offset of the cluster; 0 for none. Not for compressed entries. */
  offset: HostPosition;
  isCopied: boolean;
  isCompressed: boolean;
}

export function newEntry(): L2Entry {
  return { hi: 0, lo: 0, allocated: 0, zeros: 0, offset: 0, isCopied: false, isCompressed: false };
}

export function readEntry(geometry: Geometry, table: CachedTable, index: number, into: L2Entry): L2Entry {
  const at = index * geometry.entrySize;
  const hi = table.view.getUint32(at);
  const lo = table.view.getUint32(at + 4);
  into.hi = hi;
  into.lo = lo;
  into.offset = (hi & OFFSET_HI) * two32 + ((lo & OFFSET_LO) >>> 0);
  into.isCopied = (hi & COPIED_HI) !== 0;
  into.isCompressed = (hi & COMPRESSED_HI) !== 0;
  if (geometry.isExtended) {
    into.zeros = table.view.getUint32(at + 8);
    into.allocated = table.view.getUint32(at + 12);
  }
  return into;
}

/** The kind of a standard entry's cluster. With an external data file an entry with COPIED has a place, even at 0. */
export function standardKind(entry: L2Entry, hasDataFile: boolean): ClusterKind {
  if (entry.isCompressed) return clusterKind.compressed;
  const isPlaced = entry.offset !== 0 || (hasDataFile && entry.isCopied);
  if ((entry.lo & ZERO_LO) !== 0) return isPlaced ? clusterKind.zeroPlaced : clusterKind.zero;
  return isPlaced ? clusterKind.data : clusterKind.unallocated;
}

/** The kind of subcluster `index` of an extended entry. */
export function subclusterKind(entry: L2Entry, index: number, hasDataFile: boolean): ClusterKind {
  if (entry.isCompressed) return clusterKind.compressed;
  const bit = 1 << index;
  const isZero = (entry.zeros & bit) !== 0;
  const isAllocated = (entry.allocated & bit) !== 0;
  const isPlaced = entry.offset !== 0 || (hasDataFile && entry.isCopied);
  if (isZero) return isAllocated ? clusterKind.invalid : isPlaced ? clusterKind.zeroPlaced : clusterKind.zero;
  if (isAllocated) return isPlaced ? clusterKind.data : clusterKind.invalid;
  return isPlaced ? clusterKind.unallocatedPlaced : clusterKind.unallocated;
}

/** Subclusters from `index` on that share its state, inside one cluster. */
export function subclusterRun(entry: L2Entry, index: number): number {
  if (entry.isCompressed) return 32 - index;
  const same = (word: number): number => {
    // bits that differ from the one at `index`, above it
    const differs = ((word >>> index) & 1) !== 0 ? ~word >>> index : word >>> index;
    return differs === 0 ? 32 : 31 - Math.clz32(differs & -differs);
  };
  return Math.min(32 - index, same(entry.allocated), same(entry.zeros));
}

/** A mask of `count` subclusters from `first` on. */
export function subclusterMask(first: number, count: number): number {
  if (count <= 0) return 0;
  const ones = count >= 32 ? 0xffffffff : (1 << count) - 1;
  return (ones << first) >>> 0;
}

/** Writes an entry that points at `offset` (0 = none). */
export function writeEntry(
  geometry: Geometry,
  table: CachedTable,
  index: number,
  offset: HostPosition,
  flags: { readonly isCopied?: boolean; readonly isZero?: boolean },
): void {
  const at = index * geometry.entrySize;
  table.view.setUint32(at, (Math.floor(offset / two32) | (flags.isCopied ? COPIED_HI : 0)) >>> 0);
  table.view.setUint32(at + 4, ((offset % two32) | (flags.isZero ? ZERO_LO : 0)) >>> 0);
}

/** Writes an entry as two halves. */
export function writeEntryWords(geometry: Geometry, table: CachedTable, index: number, hi: number, lo: number): void {
  const at = index * geometry.entrySize;
  table.view.setUint32(at, hi >>> 0);
  table.view.setUint32(at + 4, lo >>> 0);
}

/** Writes the subcluster bits of an extended entry; nothing in standard images. */
export function writeSubclusters(geometry: Geometry, table: CachedTable, index: number, allocated: number, zeros: number): void {
  if (!geometry.isExtended) return;
  const at = index * geometry.entrySize;
  table.view.setUint32(at + 8, zeros >>> 0);
  table.view.setUint32(at + 12, allocated >>> 0);
}

/** Where a compressed cluster lies: byte offset, and the bytes that its sectors make available from there. */
export function compressedExtent(geometry: Geometry, hi: number, lo: number): { offset: HostPosition; length: number } {
  const offsetBits = 62 - (geometry.clusterBits - 8);
  // the offset takes more than 32 bits for every cluster size: the split lies in the upper half
  const hiBits = offsetBits - 32;
  const hiMask = 2 ** hiBits - 1;
  const offset = (hi & 0x3fffffff & hiMask) * two32 + lo;
  const sectors = ((hi & 0x3fffffff) >>> hiBits) + 1;
  return { offset, length: sectors * 512 - (lo & 511) };
}

/** Halves of the entry for `length` compressed bytes at `offset`. */
export function compressedEntry(geometry: Geometry, offset: HostPosition, length: number): { hi: number; lo: number } {
  const hiBits = 62 - (geometry.clusterBits - 8) - 32;
  const extra = Math.floor((offset + length - 1) / 512) - Math.floor(offset / 512);
  return { hi: (COMPRESSED_HI | (extra << hiBits) | Math.floor(offset / two32)) >>> 0, lo: (offset % two32) >>> 0 };
}

/** The entry as the 16 hexadecimal digits that messages show. */
export function entryHex(hi: number, lo: number): string {
  return ((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString(16);
}
