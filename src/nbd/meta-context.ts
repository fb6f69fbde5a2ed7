/*
 * Meta contexts: named kinds of extent information. Here base:allocation, which tells holes and zeros.
 * Holds the walk that turns block status into extents, bounded in work and in output, and the matching of client queries.
 * Rule source: NBD protocol document, "Metadata querying"; the order of answers is the order of ids, as QEMU has it.
 */
import type { BlockStatus } from '../core/block/driver.ts';
import { isPending, type Maybe, type YieldBudget } from '../core/util/maybe.ts';
import type { NbdExport } from './export.ts';
import { NBD_MAX_BLOCK_STATUS_EXTENTS, NBD_STATE_HOLE, NBD_STATE_ZERO } from './protocol.ts';

export interface MetaContext {
  readonly id: number;
  readonly name: string;
  /** The 32-bit state of a run. */
  stateOf(status: BlockStatus): number;
}

export const baseAllocation: MetaContext = {
  id: 0,
  name: 'base:allocation',
  stateOf: (status) => (status.data ? 0 : NBD_STATE_HOLE) | (status.zero ? NBD_STATE_ZERO : 0),
};

/**
 * True when `query` names `context`. In a LIST a namespace alone (`base:`) stands for all of it; in a SET it selects nothing.
 */
export function matchesQuery(context: MetaContext, query: string, isList: boolean): boolean {
  if (query === context.name) return true;
  return isList && query.endsWith(':') && context.name.startsWith(query);
}

/** Runs of equal state: lengths and states alternate. At most 2^32 - 1 bytes in all. */
export interface Extents {
  readonly pairs: number[];
}

/** Runs looked up before the event loop gets its turn, whatever the budget says. */
const runsAtOnce = 64;

/**
 * The states of `length` > 0 bytes at `offset`; with `onlyOne` the first run alone. Neighbours of one state are joined.
 * May end short after 131072 runs. Fails when the block status cannot be told.
 */
export function collectExtents(exp: NbdExport, context: MetaContext, offset: number, length: number, onlyOne: boolean, budget: YieldBudget): Maybe<Extents> {
  const pairs: number[] = [];
  let at = offset;
  const end = offset + length;
  for (let runs = 0; runs < runsAtOnce; runs++) {
    const status = exp.status(at, end - at);
    if (isPending(status)) return collectExtentsSlow(exp, context, pairs, at, end, onlyOne, budget, status);
    if (!append(pairs, context.stateOf(status), Math.min(status.length, end - at), onlyOne)) return { pairs };
    at += status.length;
    if (at >= end) return { pairs };
  }
  return collectExtentsSlow(exp, context, pairs, at, end, onlyOne, budget, undefined);
}

async function collectExtentsSlow(
  exp: NbdExport,
  context: MetaContext,
  pairs: number[],
  from: number,
  end: number,
  onlyOne: boolean,
  budget: YieldBudget,
  first: Promise<BlockStatus> | undefined,
): Promise<Extents> {
  let at = from;
  let pending = first;
  while (at < end) {
    const turn = budget.tick(4096);
    if (isPending(turn)) await turn;
    const asked = pending ?? exp.status(at, end - at);
    pending = undefined;
    const status = isPending(asked) ? await asked : asked;
    if (!append(pairs, context.stateOf(status), Math.min(status.length, end - at), onlyOne)) break;
    at += status.length;
  }
  return { pairs };
}

/** Adds a run. False: no more are wanted. */
function append(pairs: number[], state: number, length: number, onlyOne: boolean): boolean {
  const last = pairs.length - 2;
  if (last >= 0 && pairs[last + 1] === state) {
    pairs[last] = (pairs[last] ?? 0) + length;
    return true;
  }
  if (last >= 0 && (onlyOne || pairs.length >= 2 * NBD_MAX_BLOCK_STATUS_EXTENTS)) return false;
  pairs.push(length, state);
  return true;
}
