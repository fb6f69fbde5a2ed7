/*
 * The snapshot table in a check: read anew with its own limits, and with tolerance where repair is asked for.
 * Rule source: observed messages and repairs.
 */
import { BlockError } from '../core/util/errors.ts';
import type { Findings } from './check-findings.ts';
import { checkSnapshotPointer } from './header.ts';
import type { Qcow2Image } from './image.ts';
import { maxSnapshotExtra, maxSnapshots, minSnapshotExtra } from './layout.ts';
import { registerSnapshots } from './metadata-places.ts';
import { loadSnapshots } from './snapshots.ts';
import { run as carryOut } from './steps.ts';

/** Reads the table into `image.snapshots`; rejects when it cannot be read. */
export async function checkSnapshotTable(image: Qcow2Image, findings: Findings): Promise<void> {
  const { header } = image;
  const { result, fix } = findings;
  image.snapshots = [];
  image.snapshotTableBytes = 0;
  const overhanging = header.snapshotCount - maxSnapshots;
  let dropped = 0;
  if (overhanging > 0 && fix.errors) {
    findings.say(`Discarding ${overhanging} overhanging snapshots`);
    dropped = overhanging;
  }
  const count = header.snapshotCount - dropped;
  try {
    checkSnapshotPointer({ ...header, snapshotCount: count });
  } catch (error) {
    throw failed(findings, error, '', overhanging > 0 ? `You can force-remove all ${overhanging} overhanging snapshots with qemu-img check -r all` : undefined);
  }
  let trimmed = 0;
  const tolerance = {
    count,
    tooMuchExtra: (index: number, extraSize: number): void => {
      findings.say(`Discarding too much extra metadata in snapshot table entry ${index} (${extraSize} > ${maxSnapshotExtra})`);
      trimmed++;
    },
    tooBig: (rest: number): void => {
      findings.say(`Discarding ${rest} overhanging snapshots (snapshot table is too big)`);
      dropped += rest;
    },
  };
  try {
    await loadSnapshots(image, fix.errors ? tolerance : undefined);
  } catch (error) {
    throw failed(findings, error, 'failed to read the snapshot table: ');
  }
  if (!image.isReadOnly) await registerSnapshots(image);
  result.corruptions += trimmed;
  if (dropped > 0) {
    await carryOut(image.updateFields({ snapshotCount: image.snapshots.length }));
    result.corruptionsFixed += dropped;
  }
  if (image.geometry.version >= 3) {
    const verb = fix.errors ? 'Repairing' : 'ERROR';
    for (const [index, { extraSize }] of image.snapshots.entries()) {
      if (extraSize < minSnapshotExtra) findings.corruption(`${verb} snapshot table entry ${index} is incomplete`);
    }
  }
}

/** Says why the table is of no use. */
function failed(findings: Findings, error: unknown, what: string, hint?: string): unknown {
  if (!(error instanceof BlockError)) return error;
  findings.result.checkErrors++;
  const { message } = error;
  findings.output.error(`ERROR ${what}${what === '' ? message.charAt(0).toLowerCase() + message.slice(1) : message}`);
  const advice = hint ?? error.detail;
  if (advice !== undefined) findings.say(advice);
  return new BlockError(error.code === 'EFBIG' ? 'File too large' : error.code === 'EIO' ? 'Input/output error' : 'Invalid argument', { code: error.code });
}
