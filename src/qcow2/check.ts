/*
 * check: walks all structures, compares the references found with the stored refcounts, then looks at the COPIED flags; with
 * repair asked for, sets right what can be. Holds the metadata mutex throughout.
 * Rule source: observed order of phases and messages.
 */
import type { CheckOutput, CheckResult } from '../core/block/driver.ts';
import { getU32 } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { ceilDiv } from '../core/util/math.ts';
import { compareCounts } from './check-compare.ts';
import { checkCopiedFlags } from './check-copied.ts';
import type { ReferenceCounts } from './check-counts.ts';
import { type CheckFix, Findings } from './check-findings.ts';
import { countReferences } from './check-map.ts';
import { checkSnapshotTable } from './check-snapshots.ts';
import type { Qcow2Image } from './image.ts';
import { incompatible } from './layout.ts';
import { decodeRefcountTable } from './refcount-blocks.ts';
import { run as carryOut } from './steps.ts';

const nothing: CheckFix = { leaks: false, errors: false };

/** Checks the image, and repairs what `fix` asks for. Rejects with EIO when a repair cannot be carried out. */
export async function checkImage(image: Qcow2Image, fix: CheckFix, output: CheckOutput): Promise<CheckResult> {
  await image.mutex.lock();
  const { warn } = image;
  // what is found corrupt on the way belongs among the other lines
  image.warn = (line) => output.line(line);
  try {
    if (!image.isReadOnly) {
      // what a repair gives back may be what the medium names, as long as a change that failed is not put right
      await carryOut(image.settle());
      await carryOut(image.l2Cache.flush());
      await carryOut(image.refcountCache.flush());
    }
    const snapshots = new Findings(fix, output);
    const findings = new Findings(fix, output);
    await checkSnapshotTable(image, snapshots);
    await checkStructure(image, findings);
    if (fix.errors && snapshots.result.corruptions > 0) {
      const { repairSnapshotTable } = await import('./repair-snapshots.ts');
      await repairSnapshotTable(image, snapshots);
    }
    const { result } = findings;
    result.corruptions += snapshots.result.corruptions;
    result.corruptionsFixed += snapshots.result.corruptionsFixed;
    result.checkErrors += snapshots.result.checkErrors;
    if ((fix.leaks || fix.errors) && result.checkErrors === 0 && result.corruptions === 0) await markClean(image);
    return result;
  } finally {
    image.warn = warn;
    image.mutex.unlock();
  }
}

/** Without corruption left, the dirty and the corrupt bit go. */
async function markClean(image: Qcow2Image): Promise<void> {
  const { header } = image;
  const bits = incompatible.dirty | incompatible.corrupt;
  if ((header.incompatible & bits) === 0n) return;
  await carryOut(image.l2Cache.flush());
  await carryOut(image.refcountCache.flush());
  await carryOut(image.updateHeader({ incompatible: header.incompatible & ~bits }));
}

async function checkStructure(image: Qcow2Image, findings: Findings): Promise<void> {
  const { result, fix } = findings;
  result.totalClusters = ceilDiv(image.size, image.geometry.clusterSize);
  const counts = await countReferences(image, findings);
  let mustRebuild = await checkRefcountBlocks(image, counts, findings);
  const before = { corruptions: result.corruptions, leaks: result.leaks, checkErrors: result.checkErrors };
  // the first look changes nothing: whether single counts can be set right is known at its end
  const look = findings.fresh(nothing);
  const first = await compareCounts(image, counts, look);
  result.corruptions += look.result.corruptions;
  result.leaks += look.result.leaks;
  result.checkErrors += look.result.checkErrors;
  mustRebuild ||= first.mustRebuild;
  let { highest } = first;
  if (mustRebuild && fix.errors) {
    highest = await rebuild(image, counts, findings);
  } else if (fix.leaks || fix.errors) {
    if (mustRebuild) throw stopped(findings, 'ERROR need to rebuild refcount structures');
    if (result.leaks > 0 || result.corruptions > 0) {
      Object.assign(result, before);
      await compareCounts(image, counts, findings);
    }
  }
  await checkCopiedFlags(image, findings);
  if (!image.isReadOnly) {
    await carryOut(image.l2Cache.flush());
    await carryOut(image.refcountCache.flush());
  }
  result.imageEndOffset = (highest + 1) * image.geometry.clusterSize;
}

/** A check that has to stop. */
function stopped(findings: Findings, line: string): BlockError {
  findings.say(line);
  return new BlockError('Input/output error', { code: 'EIO' });
}

/** Looks at the refcount table's entries and counts the blocks. True when the structure has to be rebuilt. */
async function checkRefcountBlocks(image: Qcow2Image, counts: ReferenceCounts, findings: Findings): Promise<boolean> {
  const { clusterSize } = image.geometry;
  const { header } = image;
  const { result, fix } = findings;
  const table = new Uint8Array(header.refcountTableClusters * clusterSize);
  await image.readFile(header.refcountTableOffset, table);
  const offsets = decodeRefcountTable(table);
  let mustRebuild = false;
  const say = (text: string): void => {
    findings.corruption(text);
    mustRebuild = true;
  };
  for (let index = 0; index < offsets.length; index++) {
    const offset = offsets[index] ?? 0;
    if ((getU32(table, index * 8 + 4) & 0x1ff) !== 0) {
      say(`ERROR refcount table entry ${index} has reserved bits set`);
      continue;
    }
    if (offset === 0) continue;
    if (getU32(table, index * 8 + 4) % clusterSize !== 0) {
      say(`ERROR refcount block ${index} is not cluster aligned; refcount table entry corrupted`);
      continue;
    }
    const cluster = offset / clusterSize;
    if (cluster >= counts.clusters) {
      if (!fix.errors) {
        // no reason to rebuild: nothing inside the file is counted by it
        findings.corruption(`ERROR refcount block ${index} is outside image`);
        continue;
      }
      findings.say(`Repairing refcount block ${index} is outside image`);
      const failure = await enlarge(image, offset + clusterSize);
      if (failure !== undefined) {
        say(`ERROR could not resize image: ${failure}`);
        continue;
      }
      result.corruptionsFixed++;
      counts.grow(cluster + 1);
      counts.fileSize = image.file.size();
      counts.add(offset, clusterSize, findings);
      continue;
    }
    counts.add(offset, clusterSize, findings);
    const count = counts.get(cluster);
    if (count !== 1) say(`ERROR refcount block ${index} refcount=${count}`);
    await image.budget.tick(8);
  }
  return mustRebuild;
}

/** Makes the file long enough for a structure behind its end. Returns why it could not. */
async function enlarge(image: Qcow2Image, size: number): Promise<string | undefined> {
  if (size >= 2 ** 63) return 'Invalid argument';
  if (size / image.geometry.clusterSize > 0x7fffffff) return 'File too large';
  try {
    await image.file.truncate(size, { exact: false, prealloc: 'off' });
    return undefined;
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return error.message;
  }
}

async function rebuild(image: Qcow2Image, counts: ReferenceCounts, findings: Findings): Promise<number> {
  const { result, fix } = findings;
  const found = { corruptions: result.corruptions, leaks: result.leaks };
  findings.say('Rebuilding refcount structure');
  const { rebuildRefcounts } = await import('./repair-refcounts.ts');
  await rebuildRefcounts(image, counts, findings);
  // the old structures are referenced by nothing now: look again
  const again = findings.fresh(nothing);
  const recounted = await countReferences(image, again);
  await checkRefcountBlocks(image, recounted, again);
  const last = findings.fresh({ leaks: fix.leaks, errors: false });
  const comparison = await compareCounts(image, recounted, last);
  if (comparison.mustRebuild) throw stopped(findings, 'ERROR rebuilt refcount structure is still broken');
  result.corruptions = again.result.corruptions + last.result.corruptions;
  result.leaks = again.result.leaks + last.result.leaks;
  result.corruptionsFixed += Math.max(0, found.corruptions - result.corruptions);
  result.leaksFixed += fix.leaks ? found.leaks : 0;
  return comparison.highest;
}
