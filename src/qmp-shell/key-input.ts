/*
 * The keyboard as readline wants it: one key at a time, however many arrive at once (Node 20 scrambles several in the middle
 * of a line), and a place to take keys before readline does. Knows terminals, no history and no command.
 */
import { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';

/** An escape sequence, or one character. */
const onePiece = /\u001b\[[0-9;?]*[ -/]*[@-~]|\u001bO.|\u001b[^[O]|./gsu;

export class KeyInput extends Readable {
  readonly isTTY = true;
  /** Sees each key first; true: it was meant for it. */
  intercept: (key: string) => boolean = () => false;
  readonly #input: NodeJS.ReadStream;
  readonly #decoder = new StringDecoder('utf8');
  readonly #onData = (chunk: Buffer): void => this.#feed(this.#decoder.write(chunk));
  readonly #onEnd = (): void => void this.push(null);

  constructor(input: NodeJS.ReadStream) {
    super({ read: () => {} });
    this.#input = input;
    input.on('data', this.#onData);
    input.on('end', this.#onEnd);
  }

  get isRaw(): boolean {
    return this.#input.isRaw;
  }

  setRawMode(mode: boolean): this {
    this.#input.setRawMode?.(mode);
    return this;
  }

  /** Nothing is taken from the terminal: it may belong to somebody else. */
  override pause(): this {
    this.#input.pause();
    return super.pause();
  }

  override resume(): this {
    this.#input.resume();
    return super.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#input.off('data', this.#onData);
    this.#input.off('end', this.#onEnd);
    callback(error);
  }

  #feed(text: string): void {
    const keys = text.match(onePiece) ?? [];
    for (const [index, key] of keys.entries()) {
      if (this.intercept(key)) continue;
      // a tab inside of what was pasted asks for no completion
      this.push(key === '\t' && index < keys.length - 1 ? ' ' : key);
    }
  }
}
