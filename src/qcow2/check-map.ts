/*
 * How often each host cluster is referenced, counted by walking every structure of the image. Collects findings; changes
 * nothing but, where repair is asked for, entries that are beyond use. Tables are read in portions and loops take turns with
 * the rest of the program: nothing here is sized, and nobody waits, by what a field says.
 * Rule source: qcow2 specification; messages as observed.
 */
import { getU32, getU64, setU32 } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import type { Geometry } from './address.ts';
import { ReferenceCounts } from './check-counts.ts';
import type { Findings } from './check-findings.ts';
import type { Qcow2Image } from './image.ts';
import { compressedExtent, entryHex } from './l2-entry.ts';
import {
  bitmapEntrySize,
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
import { structure } from './overlap.ts';
import { repairWrite } from './repair-write.ts';
import { run as carryOut } from './steps.ts';

/** Bytes of a table that are read at once. */
const portion = 65536;
/** More clusters than this are not counted. */
const maxClusters = 0x7fffffff;

/** Counts all references but those of the refcount blocks (their state decides about repair: see check.ts). */
export async function countReferences(image: Qcow2Image, findings: Findings): Promise<ReferenceCounts> {
  const { header, geometry } = image;
  const { clusterSize } = geometry;
  const counts = new ReferenceCounts(clusterSize, image.file.size(), geometry.refcountBits);
  if (counts.clusters > maxClusters) throw new BlockError('File too large', { code: 'EFBIG' });
  const walk = new Walk(image, counts, findings);
  counts.add(0, clusterSize, findings);
  await walk.l1(header.l1Offset, image.l1Entries, true);
  if (image.hasDataFile && image.snapshots.length > 0) findings.corruption(`ERROR ${image.snapshots.length} snapshots in image with data file`);
  for (const snapshot of image.snapshots) {
    const title = `ERROR snapshot ${snapshot.id} (${snapshot.name})`;
    if (snapshot.l1Offset % clusterSize !== 0) {
      findings.corruption(`${title} l1_offset=${hex(snapshot.l1Offset)}: L1 table is not cluster aligned; snapshot table entry corrupted`);
      continue;
    }
    if (snapshot.l1Size > maxL1Bytes / 8) {
      findings.corruption(`${title} l1_size=${hex(snapshot.l1Size)}: L1 table is too large; snapshot table entry corrupted`);
      continue;
    }
    await walk.l1(snapshot.l1Offset, snapshot.l1Size, false);
  }
  counts.add(header.snapshotsOffset, image.snapshotTableBytes, findings);
  if (header.crypto !== undefined) counts.add(header.crypto.offset, header.crypto.length, findings);
  await walk.bitmaps();
  counts.add(header.refcountTableOffset, header.refcountTableClusters * clusterSize, findings);
  return counts;
}

function exactOffset(geometry: Geometry, hi: number, lo: number): bigint {
  const bits = BigInt(62 - (geometry.clusterBits - 8));
  return BigInt.asUintN(Number(bits), (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0));
}

/** An L2 table on the way: what its entries are told by. */
interface Table {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly isActive: boolean;
  /** Where the next cluster would be in an image that is not fragmented; 0 = not known. */
  expected: number;
}

class Walk {
  readonly #image: Qcow2Image;
  readonly #counts: ReferenceCounts;
  readonly #findings: Findings;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(image: Qcow2Image, counts: ReferenceCounts, findings: Findings) {
    this.#image = image;
    this.#counts = counts;
    this.#findings = findings;
    this.#bytes = new Uint8Array(image.geometry.clusterSize);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Calls `use` with the halves of every u64 of a table in the file, in order. */
  async #words(offset: number, length: number, use: (hi: number, lo: number) => Promise<void> | void): Promise<void> {
    const buffer = new Uint8Array(Math.min(length, portion));
    for (let done = 0; done < length; done += buffer.length) {
      const part = buffer.subarray(0, Math.min(buffer.length, length - done));
      await this.#image.readFile(offset + done, part);
      for (let at = 0; at + 8 <= part.length; at += 8) {
        const hi = getU32(part, at);
        const lo = getU32(part, at + 4);
        if (hi === 0 && lo === 0) continue;
        const pending = use(hi, lo);
        if (pending !== undefined) await pending;
      }
      await this.#image.budget.tick(part.length);
    }
  }

  async l1(offset: number, entries: number, isActive: boolean): Promise<void> {
    if (entries === 0) return;
    const { clusterSize } = this.#image.geometry;
    this.#counts.add(offset, entries * 8, this.#findings);
    await this.#words(offset, entries * 8, (hi, lo) => {
      if ((hi & L1_RESERVED_HI) !== 0 || (lo & L1_RESERVED_LO) !== 0) {
        this.#findings.corruption(`ERROR found L1 entry with reserved bits set: ${entryHex(hi, lo)}`);
      }
      const table = (hi & OFFSET_HI) * two32 + ((lo & OFFSET_LO) >>> 0);
      this.#counts.add(table, clusterSize, this.#findings);
      if (table % clusterSize !== 0) {
        this.#findings.corruption(`ERROR l2_offset=${table.toString(16)}: Table is not cluster aligned; L1 entry corrupted`);
      }
      return this.#l2(table, isActive);
    });
  }

  async #l2(offset: number, isActive: boolean): Promise<void> {
    const { clusterSize, entrySize } = this.#image.geometry;
    await this.#image.readFile(offset, this.#bytes);
    const table: Table = { offset, bytes: this.#bytes, view: this.#view, isActive, expected: 0 };
    let hasChanged = false;
    for (let at = 0; at < clusterSize; at += entrySize) {
      if (!this.#entry(table, at)) continue;
      await this.#makeZero(table, at);
      hasChanged = true;
    }
    if (hasChanged) await this.#image.flushMedium();
    await this.#image.budget.tick(clusterSize);
  }

  /** Counts what an L2 entry names. True when the entry is beyond use and to be made a plain zero. */
  #entry(table: Table, at: number): boolean {
    const image = this.#image;
    const { geometry } = image;
    const { isExtended, entrySize } = geometry;
    const { view } = table;
    const hi = view.getUint32(at);
    const lo = view.getUint32(at + 4);
    const zeros = isExtended ? view.getUint32(at + 8) : 0;
    const allocated = isExtended ? view.getUint32(at + 12) : 0;
    if (hi === 0 && lo === 0 && allocated === 0) return false;
    if ((hi & COMPRESSED_HI) !== 0) {
      const index = at / entrySize;
      if (image.hasDataFile) this.#findings.corruption(`ERROR compressed cluster ${index} with data file, entry=0x${entryHex(hi, lo)}`);
      else this.#compressed(table, { index, hi, lo, hasBits: zeros !== 0 || allocated !== 0 });
      return false;
    }
    if ((hi & L2_RESERVED_HI) !== 0 || (lo & L2_RESERVED_LO) !== 0)
      this.#findings.corruption(`ERROR found l2 entry with reserved bits set: ${entryHex(hi, lo)}`);
    const offset = (hi & OFFSET_HI) * two32 + ((lo & OFFSET_LO) >>> 0);
    const isPlaced = offset !== 0 || (image.hasDataFile && (hi & COPIED_HI) !== 0);
    if (!isPlaced) {
      if (isExtended && allocated !== 0) this.#findings.corruption('ERROR: Unallocated cluster has non-zero subcluster allocation map');
      return false;
    }
    if (isExtended && (zeros & allocated) !== 0) {
      this.#findings.corruption(`ERROR offset=${offset.toString(16)}: Allocated cluster has corrupted subcluster allocation bitmap`);
    }
    const holdsData = isExtended ? allocated !== 0 : (lo & ZERO_LO) === 0;
    return this.#placed(table, offset, holdsData);
  }

  #placed(table: Table, offset: number, holdsData: boolean): boolean {
    const { clusterSize } = this.#image.geometry;
    const { result, fix } = this.#findings;
    if (offset % clusterSize !== 0) {
      const what = `offset=${offset.toString(16)}: ${holdsData ? 'Data' : 'Preallocated'} cluster is not properly aligned; L2 entry corrupted.`;
      if (fix.errors && !holdsData) {
        this.#findings.say(`Repairing ${what}`);
        return true;
      }
      this.#findings.corruption(`ERROR ${what}`);
    }
    if (table.isActive) {
      result.allocatedClusters++;
      if (table.expected !== 0 && offset !== table.expected) result.fragmentedClusters++;
      table.expected = offset + clusterSize;
    }
    if (!this.#image.hasDataFile) this.#counts.add(offset, clusterSize, this.#findings);
    return false;
  }

  #compressed(table: Table, entry: { readonly index: number; readonly hi: number; readonly lo: number; readonly hasBits: boolean }): void {
    const { geometry } = this.#image;
    const { result } = this.#findings;
    const { index, lo, hasBits } = entry;
    let { hi } = entry;
    if ((hi & COPIED_HI) !== 0) {
      this.#findings.corruption(`ERROR: coffset=0x${exactOffset(geometry, hi, lo).toString(16)}: copied flag must never be set for compressed clusters`);
      hi = (hi & ~COPIED_HI) >>> 0;
    }
    if (hasBits) {
      this.#findings.corruption(`ERROR compressed cluster ${index} with non-zero subcluster allocation bitmap, entry=0x${entryHex(hi, lo)}`);
      return;
    }
    const { offset, length } = compressedExtent(geometry, hi, lo);
    this.#counts.add(offset, length, this.#findings, offset > Number.MAX_SAFE_INTEGER ? exactOffset(geometry, hi, lo) : undefined);
    if (!table.isActive) return;
    result.allocatedClusters++;
    result.compressedClusters++;
    // a stream is never where its guest neighbour would expect it
    result.fragmentedClusters++;
  }

  /** Rewrites one entry that has a place nobody can use: zeros without a place. */
  async #makeZero(table: Table, at: number): Promise<void> {
    const image = this.#image;
    const { entrySize, isExtended, clusterSize } = image.geometry;
    const entry = new Uint8Array(entrySize);
    if (isExtended) setU32(entry, 8, 0xffffffff);
    else setU32(entry, 4, ZERO_LO);
    try {
      image.l2Cache.forget(table.offset, clusterSize);
      await carryOut(repairWrite(image, table.offset + at, entry, table.isActive ? structure.activeL2 : structure.inactiveL2));
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      this.#findings.checkError(image.broken === undefined ? `ERROR: Failed to overwrite L2 table entry: ${error.message}` : 'ERROR: Overlap check failed');
      throw error;
    }
    this.#findings.result.corruptionsFixed++;
  }

  async bitmaps(): Promise<void> {
    const image = this.#image;
    const { bitmaps } = image.header;
    if (bitmaps === undefined) return;
    const { clusterSize } = image.geometry;
    this.#counts.add(bitmaps.directoryOffset, bitmaps.directorySize, this.#findings);
    const directory = new Uint8Array(bitmaps.directorySize);
    await image.readFile(bitmaps.directoryOffset, directory);
    for (let at = 0; at + bitmapEntrySize <= directory.length; ) {
      const tableOffset = getU64(directory, at);
      const length = getU32(directory, at + 8) * 8;
      this.#counts.add(tableOffset, length, this.#findings);
      await this.#words(tableOffset, length, (hi, lo) => {
        const offset = (hi & OFFSET_HI) * two32 + ((lo & OFFSET_LO) >>> 0);
        if (offset !== 0) this.#counts.add(offset, clusterSize, this.#findings);
      });
      at += Math.ceil((bitmapEntrySize + getU32(directory, at + 20) + (((directory[at + 18] ?? 0) << 8) | (directory[at + 19] ?? 0))) / 8) * 8;
    }
  }
}
