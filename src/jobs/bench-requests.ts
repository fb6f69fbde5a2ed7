/*
 * A number of equal requests, so many at once, as `bench` makes them: reads or writes in steps through an image, with a
 * flush after so many of them. When and how many at once is the machine's (transfer.ts).
 */
import type { BlockBackend } from '../core/block/backend.ts';
import type { Maybe, YieldBudget } from '../core/util/maybe.ts';
import { type TransferPiece, type TransferPlan, transfer } from './transfer.ts';

export interface BenchSettings {
  readonly backend: BlockBackend;
  readonly count: number;
  /** Requests at once. */
  readonly depth: number;
  /** Where the first one begins. */
  readonly offset: number;
  /** Bytes of each, and from the start of one to the next. */
  readonly length: number;
  readonly step: number;
  /** The byte that is written; undefined: they read. */
  readonly pattern: number | undefined;
  /** Requests between two flushes; 0: none. */
  readonly flushInterval: number;
  /** A flush waits for the requests before it, and those behind it wait for the flush. */
  readonly drains: boolean;
  readonly budget: YieldBudget;
}

interface Request extends TransferPiece {
  /** Undefined: a flush. */
  readonly offset: number | undefined;
  readonly buffer: Buffer;
}

/** Makes the requests; rejects with the error of the first one that failed. */
export async function benchRequests(settings: BenchSettings): Promise<void> {
  await transfer(new Requests(settings));
}

class Requests implements TransferPlan<Request> {
  readonly ordered = false;
  readonly inFlight: number;
  mustPause = false;
  readonly #settings: BenchSettings;
  readonly #free: Buffer[] = [];
  readonly #span: number;
  #made = 0;
  #sinceFlush = 0;
  #offset: number;

  constructor(settings: BenchSettings) {
    this.#settings = settings;
    this.inFlight = settings.depth;
    this.#offset = settings.offset;
    this.#span = settings.backend.size() - settings.length;
  }

  next(): Request | undefined {
    const { count, length, step, flushInterval, drains, pattern } = this.#settings;
    if (flushInterval > 0 && this.#sinceFlush === flushInterval && !drains) {
      this.#sinceFlush = 0;
      return { length: 0, offset: undefined, buffer: Buffer.alloc(0) };
    }
    if (this.#made === count) return undefined;
    this.#made++;
    if (++this.#sinceFlush === flushInterval && drains) this.mustPause = true;
    const offset = this.#offset;
    // the next begins in front where this one left no room
    this.#offset = this.#span <= 0 ? 0 : (offset + step) % this.#span;
    return { length, offset, buffer: this.#free.pop() ?? Buffer.alloc(length, pattern ?? 0) };
  }

  finish({ offset, buffer }: Request): Maybe<void> {
    const { backend, pattern } = this.#settings;
    if (offset === undefined) return backend.flush();
    return pattern === undefined ? backend.read(offset, buffer) : backend.write(offset, buffer);
  }

  done({ offset, buffer }: Request): void {
    if (offset !== undefined) this.#free.push(buffer);
  }

  async pause(): Promise<void> {
    this.mustPause = false;
    this.#sinceFlush = 0;
    await this.#settings.backend.flush();
  }

  tick(bytes: number): Maybe<void> {
    return this.#settings.budget.tick(bytes);
  }
}
