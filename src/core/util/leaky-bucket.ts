/*
 * A rate limit as a leaky bucket: what passes fills it, time empties it at the rate, and whoever finds it fuller than it may
 * be waits until it has leaked. A burst is a larger bucket with a second one inside, which keeps the burst at its own rate.
 * Knows neither clocks nor who waits.
 */

export interface Rate {
  /** A second; 0 = no limit. */
  readonly average: number;
  /** A second, at least `average`; 0 = no bursts of its own. */
  readonly burst: number;
  /** How long a burst may last, seconds, at least 1. */
  readonly burstSeconds: number;
}

/** What may pass at once where no burst is given, and within one: the share of a second. */
const slack = 1 / 10;

export class LeakyBucket {
  readonly #rate: Rate;
  #level = 0;
  #burstLevel = 0;

  constructor(rate: Rate) {
    this.#rate = rate;
  }

  /** Time passes. */
  leak(seconds: number): void {
    this.#level = Math.max(0, this.#level - this.#rate.average * seconds);
    this.#burstLevel = Math.max(0, this.#burstLevel - this.#rate.burst * seconds);
  }

  /** Something passes, however full it is. */
  add(units: number): void {
    this.#level += units;
    if (this.#rate.burstSeconds > 1) this.#burstLevel += units;
  }

  /** Seconds until something may pass; 0 = now. */
  get wait(): number {
    const { average, burst, burstSeconds } = this.#rate;
    if (average === 0) return 0;
    const surplus = this.#level - (burst === 0 ? average * slack : burst * burstSeconds);
    if (surplus > 0) return surplus / average;
    const inBurst = this.#burstLevel - burst * slack;
    return burstSeconds > 1 && inBurst > 0 ? inBurst / burst : 0;
  }
}
