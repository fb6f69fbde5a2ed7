/*
 * ReplyQueue: the outgoing side of a session. Replies of one batch are built one after another in one pooled buffer and
 * leave in one write; a read lands in the buffer it is sent from. A reply that has to wait keeps its place in the buffer,
 * and the batch goes on behind it. Memory goes back to the pool when its last reply has left. Knows no commands.
 */
import type { Clock } from '../core/util/clock.ts';
import { invariant } from '../core/util/errors.ts';
import type { BufferPool, Lease, MemoryAccount } from './buffer-pool.ts';
import type { Connection } from './connection.ts';
import type { Framing } from './framing.ts';
import { NBD_MAX_STRING_SIZE } from './protocol.ts';
import type { RequestHeader } from './wire.ts';

/** Room that a batch starts with. */
const batchRoom = 256 * 1024;

export interface ReplyHost {
  readonly connection: Connection;
  readonly pool: BufferPool;
  readonly account: MemoryAccount;
  readonly framing: Framing;
  readonly clock: Clock;
  /** Bytes have left and their memory is free. */
  readonly onSent: () => void;
}

export class ReplyQueue {
  readonly #host: ReplyHost;
  readonly #connection: Connection;
  readonly #framing: Framing;
  #lease: Lease | undefined;
  /** The batch: what lies between the two and has not been sent. */
  #from = 0;
  #used = 0;
  /** Replies that are still being filled may lie in the buffer. */
  #isShared = false;
  #corked = false;

  constructor(host: ReplyHost) {
    this.#host = host;
    this.#connection = host.connection;
    this.#framing = host.framing;
  }

  /** The buffer of the batch, with room for `size` more bytes at `used`. */
  room(size: number): Buffer {
    if (this.#lease !== undefined && this.#used + size > this.#lease.bytes.length) this.#endBatch();
    this.#lease ??= this.#host.pool.lease(Math.max(size, batchRoom), this.#host.account);
    return this.#lease.bytes;
  }

  /** Where the next reply of the batch begins. */
  get used(): number {
    return this.#used;
  }

  /** The next `size` bytes of the batch were filled. */
  advance(size: number): void {
    this.#used += size;
  }

  /** Keeps the next `size` bytes, for which there was room, for a reply that is still being filled. It is sent, or given up, by the caller. */
  reserve(size: number): Reply {
    const lease = this.#lease;
    invariant(lease !== undefined && this.#used + size <= lease.bytes.length, 'there is room for the reply');
    this.#sendBatch();
    this.#isShared = true;
    lease.hold();
    const start = this.#used;
    this.#used += size;
    this.#from = this.#used;
    return { lease, start, bytes: lease.bytes.subarray(start, start + size) };
  }

  /** Sends a reply that was kept. */
  send(reply: Reply): void {
    this.#write(reply.bytes, reply.lease);
  }

  /** Sends what the batch holds. `isBusy`: more replies are to be filled soon and share the buffer with those under way. */
  flush(isBusy: boolean): void {
    if (isBusy && this.#isShared) this.#sendBatch();
    else if (this.#used > 0) this.#endBatch();
  }

  /** Sends the batch and lets its buffer go. */
  #endBatch(): void {
    this.#sendBatch();
    this.close();
  }

  /** The buffer stays for what follows. */
  #sendBatch(): void {
    const lease = this.#lease;
    if (lease === undefined || this.#used === this.#from) return;
    lease.hold();
    this.#write(lease.bytes.subarray(this.#from, this.#used), lease);
    this.#from = this.#used;
  }

  #write(bytes: Uint8Array, lease: Lease): void {
    this.#connection.write(bytes, () => {
      lease.release();
      this.#host.onSent();
    });
  }

  /** Collects what is sent in this turn of the event loop into one write: for replies that come one by one. */
  gather(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#connection.cork();
    this.#host.clock.soon(() => {
      this.#corked = false;
      this.#connection.uncork();
    });
  }

  /** Success without data. */
  done(request: RequestHeader): void {
    const framing = this.#framing;
    framing.encodeDone(this.room(framing.doneSize), this.#used, request);
    this.#used += framing.doneSize;
  }

  /** The answer to a READ of no bytes. */
  empty(request: RequestHeader): void {
    const framing = this.#framing;
    framing.encodeEmpty(this.room(framing.emptySize), this.#used, request);
    this.#used += framing.emptySize;
  }

  /** A failure; clients with structured replies get `message` too. */
  error(request: RequestHeader, errno: number, message: string): void {
    const framing = this.#framing;
    const text = Buffer.from(message, 'utf8').subarray(0, NBD_MAX_STRING_SIZE);
    const size = framing.errorSize(text);
    framing.encodeError(this.room(size), this.#used, request, errno, text);
    this.#used += size;
  }

  /** Lets the buffer go with what was not sent. */
  close(): void {
    this.#lease?.release();
    this.#lease = undefined;
    this.#isShared = false;
    this.#from = 0;
    this.#used = 0;
  }
}

/** A reply whose place is kept. */
export interface Reply {
  readonly lease: Lease;
  /** Where it begins in the lease. */
  readonly start: number;
  readonly bytes: Uint8Array;
}
