/*
 * Byte ranges that somebody is busy with, and waiting for those that overlap: copies in flight, reads of frozen data.
 * The holder removes its range when it is done; waiters are woken and look again.
 */
import { overlaps } from './math.ts';
import type { Maybe } from './maybe.ts';

export interface BusyRange {
  readonly offset: number;
  readonly length: number;
  waiters: (() => void)[] | undefined;
}

export class BusyRanges {
  readonly #ranges: BusyRange[] = [];

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }

  /** Bytes of all ranges. */
  get bytes(): number {
    return this.#ranges.reduce((sum, range) => sum + range.length, 0);
  }

  add(offset: number, length: number): BusyRange {
    const range: BusyRange = { offset, length, waiters: undefined };
    this.#ranges.push(range);
    return range;
  }

  remove(range: BusyRange): void {
    const index = this.#ranges.indexOf(range);
    if (index < 0) return;
    this.#ranges.splice(index, 1);
    const { waiters } = range;
    range.waiters = undefined;
    if (waiters !== undefined) for (const wake of waiters) wake();
  }

  find(offset: number, length: number): BusyRange | undefined {
    for (const range of this.#ranges) if (overlaps(range.offset, range.length, offset, length)) return range;
    return undefined;
  }

  /** Settles when one overlapping range is done; undefined when there is none. The caller looks again. */
  waitOne(offset: number, length: number): Promise<void> | undefined {
    const range = this.find(offset, length);
    if (range === undefined) return undefined;
    return new Promise((resolve) => {
      range.waiters ??= [];
      range.waiters.push(resolve);
    });
  }

  /** Settles when nothing overlaps. */
  waitAll(offset: number, length: number): Maybe<void> {
    const first = this.waitOne(offset, length);
    return first === undefined ? undefined : this.#waitAllSlow(first, offset, length);
  }

  async #waitAllSlow(first: Promise<void>, offset: number, length: number): Promise<void> {
    for (let next: Promise<void> | undefined = first; next !== undefined; next = this.waitOne(offset, length)) await next;
  }
}
