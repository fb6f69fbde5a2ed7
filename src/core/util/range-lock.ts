/*
 * A lock on ranges of numbers (bytes, mostly): shared or exclusive, first come first served. One that has to wait stands
 * in a queue, and whoever comes later and wants any of its range in a conflicting mode stands behind it: a stream of
 * readers never keeps a writer out. `release` itself grants what has become free; nobody wakes to look again, so nobody
 * can slip in between.
 *
 * Owners: whoever holds a range may enter it again through requests that carry the same `owner`, and such a request never
 * waits behind a waiting one, which may be waiting for that very range.
 *
 * A request that ends before anybody else can run needs no hold: ask `isFree`, do it, and `hold` afterwards if it turned
 * out to be pending. While `busy` is 0 a shared request need not even ask.
 * Must not know what the ranges mean, nor what is done under the lock.
 */
import { invariant } from './errors.ts';
import type { Maybe } from './maybe.ts';

export type RangeMode = 'shared' | 'exclusive';

/** A range that is held: [start, end). Give it back with `RangeLock.release`, once. */
export interface RangeHold {
  readonly start: number;
  readonly end: number;
  readonly mode: RangeMode;
  readonly owner: object | undefined;
}

interface Waiter extends RangeHold {
  readonly grant: (hold: RangeHold) => void;
}

export class RangeLock {
  /** Exclusive holds and everything that waits. While it is 0, no shared request has to wait. */
  busy = 0;
  readonly #held: RangeHold[] = [];
  /** In the order they came. */
  #waiting: Waiter[] = [];

  /** Nothing is held and nobody waits. */
  get isIdle(): boolean {
    return this.#held.length === 0;
  }

  /** True when `acquire` would not have to wait. An empty range is always free. */
  isFree(start: number, end: number, mode: RangeMode, owner?: object): boolean {
    if (this.busy === 0 && (mode === 'shared' || this.#held.length === 0)) return true;
    return !this.#isBlocked(start, end, mode, owner, this.#waiting.length);
  }

  /** Holds [start, end), all of it or nothing: at once when it is free, else when its turn has come. Never fails. */
  acquire(start: number, end: number, mode: RangeMode, owner?: object): Maybe<RangeHold> {
    if (this.isFree(start, end, mode, owner)) return this.hold(start, end, mode, owner);
    return new Promise((grant) => {
      this.#waiting.push({ start, end, mode, owner, grant });
      this.busy++;
    });
  }

  /** Holds a range without asking, for a request that found it free and has turned out to be pending. */
  hold(start: number, end: number, mode: RangeMode, owner?: object): RangeHold {
    const hold: RangeHold = { start, end, mode, owner };
    this.#add(hold);
    return hold;
  }

  /** Gives the range back and grants all those whose turn has come, in their order, before it returns. */
  release(hold: RangeHold): void {
    const index = this.#held.indexOf(hold);
    invariant(index >= 0, 'release of a range that is not held');
    const last = this.#held.pop();
    if (last !== undefined && last !== hold) this.#held[index] = last;
    if (hold.mode === 'exclusive') this.busy--;
    if (this.#waiting.length > 0) this.#grantFree();
  }

  #add(hold: RangeHold): void {
    this.#held.push(hold);
    if (hold.mode === 'exclusive') this.busy++;
  }

  #grantFree(): void {
    for (let index = 0; index < this.#waiting.length; ) {
      const waiter = this.#waiting[index];
      if (waiter === undefined || this.#isBlocked(waiter.start, waiter.end, waiter.mode, waiter.owner, index)) {
        index++;
        continue;
      }
      this.#waiting.splice(index, 1);
      this.busy--;
      this.#add(waiter);
      waiter.grant(waiter);
      // an owner that has got a range no longer stands behind waiting ones: those before may be free now
      if (waiter.owner !== undefined) index = 0;
    }
  }

  /** True when a request has to wait for a holder, or for one of the first `ahead` of those that wait. */
  #isBlocked(start: number, end: number, mode: RangeMode, owner: object | undefined, ahead: number): boolean {
    let isOwner = false;
    for (const other of this.#held) {
      if (conflicts(other, start, end, mode, owner)) return true;
      if (owner !== undefined && other.owner === owner) isOwner = true;
    }
    if (isOwner) return false;
    for (let index = 0; index < ahead; index++) {
      const other = this.#waiting[index];
      if (other !== undefined && conflicts(other, start, end, mode, owner)) return true;
    }
    return false;
  }
}

function conflicts(other: RangeHold, start: number, end: number, mode: RangeMode, owner: object | undefined): boolean {
  if (mode === 'shared' && other.mode === 'shared') return false;
  if (owner !== undefined && owner === other.owner) return false;
  return Math.max(start, other.start) < Math.min(end, other.end);
}
