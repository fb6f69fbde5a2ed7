/*
 * Sizes as people write and read them: QEMU's grammar of numbers with suffixes and its error texts, and the short
 * form ("1 MiB") of information output. Knows no command. Rule source: observed behaviour of qemu-img 11.1.
 */

import { BlockError } from './errors.ts';
import { formatGeneral } from './printf.ts';

const units = 'bkmgtpe';
const uint64End = 2n ** 64n;
const maxSafe = BigInt(Number.MAX_SAFE_INTEGER);

/** The number of bytes that a text means (0 … 2^64-1), or why it means none. */
export function readSize(text: string): bigint | 'invalid' | 'range' {
  const negative = /^[ \t\n\v\f\r]*-\.?\d+$/.test(text);
  if (negative) return 'range';
  const hex = /^[ \t\n\v\f\r]*\+?0[xX]([0-9a-fA-F]+)$/.exec(text);
  if (hex !== null) {
    const value = BigInt(`0x${hex[1] ?? '0'}`);
    return value < uint64End ? value : 'range';
  }
  const match = /^[ \t\n\v\f\r]*\+?(\d*)(?:\.(\d*))?([bBkKmMgGtTpPeE]?)$/.exec(text);
  if (match === null) return 'invalid';
  const [, whole = '', fraction, suffix = ''] = match;
  if (whole === '' && (fraction === undefined || fraction === '')) return 'invalid';
  const integer = BigInt(whole === '' ? '0' : whole);
  // an integer part that overflows by itself is only a range error when nothing follows it
  if (integer >= uint64End) return fraction === undefined && suffix === '' ? 'range' : 'invalid';
  const unit = 1024n ** BigInt(Math.max(0, units.indexOf(suffix.toLowerCase())));
  const part = fraction === undefined || fraction === '' ? 0 : Number(`0.${fraction}`);
  if (part !== 0 && unit === 1n) return 'invalid';
  const value = integer * unit + BigInt(Math.floor(part * Number(unit) + 0.5));
  return value < uint64End ? value : 'range';
}

export interface SizeRange {
  readonly min?: bigint | number;
  readonly max?: bigint | number;
}

/**
 * A size operand or option of a command line (`create SIZE`, `-S`, `bs=`), exactly: 0 … 2^63-1 unless `range` says less.
 * `what` is the name in messages ("image size"). Throws BlockError.
 */
export function parseSizeExact(text: string, what: string, range: SizeRange = {}): bigint {
  const value = readSize(text);
  if (value === 'invalid') throw new BlockError(`Invalid ${what} specified: '${text}'`, { code: 'ERR_PARSE' });
  const min = BigInt(range.min ?? 0);
  const max = BigInt(range.max ?? 2n ** 63n - 1n);
  if (value === 'range' || value < min || value > max) {
    throw new BlockError(`Invalid ${what} specified. Must be between ${min} and ${max}.`, { code: 'ERANGE' });
  }
  return value;
}

/** parseSizeExact for values that are used as offsets: also refuses what is above 2^53-1. */
export function parseSize(text: string, what: string, range: SizeRange = {}): number {
  return toNumber(parseSizeExact(text, what, range), what);
}

/** The value of an option of type size in `-o name=value` lists and of resize, exactly: 0 … 2^64-1. Throws BlockError. */
export function parseSizeOption(name: string, text: string): bigint {
  const value = readSize(text);
  if (value === 'range') {
    throw new BlockError(`Value '${text}' is out of range for parameter '${name}'`, { code: 'ERANGE' });
  }
  if (value === 'invalid') {
    throw new BlockError(`Parameter '${name}' expects a non-negative number below 2^64`, {
      code: 'ERR_OPTION',
      detail: 'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.',
    });
  }
  return value;
}

function toNumber(value: bigint, what: string): number {
  if (value > maxSafe) {
    throw new BlockError(`Invalid ${what} specified. Values above ${maxSafe} are not supported.`, { code: 'EOVERFLOW' });
  }
  return Number(value);
}

const unitNames = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];

/** "1 MiB", "0.977 KiB", "512 B": three significant digits, the next unit from 1000 on. `bytes` ≥ 0. */
export function formatSize(bytes: number | bigint): string {
  const value = Number(bytes);
  let unit = 0;
  // from 1000 of a unit on, the next one is used: 1000 B is 0.977 KiB
  while (unit < unitNames.length - 1 && value >= 1000 * 1024 ** unit) unit++;
  return `${formatGeneral(value / 1024 ** unit, 3)} ${unitNames[unit] ?? ''}B`;
}
