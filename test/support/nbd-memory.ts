/* A connection in memory, and a client that speaks over it: what is sent arrives at once, what is answered is kept or held back. */
import type { Connection, Receiver } from '../../src/nbd/connection.ts';
import { opt, text, u32 } from './nbd-client.ts';

export class MemoryConnection implements Connection {
  isClosed = false;
  onClose: () => void = () => {};
  /** The client does not read: what is written stays. */
  isHeld = false;
  /** Input is wanted. */
  isReading = true;
  /** How often something was written, and the largest that was unsent at a time. */
  writes = 0;
  mostUnsent = 0;
  isCorked = false;
  isFinished = false;
  /** What has reached the client. */
  output: Buffer = Buffer.alloc(0);
  readonly #unsent: { readonly bytes: Uint8Array; readonly done: (() => void) | undefined }[] = [];
  readonly #input: Uint8Array[] = [];
  #isEnded = false;
  #wasTold = false;
  #receiver: Receiver | undefined;

  get unsent(): number {
    return this.#unsent.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  // -- the client's side ----------------------------------------------------------------------------------------------
  send(...parts: readonly Uint8Array[]): void {
    // a copy: nobody may count on the sender's memory
    this.#input.push(Uint8Array.from(Buffer.concat(parts)));
    this.#deliver();
  }

  /** The client closes its side. */
  end(): void {
    this.#isEnded = true;
    this.#deliver();
  }

  /** The client reads again, or reads once. */
  letGo(): void {
    const sent = this.#unsent.splice(0);
    if (!this.isClosed) this.output = Buffer.concat([this.output, ...sent.map(({ bytes }) => bytes)]);
    for (const { done } of sent) done?.();
    if (this.isFinished) this.destroy();
  }

  /** The next bytes of the output, which must be there. */
  take(length: number): Buffer {
    if (this.output.length < length) throw new Error(`wanted ${length} bytes, got ${this.output.length}`);
    const taken = this.output.subarray(0, length);
    this.output = this.output.subarray(length);
    return taken;
  }

  #deliver(): void {
    while (this.isReading && !this.isClosed && this.#receiver !== undefined) {
      const chunk = this.#input.shift();
      if (chunk === undefined) break;
      this.#receiver.receive(chunk);
    }
    if (this.#isEnded && this.#input.length === 0 && !this.#wasTold && !this.isClosed && this.#receiver !== undefined) {
      this.#wasTold = true;
      this.#receiver.inputEnded();
    }
  }

  // -- the server's side ----------------------------------------------------------------------------------------------
  deliverTo(receiver: Receiver): void {
    this.#receiver = receiver;
    if (this.isClosed) receiver.closed();
    else if (this.#wasTold) receiver.inputEnded();
    else this.#deliver();
  }

  pause(): void {
    this.isReading = false;
  }

  resume(): void {
    this.isReading = true;
    this.#deliver();
  }

  write(bytes: Uint8Array, done?: () => void): void {
    this.writes++;
    if (this.isClosed || this.isFinished) {
      done?.();
      return;
    }
    this.#unsent.push({ bytes, done });
    this.mostUnsent = Math.max(this.mostUnsent, this.unsent);
    if (!this.isHeld) queueMicrotask(() => this.isHeld || this.letGo());
  }

  cork(): void {
    this.isCorked = true;
  }

  uncork(): void {
    this.isCorked = false;
  }

  finish(): void {
    if (this.isFinished) return;
    this.isFinished = true;
    if (!this.isHeld) queueMicrotask(() => this.letGo());
  }

  destroy(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const { done } of this.#unsent.splice(0)) done?.();
    this.#receiver?.closed();
    this.onClose();
  }
}

export interface RequestOptions {
  readonly flags?: number;
  readonly cookie?: number;
  readonly payload?: Uint8Array;
  readonly magic?: number;
}

/** A request as it goes over the wire. */
export function requestBytes(type: number, offset: number | bigint, length: number, how: RequestOptions = {}): Buffer {
  const header = Buffer.alloc(28);
  header.writeUInt32BE(how.magic ?? 0x25609513, 0);
  header.writeUInt16BE(how.flags ?? 0, 4);
  header.writeUInt16BE(type, 6);
  header.writeBigUInt64BE(BigInt(how.cookie ?? 1), 8);
  header.writeBigUInt64BE(BigInt.asUintN(64, BigInt(offset)), 16);
  header.writeUInt32BE(length, 24);
  return Buffer.concat([header, how.payload ?? Buffer.alloc(0)]);
}

export function optionBytes(option: number, data: Uint8Array = Buffer.alloc(0), length: number = data.length): Buffer {
  return Buffer.concat([Buffer.from('IHAVEOPT'), u32(option), u32(length), data]);
}

/** Flags and options up to transmission. */
export function handshakeBytes(name: string, how: { readonly structured?: boolean; readonly contexts?: readonly string[] } = {}): Buffer {
  const parts = [u32(3)];
  if (how.structured) parts.push(optionBytes(opt.structured));
  if (how.contexts) parts.push(optionBytes(opt.setMeta, Buffer.concat([text(name), u32(how.contexts.length), ...how.contexts.map(text)])));
  parts.push(optionBytes(opt.go, Buffer.concat([text(name), Buffer.alloc(2)])));
  return Buffer.concat(parts);
}

/** A reply, or a chunk of one (a simple reply has type -1). */
export interface ReplyChunk {
  readonly cookie: number;
  readonly type: number;
  readonly flags: number;
  readonly errno: number;
  readonly data: Buffer;
}

/** All replies in `bytes`, of a session with structured replies, or of one whose simple replies have data of `simpleData` bytes. */
export function repliesIn(bytes: Buffer, simpleData: (cookie: number) => number = () => 0): ReplyChunk[] {
  const found: ReplyChunk[] = [];
  for (let at = 0; at < bytes.length; ) {
    const cookie = Number(bytes.readBigUInt64BE(at + 8));
    if (bytes.readUInt32BE(at) === 0x67446698) {
      const errno = bytes.readUInt32BE(at + 4);
      const length = errno === 0 ? simpleData(cookie) : 0;
      found.push({ cookie, type: -1, flags: 1, errno, data: bytes.subarray(at + 16, at + 16 + length) });
      at += 16 + length;
      continue;
    }
    if (bytes.readUInt32BE(at) !== 0x668e33ef) throw new Error(`no reply at ${at}`);
    const length = bytes.readUInt32BE(at + 16);
    const data = bytes.subarray(at + 20, at + 20 + length);
    const type = bytes.readUInt16BE(at + 6);
    found.push({ cookie, type, flags: bytes.readUInt16BE(at + 4), errno: type >= 0x8000 ? data.readUInt32BE(0) : 0, data });
    at += 20 + length;
  }
  return found;
}
