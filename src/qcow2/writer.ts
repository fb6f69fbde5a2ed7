/*
 * The writer of an open image: what the medium is told before its first change (features that nobody keeps, a repair,
 * bitmaps in use), what it is told when there will be no more, and reopening, which may begin or end a writer.
 * Rule source: observed order at open, close and blockdev-reopen.
 */
import type { DriverStep } from '../core/block/driver.ts';
import type { NodeSettings } from '../core/block/node.ts';
import { OptionReader, type OptionTree } from '../core/block/options.ts';
import type { BitmapStore } from '../core/block/stores.ts';
import { BlockError } from '../core/util/errors.ts';
import type { Bitmaps } from './bitmaps-store.ts';
import { qcow2DriverOptions } from './driver-options.ts';
import type { Qcow2Image } from './image.ts';
import { autoclear, incompatible, knownAutoclear } from './layout.ts';
import { registerMetadata } from './metadata-places.ts';
import { readRuntimeOptions } from './runtime-options.ts';
import { run as carryOut, locked, type Steps, told } from './steps.ts';

/** Hands changed tables to the file. While the dirty bit is set refcounts may wait. */
export function* writeTables(image: Qcow2Image, withRefcounts: boolean): Steps<void> {
  yield* image.settle();
  yield* image.l2Cache.write();
  if (withRefcounts) yield* image.refcountCache.write();
}

/** The same at the end: a failure names the tables. */
function* writeLastTables(image: Qcow2Image): Steps<void> {
  yield* image.settle();
  yield* told('Failed to flush the L2 table cache: ', image.l2Cache.write());
  yield* told('Failed to flush the refcount block cache: ', image.refcountCache.write());
}

export class Writer implements BitmapStore {
  readonly #image: Qcow2Image;
  readonly #bitmaps: Bitmaps;
  #isReady = false;
  /** Nothing has changed since everything was written out. */
  #isStored = false;
  #isPrepared = false;
  #beginning: Promise<void> | undefined;

  constructor(image: Qcow2Image, bitmaps: Bitmaps) {
    this.#image = image;
    this.#bitmaps = bitmaps;
  }

  /** The image may change: `begin` has nothing to do. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Makes the image one that may change. Nothing is half done when it rejects: the next call goes on. */
  async begin(): Promise<void> {
    if (this.#isReady) return;
    this.#beginning ??= this.#begin().finally(() => {
      this.#beginning = undefined;
    });
    await this.#beginning;
  }

  async #begin(): Promise<void> {
    await this.prepareMedium();
    await this.#bitmaps.markInUse();
    this.#isReady = true;
    this.#isStored = false;
  }

  /** The part of `begin` that the node need not know its size for. */
  async prepareMedium(): Promise<void> {
    const image = this.#image;
    const { header } = image;
    if (this.#isPrepared) return;
    await registerMetadata(image);
    const unknown = header.autoclear & ~knownAutoclear;
    const staleBitmaps = (header.autoclear & autoclear.bitmaps) !== 0n && header.bitmaps === undefined;
    // an extension that nobody believes was left out of the model with a warning: it must not come back
    const hasLost = header.warnings.length > 0;
    if (unknown !== 0n || staleBitmaps || hasLost) {
      // before anything else: whoever set these bits must see that we do not keep their promise
      const kept = staleBitmaps ? knownAutoclear & ~autoclear.bitmaps : knownAutoclear;
      await carryOut(image.updateHeader({ autoclear: header.autoclear & kept }));
    }
    if ((header.incompatible & incompatible.dirty) !== 0n && !image.node.settings.toCheck) {
      const { repairDirty } = await import('./repair.ts');
      await repairDirty(image);
    }
    this.#isPrepared = true;
  }

  /** Leaves nothing behind in memory that the medium has not, and the medium as if nobody wrote. */
  async end(): Promise<void> {
    await this.#writeAll();
    await this.#bitmaps.store();
    this.#isReady = false;
    await this.#clearDirty();
  }

  /** As `end`, for a node that nobody uses any more: bitmaps that cannot be stored are lost, as with the peer, and that is told. */
  async close(): Promise<void> {
    await this.store();
    if (this.#image.broken === undefined) await this.#clearDirty();
  }

  /** Makes an image clean whose refcounts may lag behind. */
  async clean(): Promise<void> {
    await this.#writeAll();
    await this.#clearDirty();
  }

  #writeAll(): void | Promise<void> {
    const image = this.#image;
    return carryOut(locked(image.mutex, () => writeTables(image, true)));
  }

  async #clearDirty(): Promise<void> {
    const image = this.#image;
    if ((image.header.incompatible & incompatible.dirty) === 0n) return;
    await image.flushMedium();
    await carryOut(image.updateHeader({ incompatible: image.header.incompatible & ~incompatible.dirty }));
  }

  // -- dirty bitmaps on the medium ------------------------------------------------------------------------------------------
  get isSupported(): boolean {
    return this.#image.geometry.version >= 3;
  }

  check(name: string, granularity: number): void {
    this.#bitmaps.check(name, granularity);
  }

  async remove(name: string): Promise<void> {
    await this.begin();
    await this.#bitmaps.remove(name);
  }

  async store(): Promise<boolean> {
    if (this.#isStored) return true;
    await this.begin();
    await carryOut(locked(this.#image.mutex, () => writeLastTables(this.#image)));
    try {
      await this.#bitmaps.store();
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      this.#image.warn(`Lost persistent bitmaps during inactivation of node '${this.#image.node.name}': ${error.message}`, { isError: true });
      return false;
    }
    this.#isReady = false;
    this.#isStored = true;
    return true;
  }

  // -- reopening ------------------------------------------------------------------------------------------------------------
  async reopen(next: NodeSettings, options: OptionTree): Promise<DriverStep> {
    const image = this.#image;
    const { header, isReadOnly } = image;
    if (image.broken !== undefined) throw image.broken;
    const isCorrupt = (header.incompatible & incompatible.corrupt) !== 0n;
    if (isReadOnly && !next.readOnly && isCorrupt) throw new BlockError('Image is corrupt; cannot be opened read/write', { code: 'EACCES' });
    const reader = new OptionReader(options);
    reader.useTable(qcow2DriverOptions.own);
    const runtime = readRuntimeOptions(reader, header, next.discard);
    if (!isReadOnly) {
      await this.begin();
      if (next.readOnly) await this.end();
      else await this.#writeAll();
      if (!runtime.options.lazyRefcounts) await this.#clearDirty();
      await image.flushMedium();
    }
    return {
      commit: () => {
        image.reconfigure(runtime.options, runtime.sliceSize);
        if (next.readOnly) this.#bitmaps.setReadOnly();
      },
      abort: () => {},
      settle: async () => {
        if (!image.isReadOnly) await this.begin();
      },
    };
  }
}
