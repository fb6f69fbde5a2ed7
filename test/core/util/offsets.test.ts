/* The gates for positions on media and disks: what is carried exactly passes, all else is told by its errno name. */
import { describe, expect, it } from 'vitest';
import { getU64 } from '../../../src/core/util/bytes.ts';
import { guestOffset, guestOffsetAt, hostOffset, hostOffsetAt, isOffset, isRange, largestOffset } from '../../../src/core/util/offsets.ts';

const codeOf = (make: () => unknown): unknown => {
  try {
    return make();
  } catch (error) {
    return error instanceof Error && 'code' in error ? `${error.code}: ${error.message}` : error;
  }
};

describe('offsets', () => {
  it.each([0, 1, 511, 2 ** 32, 2 ** 52 + 1, largestOffset])('carries %d unchanged, as number and as bigint', (value) => {
    expect(hostOffset(value)).toBe(value);
    expect(guestOffset(value)).toBe(value);
    expect(hostOffset(BigInt(value))).toBe(value);
    expect(isOffset(value)).toBe(true);
  });

  it.each([2 ** 53, 2 ** 53 + 2, 2 ** 56, 2 ** 63, Number.POSITIVE_INFINITY, 2n ** 53n, 2n ** 53n + 1n, 2n ** 64n - 1n])('refuses %d as too large', (value) => {
    expect(codeOf(() => hostOffset(value))).toBe('EFBIG: File too large');
    expect(codeOf(() => guestOffset(value))).toBe('EIO: Input/output error');
  });

  it.each([-1, -512, 0.5, 1e-9, 2 ** 51 + 0.5, Number.NaN, -1n, Number.NEGATIVE_INFINITY])('refuses %d as no position', (value) => {
    expect(codeOf(() => hostOffset(value))).toBe('EINVAL: Invalid argument');
    expect(codeOf(() => guestOffset(value))).toBe('EINVAL: Invalid argument');
    expect(isOffset(Number(value))).toBe(false);
  });

  it('lets no rounded u64 through', () => {
    const bytes = new Uint8Array(8).fill(0xff);
    for (const top of [0x00, 0x1f, 0x20, 0x7f, 0xff]) {
      bytes[1] = top;
      bytes[0] = 0;
      expect(isOffset(getU64(bytes, 0))).toBe(top <= 0x1f);
    }
  });

  it('moves by a distance and refuses to leave the range either way', () => {
    expect(hostOffsetAt(hostOffset(512), 512)).toBe(1024);
    expect(guestOffsetAt(guestOffset(512), -512)).toBe(0);
    expect(codeOf(() => hostOffsetAt(hostOffset(largestOffset), 1))).toBe('EFBIG: File too large');
    expect(codeOf(() => guestOffsetAt(guestOffset(largestOffset), 1))).toBe('EIO: Input/output error');
    expect(codeOf(() => hostOffsetAt(hostOffset(0), -1))).toBe('EINVAL: Invalid argument');
    expect(codeOf(() => guestOffsetAt(guestOffset(0), -1))).toBe('EINVAL: Invalid argument');
  });

  it('a range lies inside with its end', () => {
    expect(isRange(0, largestOffset)).toBe(true);
    expect(isRange(largestOffset, 0)).toBe(true);
    expect(isRange(1, largestOffset)).toBe(false);
    expect(isRange(largestOffset, 1)).toBe(false);
    expect(isRange(-1, 2)).toBe(false);
    expect(isRange(1, -1)).toBe(false);
    expect(isRange(0.5, 1)).toBe(false);
  });
});
