/*
 * Geometry of an image, and the split of a guest offset into L1, L2 and slice indices. Pure arithmetic on numbers up to
 * 2^53 - 1; all sizes are powers of two, so divisions are exact.
 * Rule source: qcow2 specification, cluster mapping.
 */

import { ceilDiv } from '../core/util/math.ts';
import type { GuestPosition } from '../core/util/offsets.ts';
import { subclustersPerCluster } from './layout.ts';

export interface Geometry {
  readonly clusterBits: number;
  readonly clusterSize: number;
  /** Entries of 16 bytes with a bitmap of 32 subclusters. */
  readonly isExtended: boolean;
  /** Bytes of an L2 entry. */
  readonly entrySize: number;
  /** Entries of one L2 table. */
  readonly l2Entries: number;
  /** Guest bytes mapped by one L2 table. */
  readonly bytesPerL2: number;
  /** The part of an L2 table that is loaded and written at once. */
  readonly sliceSize: number;
  readonly sliceEntries: number;
  /** The cluster itself without extended L2. */
  readonly subclusterSize: number;
  readonly refcountBits: number;
  readonly refcountsPerBlock: number;
  readonly version: number;
}

export function makeGeometry(parts: { clusterBits: number; isExtended: boolean; refcountOrder: number; version: number; sliceSize?: number }): Geometry {
  const clusterSize = 2 ** parts.clusterBits;
  const entrySize = parts.isExtended ? 16 : 8;
  const sliceSize = parts.sliceSize ?? clusterSize;
  const refcountBits = 2 ** parts.refcountOrder;
  return {
    clusterBits: parts.clusterBits,
    clusterSize,
    isExtended: parts.isExtended,
    entrySize,
    l2Entries: clusterSize / entrySize,
    bytesPerL2: (clusterSize / entrySize) * clusterSize,
    sliceSize,
    sliceEntries: sliceSize / entrySize,
    subclusterSize: parts.isExtended ? clusterSize / subclustersPerCluster : clusterSize,
    refcountBits,
    refcountsPerBlock: (clusterSize * 8) / refcountBits,
    version: parts.version,
  };
}

/** Index into the L1 table of the entry that maps `guest`. */
export function l1IndexOf(geometry: Geometry, guest: GuestPosition): number {
  return Math.floor(guest / geometry.bytesPerL2);
}

/** Byte offset of the slice with `guest`'s entry inside its L2 table. */
export function sliceOffsetOf(geometry: Geometry, guest: GuestPosition): number {
  const index = Math.floor(guest / geometry.clusterSize) % geometry.l2Entries;
  return Math.floor(index / geometry.sliceEntries) * geometry.sliceSize;
}

/** Index of `guest`'s entry inside its slice. */
export function sliceIndexOf(geometry: Geometry, guest: GuestPosition): number {
  return Math.floor(guest / geometry.clusterSize) % geometry.sliceEntries;
}

/** L1 entries that a disk of `size` bytes needs. */
export function l1EntriesFor(geometry: Geometry, size: number): number {
  return ceilDiv(size, geometry.bytesPerL2);
}
