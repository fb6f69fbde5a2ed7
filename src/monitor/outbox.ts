/*
 * What a monitor has to say to one client, and how much of it may lie unread: one reply (the next request is not taken
 * before the client has taken it) and some events. A long reply is made piece by piece, as the client takes it and as
 * others leave time. Events beyond what may lie unread are dropped until the client reads again, for nobody else may wait
 * for it and nothing may pile up. Knows streams, no command.
 */
import type { Writable } from 'node:stream';
import { jsonPieces } from '../core/util/json-write.ts';
import { isPending, type Maybe, type YieldBudget } from '../core/util/maybe.ts';
import { Waiters } from '../core/util/waiters.ts';

/** Events that may lie unread, in bytes: some thousands of them. */
const maxUnreadEvents = 1024 * 1024;
/** Bytes of a reply that lie unread before no more of it is made. */
const maxUnreadReply = 1024 * 1024;

export interface OutboxOptions {
  /** Of the engine: what a long reply takes of each turn. */
  readonly budget: YieldBudget;
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
  /** Events that were raised while a reply is on its way: they follow it. */
  #held: Uint8Array[] | undefined;
  readonly #wakers = new Waiters();

  constructor(output: Writable, options: OutboxOptions) {
    this.#output = output;
    this.#options = options;
    for (const event of ['error', 'close']) output.on(event, () => this.close());
  }

  /** A reply or the greeting: always kept. Pending while the rest of a long one is made; `message` must not change before it settles. */
  reply(message: unknown): Maybe<void> {
    const pieces = this.#pieces(message);
    for (let piece = pieces.next(); piece.done !== true; piece = pieces.next()) {
      const { length } = piece.value;
      this.#write(piece.value);
      const pause = this.#options.budget.tick(length);
      if (isPending(pause)) return this.#replyRest(pieces, pause);
    }
  }

  async #replyRest(pieces: Iterator<Uint8Array, void>, pause: Promise<void>): Promise<void> {
    const held: Uint8Array[] = [];
    this.#held = held;
    try {
      await pause;
      for (let piece = pieces.next(); piece.done !== true && !this.#isClosed; piece = pieces.next()) {
        this.#write(piece.value);
        while (this.#unread > maxUnreadReply && !this.#isClosed) await this.#wakers.wait();
        await this.#options.budget.tick(piece.value.length);
      }
    } finally {
      this.#held = undefined;
      for (const bytes of held) this.#writeEvent(bytes);
    }
  }

  event(message: unknown): void {
    if (this.#unreadEvents >= maxUnreadEvents) {
      if (!this.#isDropping) this.#options.onDropped?.();
      this.#isDropping = true;
      return;
    }
    const bytes = Buffer.concat([...this.#pieces(message)]);
    this.#unreadEvents += bytes.length;
    if (this.#held === undefined) this.#writeEvent(bytes);
    else this.#held.push(bytes);
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
    this.#wakers.wakeAll();
  }

  #pieces(message: unknown): Generator<Uint8Array, void> {
    return jsonPieces(message, '\r\n', { pretty: this.#options.pretty ?? false });
  }

  #writeEvent(bytes: Uint8Array): void {
    this.#write(bytes, () => {
      this.#unreadEvents -= bytes.length;
      if (this.#unreadEvents === 0) this.#isDropping = false;
    });
  }

  #write(bytes: Uint8Array, onTaken?: () => void): void {
    if (this.#isClosed || this.#output.destroyed || !this.#output.writable) return;
    this.#unread += bytes.length;
    this.#output.write(bytes, () => {
      this.#unread -= bytes.length;
      onTaken?.();
      this.#wakers.wakeAll();
    });
  }
}
