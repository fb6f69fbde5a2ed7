/* What a session offers to the code that carries out its requests: the export, its limits, its output. Types only. */
import type { Maybe, YieldBudget } from '../core/util/maybe.ts';
import type { NbdExport } from './export.ts';
import type { MetaContext } from './meta-context.ts';
import type { ReplyQueue } from './replies.ts';

export interface Serving {
  readonly exp: NbdExport;
  readonly structured: boolean;
  readonly contexts: readonly MetaContext[];
  readonly replies: ReplyQueue;
  readonly budget: YieldBudget;
  /** The connection is gone: answers are pointless. */
  readonly isClosed: boolean;
  /** A request does not complete at once; `cost` in bytes of memory. */
  begin(cost: number): void;
  /** It is answered; what is queued will be sent. */
  end(cost: number): void;
  /** Undefined while the client takes what is sent, else settles when it does again (or is gone). */
  roomToSend(): Maybe<void>;
}
