/*
 * The table of internal snapshots: read and listed. Writers keep what snapshots hold, since shared clusters have no COPIED
 * flag and are copied before a write.
 * Rule source: qcow2 specification, snapshots.
 */
import type { SnapshotInfo } from '../core/block/driver.ts';
import { getText, getU16, getU32, getU64, getU64Big } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp } from '../core/util/math.ts';
import type { Qcow2Image } from './image.ts';
import { maxSnapshotExtra, maxSnapshotTableBytes, snapshotHeaderSize } from './layout.ts';
import { readMetadata } from './read-metadata.ts';

export interface SnapshotRecord {
  readonly id: string;
  readonly name: string;
  readonly l1Offset: number;
  readonly l1Size: number;
  readonly dateSec: number;
  readonly dateNsec: number;
  readonly vmClockNsec: bigint;
  readonly vmStateSize: number;
  /** Virtual size when the snapshot was taken; undefined in entries without it. */
  readonly diskSize: number | undefined;
  readonly icount: bigint | undefined;
  readonly extraSize: number;
}

/** The table as found: entries, and the bytes it takes. */
export interface SnapshotTable {
  readonly records: SnapshotRecord[];
  readonly bytes: number;
}

/** Reads the snapshot table that the header names. */
export async function readSnapshots(image: Qcow2Image): Promise<SnapshotTable> {
  const { snapshotCount, snapshotsOffset } = image.header;
  const records: SnapshotRecord[] = [];
  let at = 0;
  for (let index = 0; index < snapshotCount; index++) {
    at = alignUp(at, 8);
    const head = await readAt(image, snapshotsOffset + at, snapshotHeaderSize);
    const extraSize = getU32(head, 36);
    if (extraSize > maxSnapshotExtra) {
      throw new BlockError(`Too much extra metadata in snapshot table entry ${index}`, {
        detail: 'You can force-remove this extra metadata with qemu-img check -r all',
      });
    }
    const idLength = getU16(head, 12);
    const nameLength = getU16(head, 14);
    const rest = await readAt(image, snapshotsOffset + at + snapshotHeaderSize, extraSize + idLength + nameLength);
    records.push({
      id: getText(rest, extraSize, idLength),
      name: getText(rest, extraSize + idLength, nameLength),
      l1Offset: getU64(head, 0),
      l1Size: getU32(head, 8),
      dateSec: getU32(head, 16),
      dateNsec: getU32(head, 20),
      vmClockNsec: getU64Big(head, 24),
      vmStateSize: extraSize >= 8 ? getU64(rest, 0) : getU32(head, 32),
      diskSize: extraSize >= 16 ? getU64(rest, 8) : undefined,
      icount: extraSize >= 24 ? getU64Big(rest, 16) : undefined,
      extraSize,
    });
    at += snapshotHeaderSize + extraSize + idLength + nameLength;
    if (at > maxSnapshotTableBytes) throw new BlockError('Snapshot table too large', { code: 'EFBIG' });
  }
  return { records, bytes: at };
}

async function readAt(image: Qcow2Image, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  await readMetadata('Failed to read snapshot table', image.file, offset, bytes);
  return bytes;
}

const noIcount = 2n ** 64n - 1n;

export function listSnapshots(image: Qcow2Image): SnapshotInfo[] {
  return image.snapshots.map((record) => ({
    id: record.id,
    name: record.name,
    vmStateSize: record.vmStateSize,
    dateSec: record.dateSec,
    dateNsec: record.dateNsec,
    vmClockNsec: record.vmClockNsec,
    icount: record.icount === undefined || record.icount === noIcount ? undefined : record.icount,
  }));
}
