/*
 * Extents: runs of equal state as a client is told them, gathered by walking a meta context. Bounded in number, and in what
 * is looked up before others get their turn. Rule source: NBD protocol document, NBD_CMD_BLOCK_STATUS; the limit is qemu-nbd's.
 */
import { isPending, type Maybe, type YieldBudget } from '../core/util/maybe.ts';
import type { Extent, MetaContext } from './meta-context.ts';
import { NBD_MAX_BLOCK_STATUS_EXTENTS } from './protocol.ts';

/** Runs looked up before the event loop gets its turn, whatever the budget says. */
const runsAtOnce = 64;
/** What one run counts in the budget of a turn. */
const runCost = 4096;

export class Extents {
  readonly #limit: number;
  /** Lengths and states alternate. */
  readonly #pairs: number[] = [];

  constructor(limit: number = NBD_MAX_BLOCK_STATUS_EXTENTS) {
    this.#limit = limit;
  }

  get count(): number {
    return this.#pairs.length / 2;
  }

  lengthOf(index: number): number {
    return this.#pairs[2 * index] ?? 0;
  }

  stateOf(index: number): number {
    return this.#pairs[2 * index + 1] ?? 0;
  }

  /** Adds a run, joined to its neighbour of the same state. False: no more are wanted. */
  add(length: number, state: number): boolean {
    const last = this.#pairs.length - 2;
    if (last >= 0 && this.#pairs[last + 1] === state) {
      this.#pairs[last] = (this.#pairs[last] ?? 0) + length;
      return true;
    }
    if (this.count >= this.#limit) return false;
    this.#pairs.push(length, state);
    return true;
  }
}

/** Bytes of memory that `Extents` for a range of this length may come to: runs are no shorter than a sector. */
export function extentsCost(length: number): number {
  return 24 * Math.min(Math.ceil(length / 512), NBD_MAX_BLOCK_STATUS_EXTENTS);
}

/**
 * The states of `length` > 0 bytes at `offset`; with `onlyOne` the first run alone. May end short after 131072 runs. Fails
 * when the context fails.
 */
export function collectExtents(context: MetaContext, offset: number, length: number, onlyOne: boolean, budget: YieldBudget): Maybe<Extents> {
  const extents = new Extents(onlyOne ? 1 : NBD_MAX_BLOCK_STATUS_EXTENTS);
  const end = offset + length;
  let at = offset;
  for (let runs = 0; runs < runsAtOnce; runs++) {
    const found = context.extentAt(at, end - at);
    if (isPending(found)) return collectRest(context, extents, at, end, budget, found);
    if (!extents.add(Math.min(found.length, end - at), found.state)) return extents;
    at += found.length;
    if (at >= end) return extents;
  }
  return collectRest(context, extents, at, end, budget, undefined);
}

async function collectRest(
  context: MetaContext,
  extents: Extents,
  from: number,
  end: number,
  budget: YieldBudget,
  first: Promise<Extent> | undefined,
): Promise<Extents> {
  let at = from;
  let pending = first;
  while (at < end) {
    const turn = budget.tick(runCost);
    if (isPending(turn)) await turn;
    const asked = pending ?? context.extentAt(at, end - at);
    pending = undefined;
    const found = isPending(asked) ? await asked : asked;
    if (!extents.add(Math.min(found.length, end - at), found.state)) break;
    at += found.length;
  }
  return extents;
}
