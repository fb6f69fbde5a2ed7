/*
 * Reading that keeps: what is read from below an image is written into it, so that the next read finds it there. Reads and
 * copies hold the range alone, whole clusters of it: a write that comes meanwhile is behind the copy, never under it.
 * Rule source: observed allocation after reads of images opened for copy-on-read.
 */
import { isZero } from '../util/bytes.ts';
import { alignDown, alignUp } from '../util/math.ts';
import { chain, isPending, type Maybe } from '../util/maybe.ts';
import { nodeStatus } from './block-status.ts';
import { debugEvent } from './debug-points.ts';
import { type ReqFlags, reqFlag } from './driver.ts';
import { readNode, zeroLocked } from './io.ts';
import type { BlockNode } from './node.ts';
import { underLock } from './request.ts';

/** Largest piece that is copied at once: a piece becomes zeros where all of it is zero. */
const maxPiece = 16 * 1024 * 1024;

/** Fills `into` from `offset`, within the node's size; what the node does not hold itself it holds after. The read fails when that does. */
export function readCopyingUp(node: BlockNode, offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
  return chain(isHeld(node, offset, into.length), (held) =>
    held ? readNode(node, offset, into, flags) : underLock(node, 'exclusive', offset, into.length, () => readLocked(node, offset, into, flags)),
  );
}

/** Whether the node's own layer has all of the range. */
function isHeld(node: BlockNode, offset: number, length: number): Maybe<boolean> {
  const end = offset + length;
  for (let at = offset; at < end; ) {
    const found = nodeStatus(node, at, end - at, false);
    if (isPending(found)) return found.then((run) => run.allocated && isHeld(node, at + run.length, end - at - run.length));
    if (!found.allocated) return false;
    at += found.length;
  }
  return true;
}

/** What is copied at once, and not less. */
function unitOf({ limits }: BlockNode): number {
  return Math.max(limits.requestAlign, limits.clusterSize === 0 ? 1 : limits.zeroAlign);
}

async function readLocked(node: BlockNode, offset: number, into: Uint8Array, flags: ReqFlags): Promise<void> {
  const unit = unitOf(node);
  const end = offset + into.length;
  const stop = Math.min(alignUp(end, unit), Math.max(end, node.size()));
  const most = Math.max(unit, alignDown(Math.min(maxPiece, node.limits.maxTransfer || maxPiece), unit));
  for (let at = alignDown(offset, unit); at < stop; ) {
    const asked = nodeStatus(node, at, Math.min(most, stop - at), false);
    const found = isPending(asked) ? await asked : asked;
    // a run of the layer ends with a unit, or with the image
    const bytes = new Uint8Array(found.length);
    await node.state.read(at, bytes, flags);
    if (!found.allocated) await keep(node, at, bytes);
    const from = Math.max(at, offset);
    const to = Math.min(at + bytes.length, end);
    if (to > from) into.set(bytes.subarray(from - at, to - at), from - offset);
    at += bytes.length;
  }
}

async function keep(node: BlockNode, offset: number, bytes: Uint8Array): Promise<void> {
  node.isDirty = true;
  await debugEvent(node, 'cor_write');
  if (isZero(bytes)) await zeroLocked(node, offset, bytes.length, reqFlag.writeUnchanged);
  else await node.state.write?.(offset, bytes, reqFlag.writeUnchanged);
}
