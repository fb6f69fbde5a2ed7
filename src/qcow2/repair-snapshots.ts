/*
 * Repair of the snapshot table: written anew with what every entry needs and without what is too much. The old table stays
 * until the header names the new one.
 * Rule source: observed repairs.
 */
import { getU16, setU16, setU32, setU64, setU64Big } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp } from '../core/util/math.ts';
import type { Findings } from './check-findings.ts';
import type { Qcow2Image } from './image.ts';
import { knownSnapshotExtra, maxSnapshotExtra, snapshotHeaderSize } from './layout.ts';
import { structure } from './overlap.ts';
import { allocateClusters, freeClusters } from './refcounts.ts';
import { repairWrite } from './repair-write.ts';
import type { SnapshotRecord } from './snapshots.ts';
import { run as carryOut, type Steps, wait } from './steps.ts';

/** Writes the table anew, since entries were found wanting. */
export async function repairSnapshotTable(image: Qcow2Image, findings: Findings, oldBytes: number): Promise<void> {
  const { result } = findings;
  try {
    await carryOut(rewriteSnapshotTable(image, oldBytes));
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    findings.checkError(`ERROR failed to update snapshot table: ${error.message}`);
    throw error;
  }
  result.corruptionsFixed += result.corruptions;
  result.corruptions = 0;
}

/** Bytes of extra data in the new entry: what is known, and what others put behind it. */
function extraOf(record: SnapshotRecord): number {
  return Math.max(knownSnapshotExtra, Math.min(record.extraSize, maxSnapshotExtra));
}

/** Writes the table anew as version 3 wants it; the old one, of `oldBytes` bytes, goes once the header names the new one. */
export function* rewriteSnapshotTable(image: Qcow2Image, oldBytes: number): Steps<void> {
  const { header, snapshots } = image;
  const places: number[] = [];
  let bytes = 0;
  for (const record of snapshots) {
    bytes = alignUp(bytes, 8);
    places.push(bytes);
    const { id, name } = yield* namesOf(image, record);
    bytes += snapshotHeaderSize + extraOf(record) + id.length + name.length;
  }
  const offset = yield* allocateClusters(image, bytes);
  yield* image.refcountCache.flush();
  image.checkOverlap(offset, bytes, 0);
  for (const [index, record] of snapshots.entries()) {
    const from = places[index] ?? 0;
    const length = (places[index + 1] ?? alignUp(bytes, 8)) - from;
    yield* repairWrite(image, offset + from, (yield* newEntry(image, record, length)).subarray(0, bytes - from), 0);
  }
  yield* wait(image.flushMedium());
  const oldOffset = header.snapshotsOffset;
  yield* image.updateFields({ snapshotCount: snapshots.length, snapshotsOffset: offset });
  image.metadata.removeAll(structure.snapshotTable);
  image.metadata.add(offset, bytes, structure.snapshotTable);
  image.snapshots = snapshots.map((record, index) => ({
    ...record,
    at: places[index] ?? 0,
    extraSize: extraOf(record),
    diskSize: record.diskSize ?? image.size,
  }));
  if (oldOffset !== 0 && oldBytes > 0) yield* freeClusters(image, oldOffset, oldBytes, 'snapshot');
  yield* image.refcountCache.flush();
}

/** The entry as it should be, padded to `length`. Extra data that nobody knows stays as it is. */
function* newEntry(image: Qcow2Image, record: SnapshotRecord, length: number): Steps<Uint8Array> {
  const at = image.header.snapshotsOffset + record.at;
  const entry = new Uint8Array(length);
  const extra = extraOf(record);
  yield* wait(image.readFile(at, entry.subarray(0, snapshotHeaderSize)));
  yield* wait(image.readFile(at + snapshotHeaderSize, entry.subarray(snapshotHeaderSize, snapshotHeaderSize + Math.min(record.extraSize, extra))));
  setU32(entry, 32, record.vmStateSize > 0xffffffff ? 0 : record.vmStateSize);
  setU32(entry, 36, extra);
  if (record.extraSize < 8) setU64(entry, snapshotHeaderSize, record.vmStateSize);
  if (record.diskSize === undefined) setU64(entry, snapshotHeaderSize + 8, image.size);
  if (record.icount === undefined) setU64Big(entry, snapshotHeaderSize + 16, 2n ** 64n - 1n);
  const { id, name } = yield* namesOf(image, record);
  setU16(entry, 12, id.length);
  setU16(entry, 14, name.length);
  entry.set(id, snapshotHeaderSize + extra);
  entry.set(name, snapshotHeaderSize + extra + id.length);
  return entry;
}

/** The entry's names as bytes, each up to its first NUL. */
function* namesOf(image: Qcow2Image, record: SnapshotRecord): Steps<{ readonly id: Uint8Array; readonly name: Uint8Array }> {
  const at = image.header.snapshotsOffset + record.at;
  const lengths = new Uint8Array(4);
  yield* wait(image.readFile(at + 12, lengths));
  const [idLength, nameLength] = [getU16(lengths, 0), getU16(lengths, 2)];
  const bytes = new Uint8Array(idLength + nameLength);
  yield* wait(image.readFile(at + snapshotHeaderSize + record.extraSize, bytes));
  const cut = (part: Uint8Array): Uint8Array => part.subarray(0, part.includes(0) ? part.indexOf(0) : part.length);
  return { id: cut(bytes.subarray(0, idLength)), name: cut(bytes.subarray(idLength)) };
}
