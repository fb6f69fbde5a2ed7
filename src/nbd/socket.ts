/*
 * Sockets of the NBD server: the listener on a unix path or a TCP address, and connections over sockets. The only file here
 * that knows node:net. Messages as QEMU words them.
 */
import * as net from 'node:net';
import { bindFailure, removeStaleSocket } from '../core/storage/socket-path.ts';
import type { Clock } from '../core/util/clock.ts';
import { errnoCode, errnoText } from '../core/util/errno.ts';
import { BlockError } from '../core/util/errors.ts';
import type { NbdAddress } from './address.ts';
import type { Connection, Receiver } from './connection.ts';

/** `sockaddr_un.sun_path` with its NUL. */
const maxUnixPath = 108;
/** How long a closing connection may take to accept our last bytes. */
const lingerMs = 10_000;

/** A connection over a stream of Node's: a socket as it is. */
export class SocketConnection implements Connection {
  readonly #socket: net.Socket;
  readonly #clock: Clock;
  #receiver: Receiver | undefined;
  #ended = false;
  #closed = false;
  #finishing = false;
  onClose: () => void = () => {};

  constructor(socket: net.Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    socket.setNoDelay(true);
    socket.on('end', () => {
      this.#ended = true;
      this.#receiver?.inputEnded();
    });
    // an error is followed by 'close', which is all we need to know
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#closed = true;
      this.#receiver?.closed();
      this.onClose();
    });
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  deliverTo(receiver: Receiver): void {
    const isFirst = this.#receiver === undefined;
    this.#receiver = receiver;
    if (isFirst) this.#socket.on('data', (chunk: Buffer) => this.#receiver?.receive(chunk));
    if (this.#closed) receiver.closed();
    else if (this.#ended) receiver.inputEnded();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  write(bytes: Uint8Array, done?: () => void): void {
    if (this.#closed || this.#finishing) done?.();
    else if (done === undefined) this.#socket.write(bytes);
    else this.#socket.write(bytes, done);
  }

  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  finish(): void {
    if (this.#closed || this.#finishing) return;
    this.#finishing = true;
    const cancel = this.#clock.after(lingerMs, () => this.#socket.destroy());
    this.#socket.once('close', cancel);
    this.#socket.end(() => this.#socket.destroy());
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** A listening socket. */
export class Listener {
  readonly #server: net.Server;

  constructor(server: net.Server) {
    this.#server = server;
  }

  /** The address in use, with the port that the system chose where 0 was asked. */
  get address(): NbdAddress | undefined {
    const address = this.#server.address();
    if (address === null) return undefined;
    if (typeof address === 'string') return { type: 'unix', path: address };
    return { type: 'inet', host: address.address, port: String(address.port) };
  }

  /** Stops listening; a unix socket's file is removed. Connections live on. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      // the callback waits for the connections as well, which are not the listener's business
      this.#server.close();
      resolve();
    });
  }
}

/** Listens and calls `accept` for each connection. `backlog`: connections that the kernel holds back. */
export async function openListener(address: NbdAddress, backlog: number, clock: Clock, accept: (connection: Connection) => void): Promise<Listener> {
  if (address.type === 'unix') {
    if (Buffer.byteLength(address.path) >= maxUnixPath) {
      throw new BlockError(`UNIX socket path '${address.path}' is too long`, { code: 'ERR_OPTION', detail: `Path must be less than ${maxUnixPath} bytes` });
    }
    removeStaleSocket(address.path);
  }
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: false }, (socket) => accept(new SocketConnection(socket, clock)));
  const options = listenOptions(address, backlog);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(address, error)));
    server.listen(options, resolve);
  });
  // out of descriptors: the connection is lost, the server is not
  server.on('error', () => {});
  return new Listener(server);
}

function listenOptions(address: NbdAddress, backlog: number): net.ListenOptions & { fd?: number } {
  switch (address.type) {
    case 'unix':
      return { path: address.path, backlog };
    case 'fd':
      return { fd: address.fd, backlog };
    default:
      return { host: address.host, port: parsePort(address), backlog };
  }
}

function parsePort(address: { readonly host: string; readonly port: string }): number {
  if (/^[0-9]+$/.test(address.port)) return Number(address.port) % 65536;
  throw new BlockError(`address resolution failed for ${address.host}:${address.port}: Servname not supported for ai_socktype`, { code: 'EADDRNOTAVAIL' });
}

function listenError(address: NbdAddress, error: NodeJS.ErrnoException): BlockError {
  const given = errnoCode(error) ?? 'EIO';
  const code = address.type === 'unix' ? bindFailure(address.path, given) : given;
  if (error.syscall === 'getaddrinfo' && address.type === 'inet') {
    return new BlockError(`address resolution failed for ${address.host}:${address.port}: Name or service not known`, { code, cause: error });
  }
  const what =
    address.type === 'unix' ? `Failed to bind socket to ${address.path}` : code === 'EADDRINUSE' ? 'Failed to find an available port' : 'Failed to bind socket';
  return new BlockError(`${what}: ${errnoText(code)}`, { code, cause: error });
}
