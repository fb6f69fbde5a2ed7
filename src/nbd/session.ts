/*
 * Session: the transmission phase of one client. Cuts the input into requests, all that have arrived in one go, refuses or
 * serves each, and sends the replies of a batch in one write. Stops reading while too much is in flight or unsent, so a
 * client that asks without listening costs bounded memory: every byte that it makes us keep stands in one account. An
 * exception that nobody foresaw ends this session and no other. Rule source: NBD protocol document, "Transmission".
 */
import type { Clock } from '../core/util/clock.ts';
import { isPending, type YieldBudget } from '../core/util/maybe.ts';
import type { BufferPool, Lease, MemoryAccount } from './buffer-pool.ts';
import type { Connection, Receiver } from './connection.ts';
import type { ExportSession, NbdExport } from './export.ts';
import type { Framing } from './framing.ts';
import type { OfferedContext } from './meta-context.ts';
import { NBD_CMD_DISC, NBD_CMD_READ, NBD_CMD_WRITE, NBD_MAX_BUFFER_SIZE, NBD_REQUEST_MAGIC } from './protocol.ts';
import { ReplyQueue } from './replies.ts';
import { type Refusal, refusalOf } from './request-check.ts';
import { serveRequest } from './request-server.ts';
import type { Negotiated } from './server-handshake.ts';
import type { Serving } from './serving.ts';
import { emptyRequest, type RequestHeader } from './wire.ts';

/** Requests of one client that may wait for the backend. */
const maxInFlight = 64;
/** Nothing more is begun, and no piece of a reply built, while a client makes us keep so much; the last one may go beyond by its own size. */
const maxHeld = 6 * 1024 * 1024;
/** What a request counts in the budget of the event loop's turn beside its data. */
const requestCost = 512;

export interface SessionHost {
  readonly pool: BufferPool;
  readonly budget: YieldBudget;
  readonly clock: Clock;
  /** Why a client was dropped, for the server's log. */
  log(text: string): void;
}

/** A WRITE whose payload is arriving. */
interface Arriving {
  readonly request: RequestHeader;
  /** Undefined: the payload is thrown away and the refusal sent after it. */
  readonly lease: Lease | undefined;
  readonly refusal: Refusal | undefined;
  filled: number;
}

export class Session implements Receiver, ExportSession, Serving {
  readonly exp: NbdExport;
  readonly framing: Framing;
  readonly contexts: readonly OfferedContext[];
  readonly replies: ReplyQueue;
  readonly budget: YieldBudget;
  /** Settles when the client is gone and none of its requests is in flight. */
  readonly finished: Promise<void>;
  readonly #connection: Connection;
  readonly #host: SessionHost;
  /** Leases that are out, room that was promised, and what requests in flight keep beside. */
  readonly #account: MemoryAccount = { held: 0 };
  readonly #request = emptyRequest();
  #input: Uint8Array = noBytes;
  #at = 0;
  #arriving: Arriving | undefined;
  #inFlight = 0;
  #inputOver = false;
  /** No further request is accepted: DISC, a broken stream, or the end of input. */
  #isOver = false;
  #isClosed = false;
  #stalled = false;
  #pumping = false;
  #flushPlanned = false;
  /** Requests in flight that want room, the first to come first. */
  readonly #waiting: { readonly size: number; readonly go: () => void }[] = [];
  #finish: () => void = () => {};

  constructor(connection: Connection, agreed: Negotiated, host: SessionHost) {
    this.#connection = connection;
    this.#host = host;
    this.exp = agreed.exp;
    this.framing = agreed.framing;
    this.contexts = agreed.contexts;
    this.budget = host.budget;
    const { pool, clock } = host;
    this.replies = new ReplyQueue({ connection, pool, clock, account: this.#account, framing: this.framing, onSent: () => this.#unstall() });
    this.finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  /** Begins to serve, `rest` first: what the handshake had not read. */
  start(rest: Uint8Array): void {
    this.exp.enter(this);
    this.#input = rest;
    this.#connection.deliverTo(this);
    this.#goOn();
  }

  /** Drops the client; settles when none of its requests is in flight. */
  close(): Promise<void> {
    this.#connection.destroy();
    return this.finished;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Bytes that the client makes us keep. */
  get held(): number {
    return this.#account.held;
  }

  // -- input ---------------------------------------------------------------------------------------------------------
  receive(chunk: Uint8Array): void {
    if (this.#isOver) return;
    this.#input = this.#at === this.#input.length ? chunk : Buffer.concat([this.#input.subarray(this.#at), chunk]);
    this.#at = 0;
    this.#pump();
  }

  inputEnded(): void {
    this.#inputOver = true;
    this.#pump();
  }

  closed(): void {
    this.#isClosed = true;
    this.#isOver = true;
    this.#input = noBytes;
    this.#at = 0;
    this.#dropArriving();
    this.replies.close();
    this.#promiseRoom();
    this.#finishIfIdle();
  }

  /** Serves every request that has arrived, then sends the replies. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      this.#serveInput();
      this.replies.flush(this.#inFlight > 0);
    } catch (error) {
      this.#fail(error);
    }
    this.#pumping = false;
    this.#finishIfIdle();
  }

  #serveInput(): void {
    while (!this.#isOver) {
      if (this.#arriving === undefined && !this.#mayBegin()) {
        this.#stall(undefined);
        return;
      }
      const cost = this.#arriving === undefined ? this.#nextRequest() : this.#nextPayload(this.#arriving);
      if (cost < 0) {
        if (this.#inputOver) this.#endOfInput();
        return;
      }
      const turn = this.budget.tick(cost);
      if (isPending(turn)) {
        this.#stall(turn);
        return;
      }
    }
  }

  /** Serves the next request. Returns what it cost, or -1 when it has not arrived. */
  #nextRequest(): number {
    const input = this.#input;
    const { requestSize } = this.framing;
    if (input.length - this.#at < requestSize) return -1;
    const request = this.#request;
    this.framing.decodeRequest(input, this.#at, request);
    this.#at += requestSize;
    if (request.type === NBD_CMD_DISC && request.magic === NBD_REQUEST_MAGIC) {
      this.#isOver = true;
      return 0;
    }
    const refusal = refusalOf(request, this.exp, this.framing.chunks !== undefined, this.contexts.length > 0);
    if (refusal?.isFatal) {
      this.replies.error(request, refusal.errno, refusal.message);
      this.#host.log('Request handling failed in intermediate state');
      this.#isOver = true;
      return requestCost;
    }
    if (request.type === NBD_CMD_WRITE && request.length > 0) {
      const { length } = request;
      if (refusal === undefined && input.length - this.#at >= length) {
        const payload = input.subarray(this.#at, this.#at + length);
        this.#at += length;
        serveRequest(this, request, payload);
        return requestCost + length;
      }
      const lease = refusal === undefined ? this.#host.pool.lease(length, this.#account) : undefined;
      this.#arriving = { request: { ...request }, lease, refusal, filled: 0 };
      return 0;
    }
    if (refusal !== undefined) this.replies.error(request, refusal.errno, refusal.message);
    else serveRequest(this, request, undefined);
    return requestCost + (request.type === NBD_CMD_READ ? Math.min(request.length, NBD_MAX_BUFFER_SIZE) : 0);
  }

  /** Takes what has arrived of a payload; serves its request when it is complete. Returns the cost, or -1 when more must come. */
  #nextPayload(arriving: Arriving): number {
    const { request, lease, refusal } = arriving;
    const length = Math.min(request.length - arriving.filled, this.#input.length - this.#at);
    lease?.bytes.set(this.#input.subarray(this.#at, this.#at + length), arriving.filled);
    this.#at += length;
    arriving.filled += length;
    if (arriving.filled < request.length) return -1;
    this.#arriving = undefined;
    if (lease !== undefined) serveRequest(this, request, lease.bytes.subarray(0, request.length), lease);
    else if (refusal !== undefined) this.replies.error(request, refusal.errno, refusal.message);
    return requestCost + request.length;
  }

  /** The client closed its side: between requests that is a way to leave, inside one it is not. */
  #endOfInput(): void {
    if (this.#arriving !== undefined) this.#host.log('Failed to read CMD_WRITE data: Unexpected end-of-file before all data were read');
    else if (this.#at < this.#input.length) this.#host.log('Failed to read request: Unexpected end-of-file before all data were read');
    this.#dropArriving();
    this.#isOver = true;
  }

  #dropArriving(): void {
    this.#arriving?.lease?.release();
    this.#arriving = undefined;
  }

  /** A bug of ours costs this client its connection, nobody else theirs. */
  #fail(error: unknown): void {
    if (!this.#isClosed) this.#host.log(`internal error: ${error instanceof Error ? error.message : String(error)}`);
    this.#isOver = true;
    this.#connection.destroy();
  }

  // -- limits --------------------------------------------------------------------------------------------------------
  #mayBegin(): boolean {
    return this.#inFlight < maxInFlight && this.#account.held < maxHeld && this.#waiting.length === 0;
  }

  /** Stops reading; goes on at `turn`, or when something was answered or sent. */
  #stall(turn: Promise<void> | undefined): void {
    this.#connection.pause();
    if (turn === undefined) this.#stalled = true;
    else void turn.then(() => this.#goOn());
  }

  #goOn(): void {
    if (this.#isClosed) return;
    this.#connection.resume();
    this.#pump();
  }

  #unstall(): void {
    this.#promiseRoom();
    if (!this.#stalled || this.#pumping || !this.#mayBegin()) return;
    this.#stalled = false;
    this.#goOn();
  }

  takeRoom(size: number): Promise<void> | undefined {
    if (this.#isClosed || (this.#waiting.length === 0 && this.#account.held < maxHeld)) return undefined;
    return new Promise((go) => this.#waiting.push({ size, go }));
  }

  keep(size: number): void {
    this.#account.held += size;
  }

  giveRoom(size: number): void {
    this.#account.held -= size;
    this.#promiseRoom();
  }

  #promiseRoom(): void {
    while (this.#isClosed || this.#account.held < maxHeld) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#account.held += next.size;
      next.go();
    }
  }

  later(cost: number, work: Promise<void>): void {
    this.#inFlight++;
    this.#account.held += cost;
    work.then(
      () => this.#settled(cost),
      (error: unknown) => {
        this.#fail(error);
        this.#settled(cost);
      },
    );
  }

  #settled(cost: number): void {
    this.#inFlight--;
    this.#account.held -= cost;
    if (this.#isClosed) this.#finishIfIdle();
    else if (!this.#flushPlanned) {
      // what else settles in this turn of the event loop leaves in the same write
      this.#flushPlanned = true;
      this.#host.clock.soon(this.#sendSettled);
    }
  }

  readonly #sendSettled = (): void => {
    this.#flushPlanned = false;
    try {
      this.replies.flush(this.#inFlight > 0);
    } catch (error) {
      this.#fail(error);
    }
    this.#unstall();
    this.#finishIfIdle();
  };

  /** Ends the session when nothing more will come and everything is answered. */
  #finishIfIdle(): void {
    if (!this.#isOver || this.#inFlight > 0) return;
    if (!this.#isClosed) {
      this.replies.flush(false);
      this.#connection.finish();
      return;
    }
    this.replies.close();
    this.exp.leave(this);
    this.#finish();
  }
}

const noBytes = new Uint8Array(0);
