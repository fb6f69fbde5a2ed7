/*
 * What a monitor has to say to one client, and how much of it may lie unread: one reply (the next request is not taken
 * before the client has taken it) and some events. Events beyond that are dropped until the client reads again, for nobody
 * else may wait for it and nothing may pile up. Knows streams, no command.
 */
import type { Writable } from 'node:stream';
import { writeJsonBytes } from '../core/util/json-write.ts';
import { Waiters } from '../core/util/waiters.ts';

/** Events that may lie unread, in bytes: some thousands of them. */
const maxUnreadEvents = 1024 * 1024;

export interface OutboxOptions {
  /** Replies over several lines. */
  readonly pretty?: boolean | undefined;
  /** Called when events begin to be dropped. */
  readonly onDropped?: (() => void) | undefined;
}

export class Outbox {
  readonly #output: Writable;
  readonly #options: OutboxOptions;
  #unread = 0;
  #unreadEvents = 0;
  #isDropping = false;
  #isClosed = false;
  readonly #wakers = new Waiters();

  constructor(output: Writable, options: OutboxOptions = {}) {
    this.#output = output;
    this.#options = options;
    for (const event of ['error', 'close']) output.on(event, () => this.close());
  }

  /** A reply or the greeting: always kept. */
  reply(message: unknown): void {
    this.#send(message, (length) => {
      this.#unread -= length;
    });
  }

  event(message: unknown): void {
    if (this.#unreadEvents >= maxUnreadEvents) {
      if (!this.#isDropping) this.#options.onDropped?.();
      this.#isDropping = true;
      return;
    }
    const length = this.#send(message, (taken) => {
      this.#unread -= taken;
      this.#unreadEvents -= taken;
      if (this.#unreadEvents === 0) this.#isDropping = false;
    });
    this.#unreadEvents += length;
  }

  /** Settles once the client has taken everything, or cannot take anything any more. */
  async taken(): Promise<void> {
    while (this.#unread > 0 && !this.#isClosed) {
      await this.#wakers.wait();
    }
  }

  /** Nobody waits for the client any more. */
  close(): void {
    this.#isClosed = true;
    this.#wake();
  }

  #send(message: unknown, onTaken: (length: number) => void): number {
    if (this.#isClosed || this.#output.destroyed || !this.#output.writable) return 0;
    const bytes = writeJsonBytes(message, '\r\n', { pretty: this.#options.pretty ?? false });
    this.#unread += bytes.length;
    this.#output.write(bytes, () => {
      onTaken(bytes.length);
      if (this.#unread === 0) this.#wake();
    });
    return bytes.length;
  }

  #wake(): void {
    this.#wakers.wakeAll();
  }
}
