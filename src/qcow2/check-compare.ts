/*
 * The references found by a check against the counts that the image stores, block by block: clusters that no block counts and
 * nothing names are passed over unseen.
 * Rule source: observed messages.
 */
import { BlockError } from '../core/util/errors.ts';
import { isPending } from '../core/util/maybe.ts';
import type { ReferenceCounts } from './check-counts.ts';
import type { Findings } from './check-findings.ts';
import type { Qcow2Image } from './image.ts';
import { blockOf, exactRefcount, getRefcount } from './refcount-blocks.ts';
import { run as carryOut } from './steps.ts';

export interface Comparison {
  /** The last cluster with a count or a reference. */
  highest: number;
  /** A referenced cluster has no count: no structure to trust. */
  mustRebuild: boolean;
}

/** Compares all, and sets right what the findings' `fix` asks for. */
export async function compareCounts(image: Qcow2Image, counts: ReferenceCounts, findings: Findings): Promise<Comparison> {
  const comparison: Comparison = { highest: 0, mustRebuild: false };
  const { refcountsPerBlock, clusterSize } = image.geometry;
  for (const window of countedWindows(image, counts)) {
    const first = window * refcountsPerBlock;
    const end = Math.min(first + refcountsPerBlock, counts.clusters);
    if (first < end) await compareWindow(image, counts, findings, comparison, first, end);
    const pending = image.budget.tick(clusterSize);
    if (isPending(pending)) await pending;
  }
  return comparison;
}

/** Indices of refcount blocks that exist or that should, ascending. */
function* countedWindows(image: Qcow2Image, counts: ReferenceCounts): Generator<number> {
  const table = image.refcountTable;
  let index = 0;
  for (const window of counts.windows(image.geometry.refcountsPerBlock)) {
    for (; index < window && index < table.length; index++) if (table[index] !== 0) yield index;
    yield window;
    index = window + 1;
  }
  for (; index < table.length; index++) if (table[index] !== 0) yield index;
}

async function compareWindow(
  image: Qcow2Image,
  counts: ReferenceCounts,
  findings: Findings,
  comparison: Comparison,
  first: number,
  end: number,
): Promise<void> {
  const { refcountBits } = image.geometry;
  for (let cluster = first; cluster < end; ) {
    let stored: DataView | undefined;
    try {
      const block = carryOut(blockOf(image, cluster));
      stored = (isPending(block) ? await block : block)?.view;
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      findings.checkError(`Can't get refcount for cluster ${cluster}: ${error.message}`);
      cluster++;
      continue;
    }
    // a repair may drop the block from its cache: look again behind each
    let isFixed = false;
    for (; cluster < end && !isFixed; cluster++) {
      if (stored === undefined) {
        cluster = counts.nextPaged(cluster, end);
        if (cluster === end) break;
      }
      const count = stored === undefined ? 0 : getRefcount(stored, refcountBits, cluster - first);
      const found = counts.get(cluster);
      if (count > 0 || found > 0) comparison.highest = cluster;
      if (count === found) continue;
      isFixed = await tell(image, findings, comparison, { cluster, stored: count, found });
    }
  }
}

/** Tells of a wrong count and repairs it. True when it did. */
async function tell(
  image: Qcow2Image,
  findings: Findings,
  comparison: Comparison,
  wrong: { readonly cluster: number; readonly stored: number; readonly found: number },
): Promise<boolean> {
  const { cluster, stored, found } = wrong;
  const { fix, result } = findings;
  const isLeak = stored > found;
  if (stored === 0) comparison.mustRebuild = true;
  const mayFix = isLeak ? fix.leaks : fix.errors && stored !== 0;
  const exact = await carryOut(exactRefcount(image, cluster, stored));
  findings.say(`${mayFix ? 'Repairing' : isLeak ? 'Leaked' : 'ERROR'} cluster ${cluster} refcount=${exact} reference=${found}`);
  if (mayFix && (await (await import('./repair-refcounts.ts')).fixRefcount(image, cluster, found))) {
    if (isLeak) result.leaksFixed++;
    else result.corruptionsFixed++;
    return true;
  }
  if (isLeak) result.leaks++;
  else result.corruptions++;
  return false;
}
