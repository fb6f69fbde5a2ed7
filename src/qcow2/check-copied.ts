/*
 * The COPIED flags of the active tables: set exactly where the refcount is 1.
 * Rule source: qcow2 specification, L1 and L2 entries; messages as observed.
 */
import type { CheckResult } from '../core/block/driver.ts';
import type { Maybe } from '../core/util/maybe.ts';
import type { CheckFix } from './check-map.ts';
import type { Qcow2Image } from './image.ts';
import { entryHex } from './l2-entry.ts';
import { COMPRESSED_HI, COPIED_HI, OFFSET_HI, OFFSET_LO, two32 } from './layout.ts';
import { exactRefcount, refcountOf } from './refcount-blocks.ts';
import { run as carryOut } from './steps.ts';

export async function checkCopiedFlags(image: Qcow2Image, fix: CheckFix, result: CheckResult): Promise<void> {
  // with counts that are right, the flags follow from them: that loses nothing, even where only leaks are to be repaired
  const areCountsRight = result.checkErrors === 0 && result.corruptions === 0 && result.leaks === 0;
  const mayFix = (fix.errors && result.checkErrors === 0) || (fix.leaks && areCountsRight);
  const count = (fixed: boolean): void => {
    if (fixed) result.corruptionsFixed++;
    else result.corruptions++;
  };
  const verb = mayFix ? 'Repairing' : 'ERROR';
  for (let index = 0; index < image.l1Entries; index++) {
    const offset = image.l2TableOf(index);
    if (offset === 0) continue;
    const refcount = await countOf(image, offset);
    if (refcount === undefined) continue;
    if ((refcount === 1) !== image.isL2Copied(index)) {
      const hi = image.l1View.getUint32(index * 8);
      const lo = image.l1View.getUint32(index * 8 + 4);
      result.messages.push(
        `${verb} OFLAG_COPIED L2 cluster: l1_index=${index} l1_entry=${entryHex(hi, lo)} refcount=${await exactCount(image, offset, refcount)}`,
      );
      if (mayFix) {
        await carryOut(image.updateL1Words(index, (refcount === 1 ? hi | COPIED_HI : hi & ~COPIED_HI) >>> 0, lo));
      }
      count(mayFix);
    }
    await checkTable(image, offset, { verb, mayFix, count }, result);
  }
}

/** Undefined when it cannot be read: told before, by the comparison of counts. */
async function countOf(image: Qcow2Image, offset: number): Promise<number | undefined> {
  try {
    return await carryOut(refcountOf(image, Math.floor(offset / image.geometry.clusterSize)));
  } catch {
    return undefined;
  }
}

async function checkTable(
  image: Qcow2Image,
  tableOffset: number,
  how: { readonly verb: string; readonly mayFix: boolean; count(fixed: boolean): void },
  result: CheckResult,
): Promise<void> {
  const { clusterSize, entrySize } = image.geometry;
  const bytes = new Uint8Array(clusterSize);
  await image.file.read(tableOffset, bytes);
  const view = new DataView(bytes.buffer);
  let hasChanged = false;
  for (let at = 0; at < clusterSize; at += entrySize) {
    const hi = view.getUint32(at);
    const lo = view.getUint32(at + 4);
    if ((hi & COMPRESSED_HI) !== 0) continue;
    const offset = (hi & OFFSET_HI) * two32 + ((lo & OFFSET_LO) >>> 0);
    const isCopied = (hi & COPIED_HI) !== 0;
    if (offset === 0 && !(image.hasDataFile && isCopied)) continue;
    const refcount = image.hasDataFile ? 1 : await countOf(image, offset);
    if (refcount === undefined || (refcount === 1) === isCopied) continue;
    result.messages.push(`${how.verb} OFLAG_COPIED data cluster: l2_entry=${entryHex(hi, lo)} refcount=${await exactCount(image, offset, refcount)}`);
    if (how.mayFix) {
      view.setUint32(at, (refcount === 1 ? hi | COPIED_HI : hi & ~COPIED_HI) >>> 0);
      hasChanged = true;
    }
    how.count(how.mayFix);
  }
  if (!hasChanged) return;
  image.l2Cache.forget(tableOffset, clusterSize);
  await image.writeFile(tableOffset, bytes);
  await image.flushMedium();
}

function exactCount(image: Qcow2Image, offset: number, count: number): Maybe<number | bigint> {
  return carryOut(exactRefcount(image, Math.floor(offset / image.geometry.clusterSize), count));
}
