/*
 * Whatever was thrown, as an error that a command can answer with: errors for the user as they are, errors of the system by
 * their text, and bugs of ours as one line with a code of their own. One command ends by it, nothing else.
 */
import { errnoCode, errnoText } from './errno.ts';
import { BlockError, InvariantError } from './errors.ts';

/** One line of a message: what comes from outside may be long. */
const maxText = 400;

/** The error to answer with. Of an error and a failed close behind it the first counts. */
export function asBlockError(thrown: unknown): BlockError {
  if (thrown instanceof BlockError) return thrown;
  if (isSuppressed(thrown)) return asBlockError(thrown.suppressed);
  const code = errnoCode(thrown);
  if (code !== undefined) return new BlockError(errnoText(code), { code, cause: thrown });
  return new BlockError(internalErrorText(thrown), { code: 'ERR_INTERNAL', cause: thrown });
}

/** `internal error: RangeError: Map maximum size exceeded`, in one line. */
export function internalErrorText(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  const kind = thrown instanceof InvariantError || !(thrown instanceof Error) ? '' : `${thrown.name}: `;
  return `internal error: ${kind}${(text.split('\n')[0] ?? '').slice(0, maxText)}`;
}

/** `using` keeps the error of the body in `suppressed` and that of the close in `error`. */
export function isSuppressed(thrown: unknown): thrown is { error: unknown; suppressed: unknown } {
  return thrown instanceof Error && thrown.name === 'SuppressedError' && 'error' in thrown && 'suppressed' in thrown;
}
