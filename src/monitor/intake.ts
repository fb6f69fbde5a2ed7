/*
 * The requests of one client, one at a time: input is read only while the next request is asked for, and a piece of input
 * is parsed no further than that. So whatever a client sends, what waits for it is one piece, or one request that is on its
 * way (the parser bounds that). Knows JSON, no command.
 */
import type { Readable } from 'node:stream';
import type { BlockError } from '../core/util/errors.ts';
import { type Json, JsonStream } from '../core/util/json.ts';

/** A message, or what is wrong with the text at its place. */
export type Request = { readonly message: Json } | { readonly error: BlockError };

/** Bytes that are parsed at once: a few of the smallest requests. */
const sliceBytes = 256;

export class Intake {
  readonly #input: Readable;
  readonly #stream: JsonStream;
  /** Parsed and not given out yet: more than one where a slice held several. */
  readonly #requests: Request[] = [];
  /** Input that was read and not parsed yet. */
  #rest: Uint8Array = new Uint8Array(0);
  #isOpen = true;
  #wake: (() => void) | undefined;

  constructor(input: Readable) {
    this.#input = input;
    this.#stream = new JsonStream(
      (message) => this.#requests.push({ message }),
      (error) => this.#requests.push({ error }),
    );
    for (const event of ['error', 'end', 'close']) input.on(event, () => this.close());
    input.on('data', (chunk: Uint8Array) => {
      input.pause();
      this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
      this.#wake?.();
    });
    input.pause();
  }

  /** The next request in the order of the input; undefined when no more come. */
  async next(): Promise<Request | undefined> {
    for (;;) {
      while (this.#requests.length === 0 && this.#rest.length > 0) {
        const slice = this.#rest.subarray(0, sliceBytes);
        this.#rest = this.#rest.subarray(sliceBytes);
        this.#stream.feed(slice);
      }
      const first = this.#requests.shift();
      if (first !== undefined || !this.#isOpen) return first;
      const change = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#input.resume();
      await change;
      this.#wake = undefined;
    }
  }

  /** No more is read; what has been read is still given out. */
  close(): void {
    this.#isOpen = false;
    this.#wake?.();
  }
}
