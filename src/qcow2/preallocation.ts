/*
 * Whether many clusters of an image were allocated without having been written: the counts say that the file is fuller
 * than its medium has space for. Only then is the file asked which of the data are holes: on other images the question
 * costs a system call a run and the answer is nearly always "data".
 * Rule source: `qemu-img map` on images with holes punched.
 */

import type { Qcow2Image } from './image.ts';
import { blockOf, getRefcount } from './refcount-blocks.ts';
import { type Steps, wait } from './steps.ts';

/** True when more clusters are counted than the medium can hold, by a tenth and by two clusters. */
export function* isPreallocated(image: Qcow2Image): Steps<boolean> {
  const { clusterSize, refcountBits, refcountsPerBlock } = image.geometry;
  const allocated = yield* wait(image.file.node.state.allocatedSize?.() ?? undefined);
  if (allocated === undefined) return false;
  const real = Math.floor(allocated / clusterSize);
  const enough = Math.max(Math.floor((real * 10) / 9), real + 2);
  const clusters = Math.floor(image.file.size() / clusterSize);
  let counted = 0;
  for (let first = 0; first < clusters && counted < enough; first += refcountsPerBlock) {
    const block = yield* blockOf(image, first);
    if (block === undefined) continue;
    const end = Math.min(refcountsPerBlock, clusters - first);
    for (let index = 0; index < end && counted < enough; index++) if (getRefcount(block.view, refcountBits, index) !== 0) counted++;
  }
  return counted >= enough;
}
