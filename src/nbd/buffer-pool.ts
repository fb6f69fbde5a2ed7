/*
 * Memory for replies and payloads, in a few size classes, kept for reuse up to a fixed total. Larger pieces are allocated for
 * the occasion: their pages are touched only as far as they are filled. Memory is not cleared: a holder fills what it sends.
 * Every piece that is out stands in the account of whoever asked for it. Knows no protocol.
 */
import { invariant } from '../core/util/errors.ts';

/** Room beside the data of one class, so that a header and 64 KiB of data fit the class of 64 KiB. */
const slack = 4096;
const classSizes = [16 * 1024, 64 * 1024, 256 * 1024, 1024 * 1024].map((size) => size + slack);

/** What one user has out. */
export interface MemoryAccount {
  /** Bytes. */
  held: number;
}

/** A piece of memory with a count of holders; it goes back when the last one lets go. */
export class Lease {
  /** @internal */
  readonly bytes: Buffer;
  readonly #pool: BufferPool;
  readonly #class: number;
  #account: MemoryAccount | undefined;
  #holders = 0;

  /** @internal */
  constructor(pool: BufferPool, sizeClass: number, bytes: Buffer) {
    this.#pool = pool;
    this.#class = sizeClass;
    this.bytes = bytes;
  }

  /** One more holder. */
  hold(): void {
    this.#holders++;
  }

  release(): void {
    if (--this.#holders > 0) return;
    invariant(this.#holders === 0 && this.#account !== undefined, 'a lease is released once a holder');
    this.#account.held -= this.bytes.length;
    this.#account = undefined;
    this.#pool.take(this, this.#class);
  }

  /** Called by the pool when it hands the lease out: to one holder, in whose account it stands. */
  begin(account: MemoryAccount): void {
    this.#holders = 1;
    this.#account = account;
    account.held += this.bytes.length;
  }
}

export class BufferPool {
  readonly #maxKept: number;
  readonly #free: Lease[][] = classSizes.map(() => []);
  #kept = 0;
  #out = 0;

  /** `maxKept`: bytes that stay allocated while nobody uses them. */
  constructor(maxKept: number = 16 * 1024 * 1024) {
    this.#maxKept = maxKept;
  }

  /** Leases that are out; 0 when no session is left and no request in flight. */
  get outstanding(): number {
    return this.#out;
  }

  /** Bytes kept for reuse. */
  get kept(): number {
    return this.#kept;
  }

  /** Memory for at least `size` bytes, content undefined. */
  lease(size: number, account: MemoryAccount): Lease {
    this.#out++;
    let index = 0;
    while (index < classSizes.length && (classSizes[index] ?? 0) < size) index++;
    const kept = this.#free[index]?.pop();
    if (kept !== undefined) this.#kept -= kept.bytes.length;
    const lease = kept ?? new Lease(this, index, Buffer.allocUnsafeSlow(classSizes[index] ?? size));
    lease.begin(account);
    return lease;
  }

  /** Gets a lease back from its last holder. */
  take(lease: Lease, sizeClass: number): void {
    this.#out--;
    const list = this.#free[sizeClass];
    if (list === undefined || this.#kept + lease.bytes.length > this.#maxKept) return;
    this.#kept += lease.bytes.length;
    list.push(lease);
  }
}
