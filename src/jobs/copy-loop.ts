/*
 * The bulk copy of whole images: asks for extents, skips holes and zeros, reads and writes the rest in order of offset.
 * While nothing is pending below it is a plain synchronous loop on one buffer; where reads are pending several are in
 * flight, and what they bring is still written in order. Knows no format and no command.
 */
import type { BlockBackend } from '../core/block/backend.ts';
import { reqFlag } from '../core/block/driver.ts';
import type { BlockNode } from '../core/block/node.ts';
import { BlockError } from '../core/util/errors.ts';
import { isPending, type Maybe, type YieldBudget } from '../core/util/maybe.ts';
import { type ImageReader, isZeroRange, sector } from './image-reader.ts';

/** Bytes moved at once. */
const chunkSize: number = 2 * 1024 * 1024;
/** Zero runs beyond the buffer go in pieces of this, so that progress and cancellation have their turn. */
const maxZero = 1024 * 1024 * 1024;

export interface CopySettings {
  /** Copied one behind the other. */
  readonly sources: readonly ImageReader[];
  readonly target: BlockBackend;
  /** Runs of zeros of this many bytes are not written as data; 0: everything is written. A multiple of 512. */
  readonly sparse: number;
  /** The target reads as zeros where nothing is written. */
  readonly isTargetZero: boolean;
  /** Areas that the source takes from its backing file stay unallocated: up to this size the target has its own. */
  readonly targetBackingSize?: number | undefined;
  /** Unreadable areas become zeros; told here. */
  readonly onReadError?: ((offset: number, error: BlockError) => void) | undefined;
  /** `done` of `total` bytes of data. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Transfers in flight where the media make us wait; at least 1. */
  readonly parallel?: number | undefined;
  /** Called with the bytes of each transfer; pending while the rate is used up. */
  readonly limit?: ((bytes: number) => Maybe<void>) | undefined;
  readonly budget: YieldBudget;
}

type Kind = 'data' | 'zero' | 'backing';

interface Extent {
  readonly kind: Kind;
  readonly length: number;
}

/** Copies everything; rejects at the first error, which then says where it was. */
export async function copyImages(settings: CopySettings): Promise<void> {
  const copier = new Copier(settings);
  await copier.run();
}

class Copier {
  readonly #settings: CopySettings;
  readonly #lanes: Lanes;
  readonly #order = new Order();
  /** Unit of the search for zeros: a power of two. */
  readonly #unit: number;
  #done = 0;
  #total = 0;

  constructor(settings: CopySettings) {
    this.#settings = settings;
    this.#lanes = new Lanes(settings.parallel ?? 1);
    this.#unit = settings.sparse === 0 ? 0 : 2 ** Math.floor(Math.log2(settings.sparse));
  }

  async run(): Promise<void> {
    const { sources } = this.#settings;
    this.#total = await this.#countData();
    let base = 0;
    for (const source of sources) {
      await this.#copySource(source, base);
      base += source.size;
    }
    await this.#order.end();
  }

  /** Bytes that will be read, for progress. */
  async #countData(): Promise<number> {
    const { sources, onProgress, sparse } = this.#settings;
    if (onProgress === undefined) return 0;
    let bytes = 0;
    let base = 0;
    for (const source of sources) {
      for (let at = 0; at < source.size; ) {
        const found = this.#extent(source, base, at);
        const extent = isPending(found) ? await found : found;
        if (extent.kind === 'data' || (extent.kind === 'zero' && sparse === 0)) bytes += extent.length;
        at += extent.length;
      }
      base += source.size;
    }
    return bytes;
  }

  async #copySource(source: ImageReader, base: number): Promise<void> {
    const { budget } = this.#settings;
    for (let at = 0; at < source.size; ) {
      const found = this.#extent(source, base, at);
      const extent = isPending(found) ? await found : found;
      const end = at + extent.length;
      while (at < end && !this.#order.hasFailed) {
        const length = Math.min(end - at, extent.kind === 'data' || this.#settings.sparse === 0 ? chunkSize : maxZero);
        const copied = this.#piece(source, base, at, length, extent.kind);
        if (isPending(copied)) await copied;
        at += length;
        const turn = budget.tick(length);
        if (isPending(turn)) await turn;
      }
      if (this.#order.hasFailed) return;
    }
  }

  /** The run at `at` of a source that starts at `base` of the target. */
  #extent(source: ImageReader, base: number, at: number): Maybe<Extent> {
    const { targetBackingSize } = this.#settings;
    const below = targetBackingSize === undefined ? undefined : backingBelow(source.node);
    let length = Math.min(maxZero, source.size - at);
    const isPastBacking = targetBackingSize !== undefined && base + at >= targetBackingSize;
    if (targetBackingSize !== undefined && !isPastBacking) length = Math.min(length, targetBackingSize - base - at);
    const found = inStatus(at, () => source.status(at, length, below));
    const classify = (status: { readonly length: number; readonly data: boolean; readonly zero: boolean }): Extent => {
      // past the end of the target's backing file nothing is zero already
      const kind: Kind = status.zero ? (isPastBacking ? 'backing' : 'zero') : status.data ? 'data' : targetBackingSize === undefined ? 'data' : 'backing';
      return { kind, length: Math.min(status.length, length) };
    };
    return isPending(found) ? found.then(classify) : classify(found);
  }

  /** Takes a piece on; pending while there is no buffer for it. */
  #piece(source: ImageReader, base: number, at: number, length: number, kind: Kind): Maybe<void> {
    const { sparse, isTargetZero } = this.#settings;
    if (kind === 'backing') return;
    if (kind === 'data' || sparse === 0) return this.#data(source, base, at, length, kind);
    if (!isTargetZero) this.#order.add(() => inWrite(base + at, () => this.#zero(base + at, length)));
  }

  #zero(offset: number, length: number): Maybe<void> {
    return this.#settings.target.zero(offset, length, this.#settings.sparse === 0 ? 0 : reqFlag.mayUnmap);
  }

  /** Reads a buffer at once and writes it when everything before it is written. */
  #data(source: ImageReader, base: number, at: number, length: number, kind: Kind): Maybe<void> {
    const lane = this.#lanes.take();
    if (lane === undefined) return this.#lanes.whenFree().then(() => this.#data(source, base, at, length, kind));
    const buffer = lane.subarray(0, length);
    const offset = base + at;
    if (kind === 'zero') buffer.fill(0);
    const read = kind === 'zero' ? undefined : startRead(source, at, buffer);
    const salvaged = isPending(read) ? read.catch((error: unknown) => this.#readFailed(error, source, base, at, buffer)) : undefined;
    this.#order.add(
      () => this.#limited(length, () => inWrite(offset, () => this.#write(offset, buffer, 0))),
      salvaged,
      () => this.#lanes.give(lane),
      () => this.#count(length),
    );
  }

  async #readFailed(error: unknown, source: ImageReader, base: number, at: number, buffer: Buffer): Promise<void> {
    if (!(error instanceof BlockError)) throw error;
    if (this.#settings.onReadError === undefined) throw error.prepend(`error while reading at byte ${base + at}: `);
    await this.#salvage(source, base, at, buffer);
  }

  /** Reads sector by sector; what cannot be read becomes zeros. */
  async #salvage(source: ImageReader, base: number, at: number, buffer: Buffer): Promise<void> {
    for (let done = 0; done < buffer.length; done += sector) {
      const piece = buffer.subarray(done, done + sector);
      try {
        await source.read(at + done, piece);
      } catch (error) {
        if (!(error instanceof BlockError)) throw error;
        this.#settings.onReadError?.(base + at + done, error);
        piece.fill(0);
      }
    }
  }

  #limited(bytes: number, next: () => Maybe<void>): Maybe<void> {
    const wait = this.#settings.limit?.(bytes);
    return isPending(wait) ? wait.then(next) : next();
  }

  #count(bytes: number): void {
    this.#done += bytes;
    this.#settings.onProgress?.(this.#done, this.#total);
  }

  /** Writes the buffer from `from` on, leaving out runs of zeros. */
  #write(offset: number, buffer: Buffer, from: number): Maybe<void> {
    for (let at = from; at < buffer.length; ) {
      const { length, isZero } = this.#run(buffer, at, offset);
      const result = isZero ? this.#zeroRun(offset + at, length) : this.#settings.target.write(offset + at, buffer.subarray(at, at + length));
      at += length;
      const next = at;
      if (isPending(result)) return result.then(() => this.#write(offset, buffer, next));
    }
  }

  #zeroRun(offset: number, length: number): Maybe<void> {
    // with a backing file below, zeros have to be written to hide it
    const isThere = this.#settings.isTargetZero && this.#settings.targetBackingSize === undefined;
    return isThere ? undefined : this.#zero(offset, length);
  }

  /** The run of zeros or of data at `at`; units are aligned to the target's offsets, short runs of zeros count as data. */
  #run(buffer: Buffer, at: number, offset: number): { length: number; isZero: boolean } {
    const unit = this.#unit;
    if (unit === 0) return { length: buffer.length - at, isZero: false };
    const isZero = this.#unitIsZero(buffer, at, offset);
    let end = this.#unitEnd(buffer, at, offset);
    while (end < buffer.length && this.#unitIsZero(buffer, end, offset) === isZero) end = this.#unitEnd(buffer, end, offset);
    if (!isZero || end - at >= this.#settings.sparse || end === buffer.length) return { length: end - at, isZero };
    const data = this.#run(buffer, end, offset);
    return { length: end - at + data.length, isZero: false };
  }

  #unitEnd(buffer: Buffer, at: number, offset: number): number {
    return Math.min(buffer.length, at + this.#unit - ((offset + at) % this.#unit));
  }

  #unitIsZero(buffer: Buffer, at: number, offset: number): boolean {
    return isZeroRange(buffer, at, this.#unitEnd(buffer, at, offset));
  }
}

/** A read whose errors are always rejections. */
function startRead(source: ImageReader, at: number, buffer: Buffer): Maybe<void> {
  try {
    return source.read(at, buffer);
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Asks for the state of the source at `offset`; errors say where it was. */
function inStatus<T>(offset: number, start: () => Maybe<T>): Maybe<T> {
  return inPlace(`error while reading block status at offset ${offset}: `, start);
}

/** Runs a write of the piece at `offset`; its errors say where it was. */
function inWrite(offset: number, start: () => Maybe<void>): Maybe<void> {
  return inPlace(`error while writing at byte ${offset}: `, start);
}

function inPlace<T>(place: string, start: () => Maybe<T>): Maybe<T> {
  const tell = (error: unknown): never => {
    throw error instanceof BlockError ? error.prepend(place) : error;
  };
  try {
    const result = start();
    return isPending(result) ? result.catch(tell) : result;
  } catch (error) {
    return tell(error);
  }
}

/** The buffers: as many as there may be transfers in flight, made when needed. */
class Lanes {
  readonly #max: number;
  readonly #free: Buffer[] = [];
  readonly #waiting: (() => void)[] = [];
  #made = 0;

  constructor(max: number) {
    this.#max = Math.max(1, max);
  }

  take(): Buffer | undefined {
    const free = this.#free.pop();
    if (free !== undefined || this.#made === this.#max) return free;
    this.#made++;
    return Buffer.allocUnsafeSlow(chunkSize);
  }

  give(lane: Buffer): void {
    this.#free.push(lane);
    this.#waiting.shift()?.();
  }

  whenFree(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

/** Steps carried out one after the other, at once as long as none of them is pending. */
class Order {
  #last: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** `step` runs after all steps before it and after `ready`; then `done`, whatever came of it. `begin` runs right before the step. */
  add(step: () => Maybe<void>, ready?: Promise<void>, done?: () => void, begin?: () => void): void {
    if (this.#last === undefined && ready === undefined) {
      let result: Maybe<void>;
      try {
        begin?.();
        result = step();
      } catch (error) {
        result = Promise.reject(error);
      }
      if (!isPending(result)) {
        done?.();
        return;
      }
      this.#follow(result, done);
      return;
    }
    this.#follow(this.#later(this.#last, step, ready, begin), done);
  }

  async #later(before: Promise<void> | undefined, step: () => Maybe<void>, ready: Promise<void> | undefined, begin?: () => void): Promise<void> {
    const readiness = await settled(ready);
    // an earlier step's error is the one to tell
    await before;
    if (readiness !== undefined) throw readiness.error;
    begin?.();
    await step();
  }

  #follow(result: Promise<void>, done: (() => void) | undefined): void {
    const last = result.finally(() => {
      if (this.#last === last && this.#failure === undefined) this.#last = undefined;
      done?.();
    });
    this.#last = last;
    last.catch((error: unknown) => {
      this.#failure ??= { error };
    });
  }

  /** Settles when all steps are done; rejects with the first error. */
  async end(): Promise<void> {
    await this.#last;
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

/** Waits for a promise without failing: the error, if there was one. */
async function settled(promise: Promise<void> | undefined): Promise<{ readonly error: unknown } | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return { error };
  }
}

/** The node from which a source takes what it does not hold itself. */
function backingBelow(node: BlockNode): BlockNode | undefined {
  let at = node;
  while (at.filtered !== undefined && at.backing === undefined) at = at.filtered.node;
  return at.backing?.node;
}

/** Sizes of zero runs are whole sectors. */
export function isValidSparse(bytes: number): boolean {
  return bytes % sector === 0 && bytes <= 16 * 1024 * 1024;
}
