/*
 * Big-endian readers and writers on byte arrays, offsets as numbers up to 2^53 - 1 (two u32 halves; ten times faster
 * than BigInt), and the test for zeros. The one place besides the table codecs where halves of a u64 are handled.
 */

import { decodeName } from './name-codec.ts';

const two32 = 4294967296;

export function getU16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

export function getU32(bytes: Uint8Array, at: number): number {
  return (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0;
}

export function setU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function setU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** The u64 at `at` as number; loses precision above 2^53 (`getU64Big` keeps it). */
export function getU64(bytes: Uint8Array, at: number): number {
  return getU32(bytes, at) * two32 + getU32(bytes, at + 4);
}

export function getU64Big(bytes: Uint8Array, at: number): bigint {
  return (BigInt(getU32(bytes, at)) << 32n) | BigInt(getU32(bytes, at + 4));
}

/** Writes `value` (0 … 2^53 - 1) as u64. */
export function setU64(bytes: Uint8Array, at: number, value: number): void {
  setU32(bytes, at, Math.floor(value / two32));
  setU32(bytes, at + 4, (value % two32) >>> 0);
}

export function setU64Big(bytes: Uint8Array, at: number, value: bigint): void {
  setU32(bytes, at, Number((value >> 32n) & 0xffffffffn));
  setU32(bytes, at + 4, Number(value & 0xffffffffn));
}

/** True when every byte is zero: the buffer compared with itself shifted by one byte, at memory speed. Empty counts as zero. */
export function isZero(bytes: Uint8Array): boolean {
  const length = bytes.length;
  if (length === 0) return true;
  if (bytes[0] !== 0) return false;
  if (length === 1) return true;
  if (length <= 32) {
    for (let i = 1; i < length; i++) if (bytes[i] !== 0) return false;
    return true;
  }
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, length);
  return buffer.compare(buffer, 1, length, 0, length - 1) === 0;
}

/** The text of a field; bytes that are no UTF-8 are kept (name-codec.ts). */
export function getText(bytes: Uint8Array, at: number, length: number): string {
  return decodeName(bytes.subarray(at, at + length));
}

/** UTF-8 text of a field that ends at its first NUL, if it has one. */
export function untilNul(bytes: Uint8Array, at: number, length: number): string {
  const end = bytes.subarray(at, at + length).indexOf(0);
  return getText(bytes, at, end < 0 ? length : end);
}
