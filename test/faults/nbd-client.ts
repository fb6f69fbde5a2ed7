/* A client that speaks NBD by hand: any numbers in any request, simple replies. */

import type { Socket } from 'node:net';
import { listening } from '../support/listening.ts';
import type { Stage } from './stage.ts';

const errors: Readonly<Record<number, string>> = { 0: '0', 1: 'EPERM', 5: 'EIO', 22: 'EINVAL', 28: 'ENOSPC', 108: 'ESHUTDOWN' };
/** Greeting, block sizes, size and flags, acknowledgement. */
const handshakeBytes = 18 + 34 + 32 + 20;

export interface NbdReply {
  /** An errno's name, `0`, or `closed`. */
  readonly error: string;
  readonly data: Buffer;
}

export class NbdClient {
  readonly #socket: Socket;
  #heard: Buffer = Buffer.alloc(0);
  #wake: () => void = () => {};
  #isOver = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      this.#heard = Buffer.concat([this.#heard, chunk]);
      this.#wake();
    });
    socket.on('close', () => {
      this.#isOver = true;
      this.#wake();
    });
  }

  /** Starts tsnbd with `args` on a socket of its own and connects to it. */
  static async start(stage: Stage, args: readonly string[]): Promise<NbdClient> {
    const path = stage.path('client.sock');
    const [node, file] = stage.command('tsnbd');
    stage.start(node, [file, '-t', '-e', '0', '-k', path, ...args]);
    await listening(path);
    return NbdClient.connect(path);
  }

  /** Connects to the export `name` at a socket. */
  static async connect(path: string, name = ''): Promise<NbdClient> {
    const { connect } = await import('node:net');
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    const client = new NbdClient(socket);
    const go = Buffer.alloc(4 + 16 + 6 + name.length);
    go.writeUInt32BE(3);
    go.write('IHAVEOPT', 4);
    go.writeUInt32BE(7, 12);
    go.writeUInt32BE(6 + name.length, 16);
    go.writeUInt32BE(name.length, 20);
    go.write(name, 24);
    socket.write(go);
    await client.#take(handshakeBytes);
    return client;
  }

  /** Sends a request and waits for its reply. */
  async ask(type: number, offset: bigint, length: number, payload: Uint8Array = new Uint8Array(0), flags = 0): Promise<NbdReply> {
    this.send(type, offset, length, payload, flags);
    const head = await this.#take(16);
    if (head === undefined) return { error: 'closed', data: Buffer.alloc(0) };
    const code = head.readUInt32BE(4);
    const data = type === 0 && code === 0 ? await this.#take(length) : Buffer.alloc(0);
    return { error: errors[code] ?? `errno ${code}`, data: data ?? Buffer.alloc(0) };
  }

  send(type: number, offset: bigint, length: number, payload: Uint8Array = new Uint8Array(0), flags = 0): void {
    const bytes = Buffer.alloc(28);
    bytes.writeUInt32BE(0x25609513);
    bytes.writeUInt16BE(flags, 4);
    bytes.writeUInt16BE(type, 6);
    bytes.writeBigUInt64BE(offset, 16);
    bytes.writeUInt32BE(length, 24);
    this.#socket.write(Buffer.concat([bytes, payload]));
  }

  /** Settles when the server has ended the connection. */
  async ended(): Promise<void> {
    while (!this.#isOver) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  close(): void {
    this.#socket.destroy();
  }

  async #take(length: number): Promise<Buffer | undefined> {
    while (this.#heard.length < length && !this.#isOver) await new Promise<void>((resolve) => (this.#wake = resolve));
    if (this.#heard.length < length) return undefined;
    const taken = this.#heard.subarray(0, length);
    this.#heard = this.#heard.subarray(length);
    return taken;
  }
}
