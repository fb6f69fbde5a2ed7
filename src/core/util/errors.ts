/*
 * The one error class for the user, the medium and the peer, and the check for our own bugs.
 * Messages are QEMU's sentences, built from the inside out by `prepend`.
 */

import type { ErrorCode } from './error-codes.ts';

export type QmpErrorClass = 'GenericError' | 'CommandNotFound' | 'DeviceNotActive' | 'DeviceNotFound';

export interface BlockErrorOptions {
  /** What kind of error it is, for programs. */
  readonly code: ErrorCode;
  readonly qmpClass?: QmpErrorClass | undefined;
  /** QEMU's own second line (`Is another process using the image [f]?`): always printed by command-line tools. */
  readonly detail?: string | undefined;
  /** Our advice: what to do first; shown only where hints are on. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/** An error with a message for people. `prepend` keeps code, class, detail and hint. */
export class BlockError extends Error {
  override readonly name = 'BlockError';
  readonly code: ErrorCode;
  readonly qmpClass: QmpErrorClass;
  readonly detail: string | undefined;
  readonly hint: string | undefined;

  constructor(message: string, options: BlockErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code;
    this.qmpClass = options.qmpClass ?? 'GenericError';
    this.detail = options.detail;
    this.hint = options.hint;
  }

  /** The same error with `context` put before the message, as QEMU's error_prepend does. */
  prepend(context: string): BlockError {
    return this.with({ message: context + this.message });
  }

  /** A copy with some parts replaced. */
  with(parts: { message?: string; hint?: string; detail?: string; qmpClass?: QmpErrorClass }): BlockError {
    return new BlockError(parts.message ?? this.message, {
      code: this.code,
      qmpClass: parts.qmpClass ?? this.qmpClass,
      detail: parts.detail ?? this.detail,
      hint: parts.hint ?? this.hint,
      cause: this.cause,
    });
  }
}

/** A bug of ours: reported in one line with exit code 70, never dressed as an answer to the user. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Throws InvariantError unless `condition` holds. For our own bugs only, never for data from a file or a socket. */
export function invariant(condition: unknown, text: string): asserts condition {
  if (!condition) throw new InvariantError(text);
}
