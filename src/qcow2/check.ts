/*
 * check: walks all structures, compares the references found with the stored refcounts, then looks at the COPIED flags; with
 * repair asked for, sets right what can be. Holds the metadata mutex throughout.
 * Rule source: observed order of phases and messages.
 */
import type { CheckResult } from '../core/block/driver.ts';
import { getU32 } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { ceilDiv } from '../core/util/math.ts';
import { checkCopiedFlags } from './check-copied.ts';
import { type CheckFix, countReferences, type ReferenceCounts } from './check-map.ts';
import type { Qcow2Image } from './image.ts';
import { incompatible } from './layout.ts';
import { decodeRefcountTable, exactRefcount, refcountOf } from './refcount-blocks.ts';
import { type Comparison, fixRefcount, rebuildRefcounts } from './repair-refcounts.ts';
import { readSnapshots } from './snapshots.ts';
import { run as carryOut } from './steps.ts';

function emptyResult(): CheckResult {
  return {
    corruptions: 0,
    leaks: 0,
    checkErrors: 0,
    corruptionsFixed: 0,
    leaksFixed: 0,
    imageEndOffset: 0,
    totalClusters: 0,
    allocatedClusters: 0,
    fragmentedClusters: 0,
    compressedClusters: 0,
    messages: [],
  };
}

/** Checks the image, and repairs what `fix` asks for. Rejects with EIO when a repair cannot be carried out. */
export async function checkImage(image: Qcow2Image, fix: CheckFix): Promise<CheckResult> {
  await image.mutex.lock();
  try {
    if (!image.isReadOnly) {
      await carryOut(image.l2Cache.flush());
      await carryOut(image.refcountCache.flush());
    }
    const result = await checkLocked(image, fix);
    const isFixing = fix.leaks || fix.errors;
    if (isFixing && result.checkErrors === 0 && result.corruptions === 0) await markClean(image);
    return result;
  } finally {
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

export async function checkLocked(image: Qcow2Image, fix: CheckFix): Promise<CheckResult> {
  const result = emptyResult();
  const { warn } = image;
  // what is found corrupt on the way belongs among the other lines
  image.warn = (line) => result.messages.push(line);
  try {
    await checkInto(image, fix, result);
    return result;
  } catch (error) {
    if (error instanceof BlockError) for (const message of result.messages) warn(message);
    throw error;
  } finally {
    image.warn = warn;
  }
}

async function checkInto(image: Qcow2Image, fix: CheckFix, result: CheckResult): Promise<void> {
  result.totalClusters = ceilDiv(image.size, image.geometry.clusterSize);
  await checkSnapshotTable(image, result);
  const snapshotBytes = (await readSnapshots(image)).bytes;
  const counts = await countReferences(image, fix, result, snapshotBytes);
  let mustRebuild = await checkRefcountBlocks(image, counts, result, fix);
  const before = { ...result };
  const first = await compare(image, counts, result, { leaks: false, errors: false });
  mustRebuild ||= first.mustRebuild;
  let highest = first.highest;
  if (mustRebuild && fix.errors) {
    highest = await rebuild(image, counts, result, fix, snapshotBytes);
  } else if (fix.leaks || fix.errors) {
    if (mustRebuild) throw stopped(image, 'ERROR need to rebuild refcount structures');
    if (result.leaks > 0 || result.corruptions > 0) {
      // the same comparison once more, this time with a hand on the counts
      result.leaks = before.leaks;
      result.corruptions = before.corruptions;
      await compare(image, counts, result, fix);
    }
  }
  await checkCopiedFlags(image, fix, result);
  if (!image.isReadOnly) {
    await carryOut(image.l2Cache.flush());
    await carryOut(image.refcountCache.flush());
  }
  result.imageEndOffset = (highest + 1) * image.geometry.clusterSize;
}

/** A check that has to stop; the lines so far are told by the caller, since no result will. */
function stopped(image: Qcow2Image, line: string): BlockError {
  image.warn(line);
  return new BlockError('Input/output error', { code: 'EIO' });
}

async function checkSnapshotTable(image: Qcow2Image, result: CheckResult): Promise<void> {
  if (image.geometry.version < 3) return;
  image.snapshots.forEach((snapshot, index) => {
    if (snapshot.extraSize >= 16) return;
    result.corruptions++;
    result.messages.push(`ERROR snapshot table entry ${index} is incomplete`);
  });
}

/** Looks at the refcount table's entries and counts the blocks. True when the structure has to be rebuilt. */
async function checkRefcountBlocks(image: Qcow2Image, counts: ReferenceCounts, result: CheckResult, fix: CheckFix): Promise<boolean> {
  const { clusterSize } = image.geometry;
  const { header } = image;
  const table = new Uint8Array(header.refcountTableClusters * clusterSize);
  await image.file.read(header.refcountTableOffset, table);
  const offsets = decodeRefcountTable(table);
  let mustRebuild = false;
  const say = (text: string): void => {
    result.corruptions++;
    result.messages.push(text);
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
        result.corruptions++;
        result.messages.push(`ERROR refcount block ${index} is outside image`);
        continue;
      }
      result.messages.push(`Repairing refcount block ${index} is outside image`);
      const failure = await enlarge(image, offset + clusterSize);
      if (failure !== undefined) {
        result.messages.push(...(failure.prefix === undefined ? [] : [failure.prefix]));
        say(`ERROR could not resize image: ${failure.reason}`);
        continue;
      }
      result.corruptionsFixed++;
      counts.grow(cluster + 1);
      counts.fileSize = image.file.size();
      counts.add(offset, clusterSize, result);
      continue;
    }
    counts.add(offset, clusterSize, result);
    const count = counts.counts[cluster] ?? 0;
    if (count !== 1) say(`ERROR refcount block ${index} refcount=${count}`);
  }
  return mustRebuild;
}

/** Makes the file long enough for a structure behind its end. */
async function enlarge(image: Qcow2Image, size: number): Promise<{ prefix: string | undefined; reason: string } | undefined> {
  if (size >= 2 ** 63) return { prefix: undefined, reason: 'Invalid argument' };
  try {
    await image.file.truncate(size, { exact: false, prealloc: 'off' });
    return undefined;
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return { prefix: undefined, reason: error.message };
  }
}

async function compare(image: Qcow2Image, counts: ReferenceCounts, result: CheckResult, fix: CheckFix): Promise<Comparison> {
  const comparison: Comparison = { highest: 0, mustRebuild: false };
  for (let cluster = 0; cluster < counts.clusters; cluster++) {
    let stored: number;
    try {
      const pending = carryOut(refcountOf(image, cluster));
      stored = typeof pending === 'number' ? pending : await pending;
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      result.checkErrors++;
      result.messages.push(`Can't get refcount for cluster ${cluster}: ${error.message}`);
      continue;
    }
    const found = counts.counts[cluster] ?? 0;
    if (stored > 0 || found > 0) comparison.highest = cluster;
    if (stored === found) continue;
    const isLeak = stored > found;
    if (stored === 0) comparison.mustRebuild = true;
    const mayFix = isLeak ? fix.leaks : fix.errors && stored !== 0;
    result.messages.push(
      `${mayFix ? 'Repairing' : isLeak ? 'Leaked' : 'ERROR'} cluster ${cluster} refcount=${await carryOut(exactRefcount(image, cluster, stored))} reference=${found}`,
    );
    if (mayFix && (await fixRefcount(image, cluster, found))) {
      if (isLeak) result.leaksFixed++;
      else result.corruptionsFixed++;
    } else if (isLeak) result.leaks++;
    else result.corruptions++;
  }
  return comparison;
}

async function rebuild(image: Qcow2Image, counts: ReferenceCounts, result: CheckResult, fix: CheckFix, snapshotBytes: number): Promise<number> {
  const found = { corruptions: result.corruptions, leaks: result.leaks };
  result.messages.push('Rebuilding refcount structure');
  await rebuildRefcounts(image, counts);
  // the old structures are referenced by nothing now: look again
  result.corruptions = 0;
  result.leaks = 0;
  const again = { ...emptyResult(), messages: result.messages };
  const recounted = await countReferences(image, { leaks: false, errors: false }, again, snapshotBytes);
  await checkRefcountBlocks(image, recounted, again, { leaks: false, errors: false });
  const comparison = await compare(image, recounted, again, { leaks: fix.leaks, errors: false });
  if (comparison.mustRebuild) throw stopped(image, 'ERROR rebuilt refcount structure is still broken');
  result.corruptions = again.corruptions;
  result.leaks = again.leaks;
  result.corruptionsFixed += Math.max(0, found.corruptions - again.corruptions);
  result.leaksFixed += fix.leaks ? found.leaks : 0;
  return comparison.highest;
}
