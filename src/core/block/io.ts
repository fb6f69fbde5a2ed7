/*
 * The generic request path of a node: alignment, zeros past the end, splitting, serialising, tracking, emulation of what
 * a driver lacks, telling observers of changes. Entered by Child and BlockBackend only. A request that the driver answers at once leaves no promise and
 * no record behind; all others go through the slow halves at the end of each section.
 * Must not know any format. Rule source: QEMU's documented behaviour of block requests (house rules in ARCHITECTURE.md).
 */

import { isZero } from '../util/bytes.ts';
import { BlockError } from '../util/errors.ts';
import { inPieces } from '../util/in-pieces.ts';
import { alignDown, alignUp } from '../util/math.ts';
import { chain, isPending, type Maybe } from '../util/maybe.ts';
import { type ReqFlags, reqFlag, type TruncateOptions } from './driver.ts';
import type { BlockNode, ChangeKind } from './node.ts';
import { trackPlain, trackShared, underLock } from './request.ts';

/** Largest buffer of zeros or of a bounce: long zero writes and misaligned requests go in pieces of this. */
const maxBounce = 1024 * 1024;
const zeroBuffer = new Uint8Array(64 * 1024);

/** Bytes of a bounce of whole blocks. */
function bounceOf(align: number): number {
  return Math.max(align, alignDown(maxBounce, align));
}

// -- read -------------------------------------------------------------------------------------------------------------

/** Fills `into` from `offset`; past the end of the node reads zeros. */
export function readNode(node: BlockNode, offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
  const length = into.length;
  if (length === 0) return;
  const state = node.state;
  const end = offset + length;
  const limits = state.limits;
  if (
    node.lock.busy !== 0 ||
    end > state.size() ||
    (limits.requestAlign !== 1 && (offset % limits.requestAlign !== 0 || length % limits.requestAlign !== 0)) ||
    (limits.maxTransfer !== 0 && length > limits.maxTransfer)
  ) {
    return readSpecial(node, offset, into, flags);
  }
  const result = state.read(offset, into, flags);
  return isPending(result) ? trackShared(node, offset, length, result) : undefined;
}

function readSpecial(node: BlockNode, offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
  const { length } = into;
  if (!node.lock.isFree(offset, offset + length, 'shared')) return underLock(node, 'shared', offset, length, () => readLocked(node, offset, into, flags));
  const result = readLocked(node, offset, into, flags);
  return isPending(result) ? trackShared(node, offset, length, result) : undefined;
}

/** The read of a request whose range is free or held. The size is looked at here: it may change while a request waits. */
function readLocked(node: BlockNode, offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
  const size = node.size();
  if (offset >= size) {
    into.fill(0);
    return;
  }
  if (offset + into.length > size) {
    into.fill(0, size - offset);
    return readLocked(node, offset, into.subarray(0, size - offset), flags);
  }
  const { requestAlign, maxTransfer } = node.limits;
  if (offset % requestAlign !== 0 || into.length % requestAlign !== 0) return readMisaligned(node, offset, into, flags);
  if (maxTransfer === 0 || into.length <= maxTransfer) return node.state.read(offset, into, flags);
  return inPieces(offset, into.length, maxTransfer, (at, length) => node.state.read(at, into.subarray(at - offset, at - offset + length), flags));
}

async function readMisaligned(node: BlockNode, offset: number, into: Uint8Array, flags: ReqFlags): Promise<void> {
  const align = node.limits.requestAlign;
  const step = bounceOf(align);
  const end = offset + into.length;
  for (let at = alignDown(offset, align); at < end; at += step) {
    const bounce = new Uint8Array(Math.min(step, alignUp(end, align) - at));
    await node.state.read(at, bounce, flags);
    const from = Math.max(at, offset);
    const to = Math.min(at + bounce.length, end);
    into.set(bounce.subarray(from - at, to - at), from - offset);
  }
}

// -- write ------------------------------------------------------------------------------------------------------------

/** Writes `from`. Past the end it is up to the driver (files grow); block backends check bounds before. */
export function writeNode(node: BlockNode, offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void> {
  const length = from.length;
  if (length === 0) return;
  const state = node.state;
  if (state.write === undefined || node.readOnly) throw cannotWrite(node);
  const limits = state.limits;
  if (
    node.lock.busy !== 0 ||
    (flags & (reqFlag.serialising | reqFlag.fua | reqFlag.compressed)) !== 0 ||
    node.watchesWrites ||
    (limits.requestAlign !== 1 && (offset % limits.requestAlign !== 0 || length % limits.requestAlign !== 0)) ||
    (limits.maxTransfer !== 0 && length > limits.maxTransfer)
  ) {
    return writeSpecial(node, offset, from, flags);
  }
  const result = state.write(offset, from, flags);
  noteWrite(node, offset + length);
  return isPending(result) ? trackShared(node, offset, length, result, 'write') : undefined;
}

function noteWrite(node: BlockNode, end: number): void {
  node.isDirty = true;
  if (end > node.highestWrite) node.highestWrite = end;
}

function writeSpecial(node: BlockNode, offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void> {
  if ((flags & reqFlag.compressed) !== 0 && !node.takesCompressed) throw new BlockError('Operation not supported', { code: 'ENOTSUP' });
  const detect = node.settings.detectZeroes;
  if (detect !== 'off' && isZero(from)) {
    return zeroNode(node, offset, from.length, detect === 'unmap' && node.settings.discard ? flags | reqFlag.mayUnmap : flags);
  }
  noteWrite(node, offset + from.length);
  return changing(node, 'write', offset, from.length, flags, (rest) => writeUntracked(node, offset, from, rest));
}

/** Runs `body` as a changing request on the node: alone when it is serialising, `fua` emulated with a flush. */
function changing(node: BlockNode, kind: ChangeKind, offset: number, length: number, flags: ReqFlags, body: (flags: ReqFlags) => Maybe<void>): Maybe<void> {
  const mode = (flags & reqFlag.serialising) !== 0 || isMisaligned(node, offset, length) ? 'exclusive' : 'shared';
  let rest = flags & ~reqFlag.serialising;
  const mustFlush = (rest & reqFlag.fua) !== 0 && (node.state.writeFlags & reqFlag.fua) === 0;
  if (mustFlush) rest &= ~reqFlag.fua;
  const result = underLock(node, mode, offset, length, () => body(rest), kind);
  return mustFlush ? chain(result, () => flushNode(node)) : result;
}

function isMisaligned(node: BlockNode, offset: number, length: number): boolean {
  const align = node.limits.requestAlign;
  return align !== 1 && (offset % align !== 0 || length % align !== 0);
}

function writeUntracked(node: BlockNode, offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void> {
  if (isMisaligned(node, offset, from.length)) return writeMisaligned(node, offset, from, flags);
  const { maxTransfer } = node.limits;
  const state = node.state;
  if (state.write === undefined) throw cannotWrite(node);
  if (maxTransfer === 0 || from.length <= maxTransfer) return state.write(offset, from, flags);
  return inPieces(offset, from.length, maxTransfer, (at, length) => state.write?.(at, from.subarray(at - offset, at - offset + length), flags));
}

/** Read-modify-write of the edges; the caller holds the range serialised. */
async function writeMisaligned(node: BlockNode, offset: number, from: Uint8Array, flags: ReqFlags): Promise<void> {
  const align = node.limits.requestAlign;
  const step = bounceOf(align);
  const end = offset + from.length;
  const { debug } = node.state;
  for (let at = alignDown(offset, align); at < end; at += step) {
    const bounce = new Uint8Array(Math.min(step, alignUp(end, align) - at));
    const edge = at < offset ? 'head' : 'tail';
    if (at < offset || at + bounce.length > end) {
      const known = Math.min(bounce.length, Math.max(0, alignUp(node.size(), align) - at));
      if (debug !== undefined) await debug.debugEvent(`pwritev_rmw_${edge}`);
      if (known > 0) await node.state.read(at, bounce.subarray(0, known), 0);
      if (debug !== undefined) await debug.debugEvent(`pwritev_rmw_after_${edge}`);
    }
    const start = Math.max(at, offset);
    bounce.set(from.subarray(start - offset, Math.min(at + bounce.length, end) - offset), start - at);
    await node.state.write?.(at, bounce, flags);
  }
}

// -- zero -------------------------------------------------------------------------------------------------------------

/** Makes the range read as zeros. With `noFallback` fails with ENOTSUP where only a write of zeros would do. */
export function zeroNode(node: BlockNode, offset: number, length: number, flags: ReqFlags): Maybe<void> {
  if (length === 0) return;
  const state = node.state;
  if (state.write === undefined || node.readOnly) throw cannotWrite(node);
  let rest = flags;
  if ((rest & reqFlag.mayUnmap) !== 0 && !node.settings.discard) rest &= ~reqFlag.mayUnmap;
  noteWrite(node, offset + length);
  return changing(node, 'zero', offset, length, rest, (inner) => zeroUntracked(node, offset, length, inner));
}

function zeroUntracked(node: BlockNode, offset: number, length: number, flags: ReqFlags): Maybe<void> {
  const align = Math.max(node.limits.zeroAlign, node.limits.requestAlign);
  const end = offset + length;
  const bodyStart = Math.min(alignUp(offset, align), end);
  const bodyEnd = Math.max(alignDown(end, align), bodyStart);
  // the common whole: nothing to split off
  if (bodyStart === offset && bodyEnd === end) return zeroPiece(node, offset, length, flags);
  // the last piece of an image whose size is no multiple of the alignment is whole too
  const tailEnd = end === node.size() ? end : bodyEnd;
  return chain(bodyStart > offset ? zeroPiece(node, offset, bodyStart - offset, flags) : undefined, () =>
    chain(tailEnd > bodyStart ? zeroPiece(node, bodyStart, tailEnd - bodyStart, flags) : undefined, () =>
      end > tailEnd && tailEnd >= bodyStart ? zeroPiece(node, tailEnd, end - tailEnd, flags) : undefined,
    ),
  );
}

/** The same for a range that is held already, whole units of the driver's. */
export function zeroLocked(node: BlockNode, offset: number, length: number, flags: ReqFlags): Maybe<void> {
  return zeroUntracked(node, offset, length, flags);
}

function zeroPiece(node: BlockNode, offset: number, length: number, flags: ReqFlags): Maybe<void> {
  const state = node.state;
  const tried: Maybe<boolean> =
    state.zero === undefined || isMisaligned(node, offset, length)
      ? false
      : state.zero(offset, length, flags & (state.writeFlags | reqFlag.mayUnmap | reqFlag.noFallback));
  return chain(tried, (done) => {
    if (done) return;
    if ((flags & reqFlag.noFallback) !== 0) throw new BlockError('Operation not supported', { code: 'ENOTSUP' });
    const writeFlags = flags & ~(reqFlag.mayUnmap | reqFlag.noFallback);
    return inPieces(offset, length, zeroBuffer.length, (at, piece) => writeUntracked(node, at, zeroBuffer.subarray(0, piece), writeFlags));
  });
}

// -- discard, flush, truncate -----------------------------------------------------------------------------------------

/** A hint that the range is not needed; dropped unless the node was opened with discard=unmap. */
export function discardNode(node: BlockNode, offset: number, length: number): Maybe<void> {
  if (length === 0) return;
  if (node.readOnly) throw cannotWrite(node);
  const state = node.state;
  if (!node.settings.discard || state.discard === undefined) return;
  node.isDirty = true;
  return changing(node, 'discard', offset, length, 0, () => state.discard?.(offset, length));
}

/** Everything that settled before is on stable storage after. */
export function flushNode(node: BlockNode): Maybe<void> {
  if (!node.isOpen || node.readOnly) return;
  const { debug } = node.primary?.node.state ?? {};
  const below = (): Maybe<void> => (node.state.flushesChildren === true ? undefined : flushChildren(node));
  const result =
    debug === undefined
      ? chain(node.state.flush?.(), below)
      : chain(debug.debugEvent('flush_to_os'), () => chain(node.state.flush?.(), () => chain(debug.debugEvent('flush_to_disk'), below)));
  if (isPending(result)) return trackPlain(node, result);
}

function flushChildren(node: BlockNode, from = 0): Maybe<void> {
  const { children } = node;
  for (let index = from; index < children.length; index++) {
    const below = children[index]?.node;
    // a backing file is read only: nothing of ours is in it
    if (below === undefined || below.readOnly) continue;
    const result = flushNode(below);
    if (isPending(result)) return result.then(() => flushChildren(node, index + 1));
  }
}

/**
 * Changes the node's size, then tells its parents. The caller holds the resize permission. Nothing is in flight behind the
 * smaller of both sizes meanwhile, and what comes later sees the new size; users at the root are held by a drained section.
 */
export async function truncateNode(node: BlockNode, size: number, options: TruncateOptions): Promise<void> {
  if (node.readOnly) throw new BlockError('Image is read-only', { code: 'EACCES' });
  if (size < 0) throw new BlockError('Image size cannot be negative', { code: 'EINVAL' });
  await underLock(node, 'exclusive', Math.min(node.size(), size), Number.POSITIVE_INFINITY, () => truncateLocked(node, size, options));
  for (const edge of [...node.parents]) edge.parent.sizeChanged?.();
}

async function truncateLocked(node: BlockNode, size: number, options: TruncateOptions): Promise<void> {
  const { state } = node;
  if (state.truncate !== undefined) await state.truncate(size, options);
  else if (node.filtered !== undefined) await truncateNode(node.filtered.node, size, options);
  else throw new BlockError('Image format driver does not support resize', { code: 'ENOTSUP' });
  node.isDirty = true;
  for (const observer of node.observers) observer.resized(node.size());
}

/** Tells everybody that the node's size is another, after the driver changed it by itself. */
export function sizeHasChanged(node: BlockNode): void {
  for (const observer of node.observers) observer.resized(node.size());
  for (const edge of [...node.parents]) edge.parent.sizeChanged?.();
}

function cannotWrite(node: BlockNode): BlockError {
  return node.readOnly ? new BlockError('Operation not permitted', { code: 'EPERM' }) : new BlockError('Operation not supported', { code: 'ENOTSUP' });
}
