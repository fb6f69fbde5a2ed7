/*
 * Refcount blocks: reading and writing counts of any width in a block, and finding the block of a cluster.
 * Rule source: qcow2 specification, refcount table and refcount blocks (narrow counts fill a byte from its lowest bits).
 */
import { getU64, isZero } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import type { Qcow2Image } from './image.ts';
import { two32 } from './layout.ts';
import { hex } from './mapping.ts';
import type { Steps } from './steps.ts';
import type { CachedTable } from './table-cache.ts';

/** Count `index` of a block with counts of `bits` bits. */
export function getRefcount(view: DataView, bits: number, index: number): number {
  switch (bits) {
    case 16:
      return view.getUint16(index * 2);
    case 8:
      return view.getUint8(index);
    case 32:
      return view.getUint32(index * 4);
    case 64:
      return view.getUint32(index * 8) * two32 + view.getUint32(index * 8 + 4);
    default: {
      const perByte = 8 / bits;
      const shift = (index % perByte) * bits;
      return (view.getUint8(Math.floor(index / perByte)) >>> shift) & ((1 << bits) - 1);
    }
  }
}

export function setRefcount(view: DataView, bits: number, index: number, value: number): void {
  switch (bits) {
    case 16:
      view.setUint16(index * 2, value);
      return;
    case 8:
      view.setUint8(index, value);
      return;
    case 32:
      view.setUint32(index * 4, value);
      return;
    case 64:
      view.setUint32(index * 8, Math.floor(value / two32));
      view.setUint32(index * 8 + 4, value % two32);
      return;
    default: {
      const perByte = 8 / bits;
      const at = Math.floor(index / perByte);
      const shift = (index % perByte) * bits;
      const mask = ((1 << bits) - 1) << shift;
      view.setUint8(at, (view.getUint8(at) & ~mask) | ((value << shift) & mask));
    }
  }
}

/** Largest count of a width; 64-bit counts end where numbers are exact. */
export function maxRefcount(bits: number): number {
  return bits >= 53 ? Number.MAX_SAFE_INTEGER : 2 ** bits - 1;
}

/** The refcount table as host offsets of blocks. */
export function decodeRefcountTable(bytes: Uint8Array): Float64Array {
  const table = new Float64Array(bytes.length / 8);
  const used = usedEntries(bytes);
  for (let i = 0; i < used; i++) {
    const value = getU64(bytes, i * 8);
    table[i] = value - (value % 512);
  }
  return table;
}

/** Entries up to the last one in use, rounded up: most of a table is empty, and the second half of what is left falls away at once. */
function usedEntries(bytes: Uint8Array): number {
  let used = bytes.length / 8;
  while (used > 16) {
    const half = Math.ceil(used / 2);
    if (!isZero(bytes.subarray(half * 8, used * 8))) break;
    used = half;
  }
  return used;
}

export function badBlock(image: Qcow2Image, offset: number, index: number): BlockError {
  return image.reportCorruption(`Refblock offset ${hex(offset)} unaligned (reftable index: ${hex(index)})`, { isFatal: true });
}

/** The block that counts `cluster`, loaded; undefined when there is none (all of its counts are 0). */
export function* blockOf(image: Qcow2Image, cluster: number): Steps<CachedTable | undefined> {
  const index = Math.floor(cluster / image.geometry.refcountsPerBlock);
  const offset = image.refcountTable[index] ?? 0;
  if (offset === 0) return undefined;
  if (offset % image.geometry.clusterSize !== 0) throw badBlock(image, offset, index);
  if (offset >= 2 ** 63) throw new BlockError('Input/output error', { code: 'EIO' });
  return image.refcountCache.peek(offset) ?? (yield* image.refcountCache.get(offset));
}

/** The refcount of a cluster as messages show it: `count`, or all its digits where a number does not hold them. */
export function* exactRefcount(image: Qcow2Image, cluster: number, count: number): Steps<number | bigint> {
  if (count <= Number.MAX_SAFE_INTEGER) return count;
  const block = yield* blockOf(image, cluster);
  return block?.view.getBigUint64((cluster % image.geometry.refcountsPerBlock) * 8) ?? count;
}

/** The refcount of a cluster. */
export function* refcountOf(image: Qcow2Image, cluster: number): Steps<number> {
  const block = yield* blockOf(image, cluster);
  if (block === undefined) return 0;
  return getRefcount(block.view, image.geometry.refcountBits, cluster % image.geometry.refcountsPerBlock);
}
