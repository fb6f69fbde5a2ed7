/*
 * Extent queries: the state of one node (with what its children add) and of a chain of backing nodes and filters.
 * Rule source: QEMU's bdrv_block_status semantics as documented for `qemu-img map` and NBD base:allocation.
 */
import { alignUp } from '../util/math.ts';
import { chain, isPending, type Maybe } from '../util/maybe.ts';
import { imageBelow, skipFilters } from './chain.ts';
import type { BlockStatus } from './driver.ts';
import type { BlockNode } from './node.ts';

/** The state of the run at `offset` of `node` itself, at most `length` long; past the end `length` 0 cannot be asked. */
export function nodeStatus(node: BlockNode, offset: number, length: number, precise: boolean): Maybe<BlockStatus> {
  const state = node.state;
  const size = node.size();
  const left = Math.min(length, size - offset);
  if (left <= 0) return pastEnd(node, size, offset, length);
  if (state.status === undefined) {
    const filtered = node.filtered;
    if (filtered !== undefined)
      return forwardTo(node, { length: left, data: false, zero: false, allocated: false, hostOffset: offset, child: filtered, forward: true }, precise);
    // a driver that cannot tell: everything is data
    return { length: left, data: true, zero: false, allocated: true, ...(node.driver.kind === 'protocol' ? { hostOffset: offset, holder: node } : {}) };
  }
  return chain(state.status(offset, left, precise), (found) => {
    if (found.forward) return forwardTo(node, found, precise);
    let status: BlockStatus = found.length > left ? { ...found, length: left } : found;
    if (status.hostOffset !== undefined) status = { ...status, holder: status.child?.node ?? node };
    // the image decided "not here": without a backing node, or past its end, that reads as zeros
    if (!status.allocated && !status.zero && !status.data && node.driver.supportsBacking === true) {
      const backing = node.backing;
      if (backing === undefined) status = { ...status, zero: true };
      else if (offset >= backing.node.size()) status = { ...status, zero: true };
    }
    const child = status.child;
    if (precise && status.recurse === true && status.data && !status.zero && child !== undefined && status.hostOffset !== undefined) {
      return mergeHolesBelow(status, child.node, status.hostOffset);
    }
    return status;
  });
}

/** Zeros; of a medium the rest of its last sector still has its place. */
function pastEnd(node: BlockNode, size: number, offset: number, length: number): BlockStatus {
  const left = alignUp(size, 512) - offset;
  const zeros = { data: false, zero: true, allocated: false };
  if (node.driver.isMedium !== true || left <= 0) return { ...zeros, length };
  return { ...zeros, length: Math.min(length, left), hostOffset: offset, holder: node };
}

/** Data in this node that lies in a hole of the file below reads as zeros. */
function mergeHolesBelow(status: BlockStatus, below: BlockNode, hostOffset: number): Maybe<BlockStatus> {
  return chain(nodeStatus(below, hostOffset, status.length, true), (file) => {
    if (hostOffset >= below.size()) return { ...status, zero: true };
    return { ...status, length: Math.min(status.length, file.length), zero: file.zero };
  });
}

function forwardTo(node: BlockNode, found: BlockStatus, precise: boolean): Maybe<BlockStatus> {
  const child = found.child ?? node.filtered;
  if (child === undefined) return found;
  const at = found.hostOffset ?? 0;
  return chain(nodeStatus(child.node, at, found.length, precise), (below) => ({
    ...below,
    length: Math.min(found.length, below.length),
    // a filter decides nothing itself: what is allocated is told by the layer below; raw on a protocol is always "here"
    allocated: node.filtered === undefined ? true : below.allocated,
  }));
}

/** A run of a chain: its state, and the node whose layer decided it (undefined: none did, it reads as zeros). */
export interface ChainStatus extends BlockStatus {
  /** Distance from the top in backing links, filters not counted. */
  readonly depth: number;
  readonly node: BlockNode;
}

/** The state of the run at `offset` through `top` and what lies below it, down to but not including `base`. */
export function chainStatus(top: BlockNode, base: BlockNode | undefined, offset: number, length: number, precise: boolean): Maybe<ChainStatus> {
  return descend(skipFilters(top), base, offset, length, precise, 0, top.size());
}

function descend(
  node: BlockNode,
  base: BlockNode | undefined,
  offset: number,
  length: number,
  precise: boolean,
  depth: number,
  topSize: number,
): Maybe<ChainStatus> {
  return chain(nodeStatus(node, offset, length, precise), (status) => {
    if (status.allocated || offset >= node.size()) return { ...status, depth, node };
    const below = imageBelow(node);
    if (below === undefined || below === base) return { ...status, depth, node };
    const found = Math.min(status.length, topSize - offset);
    if (offset >= below.size()) {
      // a short backing: the layer above it provides the zeros
      return { ...status, length: found, zero: true, data: false, allocated: true, depth: depth + 1, node: below };
    }
    const lower = descend(below, base, offset, Math.min(found, below.size() - offset), precise, depth + 1, topSize);
    return isPending(lower) ? confirm(lower, node, offset, precise, depth) : lower;
  });
}

/**
 * An answer of the layers below that took time: meanwhile old data may have been copied up into `node` (copy-before-write)
 * and then have changed below. Asked again, `node` decides itself what it holds by now.
 */
async function confirm(lower: Promise<ChainStatus>, node: BlockNode, offset: number, precise: boolean, depth: number): Promise<ChainStatus> {
  const found = await lower;
  const again = await nodeStatus(node, offset, found.length, precise);
  return again.allocated ? { ...again, depth, node } : { ...found, length: Math.min(found.length, again.length) };
}
