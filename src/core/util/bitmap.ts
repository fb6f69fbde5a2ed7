/*
 * A bitmap in pages of 4 KiB: pages that are all clear or all set cost nothing, so that a map over a disk of many TiB is
 * small until it is used. Searches skip uniform pages and whole words. Knows nothing of offsets: callers divide by their
 * granularity.
 */
const wordsPerPage = 1024;
const bytesPerPage = wordsPerPage * 4;
const bitsPerPage = wordsPerPage * 32;
const allOnes = 0xffffffff;
/** Pages that stand at several places, here or in other bitmaps: whoever changes one takes a copy. */
const sharedPages = new WeakSet<Uint32Array>();

export class Bitmap {
  readonly size: number;
  #initial: boolean;
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

  /** A bitmap of another size: bits that both have are the same, new ones are clear. */
  resized(size: number): Bitmap {
    const result = new Bitmap(size);
    result.merge(this);
    return result;
  }

  /** Sets every bit that is set in `other`, as far as this bitmap goes. */
  merge(other: Bitmap): void {
    const end = Math.min(this.size, other.size);
    for (let at = other.nextSet(0, end); at < end; ) {
      const stop = other.nextClear(at, end);
      this.set(at, stop);
      at = other.nextSet(stop, end);
    }
  }

  /** Fills `into` with bits as bytes, lowest bit first, from byte `start` on (bit 8 × `start`); past the end they are clear. */
  readBytes(start: number, into: Uint8Array): void {
    for (let at = 0; at < into.length; ) {
      const first = start + at;
      const index = Math.floor(first / bytesPerPage);
      const count = Math.min(into.length - at, (index + 1) * bytesPerPage - first);
      const page = this.#page(index);
      if (typeof page === 'boolean') {
        into.fill(page ? 0xff : 0, at, at + count);
        if (page) this.#clip(first, into.subarray(at, at + count));
      } else {
        const from = first - index * bytesPerPage;
        for (let byte = 0; byte < count; byte++) into[at + byte] = ((page[(from + byte) >>> 2] ?? 0) >>> (((from + byte) & 3) * 8)) & 0xff;
      }
      at += count;
    }
  }

  /**
   * Gives the bits of `length` bytes from byte `to` on the values of those from byte `from` on: whole pages, which are not
   * copied until one of them changes. False, with nothing done, where the bytes are not whole pages inside the bitmap.
   */
  repeatBytes(to: number, from: number, length: number): boolean {
    const isWhole = to % bytesPerPage === 0 && from % bytesPerPage === 0 && length % bytesPerPage === 0;
    if (!isWhole || (Math.max(to, from) + length) * 8 > this.size) return false;
    for (let done = 0; done < length; done += bytesPerPage) {
      const page = this.#page((from + done) / bytesPerPage);
      const at = (to + done) / bytesPerPage;
      this.#fill(at * bitsPerPage, (at + 1) * bitsPerPage, page === true);
      if (typeof page === 'boolean') continue;
      sharedPages.add(page);
      this.#pages.set(at, page);
      this.#count += countBits(page);
    }
    return true;
  }

  /** The other way round: gives the bits from byte `start` on the values in `from`; bits past the end are ignored. */
  writeBytes(start: number, from: Uint8Array): void {
    for (let at = 0; at < from.length; ) {
      const first = start + at;
      const index = Math.floor(first / bytesPerPage);
      const count = Math.min(from.length - at, (index + 1) * bytesPerPage - first);
      const part = from.slice(at, at + count);
      at += count;
      if (first * 8 >= this.size) return;
      const value = part[0] === 0xff;
      if ((value || part[0] === 0) && part.every((byte) => byte === part[0])) {
        this.#fill(first * 8, (first + count) * 8, value);
        continue;
      }
      this.#clip(first, part);
      const words = this.#words(index);
      this.#count -= countBits(words);
      const to = first - index * bytesPerPage;
      for (const [byte, bits] of part.entries()) {
        const shift = ((to + byte) & 3) * 8;
        words[(to + byte) >>> 2] = (((words[(to + byte) >>> 2] ?? 0) & ~(0xff << shift)) | (bits << shift)) >>> 0;
      }
      this.#count += countBits(words);
    }
  }

  /** Clears what bytes from byte `start` on say of bits past the end. */
  #clip(start: number, bytes: Uint8Array): void {
    const whole = Math.floor(this.size / 8) - start;
    if (whole >= bytes.length) return;
    const rest = this.size % 8;
    bytes.fill(0, Math.max(0, rest === 0 ? whole : whole + 1));
    if (whole >= 0 && rest !== 0) bytes[whole] = (bytes[whole] ?? 0) & ((1 << rest) - 1);
  }

  /** The page as words that can be changed. */
  #words(index: number): Uint32Array {
    const page = this.#page(index);
    if (typeof page !== 'boolean') return sharedPages.has(page) ? this.#copy(index, page) : page;
    const words = new Uint32Array(wordsPerPage);
    // bits past the end stay clear, so that counts stay right
    if (page) fillWords(words, 0, Math.min(bitsPerPage, this.size - index * bitsPerPage), true);
    this.#pages.set(index, words);
    return words;
  }

  #copy(index: number, page: Uint32Array): Uint32Array {
    const words = page.slice();
    this.#pages.set(index, words);
    return words;
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
    if (start === 0 && last === this.size) {
      // as in the beginning
      this.#pages.clear();
      this.#initial = value;
      this.#count = value ? this.size : 0;
      return;
    }
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
        const changed = fillWords(this.#words(index), at - pageStart, stop - pageStart, value);
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
  // an iterator is many times slower
  for (let index = 0; index < words.length; index++) count += popCount(words[index] ?? 0);
  return count;
}

function popCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
