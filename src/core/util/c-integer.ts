/* Integers as C's strtol takes them with base 0: a sign, then decimal, 0x and hexadecimal, or 0 and octal digits. */
import { BlockError } from './errors.ts';

/** The value, of any size; undefined for what is no such integer or goes on behind it. */
export function readInteger(text: string): bigint | undefined {
  const match = /^[ \t\n\v\f\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9]\d*))$/.exec(text);
  if (match === null) return undefined;
  const [, sign, hex, octal, decimal] = match;
  const digits = hex !== undefined ? `0x${hex}` : octal !== undefined ? `0o${octal}` : (decimal ?? '0');
  const size = BigInt(digits);
  return sign === '-' ? -size : size;
}

/** The value of an option that is a count of `what`, without the suffixes of sizes. Throws in the peer's words. */
export function parseCount(text: string, what: string, { min, max }: { readonly min: number; readonly max: number }): number {
  const value = readInteger(text);
  if (value === undefined) throw new BlockError(`Invalid ${what} specified: '${text}'`, { code: 'ERR_PARSE' });
  if (value < min || value > max) throw new BlockError(`Invalid ${what} specified. Must be between ${min} and ${max}.`, { code: 'ERANGE' });
  return Number(value);
}
