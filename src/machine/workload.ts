/*
 * A guest that does something: a seeded stream of requests on one disk until it is stopped. The same seed gives the same
 * requests. Failed requests are counted, as a guest would see them; it goes on.
 */
import type { Clock } from '../core/util/clock.ts';
import { BlockError } from '../core/util/errors.ts';
import type { Maybe, YieldBudget } from '../core/util/maybe.ts';
import { Waiters } from '../core/util/waiters.ts';
import type { DiskDevice } from './disk-device.ts';

export const workloadKinds = ['random-write', 'sequential-write', 'mixed'] as const;
export type WorkloadKind = (typeof workloadKinds)[number];

export interface WorkloadOptions {
  readonly kind: WorkloadKind;
  readonly seed: number;
  /** Largest request in bytes; default 64 KiB. */
  readonly blockSize?: number;
  /** Requests in flight at once; default 1. */
  readonly depth?: number;
  /** Ends by itself after so many requests. */
  readonly requests?: number;
  /** Bytes a second at most; default no limit. */
  readonly rate?: number;
}

/** xorshift32: small, seeded, the same everywhere. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed ^ 0x9e3779b9) | 1;
  }

  /** An integer in [0, limit). */
  below(limit: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return Math.floor(((x >>> 0) / 4294967296) * limit);
  }
}

const sector = 512;

export class Workload {
  readonly disk: DiskDevice;
  readonly kind: WorkloadKind;
  readonly seed: number;
  requests = 0;
  bytesWritten = 0;
  errors = 0;
  readonly #budget: YieldBudget;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #blockSize: number;
  readonly #depth: number;
  readonly #limit: number;
  readonly rate: number | undefined;
  /** When the next request may begin, and what ends the waiting for it. */
  #due = 0;
  readonly #ending = new AbortController();
  readonly #onEnd: () => void;
  readonly #buffer: Uint8Array;
  #position = 0;
  #isStopped = false;
  #gate: Promise<void> | undefined;
  #openGate: (() => void) | undefined;
  #lanes: Promise<void> = Promise.resolve();
  #active = 0;
  readonly #idle = new Waiters();

  constructor(disk: DiskDevice, host: { readonly budget: YieldBudget; readonly clock: Clock }, options: WorkloadOptions, onEnd: () => void) {
    this.disk = disk;
    this.kind = options.kind;
    this.seed = options.seed;
    this.#budget = host.budget;
    this.#clock = host.clock;
    this.#random = new Random(options.seed);
    this.#blockSize = Math.max(sector, Math.min(options.blockSize ?? 65536, disk.size));
    this.#depth = options.depth ?? 1;
    this.#limit = options.requests ?? Number.POSITIVE_INFINITY;
    this.rate = options.rate;
    this.#onEnd = onEnd;
    this.#buffer = new Uint8Array(this.#blockSize);
  }

  start(isRunning: boolean): void {
    if (!isRunning) this.#closeGate();
    this.#lanes = Promise.all(Array.from({ length: this.#depth }, () => this.#lane())).then(() => this.#onEnd());
  }

  /** Settles when the requests in flight have settled and no more come. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#ending.abort();
    this.resume();
    await this.#lanes;
  }

  /** Ends when a limited workload has done its requests. */
  get finished(): Promise<void> {
    return this.#lanes;
  }

  async pause(): Promise<void> {
    this.#closeGate();
    if (this.#active > 0) await this.#idle.wait();
  }

  resume(): void {
    this.#openGate?.();
    this.#gate = undefined;
    this.#openGate = undefined;
  }

  #closeGate(): void {
    if (this.#gate !== undefined) return;
    this.#gate = new Promise((resolve) => {
      this.#openGate = resolve;
    });
  }

  async #lane(): Promise<void> {
    // a guest never starts inside the command that started it
    await this.#clock.nextTurn();
    while (!this.#isStopped && this.requests < this.#limit) {
      if (this.#gate !== undefined) {
        await this.#gate;
        continue;
      }
      this.#active++;
      const before = this.bytesWritten;
      try {
        await this.#request();
        await this.#budget.tick(this.bytesWritten - before + sector);
      } finally {
        if (--this.#active === 0) this.#idle.wakeAll();
      }
      await this.#slowDown(this.bytesWritten - before + sector);
    }
  }

  /** Waits until `bytes` more fit into the rate. */
  async #slowDown(bytes: number): Promise<void> {
    if (this.rate === undefined) return;
    const now = this.#clock.now();
    this.#due = Math.max(this.#due, now) + (bytes * 1000) / this.rate;
    await this.#clock.sleep(this.#due - now, this.#ending.signal);
  }

  async #request(): Promise<void> {
    this.requests++;
    try {
      await this.#issue();
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      this.errors++;
      this.disk.counts.errors++;
      if (this.disk.node === undefined) this.#isStopped = true;
    }
  }

  #issue(): Maybe<void> {
    const random = this.#random;
    const { size } = this.disk;
    if (size < sector) {
      this.#isStopped = true;
      return;
    }
    if (this.kind === 'sequential-write') {
      if (this.#position >= size) this.#position = 0;
      const offset = this.#position;
      const length = Math.min(this.#blockSize, size - offset);
      this.#position += length;
      return this.#write(offset, length);
    }
    const isAligned = this.kind === 'random-write' || random.below(2) === 0;
    const unit = isAligned ? Math.min(4096, this.#blockSize) : sector;
    const units = Math.max(1, Math.floor(this.#blockSize / unit));
    const length = Math.min((1 + random.below(units)) * unit, size);
    const offset = random.below(Math.floor((size - length) / unit) + 1) * unit;
    if (this.kind === 'random-write') return this.#write(offset, length);
    const choice = random.below(100);
    if (choice < 70) return this.#write(offset, length);
    if (choice < 80) {
      this.bytesWritten += length;
      return this.disk.zero(offset, length);
    }
    if (choice < 90) return this.disk.discard(offset, length);
    if (choice < 97) return this.disk.read(offset, new Uint8Array(length));
    return this.disk.flush();
  }

  #write(offset: number, length: number): Maybe<void> {
    // several lanes share nothing but the generator: each request has bytes of its own when it can be pending
    const data = this.#depth === 1 ? this.#buffer.subarray(0, length) : new Uint8Array(length);
    data.fill(1 + this.#random.below(255));
    this.bytesWritten += length;
    return this.disk.write(offset, data);
  }
}
