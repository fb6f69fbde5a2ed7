/*
 * Character devices of --daemon: what `--chardev` says, checked with the peer's words, as channels that a monitor serves.
 * A socket listens (or connects) when its option is carried out, its clients are served once a monitor takes it.
 * Rule source: observed behaviour of qemu-storage-daemon 11.1.
 */
import type { Readable, Writable } from 'node:stream';
import { temporarySocketPath } from '../core/storage/socket-path.ts';
import { BlockError } from '../core/util/errors.ts';
import { isIdentifier } from '../core/util/identifier.ts';
import { parseOptionWords } from '../core/util/key-values.ts';
import { parseBoolOption } from '../core/util/schema-scalars.ts';
import type { Monitor } from '../monitor/monitor.ts';
import { connectStream, type QmpAddress, QmpServer, serveClient } from '../monitor/qmp-server.ts';
import { forAMoment } from './lifetime.ts';

const backends = ['socket', 'stdio', 'null'];
/** Words that chardev options may have, in any backend: those that do not concern it are ignored, as the peer ignores them. */
const knownWords = new Set(
  (
    'backend path input-path host port fd localaddr localport to ipv4 ipv6 wait server delay nodelay reconnect reconnect-ms telnet ' +
    'tn3270 tls-creds tls-authz websocket width height cols rows mux signal name debug size chardev append logfile logappend logtimestamp mouse clipboard ' +
    'abstract tight'
  ).split(' '),
);

export interface ChardevHost {
  readonly input: Readable;
  readonly output: Writable;
  readonly isBackground: boolean;
  warn(text: string): void;
}

interface Chardev {
  /** Serves monitor clients until the channel is closed. */
  serve(monitor: Monitor, options: { readonly pretty: boolean }): void;
  close(): Promise<void>;
}

export class Chardevs {
  readonly #host: ChardevHost;
  readonly #all = new Map<string, Chardev>();
  readonly #used = new Set<string>();
  #hasStdio = false;

  constructor(host: ChardevHost) {
    this.#host = host;
  }

  /** Carries out one `--chardev`. Rejects with the peer's message. */
  async add(text: string): Promise<void> {
    const { id, words } = this.#read(text);
    const backend = words.get('backend');
    if (backend === undefined) throw new BlockError(`chardev: "${id}" missing backend`, { code: 'ERR_OPTION' });
    if (!backends.includes(backend)) throw new BlockError(`'${backend}' is not a valid char driver name`, { code: 'ENOTSUP' });
    const chardev = backend === 'null' ? nullDevice : backend === 'stdio' ? this.#stdio() : await this.#socket(words);
    if (this.#all.has(id)) {
      await chardev.close();
      throw new BlockError(`attempt to add duplicate property '${id}' to object (type 'container')`, { code: 'ERR_NAME' });
    }
    this.#all.set(id, chardev);
  }

  /** Gives the chardev to a monitor; what is returned begins to serve it. */
  claim(id: string, monitor: Monitor, options: { readonly pretty: boolean }): () => void {
    const chardev = this.#all.get(id);
    if (chardev === undefined) throw new BlockError(`chardev "${id}" not found`, { code: 'ERR_NOT_FOUND' });
    if (this.#used.has(id)) throw new BlockError(`chardev '${id}' is already in use`, { code: 'ERR_NAME' });
    this.#used.add(id);
    return () => chardev.serve(monitor, options);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#all.values()].map((chardev) => chardev.close()));
    this.#all.clear();
  }

  #read(text: string): { id: string; words: ReadonlyMap<string, string> } {
    let id: string | undefined;
    const words = new Map<string, string>();
    for (const { name, value, isFlag } of parseOptionWords(text, 'backend')) {
      if (name === 'id') {
        id ??= value;
        continue;
      }
      if (!knownWords.has(name)) throw new BlockError(`Invalid parameter '${name}'`, { code: 'ERR_OPTION' });
      if (isFlag) {
        const given = value === 'off' ? `no${name}` : name;
        this.#host.warn(`--chardev ${text}: warning: short-form boolean option '${given}' deprecated\nPlease use ${name}=${value} instead`);
      }
      words.set(name, value);
    }
    if (id === undefined) throw new BlockError('chardev: no id specified', { code: 'ERR_NAME' });
    if (!isIdentifier(id)) {
      throw new BlockError("Parameter 'id' expects an identifier", {
        code: 'ERR_NAME',
        detail: "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
      });
    }
    return { id, words };
  }

  #stdio(): Chardev {
    const { input, output, isBackground } = this.#host;
    if (isBackground) throw new BlockError('cannot use stdio with -daemonize', { code: 'ERR_IN_USE' });
    if (this.#hasStdio) throw new BlockError('cannot use stdio by multiple character devices', { code: 'ERR_IN_USE' });
    this.#hasStdio = true;
    const ending = new AbortController();
    let served: Promise<void> | undefined;
    return {
      serve: (monitor, options) => {
        served = serveClient(monitor, input, output, { ...options, signal: ending.signal }).catch((error: unknown) => monitor.tellBug(error));
      },
      close: async () => {
        ending.abort();
        input.destroy();
        // a command whose output nobody takes does not end
        if (served !== undefined) await forAMoment(served);
      },
    };
  }

  async #socket(words: ReadonlyMap<string, string>): Promise<Chardev> {
    const flag = (name: string, fallback: boolean): boolean => {
      const text = words.get(name);
      return text === undefined ? fallback : parseBoolOption(name, text);
    };
    const isServer = flag('server', false);
    const mayWait = flag('wait', true);
    const address = socketAddress(words);
    if (!isServer) {
      if (words.has('wait')) throw new BlockError("'wait' option is incompatible with socket in client connect mode", { code: 'ERR_OPTION' });
      const stream = await connectStream(address);
      return {
        serve: (monitor, options) => void serveClient(monitor, stream, stream, options).catch((error: unknown) => monitor.tellBug(error)),
        close: async () => void stream.destroy(),
      };
    }
    const server = await QmpServer.open(address);
    if (mayWait) {
      const where = address.type === 'unix' ? `unix:${address.path}` : `tcp:${address.host}:${address.port}`;
      this.#host.warn(`info: QEMU waiting for connection on: disconnected:${where},server=on`);
      await server.whenConnected();
    }
    return { serve: (monitor, options) => server.serve(monitor, options), close: () => server.close() };
  }
}

const nullDevice: Chardev = { serve: () => {}, close: async () => {} };

function socketAddress(words: ReadonlyMap<string, string>): QmpAddress {
  const [path, host, port, fd] = ['path', 'host', 'port', 'fd'].map((name) => words.get(name));
  if ([path, host, fd].filter((value) => value !== undefined).length > 1) {
    throw new BlockError("None or one of 'path', 'fd' or 'host' option required.", { code: 'ERR_OPTION' });
  }
  if (path !== undefined) return { type: 'unix', path: path || temporarySocketPath() };
  if (host === undefined) throw new BlockError(`Unable to parse FD number ${fd ?? ''}`, { code: 'ERR_PARSE' });
  if (port === undefined) throw new BlockError('chardev: socket: no port given', { code: 'ERR_OPTION' });
  if (!/^\d+$/.test(port))
    throw new BlockError(`address resolution failed for ${host}:${port}: Servname not supported for ai_socktype`, { code: 'EADDRNOTAVAIL' });
  return { type: 'tcp', host, port: Number(port) % 65536 };
}
