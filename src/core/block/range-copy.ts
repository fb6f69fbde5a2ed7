/*
 * RangeCopy: moves a range of bytes from one edge to another: asks what lies there, reads data into a buffer of its own pool,
 * writes them, or makes zeros of what is zero. Remembers which side of a move failed. Completes synchronously when both
 * sides do. Keeps no record of what was moved: who asks decides what, when and how often.
 */
import { BlockError } from '../util/errors.ts';
import { alignDown } from '../util/math.ts';
import { chain, isPending, type Maybe } from '../util/maybe.ts';
import { chainStatus } from './block-status.ts';
import { imageBelow, isReachable } from './chain.ts';
import type { Child } from './child.ts';
import { type ReqFlags, reqFlag } from './driver.ts';

/** Largest piece read into one buffer. */
export const maxPiece: number = 1024 * 1024;

/** What one step of a copy does with a run. */
interface Piece {
  readonly kind: 'data' | 'zero' | 'skip';
  readonly length: number;
}

export type CopySide = 'read' | 'write';

/** Which side of a copy failed: 'read' = the source. Undefined for an error that no copy raised. */
export function failedSide(error: unknown): CopySide | undefined {
  return typeof error === 'object' && error !== null ? sides.get(error) : undefined;
}
const sides = new WeakMap<object, CopySide>();

export class RangeCopy {
  /** Data go to the target as compressed clusters: one unit at a time then. */
  compress = false;
  /** What was copied is discarded from the source. */
  discardSource = false;
  /** Leave out what the top layer of the source does not hold itself. */
  skipUnallocated = false;
  readonly #source: Child;
  readonly #target: Child;
  /** Runs are cut to multiples of it. */
  readonly #unit: number;
  /** End of the source when the copy was made. */
  readonly #size: number;
  /** Flags of all writes to the target. */
  readonly writeFlags: ReqFlags;
  readonly #buffers: Uint8Array[] = [];

  /** Moves between two edges of one parent, in runs of whole units (a power of two), but for the end of the source. */
  constructor(source: Child, target: Child, unit: number) {
    this.#source = source;
    this.#target = target;
    this.#unit = unit;
    this.#size = source.size();
    // readers of the target may be reading the source through it: they must not see the two halves of a change
    this.writeFlags = isReachable(target.node, source.node) ? reqFlag.serialising : reqFlag.none;
  }

  /** Moves [offset, end), which begins at a unit. The error tells its side by `failedSide`. */
  move(offset: number, end: number): Maybe<void> {
    return this.#pieces(offset, end);
  }

  /** Whether the top layer of the source holds something of the run at `offset`, which is at most `length` long. */
  ownRun(offset: number, length: number): Maybe<{ readonly length: number; readonly isHeld: boolean }> {
    const { node } = this.#source;
    return chain(chainStatus(node, imageBelow(node), offset, length, false), (found) => ({ length: found.length, isHeld: found.allocated === true }));
  }

  #pieces(offset: number, end: number): Maybe<void> {
    for (let at = offset; at < end; ) {
      const piece = this.#classify(at, end - at);
      if (isPending(piece)) return this.#piecesSlow(piece, at, end);
      const result = this.#move(piece, at);
      at += piece.length;
      if (isPending(result)) return this.#piecesAfter(result, at, end);
    }
  }

  async #piecesAfter(pending: Promise<void>, offset: number, end: number): Promise<void> {
    await pending;
    await this.#pieces(offset, end);
  }

  async #piecesSlow(pending: Promise<Piece>, offset: number, end: number): Promise<void> {
    const piece = await pending;
    await this.#move(piece, offset);
    await this.#pieces(offset + piece.length, end);
  }

  /** What lies at the cluster boundary `offset`: a run of whole clusters (or up to the end of the source). */
  #classify(offset: number, length: number): Maybe<Piece> {
    const { node } = this.#source;
    const base = this.skipUnallocated ? imageBelow(node) : undefined;
    const wholeCluster: Piece = { kind: 'data', length: Math.min(length, this.#unit) };
    let status: Maybe<Piece>;
    try {
      status = chain(chainStatus(node, base, offset, length, true), (found): Piece => {
        if (found.length < length && found.length < this.#unit && offset + found.length < this.#size) return wholeCluster;
        const run = found.length >= length ? length : alignDown(found.length, this.#unit);
        if (run === 0) return wholeCluster;
        if (this.skipUnallocated && !found.allocated) return { kind: 'skip', length: run };
        return { kind: found.zero ? 'zero' : 'data', length: run };
      });
    } catch (error) {
      return statusFailed(error, wholeCluster);
    }
    return isPending(status) ? status.catch((error: unknown) => statusFailed(error, wholeCluster)) : status;
  }

  #move(piece: Piece, offset: number): Maybe<void> {
    if (piece.kind === 'skip') return;
    const copied = this.#transfer(piece, offset);
    return this.discardSource ? chain(copied, () => this.#discard(offset, piece.length)) : copied;
  }

  /** The copy is what counts: a source that cannot discard keeps its data. */
  #discard(offset: number, length: number): Maybe<void> {
    const ignored = (error: unknown): void => {
      if (!(error instanceof BlockError)) throw error;
    };
    try {
      const result = this.#source.discard(offset, length);
      return isPending(result) ? result.catch(ignored) : undefined;
    } catch (error) {
      ignored(error);
    }
  }

  #transfer(piece: Piece, offset: number): Maybe<void> {
    if (offset + piece.length > this.#target.size()) {
      throw onSide('write', new BlockError('Input/output error', { code: 'EIO' }));
    }
    if (piece.kind === 'zero') return onSideOf('write', () => this.#target.zero(offset, piece.length, this.writeFlags));
    const buffer = this.#takeBuffer(piece.length);
    const bytes = buffer.length === piece.length ? buffer : buffer.subarray(0, piece.length);
    const flags = this.compress ? this.writeFlags | reqFlag.compressed : this.writeFlags;
    let result: Maybe<void>;
    try {
      result = chain(
        onSideOf('read', () => this.#source.read(offset, bytes)),
        () => onSideOf('write', () => this.#target.write(offset, bytes, flags)),
      );
    } catch (error) {
      this.#buffers.push(buffer);
      throw error;
    }
    if (!isPending(result)) {
      this.#buffers.push(buffer);
      return;
    }
    return result.finally(() => this.#buffers.push(buffer));
  }

  /** A buffer of at least `length` bytes; goes back to #buffers when the copy is over. */
  #takeBuffer(length: number): Uint8Array {
    const last = this.#buffers.pop();
    if (last !== undefined && last.length >= length) return last;
    return Buffer.allocUnsafeSlow(Math.max(length, this.#unit));
  }
}

/** A failed query is no reason to fail the copy: the read will tell. */
function statusFailed(error: unknown, fallback: Piece): Piece {
  if (error instanceof BlockError) return fallback;
  throw error;
}

function onSide(side: CopySide, error: unknown): unknown {
  if (typeof error === 'object' && error !== null) sides.set(error, side);
  return error;
}

function onSideOf(side: CopySide, body: () => Maybe<void>): Maybe<void> {
  let result: Maybe<void>;
  try {
    result = body();
  } catch (error) {
    throw onSide(side, error);
  }
  if (!isPending(result)) return;
  return result.catch((error: unknown) => {
    throw onSide(side, error);
  });
}
