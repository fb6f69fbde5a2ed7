/*
 * The table of internal snapshots: read and listed (snapshot-table.ts writes it). Writers keep what snapshots hold, since
 * shared clusters have no COPIED flag and are copied before a write.
 * Rule source: qcow2 specification, snapshots.
 */
import type { SnapshotInfo } from '../core/block/stores.ts';
import { getU16, getU32, getU64, getU64Big, untilNul } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp } from '../core/util/math.ts';
import type { Qcow2Image } from './image.ts';
import { knownSnapshotExtra, maxL1Bytes, maxSnapshotExtra, maxSnapshotTableBytes, minSnapshotExtra, snapshotHeaderSize } from './layout.ts';
import { readMetadata } from './read-metadata.ts';
import { type Steps, wait } from './steps.ts';

export interface SnapshotRecord {
  /** Byte offset of the entry in the table; undefined: it is in none yet. */
  readonly at: number | undefined;
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

/** What a repair lets pass, and is told of: entries whose extra data is too long, and those that are too many. */
export interface SnapshotTolerance {
  /** Entries to read. */
  readonly count: number;
  tooMuchExtra(index: number, extraSize: number): void;
  tooBig(overhanging: number): void;
}

const forceRemove = 'with qemu-img check -r all';

/** Reads the snapshot table that the header names into `image.snapshots`; rejects with EFBIG for one beyond the limits, unless they are tolerated. */
export async function loadSnapshots(image: Qcow2Image, tolerance?: SnapshotTolerance): Promise<void> {
  const { snapshotsOffset } = image.header;
  const snapshotCount = tolerance?.count ?? image.header.snapshotCount;
  const records: SnapshotRecord[] = [];
  let end = 0;
  for (let index = 0; index < snapshotCount; index++) {
    const at = alignUp(end, 8);
    const head = await readAt(image, snapshotsOffset + at, snapshotHeaderSize);
    const extraSize = getU32(head, 36);
    if (extraSize > maxSnapshotExtra) {
      if (tolerance === undefined) {
        const detail = `You can force-remove this extra metadata ${forceRemove}`;
        throw new BlockError(`Too much extra metadata in snapshot table entry ${index}`, { code: 'EFBIG', detail });
      }
      tolerance.tooMuchExtra(index, extraSize);
    }
    const names = getU16(head, 12) + getU16(head, 14);
    const next = at + snapshotHeaderSize + extraSize + names;
    if (next > maxSnapshotTableBytes) {
      const overhanging = snapshotCount - index;
      if (tolerance === undefined) {
        const detail = `You can force-remove all ${overhanging} overhanging snapshots ${forceRemove}`;
        throw new BlockError('Snapshot table is too big', { code: 'EFBIG', detail });
      }
      tolerance.tooBig(overhanging);
      break;
    }
    const extra = await readAt(image, snapshotsOffset + at + snapshotHeaderSize, Math.min(extraSize, knownSnapshotExtra));
    records.push(decodeEntry(at, head, extra, await readAt(image, snapshotsOffset + at + snapshotHeaderSize + extraSize, names)));
    end = next;
    await image.budget.tick(snapshotHeaderSize);
  }
  image.snapshots = records;
  image.snapshotTableBytes = end;
}

function decodeEntry(at: number, head: Uint8Array, extra: Uint8Array, names: Uint8Array): SnapshotRecord {
  const extraSize = getU32(head, 36);
  const idLength = getU16(head, 12);
  return {
    at,
    id: untilNul(names, 0, idLength),
    name: untilNul(names, idLength, getU16(head, 14)),
    l1Offset: getU64(head, 0),
    l1Size: getU32(head, 8),
    dateSec: getU32(head, 16),
    dateNsec: getU32(head, 20),
    vmClockNsec: getU64Big(head, 24),
    vmStateSize: extraSize >= 8 ? getU64(extra, 0) : getU32(head, 32),
    diskSize: extraSize >= minSnapshotExtra ? getU64(extra, 8) : undefined,
    icount: extraSize >= knownSnapshotExtra ? getU64Big(extra, 16) : undefined,
    extraSize,
  };
}

async function readAt(image: Qcow2Image, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  await readMetadata('Failed to read snapshot table', image.file, offset, bytes);
  return bytes;
}

/** The L1 table of a snapshot, from the medium. Throws EFBIG or EINVAL for one that cannot be. */
export function* readSnapshotL1(image: Qcow2Image, { l1Offset, l1Size }: SnapshotRecord): Steps<Uint8Array> {
  if (l1Size * 8 > maxL1Bytes) throw new BlockError('Snapshot L1 table too large', { code: 'EFBIG' });
  if (l1Offset % image.geometry.clusterSize !== 0) throw new BlockError('Snapshot L1 table offset invalid', { code: 'EINVAL' });
  const table = new Uint8Array(l1Size * 8);
  if (l1Size > 0) yield* wait(image.readFile(l1Offset, table));
  return table;
}

/** Stands for no count of instructions. */
export const noIcount: bigint = 2n ** 64n - 1n;

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
