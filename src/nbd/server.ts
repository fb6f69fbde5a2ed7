/*
 * NbdServer: listens, negotiates with each client and runs its session. Holds the exports that clients may name, limits
 * how many clients are served at once and how long a handshake takes. One broken client never disturbs the others.
 * Knows no block node: exports bring their backends. Rule source: NBD protocol document; limits as qemu-nbd has them.
 */
import { type Clock, realClock } from '../core/util/clock.ts';
import { BlockError } from '../core/util/errors.ts';
import { YieldBudget } from '../core/util/maybe.ts';
import type { NbdAddress } from './address.ts';
import { BufferPool } from './buffer-pool.ts';
import { type Connection, ConnectionClosed } from './connection.ts';
import type { NbdExport } from './export.ts';
import { FramedStream } from './framed-stream.ts';
import { type ExportDirectory, HandshakeError, negotiate } from './server-handshake.ts';
import { Session, type SessionHost } from './session.ts';
import { type Listener, openListener } from './socket.ts';

/** Connections that may wait for a slot; more are turned away. */
const maxWaiting = 512;
const defaultHandshakeMs = 10_000;
/** The longest queue the kernel may keep (SOMAXCONN). */
const maxListenBacklog = 4096;

export interface NbdServerOptions {
  /** The engine's. */
  readonly budget?: YieldBudget;
  readonly clock?: Clock;
  /** Clients served at once, 0 = no limit. Default 100. */
  readonly maxConnections?: number;
  /** For the whole handshake, 0 = no limit. Default 10 s. */
  readonly handshakeTimeoutMs?: number;
  /** Told what went wrong with a client, without a line end. */
  readonly log?: (text: string) => void;
  /** Told when a client that had finished its handshake is gone and no other is connected. Those that wait for a slot do not count. */
  readonly onIdle?: () => void;
}

export class NbdServer implements ExportDirectory {
  readonly pool: BufferPool = new BufferPool();
  readonly #budget: YieldBudget;
  readonly #clock: Clock;
  readonly #maxConnections: number;
  readonly #handshakeTimeoutMs: number;
  readonly #log: (text: string) => void;
  readonly #onIdle: () => void;
  readonly #exports = new Map<string, NbdExport>();
  readonly #active = new Set<Connection>();
  readonly #waiting = new Map<Connection, FramedStream>();
  readonly #sessions = new Set<Session>();
  #listener: Listener | undefined;
  #isHeld = false;
  #isStopped = false;

  constructor(options: NbdServerOptions = {}) {
    this.#clock = options.clock ?? realClock;
    this.#budget = options.budget ?? new YieldBudget(this.#clock);
    this.#maxConnections = options.maxConnections ?? 100;
    this.#handshakeTimeoutMs = options.handshakeTimeoutMs ?? defaultHandshakeMs;
    this.#log = options.log ?? (() => {});
    this.#onIdle = options.onIdle ?? (() => {});
  }

  /**
   * Listens at `address`. Rejects with QEMU's words (`Failed to bind socket to P: …`). `held`: clients may connect and
   * hear nothing until `release` (the exports are not there yet).
   */
  async start(address: NbdAddress, how: { readonly held?: boolean } = {}): Promise<void> {
    this.#isHeld = how.held ?? false;
    const limit = this.#maxConnections;
    const backlog = limit === 0 ? maxListenBacklog : Math.min(limit, maxListenBacklog);
    this.#listener = await openListener(address, backlog, this.#clock, (connection) => this.accept(connection));
  }

  /** Serves the clients that were held back, and all that come. */
  release(): void {
    this.#isHeld = false;
    this.#serveWaiting();
  }

  /** Where it listens; the port is the one in use. */
  get address(): NbdAddress | undefined {
    return this.#listener?.address;
  }

  /** More than one client may be served at once: exports may promise multi-conn. */
  get servesSeveral(): boolean {
    return this.#maxConnections !== 1;
  }

  /** Clients being served, handshakes included. */
  get connectionCount(): number {
    return this.#active.size;
  }

  exports(): readonly NbdExport[] {
    return [...this.#exports.values()];
  }

  findExport(name: string): NbdExport | undefined {
    return this.#exports.get(name);
  }

  addExport(exp: NbdExport): void {
    if (this.#exports.has(exp.name)) throw new BlockError(`NBD server already has export named '${exp.name}'`, { code: 'ERR_NAME' });
    this.#exports.set(exp.name, exp);
  }

  /**
   * Takes an export away. `safe` fails when clients use it; `hard` drops them. Settles when none of their requests is in
   * flight, so that the backend may go.
   */
  async removeExport(name: string, mode: 'safe' | 'hard'): Promise<void> {
    const exp = this.#exports.get(name);
    if (exp === undefined) throw new BlockError(`Export '${name}' is not found`, { code: 'ERR_NOT_FOUND' });
    if (mode === 'safe' && exp.clientCount > 0) {
      throw new BlockError(`export '${name}' still in use`, { code: 'ERR_IN_USE', detail: "Use mode='hard' to force client disconnect" });
    }
    this.#exports.delete(name);
    await exp.close();
  }

  /** Stops listening, drops every client and forgets the exports. Settles when no request is in flight. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#listener?.close();
    this.#listener = undefined;
    for (const connection of [...this.#waiting.keys(), ...this.#active]) connection.destroy();
    const exports = this.exports();
    this.#exports.clear();
    await Promise.all(exports.map((exp) => exp.close()));
    await Promise.all([...this.#sessions].map((session) => session.finished));
  }

  /** Takes a client, whichever way it came. It hears nothing until there is a slot for it. */
  accept(connection: Connection): void {
    const hasRoom = this.#hasSlot() || this.#waiting.size < maxWaiting;
    if (this.#isStopped || !hasRoom) {
      connection.destroy();
      return;
    }
    const stream = new FramedStream(connection);
    if (this.#hasSlot()) {
      this.#serve(connection, stream);
      return;
    }
    this.#waiting.set(connection, stream);
    stream.onEnd = () => connection.destroy();
    connection.onClose = () => this.#waiting.delete(connection);
  }

  #hasSlot(): boolean {
    return !this.#isHeld && !this.#isStopped && (this.#maxConnections === 0 || this.#active.size < this.#maxConnections);
  }

  #serveWaiting(): void {
    for (const [connection, stream] of this.#waiting) {
      if (!this.#hasSlot()) return;
      this.#waiting.delete(connection);
      stream.onEnd = () => {};
      this.#serve(connection, stream);
    }
  }

  #serve(connection: Connection, stream: FramedStream): void {
    this.#active.add(connection);
    const gone = new Promise<void>((resolve) => {
      connection.onClose = resolve;
    });
    void this.#serveUntilGone(connection, stream, gone).catch((error: unknown) => this.#fail(error));
  }

  async #serveUntilGone(connection: Connection, stream: FramedStream, gone: Promise<void>): Promise<void> {
    const session = await this.#handshake(connection, stream);
    if (session !== undefined) {
      await session.finished;
      this.#sessions.delete(session);
    }
    await gone;
    this.#active.delete(connection);
    if (session !== undefined && this.#active.size === 0 && !this.#isStopped) this.#onIdle();
    this.#serveWaiting();
  }

  /** Undefined: the connection is closed, or closing. */
  async #handshake(connection: Connection, stream: FramedStream): Promise<Session | undefined> {
    const limit = this.#handshakeTimeoutMs;
    const cancel = limit > 0 ? this.#clock.after(limit, () => connection.destroy()) : () => {};
    try {
      const agreed = await negotiate(stream, this);
      if (agreed !== undefined && !agreed.exp.isClosing && !connection.isClosed) {
        const session = new Session(connection, agreed, this.#host);
        this.#sessions.add(session);
        session.start(stream.takeRest());
        return session;
      }
      connection.finish();
    } catch (error) {
      if (error instanceof HandshakeError) this.#log(`option negotiation failed: ${error.message}`);
      else if (!(error instanceof ConnectionClosed)) this.#fail(error);
      connection.destroy();
    } finally {
      cancel();
    }
    return undefined;
  }

  /** A bug of ours costs one client its connection, nobody else theirs. */
  #fail(error: unknown): void {
    this.#log(`internal error: ${error instanceof Error ? error.message : String(error)}`);
  }

  get #host(): SessionHost {
    return { pool: this.pool, budget: this.#budget, clock: this.#clock, log: (text) => this.#log(`Disconnect client, due to: ${text}`) };
  }
}
