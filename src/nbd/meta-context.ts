/*
 * Meta contexts: named kinds of knowledge about the bytes of an export, told as extents. A context is one small file that
 * answers one question: what holds at this offset, and how far. The walk over it and its layout on the wire are elsewhere.
 * Rule source: NBD protocol document, "Metadata querying"; ids and order as QEMU has them.
 */
import type { Maybe } from '../core/util/maybe.ts';

/** A run of equal state. */
export interface Extent {
  /** Bytes, > 0. */
  readonly length: number;
  /** The context's own 32-bit number. */
  readonly state: number;
}

export interface MetaContext {
  /** `NAMESPACE:LEAF`. */
  readonly name: string;
  /** Queries of a LIST that stand for it and its like: `base:`. */
  readonly wildcards: readonly string[];
  /** The run that begins at `offset` of the export; at most `length` > 0 bytes are looked at. Neighbours may have the same state. */
  extentAt(offset: number, length: number): Maybe<Extent>;
}

/** A context as an export offers it. */
export interface OfferedContext {
  readonly id: number;
  readonly context: MetaContext;
}

/** Ids that QEMU gives to these alone; the others follow in the order in which they were offered. */
const fixedIds: ReadonlyMap<string, number> = new Map([
  ['base:allocation', 0],
  ['qemu:allocation-depth', 1],
]);

/** True when `query` names `context`. A wildcard stands for all of its kind in a LIST; in a SET it selects nothing. */
export function matchesQuery(context: MetaContext, query: string, isList: boolean): boolean {
  return query === context.name || (isList && context.wildcards.includes(query));
}

/** The contexts of one export, by id. More may come while it is served; a client keeps those that it selected. */
export class ContextList {
  #offered: readonly OfferedContext[] = [];
  #nextId = fixedIds.size;

  get offered(): readonly OfferedContext[] {
    return this.#offered;
  }

  /** Offers `context` to clients that ask from now on. False: there is one of that name. */
  add(context: MetaContext): boolean {
    if (this.#offered.some((other) => other.context.name === context.name)) return false;
    const id = fixedIds.get(context.name) ?? this.#nextId++;
    this.#offered = [...this.#offered, { id, context }].sort((a, b) => a.id - b.id);
    return true;
  }
}
