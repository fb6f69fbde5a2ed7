/*
 * QMP over sockets and streams: greeting, a stream of JSON values in, one object a line out (CR LF), replies in order,
 * events as they come. One client at a time on a socket, as a QEMU chardev has it. Input is not read while eight requests
 * wait. The only place of the monitor that listens.
 */
import net from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { removeStaleSocket } from '../core/storage/socket-path.ts';
import { errnoText } from '../core/util/errno.ts';
import { BlockError } from '../core/util/errors.ts';
import { type Json, JsonStream, writeJson } from '../core/util/json.ts';
import { errorReply, type Monitor, type MonitorSession } from './monitor.ts';

export type QmpAddress = { readonly type: 'unix'; readonly path: string } | { readonly type: 'tcp'; readonly host: string; readonly port: number };

const maxQueued = 8;

type Work = { readonly kind: 'message'; readonly value: Json } | { readonly kind: 'error'; readonly error: BlockError };

/** Serves one client on a pair of streams. Settles when the client is gone and its last request has been answered. */
export async function serveClient(monitor: Monitor, input: Readable, output: Writable, options: { readonly pretty?: boolean } = {}): Promise<void> {
  const session = monitor.openSession();
  const queue: Work[] = [];
  let wake: (() => void) | undefined;
  let isOpen = true;
  const send = (message: unknown): void => {
    if (!output.destroyed && output.writable) output.write(`${writeJson(message, { pretty: options.pretty ?? false, order: 'qemu' })}\r\n`);
  };
  const push = (work: Work): void => {
    queue.push(work);
    if (queue.length >= maxQueued) input.pause();
    wake?.();
  };
  const stream = new JsonStream(
    (value) => push({ kind: 'message', value }),
    (error) => push({ kind: 'error', error }),
  );
  const close = (): void => {
    isOpen = false;
    wake?.();
  };
  output.on('error', close);
  input.on('error', close);
  input.on('end', close);
  input.on('close', close);
  send(session.greeting());
  session.listen(send);
  input.on('data', (chunk: Uint8Array) => stream.feed(chunk));
  try {
    while (isOpen || queue.length > 0) {
      const work = queue.shift();
      if (work === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        wake = undefined;
        continue;
      }
      if (queue.length < maxQueued) input.resume();
      send(await answer(session, work));
    }
  } finally {
    session.close();
  }
}

function answer(session: MonitorSession, work: Work): Promise<unknown> | unknown {
  return work.kind === 'error' ? errorReply(work.error, undefined) : session.execute(work.value);
}

/** A listening QMP socket. */
export class QmpServer implements AsyncDisposable {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  private constructor(server: net.Server) {
    this.#server = server;
  }

  /** Listens. Rejects with QEMU's message when it cannot. */
  static async listen(monitor: Monitor, address: QmpAddress, options: { readonly pretty?: boolean } = {}): Promise<QmpServer> {
    const server = net.createServer({ pauseOnConnect: true });
    const created = new QmpServer(server);
    let previous: Promise<void> = Promise.resolve();
    server.on('connection', (socket) => {
      // one client at a time: the next one waits, unserved, as on a chardev
      created.#sockets.add(socket);
      socket.on('close', () => created.#sockets.delete(socket));
      socket.on('error', () => socket.destroy());
      const turn = previous;
      previous = turn.then(async () => {
        if (socket.destroyed) return;
        await serveClient(monitor, socket, socket, options);
        socket.end();
      });
      previous.catch(() => socket.destroy());
    });
    if (address.type === 'unix') removeStaleSocket(address.path);
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(bindError(address, error)));
      if (address.type === 'unix') server.listen({ path: address.path }, resolve);
      else server.listen({ host: address.host, port: address.port }, resolve);
    });
    return created;
  }

  /** The port in use, for TCP. */
  get port(): number | undefined {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : undefined;
  }

  /** Stops listening and lets the replies under way out. */
  async close(): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroySoon();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function bindError(address: QmpAddress, error: NodeJS.ErrnoException): BlockError {
  if (address.type === 'unix') return new BlockError(`Failed to bind socket to ${address.path}: ${errnoText(error)}`, { code: error.code, cause: error });
  return new BlockError(`Failed to bind socket: ${errnoText(error)}`, { code: error.code, cause: error });
}
