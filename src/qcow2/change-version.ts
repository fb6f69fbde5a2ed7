/*
 * The version of an image, up and down. Going down refuses what version 2 has no words for and expands zero clusters first;
 * the header changes last either way.
 * Rule source: observed behaviour of amend.
 */
import { BlockError } from '../core/util/errors.ts';
import { expandZeroClusters, forL2Tables } from './expand-zeros.ts';
import type { Qcow2Image } from './image.ts';
import { exclusively } from './io.ts';
import { COMPRESSED_HI, compressionType, incompatible, minSnapshotExtra } from './layout.ts';
import type { ReportWork } from './refcount-width.ts';
import { replaceSnapshotTable } from './snapshot-table.ts';
import { run as carryOut, locked, type Steps, told, wait } from './steps.ts';

/** From version 2 to 3. */
export async function upgrade(image: Qcow2Image, report: ReportWork): Promise<void> {
  report(0, 2);
  // version 3 wants the size of the disk in every entry
  if (image.snapshots.some(({ extraSize }) => extraSize < minSnapshotExtra)) {
    await carryOut(locked(image.mutex, () => told('Failed to update the snapshot table: ', replaceSnapshotTable(image, image.snapshots))));
  }
  report(1, 2);
  await carryOut(
    locked(image.mutex, function* () {
      yield* told('Failed to update the image header: ', image.updateHeader({ version: 3 }));
      image.changeVersion(3);
    }),
  );
  report(2, 2);
}

/** From version 3 to 2. `clean` makes an image clean whose refcounts may lag behind. Rejects with the peer's words for what cannot be. */
export async function downgrade(image: Qcow2Image, clean: () => Promise<void>, report: ReportWork): Promise<void> {
  checkDowngrade(image);
  const { header } = image;
  let change: { compressionType?: number; incompatible?: bigint } = {};
  if (header.compressionType !== compressionType.zlib) {
    const found = await carryOut(locked(image.mutex, () => hasCompressed(image)));
    // the peer looks when it has been through all tables
    if (found) report(1, 1);
    if (found) throw new BlockError('Cannot downgrade an image with zstd compression type and existing compressed clusters', { code: 'ENOTSUP' });
    change = { compressionType: compressionType.zlib, incompatible: header.incompatible & ~incompatible.compression };
  }
  await clean();
  const left = (change.incompatible ?? header.incompatible) & ~incompatible.dirty;
  if (left !== 0n) throw new BlockError(`Cannot downgrade an image with incompatible features 0x${left.toString(16)} set`, { code: 'ENOTSUP' });
  await carryOut(
    exclusively(image, 0, image.size, () =>
      locked(image.mutex, function* () {
        yield* told('Failed to turn zero into data clusters: ', expandZeroClusters(image, report));
        const next = { version: 2, incompatible: 0n, compatible: 0n, autoclear: 0n, compressionType: compressionType.zlib };
        yield* told('Failed to update the image header: ', image.updateHeader(next));
        image.changeVersion(2);
      }),
    ),
  );
}

function checkDowngrade(image: Qcow2Image): void {
  if (image.geometry.refcountBits !== 16) throw new BlockError('compat=0.10 requires refcount_bits=16', { code: 'ENOTSUP' });
  if (image.hasDataFile) throw new BlockError('Cannot downgrade an image with a data file', { code: 'ENOTSUP' });
  for (const { vmStateSize, diskSize } of image.snapshots) {
    if (vmStateSize <= 0xffffffff && (diskSize ?? image.size) === image.size) continue;
    throw new BlockError('Internal snapshots prevent downgrade of image', { code: 'ENOTSUP' });
  }
}

/** Whether a cluster of the disk or of a snapshot is compressed. */
function* hasCompressed(image: Qcow2Image): Steps<boolean> {
  const { clusterSize, entrySize } = image.geometry;
  let found = false;
  // tables as the medium has them: what is cached is written first
  yield* image.l2Cache.flush();
  const table = new Uint8Array(clusterSize);
  const view = new DataView(table.buffer);
  const visit = function* (offset: number): Steps<void> {
    if (found) return;
    yield* wait(image.readFile(offset, table));
    for (let at = 0; at < clusterSize && !found; at += entrySize) found = (view.getUint32(at) & COMPRESSED_HI) !== 0;
  };
  yield* forL2Tables(image, visit, () => {});
  return found;
}
