/*
 * The state of guest ranges for map, convert and base:allocation.
 * Rule source: `qemu-img map` on crafted images.
 */

import type { BlockStatus } from '../core/block/driver.ts';
import { BlockError } from '../core/util/errors.ts';
import { chain, isPending, type Maybe } from '../core/util/maybe.ts';
import type { GuestPosition } from '../core/util/offsets.ts';
import type { Qcow2Image } from './image.ts';
import { clusterKind } from './l2-entry.ts';
import { loadSlice, lookup, newRun, type Run } from './mapping.ts';
import { isPreallocated } from './preallocation.ts';
import { run as carryOut } from './steps.ts';

/**
 * The run at `guest`, at most `length` long; `precise` = holes in the file below matter. Synchronous when the slice is cached
 * and the first precise query was answered.
 */
export function statusOf(image: Qcow2Image, guest: GuestPosition, length: number, precise: boolean): Maybe<BlockStatus> {
  if (precise && image.isPreallocated === undefined) {
    return chain(isPreallocatedOrNot(image), (answer) => {
      image.isPreallocated = answer;
      return statusOf(image, guest, length, precise);
    });
  }
  const run = newRun();
  if (lookup(image, guest, length, run)) return extend(image, guest, length, run);
  return chain(loadSlice(image, guest), () => statusOf(image, guest, length, precise));
}

/** Counts that cannot be read are no reason to fail a query of the mapping. */
function isPreallocatedOrNot(image: Qcow2Image): Maybe<boolean> {
  try {
    const answer = carryOut(isPreallocated(image));
    return isPending(answer) ? answer.catch(noneWhenUnreadable) : answer;
  } catch (error) {
    return noneWhenUnreadable(error);
  }
}

function noneWhenUnreadable(error: unknown): false {
  if (error instanceof BlockError) return false;
  throw error;
}

/** Goes on over slices that are cached and say the same: fewer, longer extents. */
function extend(image: Qcow2Image, guest: GuestPosition, length: number, run: Run): BlockStatus {
  let total = run.length;
  const isPlain = run.kind === clusterKind.unallocated || run.kind === clusterKind.zero;
  const next = newRun();
  while (total < length && run.kind !== clusterKind.compressed && lookup(image, guest + total, length - total, next)) {
    if (next.kind !== run.kind || (!isPlain && next.host !== run.host + total)) break;
    total += next.length;
  }
  return describe(image, run, total);
}

function describe(image: Qcow2Image, run: Run, length: number): BlockStatus {
  // enciphered data do not lie anywhere as they are
  const place = image.encryption === undefined ? { hostOffset: run.host, child: image.data } : {};
  switch (run.kind) {
    case clusterKind.data:
      return { length, data: true, zero: false, allocated: true, ...place, recurse: image.isPreallocated === true && image.encryption === undefined };
    case clusterKind.compressed:
      return { length, data: true, zero: false, allocated: true, compressed: true };
    case clusterKind.zero:
      return { length, data: false, zero: true, allocated: true };
    case clusterKind.zeroPlaced:
      return { length, data: false, zero: true, allocated: true, ...place };
    case clusterKind.unallocatedPlaced:
      return { length, data: false, zero: false, allocated: false, ...place };
    default:
      return { length, data: false, zero: false, allocated: false };
  }
}
