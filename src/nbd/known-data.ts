/*
 * Remembers which parts of an image were last seen to hold data, so that a read there need not ask for the block status again.
 * Being out of date is harmless: what has become a hole since is sent as the zeros it now holds. It never claims a hole.
 * One map of at most 65536 granules an export, shared by its sessions.
 */

const maxGranules = 65536;
const minGranule = 65536;

export class KnownData {
  readonly #size: number;
  readonly #granule: number;
  readonly #map: Uint8Array;

  constructor(size: number) {
    let granule = minGranule;
    while (granule * maxGranules < size) granule *= 2;
    this.#size = size;
    this.#granule = granule;
    this.#map = new Uint8Array(Math.ceil(size / granule));
  }

  /** True when the whole range was seen to be data. `length` > 0. */
  covers(offset: number, length: number): boolean {
    const last = Math.floor((offset + length - 1) / this.#granule);
    for (let i = Math.floor(offset / this.#granule); i <= last; i++) if (this.#map[i] !== 1) return false;
    return true;
  }

  /** The range is data: granules that lie wholly inside are remembered. */
  add(offset: number, length: number): void {
    const end = offset + length >= this.#size ? this.#map.length : Math.floor((offset + length) / this.#granule);
    const start = Math.ceil(offset / this.#granule);
    if (end > start) this.#map.fill(1, start, end);
  }

  /** The range was zeroed or discarded. */
  remove(offset: number, length: number): void {
    if (length === 0) return;
    this.#map.fill(0, Math.floor(offset / this.#granule), Math.floor((offset + length - 1) / this.#granule) + 1);
  }
}
