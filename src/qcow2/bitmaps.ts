/*
 * The bitmap directory of an image: read with the checks of open, and encoded. Bitmaps as such, and their life between open
 * and close, are in bitmaps-store.ts.
 * Rule source: qcow2 specification, bitmaps.
 */
import type { DirtyBitmap } from '../core/block/dirty-bitmap.ts';
import { getText, getU16, getU32, getU64, setU16, setU32, setU64 } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp, ceilDiv } from '../core/util/math.ts';
import { isPending } from '../core/util/maybe.ts';
import { encodeName } from '../core/util/name-codec.ts';
import { isHostOffset } from '../core/util/offsets.ts';
import type { Qcow2Image } from './image.ts';
import {
  bitmapEntrySize,
  bitmapFlag,
  maxBitmapBytes,
  maxBitmapGranularityBits,
  maxBitmapNameLength,
  maxBitmapTableEntries,
  minBitmapGranularityBits,
} from './layout.ts';
import { run as carryOut, type Steps, wait } from './steps.ts';

/** The one type of bitmap that there is. */
const dirtyTracking = 1;
/** Bytes of a bitmap's table read at once. */
const tablePortion = 65536;

/** An entry of the directory. */
export interface StoredBitmap {
  readonly name: string;
  /** The name as it is on the medium. */
  readonly nameBytes: Uint8Array;
  readonly granularityBits: number;
  readonly flags: number;
  readonly tableOffset: number;
  readonly tableEntries: number;
}

/** Bytes of bits for `size` guest bytes. */
export function bitBytes(size: number, granularityBits: number): number {
  return ceilDiv(ceilDiv(size, 2 ** granularityBits), 8);
}

/** Reads the bitmap directory with the checks of open; nothing where the image has none. */
export async function readDirectory(image: Qcow2Image): Promise<StoredBitmap[]> {
  const { bitmaps: extension } = image.header;
  if (extension === undefined) return [];
  if (extension.directorySize === 0) throw new BlockError('Requested bitmap directory size is zero', { code: 'ERR_CORRUPT' });
  const directory = new Uint8Array(extension.directorySize);
  if (!isHostOffset(extension.directoryOffset)) throw new BlockError('Failed to read bitmap directory: Input/output error', { code: 'EIO' });
  await image.readFile(extension.directoryOffset, directory);
  const bitmaps = await parseDirectory(image, directory, extension.count);
  // tables of inconsistent bitmaps are nobody's concern; the others are kept only by those who need what they say
  for (const bitmap of bitmaps) if ((bitmap.flags & bitmapFlag.inUse) === 0) await carryOut(forTable(image, bitmap, () => undefined));
  return bitmaps;
}

/** Bytes of an entry of the directory. */
export function entryBytes(nameLength: number): number {
  return alignUp(bitmapEntrySize + nameLength, 8);
}

/** Bytes that the persistent bitmaps among `bitmaps` take in an image with such clusters, when every bit is stored: for `measure`. */
export function measureBitmaps(bitmaps: Iterable<DirtyBitmap>, clusterSize: number): number {
  let bytes = 0;
  let directory = 0;
  for (const { name, isPersistent, isInconsistent, byteLength } of bitmaps) {
    if (!isPersistent || isInconsistent || name === undefined) continue;
    const clusters = ceilDiv(byteLength, clusterSize);
    bytes += clusters * clusterSize + alignUp(clusters * 8, clusterSize);
    directory += entryBytes(encodeName(name).length);
  }
  return bytes + alignUp(directory, clusterSize);
}

/** The directory for `bitmaps`, in their order. */
export function encodeDirectory(bitmaps: readonly StoredBitmap[]): Uint8Array {
  const lengths = bitmaps.map(({ nameBytes }) => entryBytes(nameBytes.length));
  const directory = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const [index, bitmap] of bitmaps.entries()) {
    setU64(directory, at, bitmap.tableOffset);
    setU32(directory, at + 8, bitmap.tableEntries);
    setU32(directory, at + 12, bitmap.flags);
    directory[at + 16] = dirtyTracking;
    directory[at + 17] = bitmap.granularityBits;
    setU16(directory, at + 18, bitmap.nameBytes.length);
    directory.set(bitmap.nameBytes, at + bitmapEntrySize);
    at += lengths[index] ?? 0;
  }
  return directory;
}

async function parseDirectory(image: Qcow2Image, directory: Uint8Array, count: number): Promise<StoredBitmap[]> {
  const broken = (): BlockError => new BlockError('Broken bitmap directory', { code: 'ERR_CORRUPT' });
  const bitmaps: StoredBitmap[] = [];
  for (let at = 0; at < directory.length; ) {
    if (at + bitmapEntrySize > directory.length) throw broken();
    if (bitmaps.length >= count) throw new BlockError('More bitmaps found than specified in header extension', { code: 'ERR_CORRUPT' });
    const nameLength = getU16(directory, at + 18);
    const extraLength = getU32(directory, at + 20);
    const length = alignUp(bitmapEntrySize + extraLength + nameLength, 8);
    if (at + length > directory.length) throw broken();
    const bitmap: StoredBitmap = {
      name: getText(directory, at + bitmapEntrySize + extraLength, nameLength),
      nameBytes: directory.slice(at + bitmapEntrySize + extraLength, at + bitmapEntrySize + extraLength + nameLength),
      granularityBits: directory[at + 17] ?? 0,
      flags: getU32(directory, at + 12),
      tableOffset: getU64(directory, at),
      tableEntries: getU32(directory, at + 8),
    };
    if (extraLength !== 0) throw new BlockError('Bitmap extra data is not supported', { code: 'ENOTSUP' });
    checkEntry(image, bitmap, directory[at + 16] ?? 0, nameLength);
    bitmaps.push(bitmap);
    at += length;
    const pause = image.budget.tick(length);
    if (isPending(pause)) await pause;
  }
  if (bitmaps.length < count) throw new BlockError('Less bitmaps found than specified in header extension', { code: 'ERR_CORRUPT' });
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
    type !== dirtyTracking ||
    nameLength > maxBitmapNameLength ||
    tableEntries * clusterSize > maxBitmapBytes + clusterSize;
  if (isBad) throw new BlockError(`Bitmap '${bitmap.name}' doesn't satisfy the constraints`, { code: 'ERR_CORRUPT' });
  const needed = ceilDiv(bitBytes(image.size, granularityBits), clusterSize);
  if ((flags & bitmapFlag.inUse) === 0 && tableEntries !== needed) {
    throw new BlockError(`Could not read bitmap '${bitmap.name}' from image: Invalid argument`, { code: 'ERR_CORRUPT' });
  }
}

/** Carries out what `use` makes of every entry of a bitmap's table, in order. Throws the peer's words for one that is not legal. */
export function* forTable(image: Qcow2Image, bitmap: StoredBitmap, use: (value: number, index: number) => Steps<void> | undefined): Steps<void> {
  const bytes = new Uint8Array(Math.min(bitmap.tableEntries * 8, tablePortion));
  for (let done = 0; done < bitmap.tableEntries * 8; done += bytes.length) {
    const part = bytes.subarray(0, Math.min(bytes.length, bitmap.tableEntries * 8 - done));
    yield* wait(image.readFile(bitmap.tableOffset + done, part));
    for (let at = 0; at < part.length; at += 8) {
      const value = getU64(part, at);
      const isFine = value === 0 || value === 1 || (isHostOffset(value) ? value % image.geometry.clusterSize === 0 : isFarCluster(image, part, at));
      if (!isFine) throw new BlockError(`Could not read bitmap_table table from image for bitmap '${bitmap.name}': Invalid argument`, { code: 'ERR_CORRUPT' });
      const steps = use(value, (done + at) / 8);
      if (steps !== undefined) yield* steps;
    }
    yield* wait(image.budget.tick(part.length));
  }
}

/** An offset that no number carries exactly, and that the format allows: what is there reads as zeros. */
function isFarCluster(image: Qcow2Image, part: Uint8Array, at: number): boolean {
  return getU32(part, at + 4) % image.geometry.clusterSize === 0 && getU32(part, at) < 2 ** 24;
}
