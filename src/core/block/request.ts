/*
 * Tracked requests: what is in flight on a node, overlap tests, serialising requests.
 * A request is tracked only once it is pending: a synchronous one cannot be seen by anybody. Rules (architecture):
 * a request never waits for one that is itself waiting, and searches again after each wake.
 */
import { alignDown, alignUp } from '../util/math.ts';
import type { Maybe } from '../util/maybe.ts';
import type { BlockNode } from './node.ts';

export type RequestKind = 'read' | 'write' | 'discard' | 'flush' | 'truncate';

export interface TrackedRequest {
  readonly kind: RequestKind;
  readonly offset: number;
  readonly length: number;
  readonly serialising: boolean;
  /** The range that others are tested against; widened to clusters for a serialising request. */
  readonly overlapOffset: number;
  readonly overlapLength: number;
  waitingFor: TrackedRequest | undefined;
  waiters: (() => void)[] | undefined;
}

/** Starts tracking; the caller calls `endRequest` when it settles. Raises the node's in-flight count. */
export function beginRequest(node: BlockNode, kind: RequestKind, offset: number, length: number, serialising: boolean): TrackedRequest {
  const align = serialising ? Math.max(node.limits.requestAlign, node.limits.clusterSize, 1) : node.limits.requestAlign;
  const start = alignDown(offset, align);
  const request: TrackedRequest = {
    kind,
    offset,
    length,
    serialising,
    overlapOffset: start,
    overlapLength: alignUp(offset + length, align) - start,
    waitingFor: undefined,
    waiters: undefined,
  };
  node.tracked.push(request);
  if (serialising) node.serialisingCount++;
  node.inFlight++;
  return request;
}

export function endRequest(node: BlockNode, request: TrackedRequest): void {
  const index = node.tracked.indexOf(request);
  const last = node.tracked.pop();
  if (last !== undefined && last !== request) node.tracked[index] = last;
  if (request.serialising) node.serialisingCount--;
  const waiters = request.waiters;
  request.waiters = undefined;
  if (waiters !== undefined) for (const wake of waiters) wake();
  node.leave();
}

/** The first request in flight that `self` has to wait for: one of the two is serialising, they overlap, and it is not waiting itself. */
function findConflict(node: BlockNode, self: TrackedRequest): TrackedRequest | undefined {
  const end = self.overlapOffset + self.overlapLength;
  for (const other of node.tracked) {
    if (other === self || (!other.serialising && !self.serialising)) continue;
    if (other.kind === 'flush') continue;
    if (other.overlapOffset >= end || self.overlapOffset >= other.overlapOffset + other.overlapLength) continue;
    if (other.waitingFor !== undefined) continue;
    return other;
  }
  return undefined;
}

/** Waits until nothing in flight conflicts with `self`. */
export function waitForConflicts(node: BlockNode, self: TrackedRequest): Maybe<void> {
  const first = findConflict(node, self);
  return first === undefined ? undefined : waitForConflictsSlow(node, self, first);
}

async function waitForConflictsSlow(node: BlockNode, self: TrackedRequest, first: TrackedRequest): Promise<void> {
  let conflict: TrackedRequest | undefined = first;
  while (conflict !== undefined) {
    const other: TrackedRequest = conflict;
    self.waitingFor = other;
    await new Promise<void>((resolve) => {
      other.waiters ??= [];
      other.waiters.push(resolve);
    });
    self.waitingFor = undefined;
    conflict = findConflict(node, self);
  }
}

/** True when a plain request on the range would have to wait, or a serialising one would. */
export function hasConflict(node: BlockNode, offset: number, length: number, serialising: boolean): boolean {
  if (node.tracked.length === 0 || (!serialising && node.serialisingCount === 0)) return false;
  const align = serialising ? Math.max(node.limits.requestAlign, node.limits.clusterSize, 1) : 1;
  const start = alignDown(offset, align);
  const end = alignUp(offset + length, align);
  return node.tracked.some(
    (other) => (serialising || other.serialising) && other.kind !== 'flush' && other.overlapOffset < end && start < other.overlapOffset + other.overlapLength,
  );
}
