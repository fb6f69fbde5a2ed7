/*
 * Who may go on in a throttle group. Members share the limits: where some wait, they take turns, each direction apart, and
 * one timer a direction wakes whose turn is next. A member that is not limited for a while (it is drained) waits for nobody;
 * what it lets through counts all the same.
 * Must not know nodes or requests. Rule source: QEMU's documentation of throttling, and what its groups were seen to do.
 */
import type { Clock } from '../util/clock.ts';
import { LeakyBucket, type Rate } from '../util/leaky-bucket.ts';
import type { Maybe } from '../util/maybe.ts';
import { Waiters } from '../util/waiters.ts';

export type Direction = 'read' | 'write';

export interface ThrottleRates {
  readonly bytes: Readonly<Record<Direction | 'total', Rate>>;
  readonly requests: Readonly<Record<Direction | 'total', Rate>>;
  /** Larger requests count as several, in pieces of so many bytes; 0 = each is one. */
  readonly requestSize: number;
}

/** A user of the group. */
export interface ThrottleMember extends Disposable {
  /** Settles when a request of `bytes` may go on; at once where nothing has to be waited for. Never fails. */
  pass(direction: Direction, bytes: number): Maybe<void>;
  /** Lets all that wait go, and what comes until `limit`. Counted. */
  unlimit(): void;
  limit(): void;
}

class Member implements ThrottleMember {
  readonly waiting: Readonly<Record<Direction, Waiters>> = { read: new Waiters(), write: new Waiters() };
  unlimited = 0;
  readonly #throttle: Throttle;

  constructor(throttle: Throttle) {
    this.#throttle = throttle;
  }

  pass(direction: Direction, bytes: number): Maybe<void> {
    return this.#throttle.pass(this, direction, bytes);
  }

  unlimit(): void {
    if (++this.unlimited === 1) this.#throttle.letGo(this);
  }

  limit(): void {
    this.unlimited--;
  }

  /** Nobody of it may wait. */
  [Symbol.dispose](): void {
    this.#throttle.leave(this);
  }
}

export class Throttle {
  #rates: ThrottleRates;
  #buckets: Buckets;
  readonly #members: Member[] = [];
  /** Whose request went last. */
  readonly #last: { [direction in Direction]?: Member | undefined } = {};
  readonly #timers: { [direction in Direction]?: AbortController | undefined } = {};
  #clock: Clock | undefined;
  #leakedAt = 0;

  constructor(rates: ThrottleRates) {
    this.#rates = rates;
    this.#buckets = bucketsOf(rates);
  }

  get isUsed(): boolean {
    return this.#members.length > 0;
  }

  /** Other limits from now on; what passed before is forgotten, and who waits is judged anew. */
  configure(rates: ThrottleRates): void {
    this.#rates = rates;
    this.#buckets = bucketsOf(rates);
    for (const direction of directions) {
      this.#stopTimer(direction);
      this.#goOn(direction);
    }
  }

  /** All members come with the same clock. */
  join(clock: Clock): ThrottleMember {
    if (this.#clock === undefined) this.#leakedAt = clock.now();
    this.#clock ??= clock;
    const member = new Member(this);
    this.#members.push(member);
    return member;
  }

  leave(member: Member): void {
    const index = this.#members.indexOf(member);
    if (index < 0) return;
    this.#members.splice(index, 1);
    // the turn stays where it was
    const before = this.#members[(index === 0 ? this.#members.length : index) - 1];
    for (const direction of directions) {
      if (this.#last[direction] === member) this.#last[direction] = before;
      this.#goOn(direction);
    }
  }

  pass(member: Member, direction: Direction, bytes: number): Maybe<void> {
    if (member.unlimited > 0 || (!this.#isBusy(direction) && this.#wait(direction) === 0)) {
      this.#account(member, direction, bytes);
      return;
    }
    return new Promise((go) => {
      member.waiting[direction].add(() => {
        this.#account(member, direction, bytes);
        go();
      });
      this.#goOn(direction);
    });
  }

  letGo(member: Member): void {
    for (const direction of directions) {
      while (member.waiting[direction].wakeOne());
      this.#goOn(direction);
    }
  }

  #isBusy(direction: Direction): boolean {
    return this.#members.some(({ waiting }) => !waiting[direction].isEmpty);
  }

  /** Lets those who wait go, in turns, until one has to wait for the clock. */
  #goOn(direction: Direction): void {
    if (this.#timers[direction] !== undefined) {
      if (this.#isBusy(direction)) return;
      // those it was for went another way
      this.#stopTimer(direction);
    }
    for (let next = this.#next(direction); next !== undefined; next = this.#next(direction)) {
      const seconds = this.#wait(direction);
      if (seconds > 0) {
        this.#wakeAfter(seconds, direction);
        return;
      }
      next.waiting[direction].wakeOne();
    }
  }

  #stopTimer(direction: Direction): void {
    this.#timers[direction]?.abort();
    this.#timers[direction] = undefined;
  }

  #wakeAfter(seconds: number, direction: Direction): void {
    const timer = new AbortController();
    this.#timers[direction] = timer;
    void this.#clock?.sleep(seconds * 1000, timer.signal).then(() => {
      if (timer.signal.aborted) return;
      this.#timers[direction] = undefined;
      // its time has come: a timer that was early is no reason to wait once more
      this.#next(direction)?.waiting[direction].wakeOne();
      this.#goOn(direction);
    });
  }

  /** The first member after the last one that has somebody waiting. */
  #next(direction: Direction): Member | undefined {
    const last = this.#last[direction];
    const start = last === undefined ? 0 : this.#members.indexOf(last) + 1;
    const order = [...this.#members.slice(start), ...this.#members.slice(0, start)];
    return order.find(({ waiting }) => !waiting[direction].isEmpty);
  }

  /** Seconds until a request may go. */
  #wait(direction: Direction): number {
    const now = this.#clock?.now() ?? this.#leakedAt;
    for (const bucket of this.#buckets.all) bucket.leak(Math.max(0, now - this.#leakedAt) / 1000);
    this.#leakedAt = now;
    return Math.max(...this.#buckets.bytes[direction].map(({ wait }) => wait), ...this.#buckets.requests[direction].map(({ wait }) => wait));
  }

  #account(member: Member, direction: Direction, bytes: number): void {
    this.#last[direction] = member;
    const { requestSize } = this.#rates;
    for (const bucket of this.#buckets.bytes[direction]) bucket.add(bytes);
    for (const bucket of this.#buckets.requests[direction]) bucket.add(requestSize > 0 && bytes > requestSize ? bytes / requestSize : 1);
  }
}

const directions: readonly Direction[] = ['read', 'write'];

interface Buckets {
  readonly all: readonly LeakyBucket[];
  /** What a request of the direction fills. */
  readonly bytes: Readonly<Record<Direction, readonly LeakyBucket[]>>;
  readonly requests: Readonly<Record<Direction, readonly LeakyBucket[]>>;
}

function bucketsOf({ bytes, requests }: ThrottleRates): Buckets {
  const make = (rates: ThrottleRates['bytes']): Record<Direction, readonly LeakyBucket[]> => {
    const total = new LeakyBucket(rates.total);
    return { read: [total, new LeakyBucket(rates.read)], write: [total, new LeakyBucket(rates.write)] };
  };
  const made = { bytes: make(bytes), requests: make(requests) };
  const all = new Set([...made.bytes.read, ...made.bytes.write, ...made.requests.read, ...made.requests.write]);
  return { all: [...all], ...made };
}
