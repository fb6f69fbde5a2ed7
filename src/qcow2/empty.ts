/*
 * Makes an image hold nothing, so that all of its backing file shows: what commit leaves behind. Where nothing but the active
 * map names clusters, all of them go at once, and the file becomes as short as a new one; else each is given back by itself.
 * Rule source: observed files after `qemu-img commit`.
 */
import { BlockError } from '../core/util/errors.ts';
import { alignUp, ceilDiv } from '../core/util/math.ts';
import type { Qcow2Image } from './image.ts';
import { exclusively } from './io.ts';
import { cryptMethod } from './layout.ts';
import { structure } from './overlap.ts';
import { blockOf, setRefcount } from './refcount-blocks.ts';
import { lastUsedCluster, shrinkRefcountTable } from './shrink.ts';
import { run as carryOut, locked, type Steps, wait } from './steps.ts';
import { forgetRange } from './zero-discard.ts';

/** Rejects at the first error; what was given back until then stays so. */
export async function emptyImage(image: Qcow2Image): Promise<void> {
  if (image.broken !== undefined) throw image.broken;
  const { clusterSize } = image.geometry;
  const end = alignUp(image.size, clusterSize);
  await carryOut(
    exclusively(image, 0, end, function* () {
      if (isAllOfIt(image)) yield* locked(image.mutex, () => forgetAll(image));
      else {
        yield* forgetRange(image, 0, end);
        if (image.hasDataFile) yield* locked(image.mutex, () => emptyDataFile(image, end));
      }
    }),
  );
}

/** Clusters of a data file are counted by nobody: the entries must be gone, durably, before what they named goes. */
function* emptyDataFile(image: Qcow2Image, end: number): Steps<void> {
  yield* image.l2Cache.flush();
  try {
    yield* wait(image.data.discard(0, Math.min(end, image.data.size())));
  } catch (error) {
    // only a hint
    if (!(error instanceof BlockError)) throw error;
  }
}

/** Whether the clusters in use are those of the active map, and of the structures that are here in any image. */
function isAllOfIt(image: Qcow2Image): boolean {
  const { header, geometry, snapshots, hasDataFile } = image;
  return geometry.version >= 3 && snapshots.length === 0 && header.bitmaps === undefined && header.cryptMethod !== cryptMethod.luks && !hasDataFile;
}

/** The map first, durably: from then on the clusters are leaked at worst. Then the counts, then the end of the file. */
function* forgetAll(image: Qcow2Image): Steps<void> {
  const { header, geometry } = image;
  const { clusterSize } = geometry;
  yield* image.l2Cache.flush();
  yield* image.refcountCache.flush();
  yield* wait(image.raise('empty_image_prepare'));
  yield* image.writeThrough(header.l1Offset, new Uint8Array(image.l1.length), image.l1.slice());
  image.setL1(new Uint8Array(image.l1.length));
  image.metadata.removeAll(structure.activeL2);
  // what is cached of tables belongs to nobody now
  image.reconfigure(image.options, geometry.sliceSize);
  image.compressedCache.clear();
  image.discards.drain();
  image.freeByte = 0;
  image.freeIndex = 0;
  image.isPreallocated = undefined;
  yield* countAnew(image);
  yield* image.refcountCache.flush();
  yield* shrinkRefcountTable(image);
  const end = ((yield* lastUsedCluster(image)) + 1) * clusterSize;
  if (end > 0 && end < image.file.size()) yield* wait(image.file.truncate(end, { exact: false, prealloc: 'off' }));
}

/** Sets every count to what header, L1 table, refcount table and blocks need, and no more. */
function* countAnew(image: Qcow2Image): Steps<void> {
  const { geometry, refcountTable } = image;
  const { refcountBits, refcountsPerBlock } = geometry;
  const used = usedClusters(image);
  for (let index = 0; index < refcountTable.length; index++) {
    if (refcountTable[index] === 0) continue;
    const block = yield* blockOf(image, index * refcountsPerBlock);
    if (block === undefined) continue;
    // in one go: a block may be written at any time, and must never say that its image's own structures are free
    block.bytes.fill(0);
    for (const cluster of used.get(index) ?? []) setRefcount(block.view, refcountBits, cluster % refcountsPerBlock, 1);
    image.refcountCache.markDirty(block);
  }
}

/** The clusters of the structures that stay, by the block that counts them. */
function usedClusters(image: Qcow2Image): ReadonlyMap<number, readonly number[]> {
  const { header, geometry, refcountTable } = image;
  const { clusterSize, refcountsPerBlock } = geometry;
  const used = new Map<number, number[]>();
  const add = (offset: number, length: number): void => {
    const first = Math.floor(offset / clusterSize);
    for (let cluster = first; cluster < first + ceilDiv(length, clusterSize); cluster++) {
      const index = Math.floor(cluster / refcountsPerBlock);
      const list = used.get(index);
      if (list === undefined) used.set(index, [cluster]);
      else list.push(cluster);
    }
  };
  add(0, clusterSize);
  add(header.l1Offset, image.l1.length);
  add(header.refcountTableOffset, header.refcountTableClusters * clusterSize);
  for (const offset of refcountTable) if (offset !== 0) add(offset, clusterSize);
  return used;
}
