/*
 * Persistent dirty bitmaps of an image: read and checked at open, kept while the image is written, stored at close. While a
 * writer is at work they are marked in use on the medium, so that a cut leaves them inconsistent, never wrong.
 * Rule source: qcow2 specification, bitmaps; observed life of a bitmap between open and close.
 */
import { getText, getU16, getU32, getU64, setU32, setU64 } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp, ceilDiv } from '../core/util/math.ts';
import type { Qcow2Image } from './image.ts';
import type { BitmapDescription } from './info.ts';
import {
  autoclear,
  bitmapEntrySize,
  bitmapFlag,
  maxBitmapBytes,
  maxBitmapGranularityBits,
  maxBitmapNameLength,
  maxBitmapTableEntries,
  minBitmapGranularityBits,
} from './layout.ts';
import { structure } from './overlap.ts';
import { allocateClusters, type FreeReason, freeClusters, passDiscards } from './refcounts.ts';
import { run as carryOut, locked, type Steps, wait } from './steps.ts';

/** Bytes of a bitmap's table read at once. */
const tablePortion = 65536;

interface StoredBitmap {
  readonly name: string;
  /** Byte offset of the entry in the directory. */
  readonly at: number;
  readonly granularityBits: number;
  flags: number;
  tableOffset: number;
  tableEntries: number;
  /** Where its data lies: host offsets, 0 = all clear, 1 = all set. Loaded for consistent bitmaps of writable images. */
  data: number[];
  bits: Uint8Array | undefined;
}

/** Bytes of bits for `size` guest bytes. */
function bitBytes(size: number, granularityBits: number): number {
  return ceilDiv(ceilDiv(size, 2 ** granularityBits), 8);
}

export class Bitmaps {
  readonly #image: Qcow2Image;
  readonly #directory: Uint8Array;
  readonly #bitmaps: StoredBitmap[];
  #tracked: StoredBitmap[] = [];

  constructor(image: Qcow2Image, directory: Uint8Array, bitmaps: StoredBitmap[]) {
    this.#image = image;
    this.#directory = directory;
    this.#bitmaps = bitmaps;
  }

  get count(): number {
    return this.#bitmaps.length;
  }

  describe(): BitmapDescription[] {
    return this.#bitmaps.map(({ name, granularityBits, flags, bits }) => ({
      name,
      granularity: 2 ** granularityBits,
      // what we hold in memory is consistent, though marked in use on the medium
      flags: [...((flags & bitmapFlag.inUse) !== 0 && bits === undefined ? ['in-use'] : []), ...((flags & bitmapFlag.auto) !== 0 ? ['auto'] : [])],
    }));
  }

  /** Loads what is consistent and marks it in use, for a writer. */
  async begin(): Promise<void> {
    const consistent = this.#bitmaps.filter((bitmap) => (bitmap.flags & bitmapFlag.inUse) === 0);
    if (consistent.length === 0) return;
    for (const bitmap of consistent) await this.#load(bitmap);
    for (const bitmap of consistent) this.#setFlags(bitmap, bitmap.flags | bitmapFlag.inUse);
    await carryOut(this.#rewriteDirectory());
    this.#tracked = consistent.filter((bitmap) => (bitmap.flags & bitmapFlag.auto) !== 0);
  }

  async #load(bitmap: StoredBitmap): Promise<void> {
    const { clusterSize } = this.#image.geometry;
    const bits = new Uint8Array(bitBytes(this.#image.size, bitmap.granularityBits));
    bitmap.data = [];
    await forTable(this.#image, bitmap, (value) => bitmap.data.push(value));
    for (const [index, offset] of bitmap.data.entries()) {
      const part = bits.subarray(index * clusterSize, (index + 1) * clusterSize);
      if (offset === 1) part.fill(0xff);
      else if (offset !== 0) await this.#image.readFile(offset, part);
    }
    bitmap.bits = bits;
  }

  /** The guest changes [offset, offset + length). */
  noteChange(offset: number, length: number): void {
    if (this.#tracked.length === 0) return;
    for (const bitmap of this.#tracked) {
      const granularity = 2 ** bitmap.granularityBits;
      const last = Math.floor((offset + length - 1) / granularity);
      const { bits } = bitmap;
      if (bits === undefined) continue;
      for (let bit = Math.floor(offset / granularity); bit <= last; bit++) {
        const at = Math.floor(bit / 8);
        bits[at] = (bits[at] ?? 0) | (1 << (bit % 8));
      }
    }
  }

  /** Throws when a bitmap stands in the way of a new size. */
  checkResize(): void {
    for (const bitmap of this.#bitmaps) {
      if (bitmap.bits === undefined)
        throw new BlockError(`Cannot resize: bitmap '${bitmap.name}' is inconsistent`, {
          code: 'ENOTSUP',
          detail: 'Try block-dirty-bitmap-remove to delete this bitmap from disk',
        });
    }
  }

  resize(size: number): void {
    for (const bitmap of this.#bitmaps) {
      const old = bitmap.bits ?? new Uint8Array(0);
      const bits = new Uint8Array(bitBytes(size, bitmap.granularityBits));
      bits.set(old.subarray(0, bits.length));
      const rest = ceilDiv(size, 2 ** bitmap.granularityBits) % 8;
      if (rest !== 0) bits[bits.length - 1] = (bits.at(-1) ?? 0) & ((1 << rest) - 1);
      bitmap.bits = bits;
    }
  }

  /** Stores what a writer held and takes the marks away. */
  async store(): Promise<void> {
    const held = this.#bitmaps.filter((bitmap) => bitmap.bits !== undefined);
    if (held.length === 0) return;
    await carryOut(locked(this.#image.mutex, () => this.#storeSteps(held)));
  }

  /** Everything anew: data, tables, a directory; the old clusters go once the header names the new ones. */
  *#storeSteps(held: StoredBitmap[]): Steps<void> {
    const image = this.#image;
    const { clusterSize } = image.geometry;
    const old: { offset: number; length: number; reason: FreeReason }[] = [];
    for (const bitmap of held) {
      for (const offset of bitmap.data) if (offset > 1) old.push({ offset, length: clusterSize, reason: 'always' });
      old.push({ offset: bitmap.tableOffset, length: bitmap.tableEntries * 8, reason: 'other' });
      yield* this.#writeNew(bitmap);
      this.#setFlags(bitmap, bitmap.flags & ~bitmapFlag.inUse);
    }
    const { bitmaps } = image.header;
    if (bitmaps === undefined) return;
    const directoryOffset = yield* allocateClusters(image, this.#directory.length);
    image.checkOverlap(directoryOffset, this.#directory.length, 0);
    yield* wait(image.writeFile(directoryOffset, this.#directory));
    yield* image.refcountCache.flush();
    yield* image.updateHeader({ bitmaps: { ...bitmaps, directoryOffset } });
    image.metadata.remove(bitmaps.directoryOffset, bitmaps.directorySize, structure.bitmapDirectory);
    yield* freeClusters(image, bitmaps.directoryOffset, bitmaps.directorySize, 'other');
    for (const { offset, length, reason } of old) yield* freeClusters(image, offset, length, reason);
    yield* image.refcountCache.flush();
    yield* passDiscards(image);
  }

  *#writeNew(bitmap: StoredBitmap): Steps<void> {
    const image = this.#image;
    const { clusterSize } = image.geometry;
    const bits = bitmap.bits ?? new Uint8Array(0);
    bitmap.data = [];
    for (let at = 0; at < bits.length; at += clusterSize) {
      const part = bits.subarray(at, at + clusterSize);
      if (part.every((byte) => byte === 0)) {
        bitmap.data.push(0);
        continue;
      }
      const cluster = new Uint8Array(clusterSize);
      cluster.set(part);
      const offset = yield* allocateClusters(image, clusterSize);
      image.checkOverlap(offset, clusterSize, 0);
      yield* wait(image.writeFile(offset, cluster));
      bitmap.data.push(offset);
    }
    const table = new Uint8Array(Math.max(1, bitmap.data.length) * 8);
    for (const [index, offset] of bitmap.data.entries()) setU64(table, index * 8, offset);
    bitmap.tableOffset = yield* allocateClusters(image, table.length);
    bitmap.tableEntries = bitmap.data.length;
    image.checkOverlap(bitmap.tableOffset, table.length, 0);
    yield* wait(image.writeFile(bitmap.tableOffset, table));
    setU64(this.#directory, bitmap.at, bitmap.tableOffset);
    setU32(this.#directory, bitmap.at + 8, bitmap.tableEntries);
  }

  #setFlags(bitmap: StoredBitmap, flags: number): void {
    bitmap.flags = flags;
    setU32(this.#directory, bitmap.at + 12, flags);
  }

  /** Writes the directory in place; meanwhile the header says that bitmaps are not to be trusted. */
  *#rewriteDirectory(): Steps<void> {
    const image = this.#image;
    const { bitmaps } = image.header;
    if (bitmaps === undefined) return;
    yield* image.updateHeader({ autoclear: image.header.autoclear & ~autoclear.bitmaps });
    yield* wait(image.writeFile(bitmaps.directoryOffset, this.#directory));
    yield* wait(image.flushMedium());
    yield* image.updateHeader({ autoclear: image.header.autoclear | autoclear.bitmaps });
  }
}

/** Reads the bitmap directory with the checks of open. */
export async function loadBitmaps(image: Qcow2Image): Promise<Bitmaps> {
  const { bitmaps: extension } = image.header;
  if (extension === undefined) return new Bitmaps(image, new Uint8Array(0), []);
  if (extension.directorySize === 0) throw new BlockError('Requested bitmap directory size is zero');
  const directory = new Uint8Array(extension.directorySize);
  if (extension.directoryOffset > Number.MAX_SAFE_INTEGER) throw new BlockError('Failed to read bitmap directory: Input/output error', { code: 'EIO' });
  await image.readFile(extension.directoryOffset, directory);
  const bitmaps = parseDirectory(image, directory, extension.count);
  // tables of inconsistent bitmaps are nobody's concern; the others are kept only by those who need what they say
  for (const bitmap of bitmaps) if ((bitmap.flags & bitmapFlag.inUse) === 0) await forTable(image, bitmap, () => {});
  return new Bitmaps(image, directory, bitmaps);
}

function parseDirectory(image: Qcow2Image, directory: Uint8Array, count: number): StoredBitmap[] {
  const broken = (): BlockError => new BlockError('Broken bitmap directory');
  const bitmaps: StoredBitmap[] = [];
  for (let at = 0; at < directory.length; ) {
    if (bitmaps.length >= count) throw new BlockError('More bitmaps found than specified in header extension');
    if (at + bitmapEntrySize > directory.length) throw broken();
    const nameLength = getU16(directory, at + 18);
    const extraLength = getU32(directory, at + 20);
    const length = alignUp(bitmapEntrySize + extraLength + nameLength, 8);
    if (at + length > directory.length) throw broken();
    const bitmap: StoredBitmap = {
      name: getText(directory, at + bitmapEntrySize + extraLength, nameLength),
      at,
      granularityBits: directory[at + 17] ?? 0,
      flags: getU32(directory, at + 12),
      tableOffset: getU64(directory, at),
      tableEntries: getU32(directory, at + 8),
      data: [],
      bits: undefined,
    };
    if (extraLength !== 0) throw new BlockError(`Bitmap '${bitmap.name}' extra data is not supported`, { code: 'ENOTSUP' });
    checkEntry(image, bitmap, directory[at + 16] ?? 0, nameLength);
    bitmaps.push(bitmap);
    at += length;
  }
  if (bitmaps.length < count) throw new BlockError('Less bitmaps found than specified in header extension');
  return bitmaps;
}

function checkEntry(image: Qcow2Image, bitmap: StoredBitmap, type: number, nameLength: number): void {
  const { tableOffset, tableEntries, granularityBits, flags } = bitmap;
  const { clusterSize } = image.geometry;
  const isBad =
    tableEntries === 0 ||
    tableEntries > maxBitmapTableEntries ||
    tableOffset === 0 ||
    tableOffset % clusterSize !== 0 ||
    granularityBits < minBitmapGranularityBits ||
    granularityBits > maxBitmapGranularityBits ||
    (flags & ~(bitmapFlag.inUse | bitmapFlag.auto)) !== 0 ||
    type !== 1 ||
    nameLength === 0 ||
    nameLength > maxBitmapNameLength ||
    tableEntries * clusterSize > maxBitmapBytes + clusterSize;
  if (isBad) throw new BlockError(`Bitmap '${bitmap.name}' doesn't satisfy the constraints`);
  const needed = ceilDiv(bitBytes(image.size, granularityBits), clusterSize);
  if ((flags & bitmapFlag.inUse) === 0 && tableEntries !== Math.max(needed, 1)) {
    throw new BlockError(`Could not read bitmap '${bitmap.name}' from image: Invalid argument`);
  }
}

/** Calls `use` with every entry of a bitmap's table, in order. Rejects with the peer's words for one that is not legal. */
async function forTable(image: Qcow2Image, bitmap: StoredBitmap, use: (value: number) => void): Promise<void> {
  const bytes = new Uint8Array(Math.min(bitmap.tableEntries * 8, tablePortion));
  for (let done = 0; done < bitmap.tableEntries * 8; done += bytes.length) {
    const part = bytes.subarray(0, Math.min(bytes.length, bitmap.tableEntries * 8 - done));
    await image.readFile(bitmap.tableOffset + done, part);
    for (let at = 0; at < part.length; at += 8) {
      const value = getU64(part, at);
      const isFine = value === 0 || value === 1 || (value % image.geometry.clusterSize === 0 && value < 2 ** 56);
      if (!isFine) throw new BlockError(`Could not read bitmap_table table from image for bitmap '${bitmap.name}': Invalid argument`);
      use(value);
    }
    await image.budget.tick(part.length);
  }
}
