/*
 * The facet of a driver that knows events (blkdebug): whoever does something at a named point raises its event on the node
 * below, and requests may stop there. Breakpoints have tags, as the commands `break`, `wait_break`, `resume` and
 * `remove_break` of the qemu-io language use them.
 */
import type { Maybe } from '../util/maybe.ts';
import type { DebugEvent } from './debug-events.ts';
import type { BlockNode } from './node.ts';

export interface DebugPoints {
  /** Somebody came to `event`; settles when it may go on. */
  debugEvent(event: DebugEvent): Maybe<void>;
  /** The next request that comes to `event` stops there under `tag`. Throws ENOENT for an event that does not exist. */
  debugBreakpoint(event: string, tag: string): void;
  /** Takes the breakpoints of that tag away and lets requests that stopped at them go on. Throws ENOENT when there are none. */
  debugRemoveBreakpoint(tag: string): void;
  /** Lets the request that stopped under `tag` go on. Throws ENOENT when none did. */
  debugResume(tag: string): void;
  /** Settles when a request stands at `tag`. */
  debugSuspended(tag: string): Promise<void>;
}

/** Raises `event` on a node; nothing where its driver knows none. */
export function debugEvent(node: BlockNode | undefined, event: DebugEvent): Maybe<void> {
  return node?.state.debug?.debugEvent(event);
}
