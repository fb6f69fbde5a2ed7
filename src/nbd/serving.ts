/* What a session offers to the code that carries out its requests: the export, its limits, its output. */
import type { YieldBudget } from '../core/util/maybe.ts';
import type { NbdExport } from './export.ts';
import type { Framing } from './framing.ts';
import type { OfferedContext } from './meta-context.ts';
import { isForeseen, nbdErrno } from './protocol.ts';
import type { ReplyQueue } from './replies.ts';
import type { RequestHeader } from './wire.ts';

export interface Serving {
  readonly exp: NbdExport;
  readonly framing: Framing;
  /** What the client selected, by id. */
  readonly contexts: readonly OfferedContext[];
  readonly replies: ReplyQueue;
  readonly budget: YieldBudget;
  /** The connection is gone: answers are pointless. */
  readonly isClosed: boolean;
  /**
   * A request does not complete at once: `work` answers it. `cost`: bytes of memory that it keeps until then, beside leases.
   * Such work needs no room to complete. What is queued when it settles will be sent; work that fails was not foreseen and ends the session.
   */
  later(cost: number, work: Promise<void>): void;
  /**
   * Undefined while the client takes what is sent, so that a lease may be taken in this very turn. Else a promise of room
   * for `size` bytes (or of the session's end), which has to be given back with `giveRoom` once the lease is taken.
   */
  takeRoom(size: number): Promise<void> | undefined;
  giveRoom(size: number): void;
  /** Takes room that there was when last asked in this turn. */
  keep(size: number): void;
}

/**
 * The answer to a request that failed: the protocol's number for an error of the block layer or the system, and `failure`.
 * Throws what is neither: a bug of ours is no answer.
 */
export function answerError(to: Serving, request: RequestHeader, error: unknown, failure: string): void {
  if (!isForeseen(error)) throw error;
  to.replies.error(request, nbdErrno(error), failure);
}
