/* Drivers by name, loaded at first use. Filled explicitly by the composition root; no driver registers itself. */
import { meantValue } from '../util/did-you-mean.ts';
import { BlockError } from '../util/errors.ts';
import type { BlockDriver, DriverEntry } from './driver.ts';

export class DriverRegistry {
  readonly #entries = new Map<string, DriverEntry>();
  readonly #loaded = new Map<string, BlockDriver>();

  readonly #foreign: (head: Uint8Array) => string | undefined;

  /** `foreign` names the format of an image that no driver here knows. */
  constructor(entries: readonly DriverEntry[], foreign: (head: Uint8Array) => string | undefined = () => undefined) {
    this.#foreign = foreign;
    for (const entry of entries) this.#entries.set(entry.name, entry);
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** Undefined for a driver that there is not. */
  entry(name: string): DriverEntry | undefined {
    return this.#entries.get(name);
  }

  get entries(): Iterable<DriverEntry> {
    return this.#entries.values();
  }

  /** Loads the driver. Rejects with `Unknown driver 'x'`. */
  async load(name: string): Promise<BlockDriver> {
    const loaded = this.#loaded.get(name);
    if (loaded !== undefined) return loaded;
    const entry = this.#entries.get(name);
    if (entry === undefined) throw new BlockError(`Unknown driver '${name}'`, { code: 'ENOTSUP', hint: meantValue(name, [...this.#entries.keys()]) });
    const driver = await entry.load();
    this.#loaded.set(name, driver);
    return driver;
  }

  /** The format whose probe is surest of `head` (the first 2048 bytes); `raw` when none is. It may be one without a driver. */
  probe(head: Uint8Array, filename: string): string {
    let best = 'raw';
    let score = 1;
    for (const entry of this.#entries.values()) {
      const found = entry.probe?.(head, filename) ?? 0;
      if (found > score) {
        best = entry.name;
        score = found;
      }
    }
    return best === 'raw' ? (this.#foreign(head) ?? best) : best;
  }
}

/** Bytes of an image that probes look at. */
export const probeLength = 2048;
