/*
 * Changes of the virtual size: growth with its L1 table and preallocation, and shrinking with what it frees. The header's
 * size field is written last when growing, so that a cut leaves the old size.
 * Rule source: qcow2 specification; observed layout and order of resized and preallocated images.
 */
import type { TruncateOptions } from '../core/block/driver.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignDown, alignUp, ceilDiv } from '../core/util/math.ts';
import { l1EntriesFor, sliceIndexOf } from './address.ts';
import { linkPlan, planWrite, type WritePlan, writableSlice } from './allocate.ts';
import type { Bitmaps } from './bitmaps-store.ts';
import type { Qcow2Image } from './image.ts';
import { exclusively, readRange, writeHeld } from './io.ts';
import { autoclear, maxL1Bytes } from './layout.ts';
import { writeNewTable } from './new-table.ts';
import { structure } from './overlap.ts';
import { growRefcountArea } from './refcount-area.ts';
import { allocateClustersAt, freeClusters } from './refcounts.ts';
import { lastUsedCluster, shrinkL1, shrinkRefcountTable } from './shrink.ts';
import { run as carryOut, locked, type Steps, told, wait } from './steps.ts';
import { forgetRange, zeroHeld } from './zero-discard.ts';

/** Sets the virtual size to `size` bytes. Rejects with the peer's message, the image unchanged or still consistent. */
export async function resizeImage(image: Qcow2Image, size: number, options: TruncateOptions, bitmaps: Bitmaps): Promise<void> {
  if (image.broken !== undefined) throw image.broken;
  if (size % 512 !== 0) throw new BlockError('The new size must be a multiple of 512', { code: 'ERR_OPTION' });
  if (image.snapshots.length > 0 && image.geometry.version < 3) throw new BlockError("Can't resize a v2 image which has snapshots", { code: 'ENOTSUP' });
  bitmaps.checkResize();
  const old = image.size;
  if (size < old) {
    if (options.prealloc !== 'off') throw new BlockError("Preallocation can't be used for shrinking an image", { code: 'ERR_OPTION' });
    await shrink(image, size);
  } else await grow(image, size, options);
}

async function shrink(image: Qcow2Image, size: number): Promise<void> {
  const { clusterSize } = image.geometry;
  const old = image.size;
  const start = alignUp(size, clusterSize);
  const end = alignUp(old, clusterSize);
  await carryOut(
    exclusively(image, size, old - size, function* () {
      yield* forgetRange(image, start, end);
      yield* locked(image.mutex, function* () {
        yield* shrinkL1(image, l1EntriesFor(image.geometry, size));
        if (image.hasDataFile) yield image.data.truncate(size, { exact: false, prealloc: 'off' });
        yield* shrinkRefcountTable(image);
        const fileEnd = ((yield* lastUsedCluster(image)) + 1) * clusterSize;
        if (fileEnd > 0 && fileEnd < image.file.size()) yield image.file.truncate(fileEnd, { exact: false, prealloc: 'off' });
        yield* setSize(image, size);
      });
    }),
  );
}

function* setSize(image: Qcow2Image, size: number): Steps<void> {
  // tables before the size, durably: what they map, and what they hide, must be there when the disk is larger
  yield* image.l2Cache.flush();
  yield* image.refcountCache.write();
  yield* image.updateFields({ size });
}

interface Growth {
  readonly options: TruncateOptions;
  /** The backing file goes on where the image ended: that must not come into sight. */
  readonly isHidden: boolean;
  /** What the last cluster holds, where preallocation maps it. */
  readonly head: Uint8Array;
}

async function grow(image: Qcow2Image, size: number, given: TruncateOptions): Promise<void> {
  const old = image.size;
  const isRaw = image.hasDataFile && (image.header.autoclear & autoclear.rawDataFile) !== 0n;
  // what a raw data file holds is the disk: all of it is mapped
  const options: TruncateOptions = isRaw && given.prealloc === 'off' ? { ...given, prealloc: 'metadata' } : given;
  const { backing } = image.node;
  const isHidden = backing !== undefined && backing.size() > old;
  // the last cluster is mapped anew: what it holds moves along
  const head = new Uint8Array(options.prealloc === 'off' ? 0 : old % image.geometry.clusterSize);
  const how: Growth = { options, isHidden, head };
  await carryOut(
    // the last cluster of the old disk may be written, and nobody may write it meanwhile
    exclusively(image, old, size - old, function* () {
      if (head.length > 0) yield* wait(readRange(image, old - head.length, head));
      yield* locked(image.mutex, () => growTables(image, size, how));
      // before the size: from then on the backing file shows where nothing hides it
      if (isHidden && isSparse(options.prealloc)) yield* hideBacking(image, old, size);
      yield* locked(image.mutex, () => setSize(image, size));
    }),
  );
}

/** Everything that a larger disk needs, but its size. */
function* growTables(image: Qcow2Image, size: number, how: Growth): Steps<void> {
  const { options } = how;
  const old = image.size;
  yield* told('Failed to grow the L1 table: ', growL1(image, l1EntriesFor(image.geometry, size)));
  if (options.prealloc === 'metadata' || (image.hasDataFile && options.prealloc !== 'off')) yield* preallocateMetadata(image, old, size, how);
  else if (options.prealloc !== 'off') yield* preallocateArea(image, old, size, how);
  else if (image.hasDataFile) yield image.data.truncate(size, options);
  if (how.isHidden && isSparse(options.prealloc) && image.geometry.version < 3) {
    throw new BlockError('Failed to zero out new clusters: Operation not supported', { code: 'ENOTSUP' });
  }
}

/** Whether new clusters may have no blocks of their own. */
function isSparse(prealloc: TruncateOptions['prealloc']): boolean {
  return prealloc === 'off' || prealloc === 'metadata';
}

/** Makes [from, to), which is not part of the disk yet, read as zeros. For holders of the range. */
function* hideBacking(image: Qcow2Image, from: number, to: number): Steps<void> {
  const { clusterSize, subclusterSize } = image.geometry;
  const start = Math.min(alignUp(from, subclusterSize), to);
  // the last cluster of the new disk is zero as a whole
  const stop = alignUp(start, clusterSize) < to ? alignUp(to, clusterSize) : to;
  if (start < to) yield* told('Failed to zero out new clusters: ', zeroHeld(image, start, stop));
  if (start > from) yield* told('Failed to zero out the new area: ', writeHeld(image, from, new Uint8Array(start - from)));
}

/** Gives the L1 table `entries` entries: a new table is durable before the header names it. Never smaller. */
function* growL1(image: Qcow2Image, entries: number): Steps<void> {
  if (entries <= image.l1Entries) return;
  if (entries * 8 > maxL1Bytes) throw new BlockError('File too large', { code: 'EFBIG' });
  const table = new Uint8Array(entries * 8);
  table.set(image.l1);
  yield* wait(image.raise('l1_grow_alloc_table'));
  const offset = yield* writeNewTable(image, table, { write: 'l1_grow_write_table', activate: 'l1_grow_activate_table' });
  const oldOffset = image.header.l1Offset;
  const oldLength = image.l1.length;
  yield* image.updateFields({ l1Size: entries, l1Offset: offset });
  image.setL1(table);
  image.metadata.add(offset, table.length, structure.activeL1);
  if (oldLength === 0) return;
  image.metadata.remove(oldOffset, oldLength, structure.activeL1);
  yield* freeClusters(image, oldOffset, oldLength, 'other');
}

// -- preallocation ----------------------------------------------------------------------------------------------------

/** Maps every cluster of [from, to) that has no place; the file gets its length, not its blocks. */
function* preallocateMetadata(image: Qcow2Image, from: number, to: number, { options, head }: Growth): Steps<void> {
  const { clusterSize, isExtended } = image.geometry;
  let host: number | undefined;
  for (let at = from; at < to; ) {
    const plan: WritePlan = yield* planWrite(image, at, to - at, at % clusterSize === 0 ? host : undefined);
    const hasCopied = at === from && head.length > 0 && plan.needsLink && !isExtended;
    if (hasCopied) yield* wait(image.writeData(plan.host - head.length, at - head.length, head));
    const hasTail = at + plan.length === to && plan.isNew && !image.hasDataFile;
    // what a cluster has behind the disk's end is written with it
    if (hasTail) yield* zeroTail(image, plan.host + plan.length, to);
    // no entry may name what lies behind the end of the file
    if (!image.hasDataFile) yield* extendFile(image, alignUp(plan.host + plan.length, image.geometry.subclusterSize));
    if (plan.isNew || (plan.needsLink && !isExtended)) yield* linkPlan(image, plan, hasCopied, true);
    at += plan.length;
    host = plan.host + plan.length;
  }
  if (image.hasDataFile) {
    const length = alignUp(to, image.geometry.subclusterSize);
    yield image.data.truncate(length, { exact: options.exact, prealloc: options.prealloc === 'metadata' ? 'off' : options.prealloc });
  }
}

function* extendFile(image: Qcow2Image, end: number): Steps<void> {
  if (end <= image.file.size()) return;
  image.isUnflushed = true;
  yield image.file.truncate(end, { exact: false, prealloc: 'off' });
  // what is flushed from here on includes the length
  image.isUnflushed = true;
}

/** Writes zeros from `host` to the end of its cluster, or of its subcluster. */
function* zeroTail(image: Qcow2Image, host: number, guest: number): Steps<void> {
  const length = alignUp(host, image.geometry.subclusterSize) - host;
  if (length > 0) yield* wait(image.writeData(host, guest, new Uint8Array(length)));
}

/** Maps [from, to) to one new area behind the file's end, behind refcount structures that cover it, with blocks of its own. */
function* preallocateArea(image: Qcow2Image, from: number, to: number, { options, isHidden, head }: Growth): Steps<void> {
  const { geometry } = image;
  const { clusterSize, l2Entries } = geometry;
  const last = yield* lastUsedCluster(image);
  const oldEnd = last >= 0 ? (last + 1) * clusterSize : alignUp(image.file.size(), clusterSize);
  const start = alignDown(from, clusterSize);
  const count = (alignUp(to, clusterSize) - start) / clusterSize;
  // tables of the new area are counted too, wherever they come to lie
  const tables = ceilDiv(count, l2Entries) + 1;
  const area = yield* growRefcountArea(image, { start: oldEnd, additional: count + tables, isExact: true });
  yield* freeClusters(image, area.oldTableOffset, area.oldTableBytes, 'other');
  yield image.file.truncate(area.end + count * clusterSize, { exact: false, prealloc: options.prealloc }).catch(tellUnderlying);
  image.isUnflushed = true;
  const taken = yield* allocateClustersAt(image, area.end, count);
  if (taken !== count) throw new BlockError('Input/output error', { code: 'EIO' });
  if (head.length > 0) yield* wait(image.writeData(area.end, start, head));
  yield* wait(image.flushMedium());
  let host = area.end;
  for (let at = start; at < to; ) {
    yield* writableSlice(image, at);
    const index = sliceIndexOf(geometry, at);
    const clusters = Math.min(geometry.sliceEntries - index, ceilDiv(to - at, clusterSize));
    const plan: WritePlan = {
      guest: at,
      length: clusters * clusterSize,
      host,
      firstCluster: at,
      hostCluster: host,
      clusters,
      isNew: true,
      needsLink: true,
      copyFrom: at,
      copyTo: at + clusters * clusterSize,
    };
    // where the backing file has data, subclusters that are not there would show it
    yield* linkPlan(image, plan, at === start && head.length > 0, !isHidden);
    at += clusters * clusterSize;
    host += clusters * clusterSize;
  }
}

function tellUnderlying(error: unknown): never {
  throw error instanceof BlockError ? error.prepend('Failed to resize underlying file: ') : error;
}
