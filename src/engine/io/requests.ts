/* The requests of the qemu-io language: reading, writing and discarding, at once or in the background (aio_*). */
import type { BlockBackend } from '../../core/block/backend.ts';
import { type ReqFlags, reqFlag } from '../../core/block/driver.ts';
import type { Clock } from '../../core/util/clock.ts';
import { byteCount, dumpBytes, failureText, type Given, maxRequest, patternByte, resultLines, UsageError } from './parse.ts';

/** What only a program of its own can do. */
export interface IoProgram {
  /** Opens the image that the words of `open` name. Throws BlockError. */
  open(given: Given): Promise<void>;
  close(): Promise<void>;
  /** By number or name. */
  raise(signal: number | 'SIGABRT'): void;
}

/** What `reopen` is to change. */
export interface ReopenChange {
  readonly readOnly: boolean | undefined;
  /** The name of a cache mode. */
  readonly cache: string | undefined;
  /** `key=value,...`. */
  readonly options: string | undefined;
}

export interface IoHost {
  readonly clock: Clock;
  readonly out: (text: string) => void;
  /** Where complaints about words go; the same place where none is given. */
  readonly err?: (text: string) => void;
  /** Reads a pattern file of `write -s`; rejects with the C library's text. */
  readonly readFile?: ((path: string) => Promise<Uint8Array>) | undefined;
  readonly reopen?: (backend: BlockBackend, change: ReopenChange) => Promise<void>;
  /** Every write is to be on stable storage before it ends (cache=writethrough). */
  readonly isWriteThrough?: () => boolean;
  readonly program?: IoProgram;
}

/** Of a command that needs no open file. */
export interface FreeContext {
  readonly given: Given;
  /** The command as it was called by its full name. */
  readonly name: string;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly clock: Clock;
  readonly readFile?: ((path: string) => Promise<Uint8Array>) | undefined;
  readonly host: IoHost;
}

export interface IoContext extends FreeContext {
  readonly backend: BlockBackend;
}

/** What is running in the background on a backend. */
const background = new WeakMap<BlockBackend, Set<Promise<void>>>();

/** aio_flush: settles when everything that was begun has ended. */
export async function waitForBackground(backend: BlockBackend): Promise<void> {
  await Promise.all(background.get(backend) ?? []);
}

function inBackground(backend: BlockBackend, body: () => Promise<void>): void {
  const running = background.get(backend) ?? new Set();
  background.set(backend, running);
  const done = body().finally(() => running.delete(done));
  running.add(done);
  // what fails is text already; bugs surface at aio_flush
  done.catch(() => {});
}

interface Range {
  readonly offset: number;
  readonly length: number;
}

/** Offset and length operands; a vector has several lengths. */
function rangeOf({ given, name }: IoContext, limit: number, limitText: string): Range {
  const [offsetText = '', ...lengthTexts] = given.operands;
  const offset = byteCount(offsetText);
  let length = 0;
  for (const text of lengthTexts) {
    const part = byteCount(text);
    if (isVector(name) && part > maxRequest) throw new UsageError(`Argument '${text}' exceeds maximum size ${maxRequest}`);
    if (!isVector(name) && part > limit) throw new UsageError(`length cannot exceed ${maxRequest}${limitText}, given ${text}`);
    length += part;
  }
  if (length > limit) throw new UsageError(`The total number of bytes exceed the maximum size ${maxRequest}`);
  return { offset, length };
}

function isVector(name: string): boolean {
  return name === 'readv' || name === 'writev' || name.startsWith('aio_');
}

/** What the peer calls a request that failed. */
function failureName(name: string): string {
  return name === 'aio_read' ? 'readv' : name.replace(/v$/, '');
}

/** Carries out `request` and prints its end, now or later for aio_*. False: it failed. */
async function perform(context: IoContext, verb: string, range: Range, request: () => unknown, after: () => string = () => ''): Promise<boolean> {
  const { backend, name, given, out, clock } = context;
  const since = clock.now();
  const carryOut = async (): Promise<boolean> => {
    try {
      await request();
      // the peer's end of a background request is told by its event loop, never at once
      if (name.startsWith('aio_')) await clock.nextTurn();
    } catch (error) {
      out(`${failureName(name)} failed: ${failureText(error)}\n`);
      return false;
    }
    const text = after();
    if (!given.flags.has('q')) out(text + resultLines(verb, range.offset, range.length, (clock.now() - since) / 1000, given.flags.has('C')));
    else if (text !== '') out(text);
    return true;
  };
  if (!name.startsWith('aio_')) return carryOut();
  inBackground(backend, async () => void (await carryOut()));
  return true;
}

export async function read(context: IoContext): Promise<boolean> {
  const { backend, given, out, name } = context;
  const { flags } = given;
  const expected = flags.has('P') ? patternByte(flags.get('P') ?? '') : undefined;
  const from = flags.has('s') ? byteCount(flags.get('s') ?? '') : 0;
  const checked = flags.has('l') ? byteCount(flags.get('l') ?? '') : undefined;
  const range = rangeOf(context, maxRequest, '');
  if (from + (checked ?? 0) > range.length) throw new UsageError('pattern verification range exceeds end of read data');
  if (flags.has('b')) {
    out('read failed: Operation not supported\n');
    return false;
  }
  if (flags.has('i')) {
    out('injecting invalid read request\n');
    return true;
  }
  const bytes = new Uint8Array(range.length);
  let isEqual = true;
  const after = (): string => {
    const part = bytes.subarray(from, from + (checked ?? range.length - from));
    isEqual = expected === undefined || part.every((byte) => byte === expected);
    const complaint = isEqual ? '' : `Pattern verification failed at offset ${range.offset + from}, ${part.length} bytes\n`;
    return complaint + (flags.has('v') && !flags.has('q') ? dumpBytes(bytes, range.offset) : '');
  };
  const isRead = await perform(context, 'read', range, () => backend.read(range.offset, bytes), after);
  return isRead && (isEqual || name === 'aio_read');
}

export async function write(context: IoContext): Promise<boolean> {
  const { backend, given, out, name } = context;
  const { flags } = given;
  checkWriteFlags(flags);
  if (flags.has('z') && given.operands.length > 2) throw new UsageError('-z supports only a single length parameter');
  const range = rangeOf(context, flags.has('n') ? Number.MAX_SAFE_INTEGER : maxRequest, name === 'write' ? ' without -n' : '');
  const byte = flags.has('P') ? patternByte(flags.get('P') ?? '') : 0xcd;
  if (flags.has('c') && range.length % 512 !== 0) throw new UsageError(`${range.length} is not a sector-aligned value for 'count'`);
  if (flags.has('b')) {
    out('write failed: Operation not supported\n');
    return false;
  }
  if (flags.has('i')) {
    out('injecting invalid write request\n');
    return true;
  }
  let request: ReqFlags = reqFlag.none;
  if (flags.has('c')) request |= reqFlag.compressed;
  if (flags.has('f') || context.host.isWriteThrough?.() === true) request |= reqFlag.fua;
  if (flags.has('u')) request |= reqFlag.mayUnmap;
  if (flags.has('n')) request |= reqFlag.noFallback;
  if (flags.has('z')) return perform(context, 'wrote', range, () => backend.zero(range.offset, range.length, request));
  const bytes = await contents(context, range.length, byte);
  if (bytes === undefined) return false;
  return perform(context, 'wrote', range, () => backend.write(range.offset, bytes, request));
}

function checkWriteFlags(flags: ReadonlyMap<string, string>): void {
  const has = (letter: string): boolean => flags.has(letter);
  if (has('b') && has('z')) throw new UsageError('-b and -z cannot be specified at the same time');
  if (has('f') && (has('b') || has('c'))) throw new UsageError('-f and -b or -c cannot be specified at the same time');
  if (has('n') && !has('z')) throw new UsageError('-n requires -z to be specified');
  if (has('u') && !has('z')) throw new UsageError('-u requires -z to be specified');
  if (['z', 'P', 's'].filter(has).length > 1) throw new UsageError('Only one of -z, -P, and -s can be specified at the same time');
}

/** The bytes to write: a pattern byte, or a file repeated. */
async function contents({ given, err, readFile }: IoContext, length: number, byte: number): Promise<Uint8Array | undefined> {
  const bytes = new Uint8Array(length);
  const path = given.flags.get('s');
  if (path === undefined) return bytes.fill(byte);
  let pattern: Uint8Array;
  try {
    if (readFile === undefined) throw new UsageError('pattern files cannot be read here');
    pattern = await readFile(path);
  } catch (error) {
    err(`${path}: ${error instanceof UsageError ? error.message : failureText(error)}\n`);
    return undefined;
  }
  if (pattern.length === 0) {
    err(`${path}: file is empty\n`);
    return undefined;
  }
  for (let at = 0; at < length; at += pattern.length) bytes.set(pattern.subarray(0, Math.min(pattern.length, length - at)), at);
  return bytes;
}

export function discard(context: IoContext): Promise<boolean> {
  const range = rangeOf(context, maxRequest, '');
  return perform(context, context.name === 'aio_discard' ? 'discarded ' : 'discard', range, () => context.backend.discard(range.offset, range.length));
}
