/*
 * Repair of the snapshot table: written anew with what every entry needs and without what is too much.
 * Rule source: observed repairs.
 */
import { BlockError } from '../core/util/errors.ts';
import type { Findings } from './check-findings.ts';
import type { Qcow2Image } from './image.ts';
import { replaceSnapshotTable } from './snapshot-table.ts';
import { run as carryOut } from './steps.ts';

/** Writes the table anew, since entries were found wanting. */
export async function repairSnapshotTable(image: Qcow2Image, findings: Findings): Promise<void> {
  const { result } = findings;
  try {
    await carryOut(replaceSnapshotTable(image, image.snapshots));
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    findings.checkError(`ERROR failed to update snapshot table: ${error.message}`);
    throw error;
  }
  result.corruptionsFixed += result.corruptions;
  result.corruptions = 0;
}
