/*
 * Offsets that were looked at: positions on a medium (`HostOffset`) and positions on a disk as its guest sees it
 * (`GuestOffset`). Both are numbers from 0 to 2^53 - 1 and are made here only, so whatever comes from a medium, a wire or
 * an option passes one of these gates, and neither is taken for the other. A number above 2^53 would be rounded, and Node
 * takes it for "where the file stands". Knows no format.
 */
import { errnoText } from './errno.ts';
import { BlockError } from './errors.ts';

declare const hostBrand: unique symbol;
declare const guestBrand: unique symbol;
declare const space: unique symbol;

/** A position on a medium in the midst of arithmetic, not looked at yet: any number may be one, but not a guest's position. */
export type HostPosition = number & { readonly [space]?: 'host' };

/** A position on a guest's disk in the midst of arithmetic: any number may be one, but not a position on a medium. */
export type GuestPosition = number & { readonly [space]?: 'guest' };

/** A byte position or a length on a medium that can be carried out exactly. */
export type HostOffset = HostPosition & { readonly [hostBrand]: true };

/** A byte position or a length on a disk as the guest sees it. */
export type GuestOffset = GuestPosition & { readonly [guestBrand]: true };

/** The largest of both. */
export const largestOffset: number = Number.MAX_SAFE_INTEGER;

/** True for whole numbers from 0 to 2^53 - 1. A u64 read as a number that was rounded is none of them. */
export function isOffset(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** True when `length` bytes from `offset` on all have positions. */
export function isRange(offset: number, length: number): boolean {
  return isOffset(offset) && isOffset(length) && offset + length <= largestOffset;
}

export function isHostOffset(value: number): value is HostOffset {
  return isOffset(value);
}

export function isGuestOffset(value: number): value is GuestOffset {
  return isOffset(value);
}

/** The gate for positions on media. Throws BlockError EFBIG (`File too large`), and EINVAL below zero and for fractions. */
export function hostOffset(value: number | bigint): HostOffset {
  const number = Number(value);
  if (isHostOffset(number)) return number;
  throw outOfRange(number, value, 'EFBIG');
}

/** The gate for positions on disks. Throws BlockError EIO (`Input/output error`), and EINVAL below zero and for fractions. */
export function guestOffset(value: number | bigint): GuestOffset {
  const number = Number(value);
  if (isGuestOffset(number)) return number;
  throw outOfRange(number, value, 'EIO');
}

/** QEMU has no disk above this, whatever its format: 2^63 - 2^30 bytes. */
export const largestDisk: bigint = 2n ** 63n - 2n ** 30n;

/**
 * The gate for sizes that disks are to have. Throws BlockError EINVAL (`offset(N) exceeds maximum(M)`) for what QEMU has no
 * disk for, and EFBIG (`Could not resize file: File too large`) for what cannot be told exactly.
 */
export function diskSize(value: number | bigint): GuestOffset {
  if (value > largestDisk) throw new BlockError(`offset(${value}) exceeds maximum(${largestDisk})`, { code: 'EINVAL' });
  if (value > largestOffset) throw new BlockError(`Could not resize file: ${errnoText('EFBIG')}`, { code: 'EFBIG', cause: value });
  return guestOffset(value);
}

/** A number that is a limit: beyond +-(2^53 - 1) it is as good as the largest and the smallest. */
export function limited(value: number | bigint): number {
  return Math.max(-largestOffset, Math.min(Number(value), largestOffset));
}

/** The same integer as a number where that is exact. */
export function narrowed(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** `base` moved by `by` bytes, either way. Throws as the gate does. */
export function hostOffsetAt(base: HostOffset, by: number): HostOffset {
  return hostOffset(base + by);
}

/** `base` moved by `by` bytes, either way. Throws as the gate does. */
export function guestOffsetAt(base: GuestOffset, by: number): GuestOffset {
  return guestOffset(base + by);
}

function outOfRange(number: number, value: number | bigint, tooLarge: 'EFBIG' | 'EIO'): BlockError {
  const code = number > largestOffset ? tooLarge : 'EINVAL';
  return new BlockError(errnoText(code), { code, cause: value });
}
