/*
 * Maybe<T>: the result of a data-path call, a value when the page cache and loaded metadata could answer, else a promise.
 * A function that returns Maybe is never `async`: it has a synchronous head and, when something is pending, an async
 * tail with a name of its own. Every Maybe call is a possible yield: re-read shared state after it.
 */
import { type Clock, realClock } from './clock.ts';

export type Maybe<T> = T | Promise<T>;

/** True when `value` is still on its way. Narrows both branches. */
export function isPending<T>(value: Maybe<T>): value is Promise<T> {
  return value instanceof Promise;
}

/** Calls `next` with the settled value, at once when nothing is pending. Errors pass through, thrown or rejected. */
export function chain<T, U>(value: Maybe<T>, next: (value: T) => Maybe<U>): Maybe<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/** Runs `start`, then `cleanup` once, whether it returns, throws or rejects; keeps a synchronous result synchronous. */
export function settle<T>(start: () => Maybe<T>, cleanup: () => void): Maybe<T> {
  let result: Maybe<T>;
  try {
    result = start();
  } catch (error) {
    cleanup();
    throw error;
  }
  if (!(result instanceof Promise)) {
    cleanup();
    return result;
  }
  return result.finally(cleanup);
}

/** Runs `start`; when that throws or rejects, `handle` gives the result instead, or throws. Synchronous results stay so. */
export function recover<T>(start: () => Maybe<T>, handle: (error: unknown) => Maybe<T>): Maybe<T> {
  let result: Maybe<T>;
  try {
    result = start();
  } catch (error) {
    return handle(error);
  }
  return result instanceof Promise ? result.catch(handle) : result;
}

/**
 * One budget per engine and event-loop turn: loops over requests call `tick(bytes)`; it is pending once 4 MiB or 5 ms of
 * work were done in this turn, so that other sources of events get theirs. `await` alone does not let the loop turn.
 */
export class YieldBudget {
  readonly #clock: Clock;
  readonly #maxBytes: number;
  readonly #maxMs: number;
  #bytes = 0;
  #calls = 0;
  #since = 0;
  #turn: Promise<void> | undefined;

  constructor(clock: Clock = realClock, limits: { maxBytes?: number; maxMs?: number } = {}) {
    this.#clock = clock;
    this.#maxBytes = limits.maxBytes ?? 4 * 1024 * 1024;
    this.#maxMs = limits.maxMs ?? 5;
  }

  /** Counts `bytes` of work. Returns a promise of the next turn when the budget of this one is used up. */
  tick(bytes: number): Maybe<void> {
    if (this.#turn !== undefined) return this.#turn;
    if (this.#calls === 0) {
      this.#since = this.#clock.now();
      this.#clock.soon(this.#reset);
    }
    this.#calls++;
    this.#bytes += bytes;
    // the clock is read every 16th time only: reading it costs as much as a cached request
    if (this.#bytes < this.#maxBytes && ((this.#calls & 15) !== 0 || this.#clock.now() - this.#since < this.#maxMs)) return;
    this.#turn = this.#clock.nextTurn();
    return this.#turn;
  }

  readonly #reset = (): void => {
    this.#bytes = 0;
    this.#calls = 0;
    this.#turn = undefined;
  };
}
