/* What every storage refuses, in one place: positions that no medium has. Knows no medium. */
import { hostOffset, isRange } from '../util/offsets.ts';

/**
 * Throws unless `length` bytes from `offset` on are positions that can be carried out exactly: EINVAL for what is negative
 * or no whole number, EFBIG beyond 2^53 - 1. Called first by each request of each storage.
 */
export function checkRange(offset: number, length: number): void {
  if (isRange(offset, length)) return;
  hostOffset(offset);
  hostOffset(length);
  hostOffset(offset + length);
}
