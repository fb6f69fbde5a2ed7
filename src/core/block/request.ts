/*
 * Requests on a node: each holds its range of the node's lock, shared, or alone when it is serialising (widened to whole
 * clusters then). A request that finds its range free and is answered at once leaves nothing behind: nobody can look
 * meanwhile. All others are counted, so that a drained section can wait for them.
 * Locks are taken from a parent node down to its children and never the other way, so no circle can close; no request
 * waits for a drained section or the graph turn while it holds a range. A rate limit (throttle) is waited for with the range
 * held: time ends that, and so does a drained section.
 */
import { alignDown, alignUp } from '../util/math.ts';
import { isPending, type Maybe } from '../util/maybe.ts';
import type { RangeMode } from '../util/range-lock.ts';
import type { BlockNode, ChangeKind } from './node.ts';

/**
 * Runs `body` as a request on [offset, offset + length), as soon as no conflicting request is ahead. One that changes the
 * node has a `kind`: observers are told when it has ended, well or not, before any that waits for its range goes on.
 */
export function underLock(node: BlockNode, mode: RangeMode, offset: number, length: number, body: () => Maybe<void>, kind?: ChangeKind): Maybe<void> {
  const { lock } = node;
  const start = startOf(node, mode, offset);
  const end = endOf(node, mode, offset + length);
  const change = kind === undefined ? undefined : { kind, offset, length };
  if (!lock.isFree(start, end, mode)) return whenFree(node, mode, start, end, body, change);
  let result: Maybe<void>;
  try {
    result = body();
  } catch (error) {
    tellObservers(node, change);
    throw error;
  }
  if (isPending(result)) return holding(node, mode, start, end, result, change);
  tellObservers(node, change);
}

/** Holds the range of a shared request that found it free, until `pending` settles. */
export function trackShared(node: BlockNode, offset: number, length: number, pending: Promise<void>, kind?: ChangeKind): Promise<void> {
  return holding(node, 'shared', offset, offset + length, pending, kind === undefined ? undefined : { kind, offset, length });
}

/** Counts a request without a range (a flush) until it settles. */
export function trackPlain(node: BlockNode, pending: Promise<void>): Promise<void> {
  node.enter();
  return pending.finally(() => node.leave());
}

interface Change {
  readonly kind: ChangeKind;
  readonly offset: number;
  readonly length: number;
}

function tellObservers(node: BlockNode, change: Change | undefined): void {
  if (change !== undefined) for (const observer of node.observers) observer.changed(change.kind, change.offset, change.length);
}

function holding(node: BlockNode, mode: RangeMode, start: number, end: number, pending: Promise<void>, change: Change | undefined): Promise<void> {
  const hold = node.lock.hold(start, end, mode);
  node.enter();
  const done = (): void => {
    // whoever observes by now, though it may not have when the request began
    tellObservers(node, change);
    node.lock.release(hold);
    node.leave();
  };
  return pending.then(done, (error: unknown) => {
    done();
    throw error;
  });
}

async function whenFree(node: BlockNode, mode: RangeMode, start: number, end: number, body: () => Maybe<void>, change: Change | undefined): Promise<void> {
  node.enter();
  const hold = await node.lock.acquire(start, end, mode);
  try {
    await body();
  } finally {
    tellObservers(node, change);
    node.lock.release(hold);
    node.leave();
  }
}

/** What a serialising request changes beside its range: the blocks that it reads, changes and writes back, or copies whole. */
function unitOf(node: BlockNode): number {
  return Math.max(node.limits.requestAlign, node.limits.clusterSize, 1);
}

function startOf(node: BlockNode, mode: RangeMode, offset: number): number {
  return mode === 'shared' ? offset : alignDown(offset, unitOf(node));
}

function endOf(node: BlockNode, mode: RangeMode, end: number): number {
  return mode === 'shared' || end === Number.POSITIVE_INFINITY ? end : alignUp(end, unitOf(node));
}
