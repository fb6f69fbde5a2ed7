/* A clock that stands still until it is moved. Turns of the event loop are real. */
import { type Clock, eventLoop } from '../../src/core/util/clock.ts';

export class ManualClock implements Clock {
  readonly nextTurn: Clock['nextTurn'] = eventLoop.nextTurn;
  readonly soon: Clock['soon'] = eventLoop.soon;
  #now = 0;
  #timers: { readonly until: number; readonly act: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  /** Timers that have not gone off. */
  get waiting(): number {
    return this.#timers.length;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const cancel = this.after(ms, resolve);
      signal?.addEventListener('abort', () => {
        cancel();
        resolve();
      });
    });
  }

  after(ms: number, act: () => void): () => void {
    const timer = { until: this.#now + ms, act };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Lets `ms` pass: what is due by then goes off, the earliest first. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = this.#timers.filter(({ until }) => until <= end).sort((a, b) => a.until - b.until)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== due);
      this.#now = Math.max(this.#now, due.until);
      due.act();
    }
    this.#now = end;
  }
}
