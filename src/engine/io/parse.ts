/*
 * Words of a qemu-io command: options in getopt's manner, numbers, patterns, and how amounts and results are printed.
 * Knows no request. Rule source: observed output of qemu-io 11.1.
 */
import { BlockError } from '../../core/util/errors.ts';
import { formatFixed } from '../../core/util/printf.ts';
import { readSize } from '../../core/util/size.ts';

/** Largest request, as the peer's. */
export const maxRequest = 2147483136;

/** What was wrong with a command's words: printed as it is, not as the failure of a request. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A wrong option: getopt's words, after which the usage follows. */
export class OptionError extends UsageError {}

export interface Given {
  readonly flags: ReadonlyMap<string, string>;
  readonly operands: readonly string[];
}

/** Splits options from operands; letters of `options` followed by a colon take a value. Throws what is wrong, without the usage. */
export function parseWords(name: string, options: string, words: readonly string[]): Given {
  const flags = new Map<string, string>();
  const operands: string[] = [];
  let onlyOperands = false;
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? '';
    if (onlyOperands || word === '-' || !word.startsWith('-')) {
      operands.push(word);
      continue;
    }
    if (word === '--') {
      onlyOperands = true;
      continue;
    }
    for (let at = 1; at < word.length; at++) {
      const letter = word[at] ?? '';
      const position = letter === ':' ? -1 : options.indexOf(letter);
      if (position < 0) throw new OptionError(`${name}: invalid option -- '${letter}'`);
      if (options[position + 1] !== ':') {
        flags.set(letter, '');
        continue;
      }
      const rest = word.slice(at + 1);
      const value = rest === '' ? words[++index] : rest;
      if (value === undefined) throw new OptionError(`${name}: option requires an argument -- '${letter}'`);
      flags.set(letter, value);
      break;
    }
  }
  return { flags, operands };
}

/** A number of bytes; every form that the peer takes for sizes. */
export function byteCount(text: string): number {
  const value = readSize(text);
  if (value === 'invalid') throw new UsageError(`Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ${text}`);
  if (value === 'range' || value > 2n ** 63n - 1n) throw new UsageError(`Parsing error: argument too large -- ${text}`);
  return Number(value);
}

/** The pattern byte of `-P`. */
export function patternByte(text: string): number {
  const value = /^(0[xX][0-9a-fA-F]+|\d+)$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= 0 && value <= 255)) throw new UsageError(`${text} is not a valid pattern byte`);
  return value;
}

const unitNames = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

/** `64 KiB`, `3.812 MiB`, `512 bytes`. */
export function shortSize(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < unitNames.length - 1) {
    value /= 1024;
    unit++;
  }
  const text = unit === 0 ? formatFixed(value, Number.isInteger(value) ? 0 : 6) : formatFixed(value, 3).replace(/\.000$/, '');
  return `${text} ${unitNames[unit]}`;
}

/** The two lines after a request, or the one of `-C`. */
export function resultLines(verb: string, offset: number, length: number, seconds: number, isMachine: boolean): string {
  const perSecond = (amount: number): number => (seconds > 0 ? amount / seconds : 0);
  if (isMachine) return `${length},1,${clockText(seconds, true)},${formatFixed(perSecond(length), 3)},${formatFixed(perSecond(1), 3)}\n`;
  const rates = `${shortSize(perSecond(length))}/sec and ${formatFixed(perSecond(1), 4)} ops/sec`;
  return `${verb} ${length}/${length} bytes at offset ${offset}\n${shortSize(length)}, 1 ops; ${clockText(seconds, false)} (${rates})\n`;
}

function clockText(seconds: number, isLong: boolean): string {
  const text = formatFixed(seconds % 60, 2).padStart(5, '0');
  if (!isLong && seconds < 60) return `${text} sec`;
  const minutes = Math.floor(seconds / 60);
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:${text}`;
}

/** Bytes as `-v` shows them, 16 a line. */
export function dumpBytes(bytes: Uint8Array, offset: number): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const hex = row.map((byte) => `${byte.toString(16).padStart(2, '0')} `).join('');
    const letters = row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : '.')).join('');
    text += `${(offset + at).toString(16).padStart(8, '0')}:  ${hex} ${letters}\n`;
  }
  return text;
}

/** The text of a failed request is that of the C library. */
export function failureText(error: unknown): string {
  if (error instanceof BlockError) return error.message;
  throw error;
}
