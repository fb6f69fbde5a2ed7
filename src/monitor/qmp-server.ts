/*
 * QMP over sockets and streams: greeting, a stream of JSON values in, one object a line out (CR LF), replies in order,
 * events as they come. One client at a time on a socket, as a QEMU chardev has it. The only place of the monitor that listens.
 */
import net from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { bindFailure, removeStaleSocket } from '../core/storage/socket-path.ts';
import { realClock } from '../core/util/clock.ts';
import { errnoCode, errnoText } from '../core/util/errno.ts';
import { BlockError } from '../core/util/errors.ts';
import { asBlockError } from '../core/util/internal-error.ts';
import { Waiters } from '../core/util/waiters.ts';
import { Intake } from './intake.ts';
import { errorReply, type Monitor } from './monitor.ts';
import { Outbox } from './outbox.ts';

export type QmpAddress = { readonly type: 'unix'; readonly path: string } | { readonly type: 'tcp'; readonly host: string; readonly port: number };

export interface ServeOptions {
  /** Replies over several lines. */
  readonly pretty?: boolean;
  /** Ends the serving of a client that may never hang up. */
  readonly signal?: AbortSignal;
}

/** For clients to hang up at the end. */
const graceMs = 50;
/** `sockaddr_un.sun_path` with its NUL. */
const maxUnixPath = 108;

/**
 * Serves one client on a pair of streams. Settles when the client is gone and its last request has been answered, or after
 * `quit`. Nothing more is read while the client leaves replies unread; `signal` ends the waiting for it.
 */
export async function serveClient(monitor: Monitor, input: Readable, output: Writable, options: ServeOptions = {}): Promise<void> {
  const session = monitor.openSession();
  const outbox = new Outbox(output, {
    budget: monitor.engine.budget,
    pretty: options.pretty,
    onDropped: () => monitor.warn('a client of the monitor does not read: events for it are dropped'),
  });
  const intake = new Intake(input);
  const end = (): void => {
    intake.close();
    outbox.close();
  };
  options.signal?.addEventListener('abort', end, { once: true });
  await outbox.reply(session.greeting());
  session.listen((event) => outbox.event(event));
  try {
    while (!monitor.hasQuit) {
      await outbox.taken();
      const request = await intake.next();
      if (request === undefined || monitor.hasQuit) break;
      const reply = 'error' in request ? errorReply(request.error, undefined) : await session.execute(request.message);
      try {
        await outbox.reply(reply);
      } catch (bug) {
        monitor.tellBug(bug);
        await outbox.reply(errorReply(asBlockError(bug), undefined));
      }
    }
  } finally {
    options.signal?.removeEventListener('abort', end);
    session.close();
  }
}

/** A listening QMP socket. Clients are served, one at a time, once a monitor is there. */
export class QmpServer implements AsyncDisposable {
  readonly #server: net.Server;
  /** Connected clients, the one being served first. */
  readonly #clients: net.Socket[] = [];
  /** All connections, those too that take their last replies. */
  readonly #sockets = new Set<net.Socket>();
  #isServing = false;
  #monitor: Monitor | undefined;
  #options: ServeOptions = {};
  readonly #arrived = new Waiters();

  private constructor(server: net.Server) {
    this.#server = server;
    server.on('connection', (socket) => this.#accept(socket));
  }

  /** Listens, serving nobody yet. Rejects with QEMU's message when it cannot. */
  static async open(address: QmpAddress): Promise<QmpServer> {
    if (address.type === 'unix') {
      if (Buffer.byteLength(address.path) >= maxUnixPath) {
        throw new BlockError(`UNIX socket path '${address.path}' is too long`, { code: 'ERR_OPTION', detail: `Path must be less than ${maxUnixPath} bytes` });
      }
      removeStaleSocket(address.path);
    }
    const server = net.createServer({ pauseOnConnect: true });
    const created = new QmpServer(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(bindError(address, error)));
      if (address.type === 'unix') server.listen({ path: address.path }, resolve);
      else server.listen({ host: address.host, port: address.port }, resolve);
    });
    server.on('error', () => {});
    return created;
  }

  /** Listens and serves. */
  static async listen(monitor: Monitor, address: QmpAddress, options: ServeOptions = {}): Promise<QmpServer> {
    const server = await QmpServer.open(address);
    server.serve(monitor, options);
    return server;
  }

  /** The port in use, for TCP. */
  get port(): number | undefined {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : undefined;
  }

  /** From now on clients talk to `monitor`. */
  serve(monitor: Monitor, options: ServeOptions = {}): void {
    this.#monitor = monitor;
    this.#options = options;
    void this.#serveNext();
  }

  /** Settles when a client is connected. */
  async whenConnected(): Promise<void> {
    if (this.#clients.length === 0) await this.#arrived.wait();
  }

  #accept(socket: net.Socket): void {
    this.#clients.push(socket);
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#sockets.delete(socket);
      const at = this.#clients.indexOf(socket);
      if (at >= 0) this.#clients.splice(at, 1);
    });
    this.#arrived.wakeAll();
    void this.#serveNext();
  }

  /** One client at a time: the next one waits, unserved, as on a chardev. */
  async #serveNext(): Promise<void> {
    const monitor = this.#monitor;
    if (this.#isServing || monitor === undefined) return;
    this.#isServing = true;
    for (let socket = this.#clients[0]; socket !== undefined && !monitor.hasQuit; socket = this.#clients[0]) {
      await serveClient(monitor, socket, socket, this.#options).catch((error: unknown) => monitor.tellBug(error));
      // after quit the client has a moment to hang up first
      if (!monitor.hasQuit) socket.destroySoon();
      const at = this.#clients.indexOf(socket);
      if (at >= 0) this.#clients.splice(at, 1);
    }
    this.#isServing = false;
  }

  /**
   * Stops listening (a unix socket's file goes) and hangs up: what a client has not taken by then is lost to it. Clients
   * that are about to hang up themselves get a moment for it: some take our hanging up first for an error.
   */
  async close(): Promise<void> {
    this.#server.close();
    const gone = [...this.#sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve)));
    const over = new AbortController();
    const { clock } = this.#monitor?.engine ?? { clock: realClock };
    await Promise.race([Promise.all(gone), clock.sleep(graceMs, over.signal)]);
    over.abort();
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Connects to somebody who listens for a monitor. Rejects with QEMU's message. */
export async function connectStream(address: QmpAddress): Promise<net.Socket> {
  const socket = address.type === 'unix' ? net.connect({ path: address.path }) : net.connect({ host: address.host, port: address.port });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (error: NodeJS.ErrnoException) => {
      const where = address.type === 'unix' ? address.path : `${address.host}:${address.port}`;
      reject(
        resolveError(address, error) ??
          new BlockError(`Failed to connect to '${where}': ${errnoText(error)}`, { code: errnoCode(error) ?? 'EIO', cause: error }),
      );
    });
  });
  socket.on('error', () => socket.destroy());
  return socket;
}

function bindError(address: QmpAddress, error: NodeJS.ErrnoException): BlockError {
  const unresolved = resolveError(address, error);
  if (unresolved !== undefined) return unresolved;
  const given = errnoCode(error) ?? 'EIO';
  const code = address.type === 'unix' ? bindFailure(address.path, given) : given;
  const what =
    address.type === 'unix' ? `Failed to bind socket to ${address.path}` : code === 'EADDRINUSE' ? 'Failed to find an available port' : 'Failed to bind socket';
  return new BlockError(`${what}: ${errnoText(code)}`, { code, cause: error });
}

function resolveError(address: QmpAddress, error: NodeJS.ErrnoException): BlockError | undefined {
  if (error.syscall !== 'getaddrinfo' || address.type === 'unix') return undefined;
  return new BlockError(`address resolution failed for ${address.host}:${address.port}: Name or service not known`, { code: 'EADDRNOTAVAIL', cause: error });
}
