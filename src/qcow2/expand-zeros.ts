/*
 * Zero clusters as version 2 can have them: data that are zeros, or nothing where no backing file shows through. What an
 * entry comes to name is counted and written before the entry.
 * Rule source: observed downgrades; qcow2 specification, L2 table entry.
 */
import { reqFlag } from '../core/block/driver.ts';
import { BlockError } from '../core/util/errors.ts';
import { type GuestPosition, isHostOffset } from '../core/util/offsets.ts';
import type { Qcow2Image } from './image.ts';
import { clusterKind, newEntry, readEntry, standardKind, writeEntry } from './l2-entry.ts';
import { badCluster, badTable } from './mapping.ts';
import { structure } from './overlap.ts';
import { refcountOf } from './refcount-blocks.ts';
import type { ReportWork } from './refcount-width.ts';
import { allocateClusters, changeRefcounts, releaseClusters } from './refcounts.ts';
import { readSnapshotL1 } from './snapshots.ts';
import { type Steps, wait } from './steps.ts';
import { CachedTable } from './table-cache.ts';

/** Calls `visit` for every L2 table of the active disk and of the snapshots. Throws EIO for tables that cannot be. */
export function* forL2Tables(
  image: Qcow2Image,
  visit: (offset: number, guest: GuestPosition, isActive: boolean) => Steps<void>,
  report: ReportWork,
): Steps<void> {
  const total = image.l1Entries + image.snapshots.reduce((sum, { l1Size }) => sum + l1Size, 0);
  let done = 0;
  for (let index = 0; index < image.l1Entries; index++) {
    const offset = image.l2TableOf(index);
    yield* visitTable(image, offset, index, (at) => visit(at, index * image.geometry.bytesPerL2, true));
    report(++done, total);
  }
  // the tables of snapshots may be those of the disk: they are read from the medium
  yield* image.l2Cache.flush();
  for (const snapshot of image.snapshots) {
    const { l1Offset, l1Size } = snapshot;
    const table = new CachedTable(l1Offset, yield* readSnapshotL1(image, snapshot));
    const entry = newEntry();
    const standard = { ...image.geometry, isExtended: false, entrySize: 8 };
    for (let index = 0; index < l1Size; index++) {
      yield* visitTable(image, readEntry(standard, table, index, entry).offset, index, (at) => visit(at, index * image.geometry.bytesPerL2, false));
      report(++done, total);
    }
  }
}

function* visitTable(image: Qcow2Image, offset: number, index: number, visit: (offset: number) => Steps<void>): Steps<void> {
  if (offset === 0) return;
  if (offset % image.geometry.clusterSize !== 0) throw badTable(image, offset, index);
  yield* wait(image.budget.tick(image.geometry.clusterSize));
  yield* visit(offset);
}

/** Leaves no zero cluster, durably. For holders of all ranges and of the metadata mutex. */
export function* expandZeroClusters(image: Qcow2Image, report: ReportWork): Steps<void> {
  const { clusterSize, sliceSize, entrySize } = image.geometry;
  const visit = function* (offset: number, guest: GuestPosition, isActive: boolean): Steps<void> {
    const users = yield* refcountOf(image, offset / clusterSize);
    if (!isActive) return yield* expandInactive(image, offset, guest, users);
    for (let at = 0; at < clusterSize; at += sliceSize) {
      const slice = yield* image.l2Cache.get(offset + at);
      yield* expandSlice(image, slice, { guest: guest + (at / entrySize) * clusterSize, users }, function* () {
        // whatever was taken or written out since the entry before may have used the order up; its flush covers the zeros too
        yield* image.l2Cache.dependOn(image.refcountCache);
        image.l2Cache.markDirty(slice);
      });
    }
  };
  yield* forL2Tables(image, visit, report);
}

/** A table that only snapshots have is in no cache: it is written where it lies, once what it names is durable. */
function* expandInactive(image: Qcow2Image, offset: number, guest: GuestPosition, users: number): Steps<void> {
  const table = new CachedTable(offset, new Uint8Array(image.geometry.clusterSize));
  const before = new Uint8Array(table.bytes.length);
  yield* wait(image.readFile(offset, table.bytes));
  before.set(table.bytes);
  let isChanged = false;
  yield* expandSlice(image, table, { guest, users }, () => {
    isChanged = true;
    return [];
  });
  if (!isChanged) return;
  yield* image.refcountCache.flush();
  yield* wait(image.flushMedium());
  image.checkOverlap(offset, table.bytes.length, structure.activeL2);
  yield* image.writeThrough(offset, table.bytes, before);
  image.l2Cache.forget(offset, table.bytes.length);
}

/** The table's first entry is that of guest offset `guest`. `change` is carried out before each entry that changes. */
function* expandSlice(
  image: Qcow2Image,
  slice: CachedTable,
  { guest, users }: { readonly guest: GuestPosition; readonly users: number },
  change: () => Iterable<Promise<unknown>>,
): Steps<void> {
  const { geometry } = image;
  const entry = newEntry();
  const count = slice.bytes.length / geometry.entrySize;
  for (let index = 0; index < count; index++) {
    readEntry(geometry, slice, index, entry);
    const kind = standardKind(entry, image.hasDataFile);
    if (kind === clusterKind.zeroPlaced) {
      const { offset, isCopied } = entry;
      if (offset % geometry.clusterSize !== 0) throw badCluster(image, slice, index, offset);
      const at = guest + index * geometry.clusterSize;
      // others may know the cluster by another table, with what it held before it was called zero here
      const isShared = (yield* refcountOf(image, offset / geometry.clusterSize)) !== users;
      const place = isShared ? yield* newZeros(image, at, users) : offset;
      if (!isShared) yield* zeroCluster(image, offset, at);
      yield* change();
      writeEntry(geometry, slice, index, place, { isCopied: isShared ? users === 1 : isCopied });
      if (isShared) for (let left = users; left > 0; left--) yield* releaseClusters(image, offset, geometry.clusterSize, 'other');
    } else if (kind === clusterKind.zero) {
      const offset = image.node.backing === undefined ? 0 : yield* newZeros(image, guest + index * geometry.clusterSize, users);
      yield* change();
      writeEntry(geometry, slice, index, offset, { isCopied: offset !== 0 && users === 1 });
    }
  }
}

/** A cluster of zeros, counted once for each user of the table that is going to name it. */
function* newZeros(image: Qcow2Image, guest: GuestPosition, users: number): Steps<number> {
  const { clusterSize } = image.geometry;
  const offset = yield* allocateClusters(image, clusterSize);
  let taken = 1;
  try {
    while (taken < users) if (yield* changeRefcounts(image, offset, clusterSize, 1, 'other')) taken++;
    yield* zeroCluster(image, offset, guest);
    return offset;
  } catch (error) {
    for (; taken > 0; taken--) yield* releaseClusters(image, offset, clusterSize, 'other');
    throw error;
  }
}

function* zeroCluster(image: Qcow2Image, offset: number, guest: GuestPosition): Steps<void> {
  const { clusterSize } = image.geometry;
  if (!isHostOffset(offset)) throw new BlockError('File too large', { code: 'EFBIG' });
  image.checkOverlap(offset, clusterSize, 0);
  // zeros of the medium are no zeros once they are deciphered; the peer writes them even so, and loses what the disk holds
  if (image.area.keepsZeros) yield* wait(image.zeroData(offset, clusterSize, reqFlag.none));
  else yield* wait(image.writeData(offset, guest, new Uint8Array(clusterSize)));
}
