/*
 * The command language of qemu-io, as HMP's `qemu-io` runs it on a drive or node: read, write, flush, discard, length.
 * Text goes to `out`, errors included, as the peer prints it on its standard output.
 * Rule source: observed output of qemu-io 11.1.
 */
import type { BlockBackend } from '../core/block/backend.ts';
import { type ReqFlags, reqFlag } from '../core/block/driver.ts';
import { BlockError } from '../core/util/errors.ts';
import { formatFixed } from '../core/util/printf.ts';
import { readSize } from '../core/util/size.ts';

type Out = (text: string) => void;

interface IoCommand {
  readonly names: readonly string[];
  readonly usage: string;
  readonly needsWrite: boolean;
  /** Short options; a colon after one that takes a value. */
  readonly options: string;
  readonly operands: readonly [min: number, max: number];
  run(backend: BlockBackend, given: Given, out: Out): Promise<void>;
}

interface Given {
  readonly flags: ReadonlyMap<string, string>;
  readonly operands: readonly string[];
}

/** Largest request, as the peer's. */
const maxLength = 2147483136;

const commands: readonly IoCommand[] = [
  { names: ['read', 'r'], usage: '[-abCqrv] [-P pattern [-s off] [-l len]] off len', needsWrite: false, options: 'abCl:pP:qrs:v', operands: [2, 2], run: read },
  { names: ['readv', 'rv'], usage: '[-Cqrv] [-P pattern] off len [len..]', needsWrite: false, options: 'CP:qrv', operands: [2, 64], run: read },
  {
    names: ['write', 'w'],
    usage: '[-bcCfnqruz] [-P pattern | -s source_file] off len',
    needsWrite: true,
    options: 'bcCfnpP:qrs:uz',
    operands: [2, 2],
    run: write,
  },
  { names: ['writev', 'wv'], usage: '[-Cfqr] [-P pattern] off len [len..]', needsWrite: true, options: 'CfqrP:', operands: [2, 64], run: write },
  { names: ['discard', 'd'], usage: '[-Cq] off len', needsWrite: true, options: 'Cq', operands: [2, 2], run: discard },
  { names: ['flush', 'f'], usage: '', needsWrite: false, options: '', operands: [0, 0], run: async (backend) => void (await backend.flush()) },
  {
    names: ['length', 'l'],
    usage: '',
    needsWrite: false,
    options: '',
    operands: [0, 0],
    run: async (backend, _given, out) => out(`${shortSize(backend.size())}\n`),
  },
];

/** True when `line` changes the image: the caller gets the write permission for it. */
export function needsWrite(line: string): boolean {
  const name = line.trim().split(/\s+/)[0] ?? '';
  return find(name)?.needsWrite ?? false;
}

/** Runs one line. Failures of the command are text too; only bugs of ours are thrown. */
export async function runIoCommand(backend: BlockBackend, line: string, out: Out): Promise<void> {
  const [name, ...words] = line
    .trim()
    .split(/\s+/)
    .filter((word) => word !== '');
  if (name === undefined) return;
  const command = find(name);
  if (command === undefined) {
    out(`command "${name}" not found\n`);
    return;
  }
  const given = parseWords(command, words, out);
  if (given === undefined) return;
  try {
    await command.run(backend, given, out);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    const verb = command.names[0]?.replace(/v$/, '') ?? name;
    out(
      verb === 'discard' || verb === 'flush'
        ? `${verb} failed: ${error.message}\n`
        : error.code === 'EINVAL-ARG'
          ? `${error.message}\n`
          : `${verb} failed: ${error.message}\n`,
    );
  }
}

function find(name: string): IoCommand | undefined {
  return commands.find((command) => command.names.includes(name));
}

function parseWords(command: IoCommand, words: readonly string[], out: Out): Given | undefined {
  const flags = new Map<string, string>();
  const operands: string[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? '';
    if (!/^-[A-Za-z]/.test(word)) {
      operands.push(word);
      continue;
    }
    for (let at = 1; at < word.length; at++) {
      const letter = word[at] ?? '';
      const position = command.options.indexOf(letter);
      if (position < 0) {
        out(`${command.names[0]}: invalid option -- '${letter}'\n`);
        return undefined;
      }
      if (command.options[position + 1] !== ':') {
        flags.set(letter, '');
        continue;
      }
      const rest = word.slice(at + 1);
      flags.set(letter, rest === '' ? (words[++index] ?? '') : rest);
      break;
    }
  }
  const [min, max] = command.operands;
  if (operands.length < min || operands.length > max) {
    const expected = min === max ? String(min) : `between ${min} and ${max}`;
    out(`bad argument count ${words.length} to ${command.names[0]}, expected ${expected} arguments\n`);
    return undefined;
  }
  return { flags, operands };
}

function argumentError(message: string): BlockError {
  return new BlockError(message, { code: 'EINVAL-ARG' });
}

function number(text: string | undefined, what: string): number {
  const value = readSize(text ?? '');
  if (value === 'range') throw argumentError(`Argument '${text}' exceeds maximum size`);
  if (value === 'invalid') throw argumentError(`non-numeric ${what} argument -- ${text}`);
  return Number(value);
}

interface Range {
  readonly offset: number;
  readonly length: number;
}

function range({ operands }: Given): Range {
  const offset = number(operands[0], 'offset');
  let length = 0;
  for (const text of operands.slice(1)) length += number(text, 'length');
  if (length > maxLength) throw argumentError(`length cannot exceed ${maxLength}, given ${operands[1]}`);
  return { offset, length };
}

function pattern(given: Given, fallback: number | undefined): number | undefined {
  const text = given.flags.get('P');
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 255) throw argumentError(`${text} is not a valid pattern byte`);
  return value;
}

async function read(backend: BlockBackend, given: Given, out: Out): Promise<void> {
  const { offset, length } = range(given);
  const expected = pattern(given, undefined);
  const since = performance.now();
  const bytes = new Uint8Array(length);
  await backend.read(offset, bytes);
  const seconds = (performance.now() - since) / 1000;
  if (expected !== undefined) {
    const from = given.flags.has('s') ? number(given.flags.get('s'), 'pattern offset') : 0;
    const count = given.flags.has('l') ? number(given.flags.get('l'), 'pattern length') : length - from;
    if (bytes.subarray(from, from + count).some((byte) => byte !== expected)) out(`Pattern verification failed at offset ${offset + from}, ${count} bytes\n`);
  }
  if (given.flags.has('v')) out(dump(bytes, offset));
  if (!given.flags.has('q')) out(report('read', offset, length, seconds));
}

async function write(backend: BlockBackend, given: Given, out: Out): Promise<void> {
  const { flags } = given;
  if (flags.has('u') && !flags.has('z')) throw argumentError('-u requires -z to be specified');
  if (flags.has('n') && !flags.has('z')) throw argumentError('-n requires -z to be specified');
  if (flags.has('z') && flags.has('P')) throw argumentError('-z and -P cannot be specified at the same time');
  const { offset, length } = range(given);
  const byte = pattern(given, 0xcd) ?? 0xcd;
  let request: ReqFlags = flags.has('f') ? reqFlag.fua : reqFlag.none;
  const since = performance.now();
  if (flags.has('z')) {
    if (flags.has('u')) request |= reqFlag.mayUnmap;
    if (flags.has('n')) request |= reqFlag.noFallback;
    await backend.zero(offset, length, request);
  } else await backend.write(offset, new Uint8Array(length).fill(byte), request);
  if (!flags.has('q')) out(report('wrote', offset, length, (performance.now() - since) / 1000));
}

async function discard(backend: BlockBackend, given: Given, out: Out): Promise<void> {
  const { offset, length } = range(given);
  const since = performance.now();
  await backend.discard(offset, length);
  if (!given.flags.has('q')) out(report('discard', offset, length, (performance.now() - since) / 1000));
}

function report(verb: string, offset: number, length: number, seconds: number): string {
  const rate = seconds > 0 ? length / seconds : 0;
  const operations = seconds > 0 ? 1 / seconds : 0;
  return (
    `${verb} ${length}/${length} bytes at offset ${offset}\n` +
    `${shortSize(length)}, 1 ops; ${formatFixed(seconds, 2).padStart(5, '0')} sec (${rateSize(rate)}/sec and ${formatFixed(operations, 4)} ops/sec)\n`
  );
}

/** A size in the peer's short form: `64 KiB`, `1.500 MiB`, `512 bytes`. */
function shortSize(bytes: number): string {
  if (bytes < 1024) return `${bytes} bytes`;
  return rateSize(bytes).replace(/\.000 /, ' ');
}

function rateSize(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${formatFixed(value, 0)} bytes` : `${formatFixed(value, 3)} ${units[unit]}`;
}

function dump(bytes: Uint8Array, offset: number): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 16) {
    const row = bytes.subarray(at, at + 16);
    const hex = [...row].map((byte) => `${byte.toString(16).padStart(2, '0')} `).join('');
    const letters = [...row].map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : '.')).join('');
    text += `${(offset + at).toString(16).padStart(8, '0')}:  ${hex} ${letters}\n`;
  }
  return text;
}
