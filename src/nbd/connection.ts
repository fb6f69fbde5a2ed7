/*
 * Connection: the stream of bytes between one client and what serves it, as a port. A socket implements it (socket.ts), TLS
 * can, tests do it in memory. Input is pushed to one receiver at a time, the handshake's first and then the session's.
 * Output is queued whatever its length: whoever writes counts what has not left, through `done`.
 */

/** The peer went away, or was sent away, in the middle of what we waited for. */
export class ConnectionClosed extends Error {
  override readonly name = 'ConnectionClosed';
}

/** Who gets the input. None of these may throw. */
export interface Receiver {
  /** More input. The receiver may keep `chunk`. */
  receive(chunk: Uint8Array): void;
  /** No more input will come; output may still be possible. */
  inputEnded(): void;
  /** The connection is gone. */
  closed(): void;
}

export interface Connection {
  readonly isClosed: boolean;
  /** Called once, when the connection is gone, whoever ended it; after its receiver was told. */
  onClose: () => void;
  /** All further input goes to `receiver`, which is told at once of an end that has come before. */
  deliverTo(receiver: Receiver): void;
  /** No input is wanted for now; a chunk that is under way may still come. */
  pause(): void;
  resume(): void;
  /** Queues `bytes`; they are not to be changed until `done` is called: when they have left, or never will. */
  write(bytes: Uint8Array, done?: () => void): void;
  /** Between these two, what is written is collected to leave at once. */
  cork(): void;
  uncork(): void;
  /** Takes no more output and closes when what was written has left, at the latest after ten seconds. */
  finish(): void;
  /** Closes at once. */
  destroy(): void;
}
