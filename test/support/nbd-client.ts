/* A raw NBD client for tests: sends what it is told, also what no client should. Rule source: NBD protocol document. */
import net from 'node:net';

export const opt = { exportName: 1, abort: 2, list: 3, startTls: 5, info: 6, go: 7, structured: 8, listMeta: 9, setMeta: 10 } as const;
export const cmd = { read: 0, write: 1, disc: 2, flush: 3, trim: 4, cache: 5, zeroes: 6, status: 7 } as const;
export const rep = { ack: 1, server: 2, info: 3, metaContext: 4 } as const;

export interface OptionReply {
  readonly type: number;
  readonly data: Buffer;
}

export class RawClient {
  readonly socket: net.Socket;
  #buffer = Buffer.alloc(0);
  #wake: () => void = () => {};
  #isClosed = false;

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      this.#wake();
    });
    for (const event of ['error', 'close', 'end']) {
      socket.on(event, () => {
        this.#isClosed = true;
        this.#wake();
      });
    }
  }

  /** To a unix path, or a port of this machine. */
  /** A socket is there a moment before anybody listens to it: then it is tried again. */
  static async connect(where: string | number): Promise<RawClient> {
    for (let tries = 1; ; tries++) {
      const socket = typeof where === 'string' ? net.connect(where) : net.connect(where, '127.0.0.1');
      const client = new RawClient(socket);
      try {
        await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
        return client;
      } catch (error) {
        const isEarly = typeof where === 'string' && error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED';
        if (!isEarly || tries === 1000) throw error;
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }

  send(...parts: readonly Uint8Array[]): void {
    if (!this.socket.destroyed) this.socket.write(Buffer.concat(parts));
  }

  /** The next `length` bytes, or undefined when the server closed before. */
  async take(length: number): Promise<Buffer | undefined> {
    while (this.#buffer.length < length) {
      if (this.#isClosed) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const taken = this.#buffer.subarray(0, length);
    this.#buffer = this.#buffer.subarray(length);
    return taken;
  }

  async #need(length: number): Promise<Buffer> {
    const bytes = await this.take(length);
    if (bytes === undefined) throw new Error('the server closed the connection');
    return bytes;
  }

  /** Settles when the server has closed. */
  async closed(): Promise<void> {
    while (!this.#isClosed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  close(): void {
    this.socket.destroy();
  }

  /** Greeting and client flags. */
  async greet(flags = 3): Promise<void> {
    const greeting = await this.#need(18);
    if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') throw new Error('no NBD greeting');
    this.send(u32(flags));
  }

  sendOption(option: number, data: Uint8Array = Buffer.alloc(0), length: number = data.length): void {
    this.send(Buffer.from('IHAVEOPT'), u32(option), u32(length), data);
  }

  async optionReply(): Promise<OptionReply> {
    const header = await this.#need(20);
    return { type: header.readUInt32BE(12), data: await this.#need(header.readUInt32BE(16)) };
  }

  /** All replies to one option up to the last. */
  async option(option: number, data: Uint8Array = Buffer.alloc(0)): Promise<OptionReply[]> {
    this.sendOption(option, data);
    const replies: OptionReply[] = [];
    for (;;) {
      const reply = await this.optionReply();
      replies.push(reply);
      if (reply.type === rep.ack || reply.type >= 0x80000000) return replies;
    }
  }

  /** Handshake up to transmission. Returns the size of the export. */
  async go(name: string, how: { readonly structured?: boolean; readonly contexts?: readonly string[] } = {}): Promise<number> {
    await this.greet();
    if (how.structured) await this.option(opt.structured);
    if (how.contexts) await this.option(opt.setMeta, Buffer.concat([text(name), u32(how.contexts.length), ...how.contexts.map(text)]));
    const replies = await this.option(opt.go, Buffer.concat([text(name), Buffer.alloc(2)]));
    const info = replies.find((reply) => reply.type === rep.info && reply.data.readUInt16BE(0) === 0);
    if (info === undefined) throw new Error(`export ${name} refused: ${replies.at(-1)?.data.toString()}`);
    return Number(info.data.readBigUInt64BE(2));
  }

  request(
    type: number,
    offset: number | bigint,
    length: number,
    how: { readonly flags?: number; readonly cookie?: number; readonly payload?: Uint8Array; readonly magic?: number } = {},
  ): void {
    const header = Buffer.alloc(28);
    header.writeUInt32BE(how.magic ?? 0x25609513, 0);
    header.writeUInt16BE(how.flags ?? 0, 4);
    header.writeUInt16BE(type, 6);
    header.writeBigUInt64BE(BigInt(how.cookie ?? 1), 8);
    header.writeBigUInt64BE(BigInt.asUintN(64, BigInt(offset)), 16);
    header.writeUInt32BE(length, 24);
    this.send(header, how.payload ?? Buffer.alloc(0));
  }

  /** A simple reply: errno and, for reads, data. */
  async simpleReply(length = 0): Promise<{ error: number; cookie: number; data: Buffer }> {
    const header = await this.#need(16);
    if (header.readUInt32BE(0) !== 0x67446698) throw new Error('no simple reply');
    const error = header.readUInt32BE(4);
    return { error, cookie: Number(header.readBigUInt64BE(8)), data: error === 0 ? await this.#need(length) : Buffer.alloc(0) };
  }

  /** A chunk of a structured reply, or a simple reply as type -1. */
  async chunk(): Promise<{ flags: number; type: number; data: Buffer; error: number }> {
    const start = await this.#need(4);
    if (start.readUInt32BE(0) === 0x67446698) {
      const rest = await this.#need(12);
      return { flags: 1, type: -1, data: Buffer.alloc(0), error: rest.readUInt32BE(0) };
    }
    const rest = await this.#need(16);
    const data = await this.#need(rest.readUInt32BE(12));
    const type = rest.readUInt16BE(2);
    return { flags: rest.readUInt16BE(0), type, data, error: type >= 0x8000 ? data.readUInt32BE(0) : 0 };
  }

  /** Reads over structured replies into a buffer. */
  async structuredRead(offset: number, length: number): Promise<Buffer> {
    this.request(cmd.read, offset, length);
    const into = Buffer.alloc(length, 0xee);
    for (;;) {
      const { flags, type, data, error } = await this.chunk();
      if (error !== 0) throw new Error(`read failed with ${error}`);
      if (type === 1) data.copy(into, Number(data.readBigUInt64BE(0)) - offset, 8);
      if (type === 2) into.fill(0, Number(data.readBigUInt64BE(0)) - offset, Number(data.readBigUInt64BE(0)) - offset + data.readUInt32BE(8));
      if ((flags & 1) !== 0) return into;
    }
  }
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/** A string with its length before it. */
export function text(value: string): Buffer {
  return Buffer.concat([u32(Buffer.byteLength(value)), Buffer.from(value)]);
}
