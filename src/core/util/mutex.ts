/* A FIFO mutex for critical sections that cross a yield. Handed over on unlock; tryLock fails while anyone queues. */
import type { Maybe } from './maybe.ts';

export class Mutex {
  #held = false;
  readonly #queue: (() => void)[] = [];

  /** Takes the mutex if that needs no waiting. */
  tryLock(): boolean {
    if (this.#held) return false;
    this.#held = true;
    return true;
  }

  /** Settles when the mutex is the caller's; at once when it is free. */
  lock(): Maybe<void> {
    if (this.tryLock()) return;
    return new Promise((resolve) => this.#queue.push(resolve));
  }

  unlock(): void {
    const next = this.#queue.shift();
    // ownership passes directly: nobody can slip in between
    if (next !== undefined) next();
    else this.#held = false;
  }

  get isHeld(): boolean {
    return this.#held;
  }
}
