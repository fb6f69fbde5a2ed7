/*
 * Guest ranges of requests in flight on one image. Requests that may free or remap clusters hold their range alone; reads
 * and in-place writes share it. So no cluster is given back while somebody still reads or writes it, and overlapping
 * allocations wait for each other. Only requests that became pending are seen here: synchronous ones leave nothing behind.
 */

export interface RangeHold {
  readonly start: number;
  readonly end: number;
  readonly isExclusive: boolean;
  waiters: (() => void)[] | undefined;
}

export class RangeLocks {
  readonly #held: RangeHold[] = [];
  #exclusive = 0;

  /** No request in flight can be in the way of a shared one. */
  get isFree(): boolean {
    return this.#exclusive === 0;
  }

  /** Registers a range that is known to be free of conflicts. */
  hold(start: number, end: number, isExclusive: boolean): RangeHold {
    const hold: RangeHold = { start, end, isExclusive, waiters: undefined };
    this.#held.push(hold);
    if (isExclusive) this.#exclusive++;
    return hold;
  }

  release(hold: RangeHold): void {
    const index = this.#held.indexOf(hold);
    const last = this.#held.pop();
    if (last !== undefined && last !== hold) this.#held[index] = last;
    if (hold.isExclusive) this.#exclusive--;
    const waiters = hold.waiters;
    hold.waiters = undefined;
    if (waiters !== undefined) for (const wake of waiters) wake();
  }

  /** A promise to wait for before asking again, or undefined when the range can be held now. */
  conflict(start: number, end: number, isExclusive: boolean): Promise<void> | undefined {
    if (this.#held.length === 0 || (!isExclusive && this.#exclusive === 0)) return undefined;
    for (const other of this.#held) {
      if (!isExclusive && !other.isExclusive) continue;
      if (other.start >= end || start >= other.end) continue;
      return new Promise((resolve) => {
        other.waiters ??= [];
        other.waiters.push(resolve);
      });
    }
    return undefined;
  }
}
