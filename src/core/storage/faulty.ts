/*
 * Wrappers that make any Storage slow or broken, for tests of the engine: every request pending, errors on a script, and
 * a log of writes since the last flush from which the states after a power cut are made.
 */
import { eventLoop } from '../util/clock.ts';
import type { BlockError } from '../util/errors.ts';
import { chain, type Maybe } from '../util/maybe.ts';
import type { PermBits } from '../util/perm-bits.ts';
import { checkRange } from './check-range.ts';
import type { LockChange, Storage, StorageExtent } from './storage.ts';

export type StorageOp = 'read' | 'write' | 'zero' | 'discard' | 'flush' | 'truncate' | 'extents';

export interface Faults {
  /** Awaited before each request; return nothing for "at once". Decides latency and order. */
  before?(op: StorageOp, offset: number, length: number): Maybe<void>;
  /** An error to fail the request with, or undefined. */
  fail?(op: StorageOp, offset: number, length: number): BlockError | undefined;
}

export type LoggedChange =
  | { readonly op: 'write'; readonly offset: number; readonly data: Uint8Array }
  | { readonly op: 'zero' | 'discard'; readonly offset: number; readonly length: number }
  | { readonly op: 'truncate'; readonly size: number }
  | { readonly op: 'flush' };

export class FaultyStorage implements Storage {
  readonly #inner: Storage;
  readonly #faults: Faults;
  /** Every change in the order it was carried out, when logging is on. */
  readonly log: LoggedChange[] | undefined;

  constructor(inner: Storage, faults: Faults, options: { readonly log?: boolean } = {}) {
    this.#inner = inner;
    this.#faults = faults;
    this.log = options.log ? [] : undefined;
  }

  get path(): string {
    return this.#inner.path;
  }

  get caps(): Storage['caps'] {
    return this.#inner.caps;
  }

  size(): Maybe<number> {
    return this.#inner.size();
  }

  allocatedSize(): Maybe<number> {
    return this.#inner.allocatedSize();
  }

  read(offset: number, into: Uint8Array): Maybe<void> {
    return this.#run('read', offset, into.length, () => this.#inner.read(offset, into));
  }

  write(offset: number, from: Uint8Array): Maybe<void> {
    return this.#run('write', offset, from.length, () => {
      this.log?.push({ op: 'write', offset, data: Uint8Array.from(from) });
      return this.#inner.write(offset, from);
    });
  }

  zero(offset: number, length: number, mayUnmap: boolean): Maybe<void> {
    return this.#run('zero', offset, length, () => {
      this.log?.push({ op: 'zero', offset, length });
      return this.#inner.zero(offset, length, mayUnmap);
    });
  }

  discard(offset: number, length: number): Maybe<void> {
    return this.#run('discard', offset, length, () => {
      this.log?.push({ op: 'discard', offset, length });
      return this.#inner.discard(offset, length);
    });
  }

  extents(offset: number, length: number): Maybe<StorageExtent> {
    return this.#run('extents', offset, length, () => this.#inner.extents(offset, length));
  }

  truncate(size: number): Maybe<void> {
    return this.#run('truncate', size, 0, () => {
      this.log?.push({ op: 'truncate', size });
      return this.#inner.truncate(size);
    });
  }

  flush(): Maybe<void> {
    return this.#run('flush', 0, 0, () => {
      this.log?.push({ op: 'flush' });
      return this.#inner.flush();
    });
  }

  setLocks(held: PermBits, unshared: PermBits, isTested = false): LockChange {
    return this.#inner.setLocks?.(held, unshared, isTested) ?? { commit: () => {}, abort: () => {} };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inner[Symbol.asyncDispose]();
  }

  #run<T>(op: StorageOp, offset: number, length: number, body: () => Maybe<T>): Maybe<T> {
    checkRange(offset, length);
    return chain(this.#faults.before?.(op, offset, length), () => {
      const error = this.#faults.fail?.(op, offset, length);
      if (error !== undefined) throw error;
      return body();
    });
  }
}

/** A storage whose every request is pending for one turn of the microtask queue or of the event loop. */
export function delayed(inner: Storage, mode: 'microtask' | 'turn' = 'turn'): FaultyStorage {
  return new FaultyStorage(inner, { before: () => (mode === 'turn' ? eventLoop.nextTurn() : Promise.resolve()) });
}
