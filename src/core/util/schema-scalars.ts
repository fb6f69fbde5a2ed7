/*
 * Scalars in key=value forms, where every value is a string: booleans, integers, numbers, sizes.
 * Each reader answers undefined for a text that it does not accept; the caller knows the name for the message.
 * Rule source: observed answers of QEMU 11.1 (--blockdev, -o).
 */

import { readInteger } from './c-integer.ts';
import { BlockError } from './errors.ts';
import { readSize } from './size.ts';

export function keyvalBool(text: string): boolean | undefined {
  switch (text) {
    case 'on':
    case 'yes':
    case 'true':
    case 'y':
      return true;
    case 'off':
    case 'no':
    case 'false':
    case 'n':
      return false;
    default:
      return undefined;
  }
}

/** An integer in C's notation (0x hexadecimal, leading 0 octal) within int64, or within uint64 where a minus counts back from 2^64. */
export function keyvalInteger(text: string, signed: boolean): bigint | undefined {
  const value = readInteger(text);
  if (value === undefined) return undefined;
  if (signed) return value >= -(2n ** 63n) && value < 2n ** 63n ? value : undefined;
  if (value >= 2n ** 64n || value <= -(2n ** 64n)) return undefined;
  return BigInt.asUintN(64, value);
}

export function keyvalNumber(text: string): number | undefined {
  if (!/^[ \t\n\v\f\r]*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isFinite(value) ? value : undefined;
}

export function keyvalSize(text: string): bigint | undefined {
  const value = readSize(text);
  return typeof value === 'bigint' ? value : undefined;
}

/** The value of an option of type bool in `-o`-style lists. Throws BlockError. */
export function parseBoolOption(name: string, text: string): boolean {
  const value = keyvalBool(text);
  if (value === undefined) throw new BlockError(`Parameter '${name}' expects 'on' or 'off'`, { code: 'ERR_OPTION' });
  return value;
}

/** The value of an option of type number in `-o`-style lists: 0 … 2^64-1, a minus counts back from 2^64. Throws BlockError. */
export function parseNumberOption(name: string, text: string): bigint {
  const value = keyvalInteger(text, false);
  if (value !== undefined) return value;
  if (/^[ \t\n\v\f\r]*[+-]?(?:0[xX][0-9a-fA-F]+|\d+)$/.test(text) && !/^[ \t\n\v\f\r]*[+-]?0\d*[89]/.test(text)) {
    throw new BlockError(`Value '${text}' is too large for parameter '${name}'`, { code: 'ERANGE' });
  }
  throw new BlockError(`Parameter '${name}' expects a number`, { code: 'ERR_OPTION' });
}
