/*
 * A tape of every change that reached the media of an engine, in one order over all of them, with a fault at one place on
 * request; and the media that a power cut at any place of the tape can leave: of the changes since a medium's last flush
 * any subset may be there, torn at sectors.
 */
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import type { ErrorCode } from '../../src/core/util/error-codes.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import type { Maybe } from '../../src/core/util/maybe.ts';
import type { Random } from '../support/random.ts';

export const sector = 512;

type Change =
  | { readonly op: 'write'; readonly offset: number; readonly data: Uint8Array }
  | { readonly op: 'clear'; readonly offset: number; readonly length: number; readonly grows: boolean }
  | { readonly op: 'truncate'; readonly size: number }
  | { readonly op: 'flush' };

export interface Fault {
  /** Of the changes and flushes, counted from the start of the tape. */
  readonly index: number;
  readonly code: ErrorCode;
  /** The error is told although the change was carried out. */
  readonly isLate: boolean;
}

const texts: Readonly<Record<string, string>> = { EIO: 'Input/output error', ENOSPC: 'No space left on device' };

function failure(fault: Fault | undefined): BlockError | undefined {
  return fault === undefined ? undefined : new BlockError(texts[fault.code] ?? fault.code, { code: fault.code });
}

export class Tape {
  readonly changes: { readonly path: string; readonly change: Change }[] = [];
  /** Changes and flushes that were asked for. */
  asked = 0;
  fault: Fault | undefined;

  get length(): number {
    return this.changes.length;
  }

  /** Carries a change out, and records it, unless the fault is due. */
  record(path: string, change: Change, body: () => Maybe<void>): Maybe<void> {
    const { fault } = this;
    const error = fault?.index === this.asked++ ? failure(fault) : undefined;
    // a flush that failed flushed nothing that one may count on
    if (error !== undefined && (!fault?.isLate || change.op === 'flush')) throw error;
    this.changes.push({ path, change });
    const result = body();
    if (error !== undefined) throw error;
    return result;
  }

  wrap(inner: Storage, path: string): Storage {
    return {
      path: inner.path,
      caps: inner.caps,
      size: () => inner.size(),
      allocatedSize: () => inner.allocatedSize(),
      read: (offset, into) => inner.read(offset, into),
      extents: (offset, length) => inner.extents(offset, length),
      write: (offset, from) => this.record(path, { op: 'write', offset, data: Uint8Array.from(from) }, () => inner.write(offset, from)),
      zero: (offset, length, mayUnmap) => this.record(path, { op: 'clear', offset, length, grows: true }, () => inner.zero(offset, length, mayUnmap)),
      discard: (offset, length) => this.record(path, { op: 'clear', offset, length, grows: false }, () => inner.discard(offset, length)),
      truncate: (size, prealloc) => this.record(path, { op: 'truncate', size }, () => inner.truncate(size, prealloc)),
      flush: () => this.record(path, { op: 'flush' }, () => inner.flush()),
      [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
    };
  }
}

/** A medium as plain bytes that grow. */
class Bytes {
  #bytes: Uint8Array;
  length: number;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes.slice();
    this.length = bytes.length;
  }

  get view(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  copy(): Bytes {
    return new Bytes(this.view);
  }

  apply(change: Change, random: Random | undefined): void {
    if (change.op === 'write') this.#write(change.offset, change.data, random);
    else if (change.op === 'clear') {
      if (change.grows) this.#resize(Math.max(this.length, change.offset + change.length));
      this.#bytes.fill(0, Math.min(change.offset, this.length), Math.min(change.offset + change.length, this.length));
    } else if (change.op === 'truncate') this.#resize(change.size);
  }

  /** Sectors are written whole; with `random` nobody knows which of them. */
  #write(offset: number, data: Uint8Array, random: Random | undefined): void {
    for (let at = 0; at < data.length; ) {
      const end = random === undefined ? data.length : Math.min(data.length, at + sector - ((offset + at) % sector));
      if (random === undefined || random(2) === 0) {
        this.#resize(Math.max(this.length, offset + end));
        this.#bytes.set(data.subarray(at, end), offset + at);
      }
      at = end;
    }
  }

  #resize(length: number): void {
    if (length > this.#bytes.length) {
      const more = new Uint8Array(Math.max(length, 2 * this.#bytes.length));
      more.set(this.view);
      this.#bytes = more;
    }
    this.#bytes.fill(0, Math.min(length, this.length), Math.max(length, this.length));
    this.length = length;
  }
}

export type Media = ReadonlyMap<string, Uint8Array>;

export function bytesOf(media: ReadonlyMap<string, MemoryStorage>): Map<string, Uint8Array> {
  const all = new Map<string, Uint8Array>();
  for (const [path, medium] of media) {
    const bytes = new Uint8Array(medium.size());
    medium.read(0, bytes);
    all.set(path, bytes);
  }
  return all;
}

export function mediumOf(path: string, bytes: Uint8Array): MemoryStorage {
  const medium = new MemoryStorage(path);
  medium.write(0, bytes);
  return medium;
}

/** The media that a cut behind the first `cut` changes can leave; more of them with a higher `count`. */
export function* cutsAt(start: Media, tape: Tape, cut: number, count: number, random: Random): Generator<Media> {
  const flushed = new Map<string, number>();
  for (let at = 0; at < cut; at++) {
    const entry = tape.changes[at];
    if (entry?.change.op === 'flush') flushed.set(entry.path, at);
  }
  const durable = new Map([...start].map(([path, bytes]) => [path, new Bytes(bytes)]));
  const loose: { path: string; change: Change }[] = [];
  for (const [at, entry] of tape.changes.slice(0, cut).entries()) {
    if (at <= (flushed.get(entry.path) ?? -1)) durable.get(entry.path)?.apply(entry.change, undefined);
    else if (entry.change.op !== 'flush') loose.push(entry);
  }
  const keep = (choose: (index: number) => boolean, tear: boolean): Media => {
    const media = new Map([...durable].map(([path, bytes]) => [path, bytes.copy()]));
    for (const [index, { path, change }] of loose.entries()) if (choose(index)) media.get(path)?.apply(change, tear ? random : undefined);
    return new Map([...media].map(([path, bytes]) => [path, bytes.view]));
  };
  yield keep(() => true, false);
  if (loose.length === 0) return;
  yield keep((index) => index === loose.length - 1, false);
  yield keep((index) => index !== loose.length - 1, false);
  for (let at = 0; at < count; at++) yield keep(() => random(4) !== 0, true);
  for (let at = 0; at < count; at++) yield keep(() => random(2) === 0, at % 2 === 0);
}
