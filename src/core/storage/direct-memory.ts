/*
 * Memory for files opened with O_DIRECT: what offsets, lengths and addresses the medium demands is found by trying, and
 * requests go through buffers that fit. Node tells no address, so a fitting place is looked for inside larger buffers.
 * Knows no format. Rule source: open(2), O_DIRECT.
 */
import { readSync } from 'node:fs';

const page = 4096;
/** Buffers are at least this large, so that one serves most requests. */
const minBuffer = 1024 * 1024;
/** Buffers kept for reuse. */
const maxKept = 8;
/** The C library aligns memory to this, so a place that fits is a multiple of it away. */
const step = 16;

/** Aligned buffers for one file. */
export class DirectMemory {
  /** Offsets and lengths of requests are multiples of this. */
  readonly requestAlign: number;
  readonly #fd: number;
  readonly #kept: Uint8Array[] = [];
  /** Where the last buffer fitted: most begin at the same place of a page. */
  #shift = page - step;

  constructor(fd: number) {
    this.#fd = fd;
    const probe = this.take(page);
    let align = 512;
    while (align < page && !this.#fits(probe, 0, align)) align *= 2;
    this.requestAlign = align;
    this.give(probe);
  }

  /** A buffer of `length` bytes with any content; give it back when the request has settled. */
  take(length: number): Uint8Array {
    const index = this.#kept.findIndex((buffer) => buffer.length >= length);
    const kept = index >= 0 ? this.#kept.splice(index, 1)[0] : undefined;
    if (kept !== undefined) return kept.subarray(0, length);
    const whole = Buffer.allocUnsafeSlow(Math.max(minBuffer, length) + page);
    this.#shift = this.#placeIn(whole);
    return whole.subarray(this.#shift, this.#shift + length);
  }

  give(buffer: Uint8Array): void {
    if (this.#kept.length >= maxKept) return;
    // what follows a short request in its buffer is usable again
    const room = Math.min(buffer.buffer.byteLength - buffer.byteOffset, Math.max(minBuffer, buffer.length));
    this.#kept.push(new Uint8Array(buffer.buffer, buffer.byteOffset, room));
  }

  /** A place from which the medium takes requests; where nothing is taken at all, any. */
  #placeIn(whole: Uint8Array): number {
    if (this.#fits(whole, this.#shift, page)) return this.#shift;
    for (let shift = 0; shift < page; shift += step) if (this.#fits(whole, shift, page)) return shift;
    return this.#shift;
  }

  #fits(buffer: Uint8Array, at: number, length: number): boolean {
    try {
      readSync(this.#fd, buffer, at, length, 0);
      return true;
    } catch {
      return false;
    }
  }
}
