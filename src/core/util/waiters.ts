/*
 * Waiters: those who wait for one thing to happen, woken together or one by one, first come first served. A place to stand,
 * nothing else: whoever is woken looks again whether what it waits for is so. Turns that must be handed over, so that nobody
 * slips in between, are locks (mutex.ts, range-lock.ts).
 */
export class Waiters {
  readonly #waiting: (() => void)[] = [];

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Settles when it is woken. */
  wait(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Calls `wake` with the others; what is returned takes it out again. */
  add(wake: () => void): () => void {
    this.#waiting.push(wake);
    return () => {
      const index = this.#waiting.indexOf(wake);
      if (index >= 0) this.#waiting.splice(index, 1);
    };
  }

  /** Wakes all that wait now; those who come meanwhile stay. */
  wakeAll(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Wakes who has waited longest; false when nobody waits. */
  wakeOne(): boolean {
    const wake = this.#waiting.shift();
    wake?.();
    return wake !== undefined;
  }
}
