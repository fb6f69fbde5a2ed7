/*
 * FramedStream: the handshake's view of a connection: so many bytes, please, and output that waits for a slow reader.
 * Buffers at most one need and one chunk of input: it stops reading instead. Knows no option and no layout.
 */
import { isPending, type Maybe } from '../core/util/maybe.ts';
import { type Connection, ConnectionClosed, type Receiver } from './connection.ts';

/** Output that may be on its way before `send` waits. */
const maxUnsent = 65536;
const skipPiece = 65536;

export class FramedStream implements Receiver {
  readonly #connection: Connection;
  #input: Uint8Array = new Uint8Array(0);
  #wanted = 0;
  #wakeReader: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;
  #unsent = 0;
  #ended = false;
  /** Called when the client has closed its side. */
  onEnd: () => void = () => {};

  constructor(connection: Connection) {
    this.#connection = connection;
    connection.deliverTo(this);
  }

  /** Exactly `size` bytes of input, valid until the next call. Fails with ConnectionClosed at the end of input. One reader at a time. */
  need(size: number): Maybe<Uint8Array> {
    return this.#input.length >= size ? this.#cut(size) : this.#waitFor(size);
  }

  async #waitFor(size: number): Promise<Uint8Array> {
    while (this.#input.length < size) {
      if (this.#ended) throw new ConnectionClosed('Unexpected end-of-file before all data were read');
      this.#wanted = size;
      const more = new Promise<void>((resolve) => {
        this.#wakeReader = resolve;
      });
      this.#connection.resume();
      await more;
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
    for (let rest = size; rest > 0; rest -= Math.min(rest, skipPiece)) {
      const step = this.need(Math.min(rest, skipPiece));
      if (isPending(step)) await step;
    }
  }

  /** Writes, and waits while the client is slow to read. Fails with ConnectionClosed when the client is gone. */
  async send(bytes: Uint8Array): Promise<void> {
    this.post(bytes);
    while (this.#unsent > maxUnsent && !this.#connection.isClosed) {
      await new Promise<void>((resolve) => {
        this.#wakeWriter = resolve;
      });
    }
    if (this.#connection.isClosed) throw new ConnectionClosed('Unable to write to socket: Broken pipe');
  }

  /** Writes without caring whether anybody reads. */
  post(bytes: Uint8Array): void {
    this.#unsent += bytes.length;
    this.#connection.write(bytes, () => {
      this.#unsent -= bytes.length;
      this.#wakeUpWriter();
    });
  }

  /** Input that came and was not asked for; nothing is kept. */
  takeRest(): Uint8Array {
    return this.#cut(this.#input.length);
  }

  receive(chunk: Uint8Array): void {
    this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk]);
    if (this.#wakeReader === undefined) this.#connection.pause();
    else if (this.#input.length >= this.#wanted) this.#wakeUpReader();
  }

  inputEnded(): void {
    this.#ended = true;
    this.#wakeUpReader();
    this.onEnd();
  }

  closed(): void {
    this.inputEnded();
    this.#wakeUpWriter();
  }

  #wakeUpReader(): void {
    const wake = this.#wakeReader;
    this.#wakeReader = undefined;
    wake?.();
  }

  #wakeUpWriter(): void {
    const wake = this.#wakeWriter;
    this.#wakeWriter = undefined;
    wake?.();
  }
}
