/*
 * Where the metadata of an image lies when it opens, told to the overlap check. An image may name millions of tables: they
 * are entered in portions, with turns of the event loop between them.
 */
import type { Qcow2Image } from './image.ts';
import { type StructureBits, structure } from './overlap.ts';

/** Structures entered at once: each portion costs a pass over all that was entered before, and then others have a turn. */
const portion = 131072;
/** Entries looked at between two looks at the budget. */
const scanned = 65536;
/** Of the budget: more than the whole of it. */
const aTurn = Infinity;

/** Tells the overlap check of a writable image where metadata lies. */
export async function registerMetadata(image: Qcow2Image): Promise<void> {
  const { header, metadata } = image;
  const { clusterSize } = image.geometry;
  metadata.add(0, clusterSize, structure.header);
  metadata.add(header.l1Offset, image.l1.length, structure.activeL1);
  metadata.add(header.refcountTableOffset, header.refcountTableClusters * clusterSize, structure.refcountTable);
  if (header.bitmaps !== undefined) metadata.add(header.bitmaps.directoryOffset, header.bitmaps.directorySize, structure.bitmapDirectory);
  await registerActiveTables(image);
  await registerRefcountBlocks(image);
  await registerSnapshots(image);
}

/** Tells the overlap check of the L2 tables that the L1 table names now. */
export async function registerActiveTables(image: Qcow2Image): Promise<void> {
  const { clusterSize } = image.geometry;
  image.metadata.removeAll(structure.activeL2);
  await registerMany(image, structure.activeL2, { count: image.l1Entries, offset: (index) => image.l2TableOf(index), length: () => clusterSize });
}

/** Tells the overlap check of the snapshot table, and of what its entries name. */
export async function registerSnapshots(image: Qcow2Image): Promise<void> {
  const { header, metadata, snapshots } = image;
  metadata.removeAll(structure.snapshotTable);
  metadata.removeAll(structure.inactiveL1);
  metadata.add(header.snapshotsOffset, image.snapshotTableBytes, structure.snapshotTable);
  await registerMany(image, structure.inactiveL1, {
    count: snapshots.length,
    offset: (index) => snapshots[index]?.l1Offset ?? 0,
    length: (index) => (snapshots[index]?.l1Size ?? 0) * 8,
  });
}

/** Tells the overlap check of the blocks that the refcount table names now. */
export async function registerRefcountBlocks(image: Qcow2Image): Promise<void> {
  const { refcountTable, geometry, metadata } = image;
  metadata.removeAll(structure.refcountBlock);
  await registerMany(image, structure.refcountBlock, {
    count: refcountTable.length,
    offset: (index) => refcountTable[index] ?? 0,
    length: () => geometry.clusterSize,
  });
}

interface Places {
  readonly count: number;
  /** In bytes; 0 = none. */
  offset(index: number): number;
  length(index: number): number;
}

async function registerMany(image: Qcow2Image, kind: StructureBits, places: Places): Promise<void> {
  const { clusterSize } = image.geometry;
  const room = Math.min(portion, places.count);
  const starts = new Float64Array(room);
  const ends = new Float64Array(room);
  let used = 0;
  let beforeOffset = 0;
  let beforeLength = 0;
  const enter = (): void => {
    image.metadata.addMany(starts.subarray(0, used), ends.subarray(0, used), kind);
    used = 0;
  };
  for (let index = 0; index < places.count; index++) {
    if (index % scanned === scanned - 1) await image.budget.tick(8 * scanned);
    const offset = places.offset(index);
    const length = places.length(index);
    // many entries may name the same table
    if (offset === 0 || length === 0 || (offset === beforeOffset && length <= beforeLength)) continue;
    beforeOffset = offset;
    beforeLength = length;
    starts[used] = Math.floor(offset / clusterSize);
    ends[used++] = Math.ceil((offset + length) / clusterSize);
    if (used < room) continue;
    enter();
    await image.budget.tick(aTurn);
  }
  enter();
}
