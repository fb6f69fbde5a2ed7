/*
 * Sockets of the NBD server: the listener on a unix path or a TCP address, and a connection with framed input for the
 * handshake (`need`) and chunk input for transmission (`takeOver`). The only file here that knows node:net.
 * A connection never buffers more than one need and one chunk of input: it stops reading instead. Messages as QEMU words them.
 */
import * as net from 'node:net';
import { bindFailure, removeStaleSocket } from '../core/storage/socket-path.ts';
import { errnoCode, errnoText } from '../core/util/errno.ts';
import { BlockError } from '../core/util/errors.ts';
import { isPending, type Maybe } from '../core/util/maybe.ts';

export type NbdAddress =
  | { readonly type: 'unix'; readonly path: string }
  | { readonly type: 'inet'; readonly host: string; readonly port: string }
  /** A socket that listens already and was handed to us. */
  | { readonly type: 'fd'; readonly fd: number };

/** `sockaddr_un.sun_path` with its NUL. */
const maxUnixPath = 108;
/** How long a closing connection may take to accept our last bytes. */
const lingerMs = 10_000;

/** The peer went away, or was sent away, in the middle of what we waited for. */
export class ConnectionClosed extends Error {
  override readonly name = 'ConnectionClosed';
}

/** What transmission gets from its connection. */
export interface Receiver {
  /** More input. The receiver may keep `chunk`. */
  receive(chunk: Uint8Array): void;
  /** No more input will come; output may still be possible. */
  inputEnded(): void;
  /** The connection is gone. */
  closed(): void;
}

export class Connection {
  readonly #socket: net.Socket;
  #input: Buffer = Buffer.alloc(0);
  #wanted = 0;
  #wake: (() => void) | undefined;
  #receiver: Receiver | undefined;
  #ended = false;
  #closed = false;
  #finishing = false;
  #drainWaiters: (() => void)[] = [];
  /** Called once, when the connection is gone, whoever ended it. */
  onClose: () => void = () => {};
  /** The connection is of no use once the client has closed its side. */
  leavesAtEnd = false;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#data(chunk));
    socket.on('end', () => this.#end());
    // an error is followed by 'close', which is all we need to know
    socket.on('error', () => {});
    socket.on('close', () => this.#close());
  }

  /** Bytes written that the kernel has not taken. */
  get backlog(): number {
    return this.#socket.writableLength;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Exactly `size` bytes of input, valid until the next call. Fails with ConnectionClosed at the end of input. */
  need(size: number): Maybe<Uint8Array> {
    if (this.#input.length >= size) return this.#cut(size);
    return this.#waitFor(size);
  }

  async #waitFor(size: number): Promise<Uint8Array> {
    while (this.#input.length < size) {
      if (this.#ended || this.#closed) throw new ConnectionClosed('Unexpected end-of-file before all data were read');
      this.#wanted = size;
      this.#socket.resume();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#cut(size);
  }

  #cut(size: number): Uint8Array {
    const bytes = this.#input.subarray(0, size);
    this.#input = this.#input.subarray(size);
    return bytes;
  }

  /** Reads `size` bytes and forgets them. */
  async skip(size: number): Promise<void> {
    let rest = size;
    while (rest > 0) {
      const piece = Math.min(rest, 65536);
      const step = this.need(piece);
      if (isPending(step)) await step;
      rest -= piece;
    }
  }

  /** Hands all further input, what is buffered first, to `receiver`. */
  takeOver(receiver: Receiver): void {
    this.#receiver = receiver;
    const rest = this.#input;
    this.#input = Buffer.alloc(0);
    if (rest.length > 0) receiver.receive(rest);
    if (this.#closed) receiver.closed();
    else if (this.#ended) receiver.inputEnded();
    else this.#socket.resume();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Queues `bytes`; they are not to be changed until `done` is called (also after a failure). True: the kernel has them already. */
  write(bytes: Uint8Array, done?: () => void): boolean {
    if (this.#closed || this.#finishing) {
      done?.();
      return true;
    }
    if (done === undefined) this.#socket.write(bytes);
    else this.#socket.write(bytes, done);
    return this.#socket.writableLength === 0;
  }

  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  /** Writes and waits while the client is slow to read: for the handshake. */
  async send(bytes: Uint8Array): Promise<void> {
    this.write(bytes);
    while (this.backlog > 65536 && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#drainWaiters.push(resolve);
        this.#socket.once('drain', resolve);
      });
    }
    if (this.#closed) throw new ConnectionClosed('Unable to write to socket: Broken pipe');
  }

  /** Closes after what was written has left, at the latest after ten seconds. */
  finish(): void {
    if (this.#closed || this.#finishing) return;
    this.#finishing = true;
    const timer = setTimeout(() => this.#socket.destroy(), lingerMs);
    timer.unref();
    this.#socket.once('close', () => clearTimeout(timer));
    this.#socket.end(() => this.#socket.destroy());
  }

  /** Closes at once. */
  destroy(): void {
    this.#socket.destroy();
  }

  #data(chunk: Buffer): void {
    const receiver = this.#receiver;
    if (receiver !== undefined) {
      receiver.receive(chunk);
      return;
    }
    this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk]);
    if (this.#wake !== undefined && this.#input.length >= this.#wanted) this.#wakeUp();
    // nobody asked for this much: let the kernel hold the rest
    else if (this.#wake === undefined) this.#socket.pause();
  }

  #end(): void {
    this.#ended = true;
    if (this.leavesAtEnd) this.destroy();
    this.#wakeUp();
    this.#receiver?.inputEnded();
  }

  #close(): void {
    this.#closed = true;
    this.#ended = true;
    this.#wakeUp();
    for (const resolve of this.#drainWaiters.splice(0)) resolve();
    this.#receiver?.closed();
    this.onClose();
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
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
export async function openListener(address: NbdAddress, backlog: number, accept: (connection: Connection) => void): Promise<Listener> {
  if (address.type === 'unix') {
    if (Buffer.byteLength(address.path) >= maxUnixPath) {
      throw new BlockError(`UNIX socket path '${address.path}' is too long`, { detail: `Path must be less than ${maxUnixPath} bytes` });
    }
    removeStaleSocket(address.path);
  }
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: false }, (socket) => accept(new Connection(socket)));
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
  throw new BlockError(`address resolution failed for ${address.host}:${address.port}: Servname not supported for ai_socktype`);
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
