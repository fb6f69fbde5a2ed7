/*
 * Bytes a second, measured in slices of 100 ms: work within a slice's quota goes through at once, more of it stretches
 * the slice until the quota has caught up.
 */
import type { Clock } from '../core/util/clock.ts';

const sliceMs = 100;

export class RateLimit {
  /** Bytes a second; 0 = no limit. */
  speed: number;
  readonly #clock: Clock;
  #sliceStart = 0;
  #sliceEnd = 0;
  #dispatched = 0;

  constructor(clock: Clock, speed: number) {
    this.#clock = clock;
    this.speed = speed;
  }

  /** Accounts `bytes` and returns the milliseconds to wait before more. */
  delayFor(bytes: number): number {
    if (this.speed === 0) return 0;
    const now = this.#clock.now();
    if (now >= this.#sliceEnd) {
      this.#sliceStart = now;
      this.#sliceEnd = now + sliceMs;
      this.#dispatched = 0;
    }
    this.#dispatched += bytes;
    const quota = Math.max(1, (this.speed * sliceMs) / 1000);
    if (this.#dispatched < quota) return 0;
    this.#sliceEnd = this.#sliceStart + Math.ceil(this.#dispatched / quota) * sliceMs;
    return this.#sliceEnd - now;
  }
}
