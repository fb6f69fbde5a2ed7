/*
 * Standard output and error of a program that prints a few lines and ends: written by the system call at once. Making
 * `process.stdout` costs a quarter of such a program's start. A reader that went away ends the program quietly with exit
 * code 1; a full medium is not noticed, as with the peers.
 */
import { writeSync } from 'node:fs';
import { encodeName, isTextName } from '../core/util/name-codec.ts';
import type { TextSink } from './report.ts';

/** The stream with this number, written without Node's own. */
export class DirectOutput implements TextSink {
  readonly #fd: 1 | 2;
  /** Node's own stream, made when the descriptor cannot take all at once; everything after goes through it, in order. */
  #stream: NodeJS.WriteStream | undefined;

  constructor(fd: 1 | 2) {
    this.#fd = fd;
  }

  get isTTY(): boolean {
    return this.#node.isTTY === true;
  }

  get #node(): NodeJS.WriteStream {
    return this.#fd === 1 ? process.stdout : process.stderr;
  }

  write(text: string): void {
    if (this.#stream !== undefined) {
      this.#stream.write(isTextName(text) ? text : encodeName(text));
      return;
    }
    let rest: Uint8Array = encodeName(text);
    while (rest.length > 0) {
      try {
        rest = rest.subarray(writeSync(this.#fd, rest));
      } catch (error) {
        if (!(error instanceof Error && 'code' in error)) throw error;
        if (error.code === 'EPIPE' && this.#fd === 1) process.exit(1);
        // somebody made the descriptor non-blocking, and it is full
        if (error.code === 'EAGAIN') this.#useStream(rest);
        return;
      }
    }
  }

  #useStream(rest: Uint8Array): void {
    this.#stream = this.#node;
    this.#stream.on('error', (error) => {
      if (this.#fd === 1 && 'code' in error && error.code === 'EPIPE') process.exit(1);
    });
    this.#stream.write(rest);
  }
}

/** Node's own stream for texts with names in them: their bytes go out as they came in. */
export function namesOut(stream: NodeJS.WriteStream): TextSink {
  return {
    write: (text) => stream.write(isTextName(text) ? text : encodeName(text)),
    get isTTY() {
      return stream.isTTY;
    },
  };
}
