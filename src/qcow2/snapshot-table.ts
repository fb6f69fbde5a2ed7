/*
 * The snapshot table as it is written: always a new one, which is durable before the header names it; the old one goes after
 * that. Every entry gets what version 3 asks for, and extra data that nobody here knows stays as it is.
 * Rule source: qcow2 specification, snapshots; observed tables.
 */
import { setU16, setU32, setU64, setU64Big } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp } from '../core/util/math.ts';
import { encodeName } from '../core/util/name-codec.ts';
import type { Qcow2Image } from './image.ts';
import { knownSnapshotExtra, maxSnapshotExtra, maxSnapshots, maxSnapshotTableBytes, snapshotHeaderSize } from './layout.ts';
import { writeNewTable } from './new-table.ts';
import { structure } from './overlap.ts';
import { freeClusters } from './refcounts.ts';
import { noIcount, type SnapshotRecord } from './snapshots.ts';
import { type Steps, wait } from './steps.ts';

/** The table that is to be: its bytes, but for extra data of the old one, and where each entry begins. */
interface NewTable {
  readonly bytes: Uint8Array;
  readonly records: readonly SnapshotRecord[];
}

/** Makes `records` the snapshots of the image, durably. Throws EFBIG for too many; the old table is in force after any error. */
export function* replaceSnapshotTable(image: Qcow2Image, records: readonly SnapshotRecord[]): Steps<void> {
  if (records.length > maxSnapshots) throw new BlockError('File too large', { code: 'EFBIG' });
  const { header } = image;
  const table = encodeTable(image, records);
  yield* keepUnknownExtra(image, records, table);
  // no table at all where there are no snapshots
  const offset = table.bytes.length === 0 ? 0 : yield* writeNewTable(image, table.bytes);
  const old = { offset: header.snapshotsOffset, length: image.snapshotTableBytes };
  yield* image.updateFields({ snapshotCount: records.length, snapshotsOffset: offset });
  image.metadata.removeAll(structure.snapshotTable);
  image.metadata.add(offset, table.bytes.length, structure.snapshotTable);
  image.snapshots = [...table.records];
  image.snapshotTableBytes = table.bytes.length;
  // from here on nothing may fail: whoever asked must not take back what the medium names
  if (old.offset !== 0 && old.length > 0) yield* freeClusters(image, old.offset, old.length, 'snapshot');
}

/** Bytes of extra data in the new entry: what is known, and what others put behind it. */
function extraOf(record: SnapshotRecord): number {
  return Math.max(knownSnapshotExtra, Math.min(record.extraSize, maxSnapshotExtra));
}

function encodeTable(image: Qcow2Image, records: readonly SnapshotRecord[]): NewTable {
  const names = records.map(({ id, name }) => ({ id: encodeName(id), name: encodeName(name) }));
  const places: number[] = [];
  let end = 0;
  for (const [index, record] of records.entries()) {
    const at = alignUp(end, 8);
    places.push(at);
    end = at + snapshotHeaderSize + extraOf(record) + (names[index]?.id.length ?? 0) + (names[index]?.name.length ?? 0);
    if (end > maxSnapshotTableBytes) throw new BlockError('File too large', { code: 'EFBIG' });
  }
  const bytes = new Uint8Array(end);
  const written = records.map((record, index) => {
    const at = places[index] ?? 0;
    const next = { ...record, at, extraSize: extraOf(record), diskSize: record.diskSize ?? image.size };
    encodeEntry(bytes, at, next);
    const { id, name } = names[index] ?? { id: new Uint8Array(0), name: new Uint8Array(0) };
    setU16(bytes, at + 12, id.length);
    setU16(bytes, at + 14, name.length);
    bytes.set(id, at + snapshotHeaderSize + next.extraSize);
    bytes.set(name, at + snapshotHeaderSize + next.extraSize + id.length);
    return next;
  });
  return { bytes, records: written };
}

/** The entry without its names, and without the extra data that only the old table has. */
function encodeEntry(bytes: Uint8Array, at: number, record: SnapshotRecord & { readonly diskSize: number }): void {
  setU64(bytes, at, record.l1Offset);
  setU32(bytes, at + 8, record.l1Size);
  setU32(bytes, at + 16, record.dateSec);
  setU32(bytes, at + 20, record.dateNsec);
  setU64Big(bytes, at + 24, record.vmClockNsec);
  setU32(bytes, at + 32, record.vmStateSize > 0xffffffff ? 0 : record.vmStateSize);
  setU32(bytes, at + 36, record.extraSize);
  setU64(bytes, at + snapshotHeaderSize, record.vmStateSize);
  setU64(bytes, at + snapshotHeaderSize + 8, record.diskSize);
  setU64Big(bytes, at + snapshotHeaderSize + 16, record.icount ?? noIcount);
}

/** Takes over, from the table that is there, what stands behind the known extra data of its entries. */
function* keepUnknownExtra(image: Qcow2Image, before: readonly SnapshotRecord[], table: NewTable): Steps<void> {
  for (const [index, { at, extraSize }] of table.records.entries()) {
    const oldAt = before[index]?.at;
    if (oldAt === undefined || extraSize <= knownSnapshotExtra) continue;
    const from = snapshotHeaderSize + knownSnapshotExtra;
    const into = table.bytes.subarray((at ?? 0) + from, (at ?? 0) + snapshotHeaderSize + extraSize);
    yield* wait(image.readFile(image.header.snapshotsOffset + oldAt + from, into));
  }
}
