/*
 * The search for free clusters: first fit from where the last search ended. A gap too small for the request is passed over
 * and seen again only after something below was freed. Only looks; refcounts.ts takes.
 * Rule source: observed allocation order (byte-identical layout).
 */
import { hostOffset } from '../core/util/offsets.ts';
import type { Qcow2Image } from './image.ts';
import { blockOf, getRefcount } from './refcount-blocks.ts';
import type { Steps } from './steps.ts';

/** Finds `count` free clusters in one piece and moves the search position behind them. Returns the first one's index. */
export function* findFree(image: Qcow2Image, count: number): Steps<number> {
  const { refcountsPerBlock, refcountBits, clusterSize } = image.geometry;
  let at = image.freeIndex;
  let found = 0;
  while (found < count) {
    const block = yield* blockOf(image, at);
    const base = at - (at % refcountsPerBlock);
    const end = base + refcountsPerBlock;
    if (block === undefined) {
      const take = Math.min(count - found, end - at);
      found += take;
      at += take;
      continue;
    }
    while (at < end && found < count) {
      found = getRefcount(block.view, refcountBits, at - base) === 0 ? found + 1 : 0;
      at++;
    }
  }
  image.freeIndex = at;
  hostOffset(at * clusterSize);
  return at - count;
}

/** Free clusters in one piece from `first` on, at most `count`. */
export function* countFreeAt(image: Qcow2Image, first: number, count: number): Steps<number> {
  const { refcountsPerBlock, refcountBits } = image.geometry;
  let free = 0;
  while (free < count) {
    const at = first + free;
    const block = yield* blockOf(image, at);
    const inBlock = at % refcountsPerBlock;
    const end = Math.min(refcountsPerBlock, inBlock + count - free);
    if (block === undefined) {
      free += end - inBlock;
      continue;
    }
    for (let i = inBlock; i < end; i++) {
      if (getRefcount(block.view, refcountBits, i) !== 0) return free;
      free++;
    }
  }
  return free;
}
