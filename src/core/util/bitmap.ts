/*
 * A bitmap in pages of 4 KiB: pages that are all clear or all set cost nothing, so that a map over a disk of many TiB is
 * small until it is used. Searches skip uniform pages and whole words. Knows nothing of offsets: callers divide by their
 * granularity.
 */
const wordsPerPage = 1024;
const bitsPerPage = wordsPerPage * 32;
const allOnes = 0xffffffff;

export class Bitmap {
  readonly size: number;
  readonly #initial: boolean;
  /** A page, or the one value of all its bits. Absent: as in the beginning. */
  readonly #pages = new Map<number, Uint32Array | boolean>();
  #count: number;

  /** `size` bits (up to 2^53 - 1), all `initial`. */
  constructor(size: number, initial = false) {
    this.size = size;
    this.#initial = initial;
    this.#count = initial ? size : 0;
  }

  /** Number of set bits. */
  get count(): number {
    return this.#count;
  }

  has(index: number): boolean {
    if (index >= this.size) return false;
    const page = this.#page(Math.floor(index / bitsPerPage));
    if (typeof page === 'boolean') return page;
    const bit = index % bitsPerPage;
    return ((page[bit >>> 5] ?? 0) & (1 << (bit & 31))) !== 0;
  }

  /** Sets the bits of [start, end). */
  set(start: number, end: number): void {
    this.#fill(start, end, true);
  }

  /** Clears the bits of [start, end). */
  clear(start: number, end: number): void {
    this.#fill(start, end, false);
  }

  /** The first set bit in [start, end), or `end`. */
  nextSet(start: number, end: number): number {
    return this.#next(start, end, true);
  }

  /** The first clear bit in [start, end), or `end`. */
  nextClear(start: number, end: number): number {
    return this.#next(start, end, false);
  }

  #page(index: number): Uint32Array | boolean {
    return this.#pages.get(index) ?? this.#initial;
  }

  #next(start: number, end: number, value: boolean): number {
    const skip = value ? 0 : allOnes;
    for (let at = start; at < end; ) {
      const index = Math.floor(at / bitsPerPage);
      const page = this.#page(index);
      const pageEnd = (index + 1) * bitsPerPage;
      if (typeof page === 'boolean') {
        if (page === value) return at;
        at = pageEnd;
        continue;
      }
      const bit = at % bitsPerPage;
      const word = page[bit >>> 5] ?? 0;
      if (word === skip) {
        at += 32 - (bit & 31);
        continue;
      }
      if (((word & (1 << (bit & 31))) !== 0) === value) return at;
      at++;
    }
    return end;
  }

  #fill(start: number, end: number, value: boolean): void {
    const last = Math.min(end, this.size);
    for (let at = start; at < last; ) {
      const index = Math.floor(at / bitsPerPage);
      const pageStart = index * bitsPerPage;
      const pageEnd = Math.min(pageStart + bitsPerPage, this.size);
      const stop = Math.min(last, pageEnd);
      const page = this.#page(index);
      if (page === value) {
        at = stop;
        continue;
      }
      if (at === pageStart && stop === pageEnd) {
        const before = typeof page === 'boolean' ? (page ? pageEnd - pageStart : 0) : countBits(page);
        this.#count += (value ? pageEnd - pageStart : 0) - before;
        this.#pages.set(index, value);
      } else {
        let words: Uint32Array;
        if (typeof page === 'boolean') {
          words = new Uint32Array(wordsPerPage);
          // bits past the end stay clear, so that counts stay right
          if (page) fillWords(words, 0, pageEnd - pageStart, true);
          this.#pages.set(index, words);
        } else words = page;
        const changed = fillWords(words, at - pageStart, stop - pageStart, value);
        this.#count += value ? changed : -changed;
      }
      at = stop;
    }
  }
}

/** Gives the bits of [start, end) one value; returns how many changed. */
function fillWords(words: Uint32Array, start: number, end: number, value: boolean): number {
  let changed = 0;
  for (let at = start; at < end; ) {
    const low = at & 31;
    const high = Math.min(32, low + end - at);
    const mask = ((high === 32 ? allOnes : (1 << high) - 1) & ~((1 << low) - 1)) >>> 0;
    const before = words[at >>> 5] ?? 0;
    const after = value ? (before | mask) >>> 0 : (before & ~mask) >>> 0;
    changed += popCount(before ^ after);
    words[at >>> 5] = after;
    at += high - low;
  }
  return changed;
}

function countBits(words: Uint32Array): number {
  let count = 0;
  for (const word of words) count += popCount(word);
  return count;
}

function popCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
