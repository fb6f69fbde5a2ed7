/*
 * ReplyQueue: the outgoing side of a session. Replies of one batch are built one after another in one pooled buffer and
 * leave in one write; a read lands in the buffer it is sent from. A reply that has to wait takes its buffer along.
 * Memory goes back to the pool when the kernel has taken the bytes. Knows reply layouts, no commands.
 */
import { invariant } from '../core/util/errors.ts';
import type { BufferPool, Lease } from './buffer-pool.ts';
import { NBD_MAX_STRING_SIZE } from './protocol.ts';
import type { Connection } from './socket.ts';
import { encodeDoneChunk, encodeErrorChunk, encodeSimpleReply, type RequestHeader, simpleReplySize } from './wire.ts';

/** Room that a batch starts with. */
const batchRoom = 256 * 1024;

export class ReplyQueue {
  readonly #connection: Connection;
  readonly #pool: BufferPool;
  readonly #structured: boolean;
  /** Called when the kernel took bytes that had to wait. */
  readonly #onDrained: () => void;
  #lease: Lease | undefined;
  #used = 0;
  #corked = false;

  constructor(connection: Connection, pool: BufferPool, structured: boolean, onDrained: () => void) {
    this.#connection = connection;
    this.#pool = pool;
    this.#structured = structured;
    this.#onDrained = onDrained;
  }

  /** The buffer of the batch, with room for `size` more bytes at `used`. */
  room(size: number): Buffer {
    if (this.#lease !== undefined && this.#used + size > this.#lease.bytes.length) this.flush();
    this.#lease ??= this.#pool.lease(Math.max(size, batchRoom));
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

  /** Takes the batch's buffer for a reply that is still being filled from `used` on; what precedes it is sent. The caller releases it. */
  detach(): Lease {
    const lease = this.#lease;
    invariant(lease !== undefined, 'a reply was begun');
    if (this.#used > 0) lease.hold();
    this.flush();
    this.#lease = undefined;
    return lease;
  }

  /** Sends what the batch holds. */
  flush(): void {
    const lease = this.#lease;
    if (lease === undefined || this.#used === 0) return;
    const bytes = lease.bytes.subarray(0, this.#used);
    this.#lease = undefined;
    this.#used = 0;
    this.send(bytes, lease);
  }

  /** Sends `bytes`, which lie in `lease`; the lease is released when they are gone. */
  send(bytes: Uint8Array, lease: Lease): void {
    this.#connection.write(bytes, () => {
      lease.release();
      this.#onDrained();
    });
  }

  /** Collects what is sent in this turn of the event loop into one write: for replies that come one by one. */
  gather(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#connection.cork();
    setImmediate(() => {
      this.#corked = false;
      this.#connection.uncork();
    });
  }

  /** Success without data. */
  done(request: RequestHeader): void {
    const bytes = this.room(simpleReplySize);
    encodeSimpleReply(bytes, this.#used, request, 0);
    this.#used += simpleReplySize;
  }

  /** An empty READ, or any reply that has to be structured. */
  doneStructured(request: RequestHeader): void {
    if (!this.#structured) {
      this.done(request);
      return;
    }
    encodeDoneChunk(this.room(20), this.#used, request);
    this.#used += 20;
  }

  /** A failure; clients with structured replies get `message` too. */
  error(request: RequestHeader, errno: number, message: string): void {
    if (!this.#structured) {
      encodeSimpleReply(this.room(simpleReplySize), this.#used, request, errno);
      this.#used += simpleReplySize;
      return;
    }
    const text = Buffer.from(message, 'utf8').subarray(0, NBD_MAX_STRING_SIZE);
    const bytes = this.room(26 + text.length);
    this.#used += encodeErrorChunk(bytes, this.#used, request, errno, text);
  }

  /** Gives back the buffer of a session that ends. */
  close(): void {
    this.#lease?.release();
    this.#lease = undefined;
    this.#used = 0;
  }
}
