/*
 * How often each host cluster is referenced, counted by walking every structure of the image. Collects findings; changes
 * nothing but, where repair is asked for, entries that are beyond use.
 * Rule source: qcow2 specification; messages as observed.
 */
import type { CheckResult } from '../core/block/driver.ts';
import { getU32, getU64 } from '../core/util/bytes.ts';
import { ceilDiv } from '../core/util/math.ts';
import type { Geometry } from './address.ts';
import type { Qcow2Image } from './image.ts';
import { compressedExtent, entryHex } from './l2-entry.ts';
import {
  COMPRESSED_HI,
  COPIED_HI,
  L1_RESERVED_HI,
  L1_RESERVED_LO,
  L2_RESERVED_HI,
  L2_RESERVED_LO,
  maxL1Bytes,
  OFFSET_HI,
  OFFSET_LO,
  two32,
  ZERO_LO,
} from './layout.ts';
import { hex } from './mapping.ts';
import { maxRefcount } from './refcount-blocks.ts';

export interface CheckFix {
  readonly leaks: boolean;
  readonly errors: boolean;
}

export class ReferenceCounts {
  /** References by cluster index; longer than the file when structures lie behind its end. */
  counts: Uint32Array;
  /** Clusters that the walk covers. */
  clusters: number;
  readonly #limit: number;
  readonly #clusterSize: number;
  /** Bytes of the image file. */
  fileSize: number;

  constructor(clusterSize: number, fileSize: number, refcountBits: number) {
    this.#clusterSize = clusterSize;
    this.fileSize = fileSize;
    this.#limit = Math.min(maxRefcount(refcountBits), 0xffffffff);
    this.clusters = ceilDiv(fileSize, clusterSize);
    this.counts = new Uint32Array(Math.max(16, this.clusters));
  }

  /** Counts a reference to every cluster of the range. `shown` is the exact offset where a number cannot hold it. */
  add(offset: number, length: number, result: CheckResult, shown: bigint = BigInt(offset)): void {
    if (length <= 0) return;
    if (offset + length - this.fileSize >= this.#clusterSize) {
      result.corruptions++;
      result.messages.push(
        `ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x${shown.toString(16)} size 0x${length.toString(16)}`,
      );
      return;
    }
    const end = Math.floor((offset + length - 1) / this.#clusterSize) + 1;
    this.grow(end);
    for (let cluster = Math.floor(offset / this.#clusterSize); cluster < end; cluster++) {
      const count = this.counts[cluster] ?? 0;
      if (count >= this.#limit) {
        result.corruptions++;
        result.messages.push(`ERROR: overflow cluster offset=0x${(cluster * this.#clusterSize).toString(16)}`);
        result.messages.push(
          'Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing',
        );
        continue;
      }
      this.counts[cluster] = count + 1;
    }
  }

  grow(clusters: number): void {
    if (clusters <= this.clusters) return;
    if (clusters > this.counts.length) {
      const larger = new Uint32Array(Math.max(clusters, Math.ceil(this.counts.length * 1.5)));
      larger.set(this.counts);
      this.counts = larger;
    }
    this.clusters = clusters;
  }
}

/** Counts all references but those of the refcount blocks (their state decides about repair: see check.ts). */
export async function countReferences(image: Qcow2Image, fix: CheckFix, result: CheckResult, snapshotBytes: number): Promise<ReferenceCounts> {
  const { header, geometry } = image;
  const { clusterSize } = geometry;
  const counts = new ReferenceCounts(clusterSize, image.file.size(), geometry.refcountBits);
  counts.add(0, clusterSize, result);
  await countL1(image, counts, { offset: header.l1Offset, entries: image.l1Entries, isActive: true }, fix, result);
  if (image.hasDataFile && image.snapshots.length > 0) {
    result.corruptions++;
    result.messages.push(`ERROR ${image.snapshots.length} snapshots in image with data file`);
  }
  for (const snapshot of image.snapshots) {
    const title = `ERROR snapshot ${snapshot.id} (${snapshot.name})`;
    if (snapshot.l1Offset % clusterSize !== 0) {
      result.corruptions++;
      result.messages.push(`${title} l1_offset=${hex(snapshot.l1Offset)}: L1 table is not cluster aligned; snapshot table entry corrupted`);
      continue;
    }
    if (snapshot.l1Size > maxL1Bytes / 8) {
      result.corruptions++;
      result.messages.push(`${title} l1_size=${hex(snapshot.l1Size)}: L1 table is too large; snapshot table entry corrupted`);
      continue;
    }
    await countL1(image, counts, { offset: snapshot.l1Offset, entries: snapshot.l1Size, isActive: false }, fix, result);
  }
  counts.add(header.snapshotsOffset, snapshotBytes, result);
  if (header.crypto !== undefined) counts.add(header.crypto.offset, header.crypto.length, result);
  await countBitmaps(image, counts, result);
  counts.add(header.refcountTableOffset, header.refcountTableClusters * clusterSize, result);
  return counts;
}

async function countBitmaps(image: Qcow2Image, counts: ReferenceCounts, result: CheckResult): Promise<void> {
  const { bitmaps } = image.header;
  if (bitmaps === undefined) return;
  const { clusterSize } = image.geometry;
  counts.add(bitmaps.directoryOffset, bitmaps.directorySize, result);
  const directory = new Uint8Array(bitmaps.directorySize);
  await image.file.read(bitmaps.directoryOffset, directory);
  for (let at = 0; at + 24 <= directory.length; ) {
    const tableOffset = getU64(directory, at);
    const entries = getU32(directory, at + 8);
    counts.add(tableOffset, entries * 8, result);
    const table = new Uint8Array(entries * 8);
    await image.file.read(tableOffset, table);
    for (let entry = 0; entry < table.length; entry += 8) {
      const offset = (getU32(table, entry) & OFFSET_HI) * two32 + ((getU32(table, entry + 4) & OFFSET_LO) >>> 0);
      if (offset !== 0) counts.add(offset, clusterSize, result);
    }
    const length = 24 + getU32(directory, at + 20) + (((directory[at + 18] ?? 0) << 8) | (directory[at + 19] ?? 0));
    at += Math.ceil(length / 8) * 8;
  }
}

interface L1Place {
  readonly offset: number;
  readonly entries: number;
  readonly isActive: boolean;
}

async function countL1(image: Qcow2Image, counts: ReferenceCounts, place: L1Place, fix: CheckFix, result: CheckResult): Promise<void> {
  const { clusterSize } = image.geometry;
  if (place.entries === 0) return;
  counts.add(place.offset, place.entries * 8, result);
  const l1 = new Uint8Array(place.entries * 8);
  await image.file.read(place.offset, l1);
  for (let at = 0; at < l1.length; at += 8) {
    const hi = getU32(l1, at);
    const lo = getU32(l1, at + 4);
    if (hi === 0 && lo === 0) continue;
    if ((hi & L1_RESERVED_HI) !== 0 || (lo & L1_RESERVED_LO) !== 0) {
      result.corruptions++;
      result.messages.push(`ERROR found L1 entry with reserved bits set: ${entryHex(hi, lo)}`);
    }
    const offset = (hi & OFFSET_HI) * two32 + ((lo & OFFSET_LO) >>> 0);
    counts.add(offset, clusterSize, result);
    if (offset % clusterSize !== 0) {
      result.corruptions++;
      result.messages.push(`ERROR l2_offset=${offset.toString(16)}: Table is not cluster aligned; L1 entry corrupted`);
    }
    await countL2(image, counts, offset, place.isActive, fix, result);
  }
}

function exactOffset(geometry: Geometry, hi: number, lo: number): bigint {
  const bits = BigInt(62 - (geometry.clusterBits - 8));
  return BigInt.asUintN(Number(bits), (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0));
}

async function countL2(image: Qcow2Image, counts: ReferenceCounts, tableOffset: number, isActive: boolean, fix: CheckFix, result: CheckResult): Promise<void> {
  const { geometry } = image;
  const { clusterSize, entrySize, isExtended } = geometry;
  const bytes = new Uint8Array(clusterSize);
  await image.file.read(tableOffset, bytes);
  const view = new DataView(bytes.buffer);
  const say = (text: string): void => {
    result.corruptions++;
    result.messages.push(text);
  };
  let expected = 0;
  let hasChanged = false;
  for (let at = 0; at < clusterSize; at += entrySize) {
    let hi = view.getUint32(at);
    const lo = view.getUint32(at + 4);
    const zeros = isExtended ? view.getUint32(at + 8) : 0;
    const allocated = isExtended ? view.getUint32(at + 12) : 0;
    if (hi === 0 && lo === 0 && allocated === 0) continue;
    const index = at / entrySize;
    if ((hi & COMPRESSED_HI) !== 0) {
      if (image.hasDataFile) {
        say(`ERROR compressed cluster ${index} with data file, entry=0x${entryHex(hi, lo)}`);
        continue;
      }
      if ((hi & COPIED_HI) !== 0) {
        say(`ERROR: coffset=0x${exactOffset(geometry, hi, lo).toString(16)}: copied flag must never be set for compressed clusters`);
        hi = (hi & ~COPIED_HI) >>> 0;
      }
      if (zeros !== 0 || allocated !== 0) {
        say(`ERROR compressed cluster ${index} with non-zero subcluster allocation bitmap, entry=0x${entryHex(hi, lo)}`);
        continue;
      }
      const { offset, length } = compressedExtent(geometry, hi, lo);
      counts.add(offset, length, result, exactOffset(geometry, hi, lo));
      if (isActive) {
        result.allocatedClusters++;
        result.compressedClusters++;
        // a stream is never where its guest neighbour would expect it
        result.fragmentedClusters++;
      }
      continue;
    }
    if ((hi & L2_RESERVED_HI) !== 0 || (lo & L2_RESERVED_LO) !== 0) say(`ERROR found l2 entry with reserved bits set: ${entryHex(hi, lo)}`);
    const offset = (hi & OFFSET_HI) * two32 + ((lo & OFFSET_LO) >>> 0);
    const isPlaced = offset !== 0 || (image.hasDataFile && (hi & COPIED_HI) !== 0);
    if (!isPlaced) {
      if (isExtended && allocated !== 0) say('ERROR: Unallocated cluster has non-zero subcluster allocation map');
      continue;
    }
    if (isExtended && (zeros & allocated) !== 0) {
      say(`ERROR offset=${offset.toString(16)}: Allocated cluster has corrupted subcluster allocation bitmap`);
    }
    if (offset % clusterSize !== 0) {
      const holdsData = isExtended ? allocated !== 0 : (lo & ZERO_LO) === 0;
      if (holdsData) say(`ERROR offset=${offset.toString(16)}: Data cluster is not properly aligned; L2 entry corrupted.`);
      else {
        result.messages.push(
          `${fix.errors ? 'Repairing' : 'ERROR'} offset=${offset.toString(16)}: Preallocated cluster is not properly aligned; L2 entry corrupted.`,
        );
        if (fix.errors) {
          view.setUint32(at, 0);
          view.setUint32(at + 4, isExtended ? 0 : ZERO_LO);
          if (isExtended) {
            view.setUint32(at + 8, 0xffffffff);
            view.setUint32(at + 12, 0);
          }
          hasChanged = true;
          result.corruptionsFixed++;
          continue;
        }
        result.corruptions++;
      }
    }
    if (isActive) {
      result.allocatedClusters++;
      if (expected !== 0 && offset !== expected) result.fragmentedClusters++;
      expected = offset + clusterSize;
    }
    if (!image.hasDataFile) counts.add(offset, clusterSize, result);
  }
  if (!hasChanged) return;
  image.l2Cache.forget(tableOffset, clusterSize);
  await image.writeFile(tableOffset, bytes);
  await image.flushMedium();
}
