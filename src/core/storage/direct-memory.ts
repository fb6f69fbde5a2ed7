/*
 * Memory for files opened with O_DIRECT: requests go through buffers that begin at a page, which every medium takes. Where
 * no system call tells addresses, a fitting place is looked for by reading. Knows no format. Rule source: open(2), O_DIRECT.
 */
import { readSync } from 'node:fs';

const page = 4096;
/** Buffers are at least this large, so that one serves most requests. */
const minBuffer = 1024 * 1024;
/** Buffers kept for reuse. */
const maxKept = 8;
/** The C library aligns memory to this, so a place that fits is a multiple of it away. */
const step = 16;
const alignments = [1, 512, 1024, 2048, page];

export interface DirectFacts {
  /** Sector of a block device. */
  readonly sector: number | undefined;
  /** Absent: no system call tells it. */
  readonly addressOf: ((buffer: Uint8Array) => number) | undefined;
}

/** Aligned buffers for one file. */
export class DirectMemory {
  /** Offsets and lengths of requests are multiples of this. */
  readonly requestAlign: number;
  /** What the medium itself demands of addresses; a page where it could not be told. */
  readonly memoryAlign: number;
  readonly #fd: number;
  readonly #addressOf: DirectFacts['addressOf'];
  readonly #kept: Uint8Array[] = [];
  /** Where the last buffer fitted: most begin at the same place of a page. */
  #shift = page - step;

  constructor(fd: number, facts: DirectFacts) {
    this.#fd = fd;
    this.#addressOf = facts.addressOf;
    const probe = this.take(2 * page);
    this.requestAlign = facts.sector ?? this.#smallest((align) => this.#fits(probe, 0, align));
    this.memoryAlign = this.#smallest((align) => this.#fits(probe, align, page));
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

  #placeIn(whole: Uint8Array): number {
    if (this.#addressOf !== undefined) return (page - (this.#addressOf(whole) % page)) % page;
    if (this.#fits(whole, this.#shift, page)) return this.#shift;
    for (let shift = 0; shift < page; shift += step) if (this.#fits(whole, shift, page)) return shift;
    return this.#shift;
  }

  /** The smallest that fits. Where anything does (a hole, an empty file), nothing was learnt: a page. */
  #smallest(fits: (align: number) => boolean): number {
    const found = alignments.find(fits) ?? page;
    return found === 1 ? page : found;
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
