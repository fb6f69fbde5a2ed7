/*
 * Making, applying, deleting and showing snapshots. What a snapshot needs is counted and on the medium before anything names
 * it, and what is given back is named by nothing any more: a cut leaves the snapshots and the disk as they were or as they
 * are to be, and clusters that leak at worst.
 * Rule source: qcow2 specification, snapshots; observed order of snapshot operations.
 */
import type { SnapshotDetails, SnapshotInfo } from '../core/block/stores.ts';
import { BlockError, invariant } from '../core/util/errors.ts';
import { alignUp } from '../core/util/math.ts';
import type { Qcow2Image } from './image.ts';
import { exclusively } from './io.ts';
import { maxSnapshots } from './layout.ts';
import { registerActiveTables, registerSnapshots } from './metadata-places.ts';
import { writeNewTable } from './new-table.ts';
import { structure } from './overlap.ts';
import { allocateClusters, freeClusters, passDiscards } from './refcounts.ts';
import { changeReferences, type Reached, undoReferences } from './snapshot-references.ts';
import { replaceSnapshotTable } from './snapshot-table.ts';
import { readSnapshotL1, type SnapshotRecord } from './snapshots.ts';
import { run as carryOut, locked, type Steps, told, wait } from './steps.ts';

/** A write of this many bytes that lies in one sector is on the medium whole or not at all. */
const sector = 512;

/** Runs `body` with the whole image to itself. */
async function alone(image: Qcow2Image, body: () => Steps<void>): Promise<void> {
  if (image.broken !== undefined) throw image.broken;
  await carryOut(exclusively(image, 0, alignUp(image.size, image.geometry.clusterSize), () => locked(image.mutex, body)));
}

function recordOf(image: Qcow2Image, { id, name }: SnapshotInfo): SnapshotRecord {
  const found = image.snapshots.find((record) => record.id === id && record.name === name);
  invariant(found !== undefined, 'a snapshot that was listed');
  return found;
}

/** Everything that is in the caches, durably. */
function* flushTables(image: Qcow2Image): Steps<void> {
  yield* image.l2Cache.flush();
  yield* image.refcountCache.flush();
}

/** Writes flags of the active L1 table that follow from the counts. `l1` becomes the table. */
function* writeActiveFlags(image: Qcow2Image, l1: Uint8Array): Steps<void> {
  yield* flushTables(image);
  if (Buffer.compare(l1, image.l1) !== 0) {
    image.checkOverlap(image.header.l1Offset, l1.length, structure.activeL1);
    yield* image.writeThrough(image.header.l1Offset, l1, image.l1.slice());
  }
  image.setL1(l1);
}

/** Sets the flags of the active tables right. */
function* updateActiveFlags(image: Qcow2Image): Steps<void> {
  const l1 = image.l1.slice();
  yield* changeReferences(image, l1, 0);
  yield* writeActiveFlags(image, l1);
}

/** Takes counts down by `body`, and sets the flags right that follow from them, however far it came. */
function* withFlags(image: Qcow2Image, body: () => Steps<void>): Steps<void> {
  try {
    yield* body();
  } catch (error) {
    try {
      yield* updateActiveFlags(image);
    } catch (second) {
      if (!(second instanceof BlockError)) throw second;
    }
    throw error;
  }
  yield* told('Failed to update snapshot status in disk: ', updateActiveFlags(image));
}

// -- create -----------------------------------------------------------------------------------------------------------

/** Keeps the disk as it is under the next ID. Rejects with the image as it was, or with clusters that leak. */
export function createSnapshot(image: Qcow2Image, details: SnapshotDetails): Promise<void> {
  if (image.snapshots.length >= maxSnapshots) throw new BlockError('File too large', { code: 'EFBIG' });
  return alone(image, () => create(image, details));
}

function* create(image: Qcow2Image, details: SnapshotDetails): Steps<void> {
  const kept = image.l1.slice();
  const l1Offset = yield* allocateClusters(image, kept.length);
  const reached: Reached = { tables: 0, bytes: 0 };
  const shared = image.l1.slice();
  try {
    if (kept.length > 0) {
      image.checkOverlap(l1Offset, kept.length, 0);
      yield* wait(image.writeFile(l1Offset, kept));
    }
    yield* changeReferences(image, shared, 1, reached);
    yield* writeActiveFlags(image, shared);
    const record = { ...details, id: nextId(image), at: undefined, l1Offset, l1Size: kept.length / 8, diskSize: image.size, extraSize: 0 };
    yield* replaceSnapshotTable(image, [...image.snapshots, record]);
  } catch (error) {
    yield* giveUp(image, { l1: image.l1.slice(), reached, l1Offset, length: kept.length });
    throw error;
  }
  image.metadata.add(l1Offset, kept.length, structure.inactiveL1);
}

/** One more than the highest ID that is a number. */
function nextId(image: Qcow2Image): string {
  let highest = 0n;
  for (const { id } of image.snapshots) {
    const digits = /^\d+/.exec(id)?.[0];
    if (digits !== undefined && BigInt(digits) > highest) highest = BigInt(digits);
  }
  return String(highest + 1n);
}

interface GivenUp {
  readonly l1: Uint8Array;
  readonly reached: Reached;
  readonly l1Offset: number;
  readonly length: number;
}

/** Gives back what a snapshot took that did not come to be. Where the medium fails here too, it leaks. */
function* giveUp(image: Qcow2Image, { l1, reached, l1Offset, length }: GivenUp): Steps<void> {
  try {
    // the medium may name the new snapshot as long as a change that failed is not put right
    yield* image.settle();
    yield* undoReferences(image, l1, 1, reached);
    yield* freeClusters(image, l1Offset, length, 'never');
    yield* updateActiveFlags(image);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
  }
}

// -- apply ------------------------------------------------------------------------------------------------------------

/** Makes the disk what it was when the snapshot was made. Rejects with the disk as it was, as long as it was not replaced. */
export function applySnapshot(image: Qcow2Image, snapshot: SnapshotInfo): Promise<void> {
  const record = recordOf(image, snapshot);
  const size = record.diskSize ?? image.size;
  if (size !== image.size && image.geometry.version < 3) throw new BlockError("Can't resize a v2 image which has snapshots", { code: 'ENOTSUP' });
  return alone(image, () => apply(image, record, size));
}

function* apply(image: Qcow2Image, record: SnapshotRecord, size: number): Steps<void> {
  const l1 = yield* readSnapshotL1(image, record);
  const stored = l1.slice();
  const reached: Reached = { tables: 0, bytes: 0 };
  const old = image.l1;
  try {
    yield* changeReferences(image, l1, 1, reached);
    yield* flushTables(image);
    yield* writeSnapshotFlags(image, record, l1, stored);
  } catch (error) {
    yield* giveUp(image, { l1: stored, reached, l1Offset: 0, length: 0 });
    throw error;
  }
  const active = new Uint8Array(Math.max(l1.length, old.length));
  active.set(l1);
  yield* replaceActiveL1(image, active, size);
  image.isPreallocated = undefined;
  yield* wait(registerActiveTables(image));
  yield* withFlags(image, function* () {
    yield* changeReferences(image, old, -1);
    yield* flushTables(image);
    yield* passDiscards(image);
  });
}

/** The flags of a snapshot's own L1 table mean nothing; others write them, and so do we. */
function* writeSnapshotFlags(image: Qcow2Image, { l1Offset }: SnapshotRecord, l1: Uint8Array, stored: Uint8Array): Steps<void> {
  if (Buffer.compare(l1, stored) === 0) return;
  image.checkOverlap(l1Offset, l1.length, structure.inactiveL1);
  yield* image.writeThrough(l1Offset, l1, stored);
}

/**
 * Makes `l1` the active table of a disk of `size` bytes, whole or not at all: in place where that is one sector, as others
 * do, else as a new table that one write of the header names. Rejects with the old one in force.
 */
function* replaceActiveL1(image: Qcow2Image, l1: Uint8Array, size: number): Steps<void> {
  const { header } = image;
  const old = { offset: header.l1Offset, length: image.l1.length };
  if (l1.length === old.length && l1.length <= sector && size === image.size) {
    image.checkOverlap(old.offset, l1.length, structure.activeL1);
    yield* image.writeThrough(old.offset, l1, image.l1.slice());
    image.setL1(l1);
    return;
  }
  const offset = yield* writeNewTable(image, l1);
  yield* image.updateHeader({ size, l1Size: l1.length / 8, l1Offset: offset });
  image.setL1(l1);
  image.metadata.remove(old.offset, old.length, structure.activeL1);
  image.metadata.add(offset, l1.length, structure.activeL1);
  yield* freeClusters(image, old.offset, old.length, 'other');
}

// -- remove -----------------------------------------------------------------------------------------------------------

/** Deletes a snapshot. It is gone from the table first: what fails later leaves clusters that leak. */
export function removeSnapshot(image: Qcow2Image, snapshot: SnapshotInfo): Promise<void> {
  const record = recordOf(image, snapshot);
  return alone(image, () => remove(image, record));
}

function* remove(image: Qcow2Image, record: SnapshotRecord): Steps<void> {
  const l1 = yield* readSnapshotL1(image, record);
  const rest = image.snapshots.filter((other) => other !== record);
  yield* told('Failed to remove snapshot from snapshot list: ', replaceSnapshotTable(image, rest));
  yield* wait(registerSnapshots(image));
  yield* withFlags(image, function* () {
    yield* told('Failed to free the cluster and L1 table: ', giveBack(image, l1, record));
  });
}

function* giveBack(image: Qcow2Image, l1: Uint8Array, { l1Offset }: SnapshotRecord): Steps<void> {
  yield* changeReferences(image, l1, -1);
  yield* freeClusters(image, l1Offset, l1.length, 'snapshot');
  yield* flushTables(image);
  yield* passDiscards(image);
}

// -- show -------------------------------------------------------------------------------------------------------------

/** Makes a node that is read only show the disk as it was, with the size that it has now. */
export function showSnapshot(image: Qcow2Image, snapshot: SnapshotInfo): Promise<void> {
  const record = recordOf(image, snapshot);
  if (!image.isReadOnly) throw new BlockError('Device is not readonly', { code: 'EINVAL' });
  return alone(image, function* () {
    image.setL1(yield* readSnapshotL1(image, record));
  });
}
