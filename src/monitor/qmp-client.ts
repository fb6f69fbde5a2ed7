/*
 * A QMP client: connects to a socket, negotiates, sends commands by id and hears events. For the shell and for programs.
 * Rule source: QMP specification.
 */
import net from 'node:net';
import { errnoCode, errnoText } from '../core/util/errno.ts';
import { BlockError } from '../core/util/errors.ts';
import { isJsonObject, type JsonObject, JsonStream } from '../core/util/json.ts';
import { writeJson } from '../core/util/json-write.ts';

export type QmpTarget = { readonly path: string } | { readonly host: string; readonly port: number };

/** SERVER as users write it: `unix:PATH`, `host:port`, or a path. Throws BlockError for what is none of these. */
export function parseTarget(text: string): QmpTarget {
  if (text.startsWith('unix:')) return pathTarget(text.slice('unix:'.length));
  const plain = text.startsWith('tcp:') ? text.slice('tcp:'.length) : text;
  const colon = plain.lastIndexOf(':');
  if (colon < 0 || plain.includes('/')) return pathTarget(plain);
  const port = plain.slice(colon + 1);
  if (!/^\d+$/.test(port) || Number(port) > 65535) throw new BlockError(`Bad port number: ${port}`, { code: 'ERR_PARSE' });
  return { host: plain.slice(0, colon) || '127.0.0.1', port: Number(port) };
}

function pathTarget(path: string): QmpTarget {
  if (path === '' || path.includes('\0')) throw new BlockError('The path of a socket is expected', { code: 'ERR_PARSE' });
  return { path };
}

export class QmpClient implements AsyncDisposable {
  readonly #socket: net.Socket;
  readonly #pending: ((reply: JsonObject) => void)[] = [];
  readonly #listeners = new Set<(event: JsonObject) => void>();
  readonly #closed: Promise<void>;
  #greet: ((greeting: JsonObject) => void) | undefined;
  #greeting: JsonObject = {};
  #isClosed = false;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    const stream = new JsonStream(
      (value) => {
        if (isJsonObject(value)) this.#receive(value);
      },
      () => socket.destroy(),
    );
    socket.on('data', (chunk: Uint8Array) => stream.feed(chunk));
    socket.on('error', () => {});
    this.#closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#isClosed = true;
        for (const answer of this.#pending.splice(0)) answer({ error: { class: 'GenericError', desc: 'Disconnected' } });
        this.#greet?.({});
        resolve();
      });
    });
  }

  /** Connects and negotiates. Rejects with `Couldn't connect to S: …`, also when `signal` aborts meanwhile. */
  static async connect(target: QmpTarget, options: { readonly negotiate?: boolean; readonly signal?: AbortSignal } = {}): Promise<QmpClient> {
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    const socket = net.connect('path' in target ? { path: target.path, ...signal } : { host: target.host, port: target.port, ...signal });
    const name = 'path' in target ? target.path : `${target.host}:${target.port}`;
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', (error: NodeJS.ErrnoException) =>
        reject(new BlockError(`Couldn't connect to ${name}: ${errnoText(error)}`, { code: errnoCode(error) ?? 'EIO', cause: error })),
      );
    });
    const client = new QmpClient(socket);
    if (options.negotiate === false) return client;
    client.#greeting = await new Promise<JsonObject>((resolve) => {
      client.#greet = resolve;
    });
    client.#greet = undefined;
    if (client.#isClosed) throw new BlockError(`Couldn't connect to ${name}: the server closed the connection`, { code: 'ERR_PROTOCOL' });
    const reply = await client.execute({ execute: 'qmp_capabilities' });
    if (reply['error'] !== undefined) throw new BlockError(`Couldn't negotiate with ${name}`, { code: 'ERR_PROTOCOL' });
    return client;
  }

  get greeting(): JsonObject {
    return this.#greeting;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Settles when the connection is gone. */
  get closed(): Promise<void> {
    return this.#closed;
  }

  /** Sends one message; the reply comes in the order of sending. Never rejects: a lost connection is an error reply. */
  execute(message: JsonObject): Promise<JsonObject> {
    if (this.#isClosed) return Promise.resolve({ error: { class: 'GenericError', desc: 'Disconnected' } });
    return new Promise((resolve) => {
      this.#pending.push(resolve);
      this.#socket.write(`${writeJson(message)}\n`);
    });
  }

  listen(listener: (event: JsonObject) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  async close(): Promise<void> {
    this.#socket.end();
    this.#socket.destroySoon();
    await this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #receive(message: JsonObject): void {
    if ('event' in message) for (const listener of [...this.#listeners]) listener(message);
    else if ('QMP' in message) this.#greet?.(message);
    else this.#pending.shift()?.(message);
  }
}
