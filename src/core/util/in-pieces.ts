/* A long range in pieces, one after the other, however many these are: a chain of calls would end with the stack. */
import { isPending, type Maybe } from './maybe.ts';

/** Runs `body` over [offset, offset + length) in pieces of at most `step`; stays synchronous while the pieces are. */
export function inPieces(offset: number, length: number, step: number, body: (offset: number, length: number) => Maybe<void>): Maybe<void> {
  const end = offset + length;
  for (let at = offset; at < end; at += step) {
    const result = body(at, Math.min(step, end - at));
    if (isPending(result)) return inPiecesSlow(result, at + step, end, step, body);
  }
}

async function inPiecesSlow(
  first: Promise<void>,
  offset: number,
  end: number,
  step: number,
  body: (offset: number, length: number) => Maybe<void>,
): Promise<void> {
  await first;
  for (let at = offset; at < end; at += step) await body(at, Math.min(step, end - at));
}
