/*
 * Filter driver `copy-before-write`: before the guest overwrites a cluster of `file` for the first time, the old data go to
 * `target`. Keeps the state of the instant it was opened readable (`snapshotView`): clusters saved already are read from
 * the target, all others from `file`, and a guest's write waits for such a read in flight.
 * Must not know jobs. Rule source: QEMU's documentation of the copy-before-write filter and what qemu-storage-daemon does.
 */
import { BlockCopy } from '../block/block-copy.ts';
import { chainStatus } from '../block/block-status.ts';
import type { Child } from '../block/child.ts';
import type { DirtyBitmap } from '../block/dirty-bitmap.ts';
import {
  type BlockDriver,
  type BlockStatus,
  childRole,
  type DriverState,
  type Limits,
  type NodeHost,
  type PermRequest,
  type ReqFlags,
  reqFlag,
  type SnapshotView,
  type TruncateOptions,
} from '../block/driver.ts';
import type { BlockNode } from '../block/node.ts';
import { Bitmap } from '../util/bitmap.ts';
import type { Clock } from '../util/clock.ts';
import { BlockError } from '../util/errors.ts';
import { ceilDiv } from '../util/math.ts';
import { chain, isPending, type Maybe } from '../util/maybe.ts';
import { type PermBits, perm } from '../util/perm-bits.ts';
import { RangeLock } from '../util/range-lock.ts';

/** Smallest unit of copying: many small copies cost more than one larger. */
const minClusterSize = 65536;
const maxInt64 = 2n ** 63n - 1n;

/** Above it QEMU's bitmaps end the program. */
const maxClusterSize = 2147483648;

export type OnCbwError = 'break-guest-write' | 'break-snapshot';

/** What a cluster of the filter is at the moment, for pictures. */
export interface SavedClusters {
  readonly clusterSize: number;
  readonly clusters: number;
  readonly saved: number;
  /** True when the old data of the cluster at `offset` were saved to the target. */
  isSaved(offset: number): boolean;
}

interface CbwOptions {
  readonly only?: DirtyBitmap | undefined;
  readonly clusterSize: number;
  readonly onError: OnCbwError;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

export class CopyBeforeWriteState implements DriverState {
  /** Shared with the backup job that inserted the filter. */
  readonly copy: BlockCopy;
  readonly writeFlags: ReqFlags = 0xff;
  readonly snapshotView: SnapshotView;
  readonly #node: BlockNode;
  readonly #file: Child;
  readonly #target: Child;
  readonly #options: CbwOptions;
  readonly #clusters: number;
  /** As it was at the start: a disk that is resized below the filter shows so above it only when the filter is resized. */
  #size: number;
  /** Clusters whose old data are in the target (or were given up): the guest may write. */
  readonly #done: Bitmap;
  /** Clusters that the snapshot view may read; given up ones are not. */
  readonly #access: Bitmap;
  /** Ranges of `file` that readers of the frozen view are reading, in bytes. */
  readonly #frozenReads = new RangeLock();
  #snapshotError: BlockError | undefined;

  constructor(node: BlockNode, file: Child, target: Child, options: CbwOptions) {
    this.#node = node;
    this.#file = file;
    this.#target = target;
    this.#options = options;
    this.copy = new BlockCopy(file, target, options.clusterSize);
    this.#size = file.size();
    this.#clusters = ceilDiv(this.#size, options.clusterSize);
    this.#done = new Bitmap(this.#clusters);
    this.#access = new Bitmap(this.#clusters, true);
    if (options.only !== undefined) this.#keepOnly(options.only);
    this.snapshotView = {
      read: (offset, into) => this.#snapshotRead(offset, into),
      status: (offset, length, precise) => this.#snapshotStatus(offset, length, precise),
      discard: (offset, length) => this.#snapshotDiscard(offset, length),
    };
  }

  #keepOnly(wanted: DirtyBitmap): void {
    this.copy.keepOnly(wanted);
    const { clusterSize } = this.#options;
    this.#access.clear(0, this.#clusters);
    for (const { offset, length } of wanted.runs()) this.#access.set(Math.floor(offset / clusterSize), ceilDiv(offset + length, clusterSize));
  }

  get limits(): Limits {
    return this.#file.node.limits;
  }

  /** Set once a copy failed under break-snapshot: the frozen view is gone. */
  get snapshotError(): BlockError | undefined {
    return this.#snapshotError;
  }

  get savedClusters(): SavedClusters {
    return {
      clusterSize: this.#options.clusterSize,
      clusters: this.#clusters,
      saved: this.#done.count,
      isSaved: (offset) => this.#done.has(Math.floor(offset / this.#options.clusterSize)),
    };
  }

  ownBitmaps(): { granularity: number; count: number }[] {
    const { clusterSize } = this.#options;
    const counts = [this.#access.count * clusterSize, this.#done.count * clusterSize, this.copy.remainingBytes];
    return counts.map((count) => ({ granularity: clusterSize, count }));
  }

  size(): number {
    return this.#size;
  }

  async truncate(size: number, options: TruncateOptions): Promise<void> {
    await this.#file.truncate(size, options);
    this.#size = this.#file.size();
  }

  // -- the guest's side -----------------------------------------------------------------------------------------------
  read(offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
    return this.#file.read(offset, into, flags);
  }

  write(offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void> {
    const before = (flags & reqFlag.writeUnchanged) === 0 ? this.#save(offset, from.length) : undefined;
    return isPending(before) ? before.then(() => this.#file.write(offset, from, flags)) : this.#file.write(offset, from, flags);
  }

  zero(offset: number, length: number, flags: ReqFlags): Maybe<boolean> {
    const before = (flags & reqFlag.writeUnchanged) === 0 ? this.#save(offset, length) : undefined;
    return chain(before, () => chain(this.#file.zero(offset, length, flags), () => true));
  }

  discard(offset: number, length: number): Maybe<void> {
    return chain(this.#save(offset, length), () => this.#file.discard(offset, length));
  }

  /** Settles when the range may change: its old data are saved and nobody reads them from `file` any more. */
  #save(offset: number, length: number): Maybe<void> {
    const { clusterSize } = this.#options;
    const first = Math.floor(offset / clusterSize);
    const last = Math.min(ceilDiv(offset + length, clusterSize), this.#clusters);
    const start = first * clusterSize;
    const span = last * clusterSize - start;
    if (this.#done.nextClear(first, last) >= last || this.#snapshotError !== undefined) {
      return this.#whenUnread(start, span);
    }
    let copied: Maybe<void>;
    try {
      copied = this.#copyInTime(start, span);
    } catch (error) {
      return this.#afterFailure(error, start, span);
    }
    if (!isPending(copied)) return this.#afterCopy(first, last);
    return copied.then(
      () => this.#afterCopy(first, last),
      (error: unknown) => this.#afterFailure(error, start, span),
    );
  }

  #afterCopy(first: number, last: number): Maybe<void> {
    const { clusterSize } = this.#options;
    // from here new readers go to the target; the ones before still read the file
    this.#done.set(first, last);
    return this.#whenUnread(first * clusterSize, (last - first) * clusterSize);
  }

  #afterFailure(error: unknown, start: number, span: number): Maybe<void> {
    if (!(error instanceof BlockError) || this.#options.onError === 'break-guest-write') throw error;
    this.#snapshotError ??= error;
    return this.#whenUnread(start, span);
  }

  /** Settles when no reader reads the range from `file` any more. New ones do not come: they go to the target, or fail. */
  #whenUnread(start: number, span: number): Maybe<void> {
    const { isIdle } = this.#frozenReads;
    return isIdle ? undefined : chain(this.#frozenReads.acquire(start, start + span, 'exclusive'), (hold) => this.#frozenReads.release(hold));
  }

  #copyInTime(start: number, span: number): Maybe<void> {
    const copied = this.copy.copy(start, span);
    if (!isPending(copied) || this.#options.timeoutMs === 0) return copied;
    // the copy goes on when the guest does not wait for it any longer; the node stays busy until it is over
    this.#node.enter();
    const finished = copied.finally(() => this.#node.leave());
    return this.#firstOf(finished);
  }

  async #firstOf(copied: Promise<void>): Promise<void> {
    const timer = new AbortController();
    const { clock, timeoutMs } = this.#options;
    const timedOut = clock.sleep(timeoutMs, timer.signal).then(() => {
      if (!timer.signal.aborted) throw new BlockError('Connection timed out', { code: 'ETIMEDOUT' });
      return copied;
    });
    try {
      await Promise.race([copied, timedOut]);
    } finally {
      timer.abort();
      // whichever comes second must not count as unhandled
      timedOut.catch(() => {});
      copied.catch(() => {});
    }
  }

  // -- the frozen view ------------------------------------------------------------------------------------------------
  /** The run at `offset`: at most `length`, all saved or all not. Throws when the view is broken or given up there. */
  #runAt(offset: number, length: number): { readonly saved: boolean; readonly length: number } {
    const { clusterSize } = this.#options;
    const first = Math.floor(offset / clusterSize);
    const last = ceilDiv(offset + length, clusterSize);
    if (this.#snapshotError !== undefined || this.#access.nextClear(first, last) < last) {
      throw new BlockError('Permission denied', { code: 'EACCES' });
    }
    const saved = this.#done.has(first);
    const end = Math.min(offset + length, (saved ? this.#done.nextClear(first, last) : this.#done.nextSet(first, last)) * clusterSize);
    // cut off before it was saved: lost, and not zeros
    if (!saved && end > this.#file.size()) throw new BlockError('Input/output error', { code: 'EIO' });
    return { saved, length: end - offset };
  }

  #snapshotRead(offset: number, into: Uint8Array): Maybe<void> {
    for (let at = 0; at < into.length; ) {
      const run = this.#runAt(offset + at, into.length - at);
      const part = into.subarray(at, at + run.length);
      const result = run.saved ? this.#target.read(offset + at, part) : this.#fromFile(offset + at, run.length, () => this.#file.read(offset + at, part));
      at += run.length;
      if (isPending(result)) return result.then(() => this.#snapshotRead(offset + at, into.subarray(at)));
    }
  }

  #snapshotStatus(offset: number, length: number, precise: boolean): Maybe<BlockStatus> {
    const run = this.#runAt(offset, length);
    const side = run.saved ? this.#target : this.#file;
    const ask = (): Maybe<BlockStatus> =>
      chain(chainStatus(side.node, undefined, offset, run.length, precise), (found) => ({
        length: Math.min(run.length, found.length),
        data: found.data,
        zero: found.zero,
        // the view has no layers: what it shows is all its own
        allocated: true,
      }));
    return run.saved ? ask() : this.#fromFile(offset, run.length, ask);
  }

  /** Runs `body`, which looks at unsaved data of `file`; writes to the range wait until it is done. */
  #fromFile<T>(offset: number, length: number, body: () => Maybe<T>): Maybe<T> {
    const result = body();
    if (!isPending(result)) return result;
    const hold = this.#frozenReads.hold(offset, offset + length, 'shared');
    return result.finally(() => this.#frozenReads.release(hold));
  }

  #snapshotDiscard(offset: number, length: number): Maybe<void> {
    const { clusterSize } = this.#options;
    const first = ceilDiv(offset, clusterSize);
    const end = offset + length >= this.size() ? this.#clusters : Math.floor((offset + length) / clusterSize);
    if (end > first) {
      this.#access.clear(first, end);
      this.copy.forget(offset, length);
    }
    return this.#target.discard(offset, length);
  }

  // -- as a node ------------------------------------------------------------------------------------------------------
  async close(): Promise<void> {}
}

/** The target is written; others may write it too (the guest's own disk may be below it), but not resize it. */
const targetPerm: PermRequest = { perm: perm.write, shared: perm.all & ~perm.resize };

/** An unused filter asks for nothing; a used one must see every write to its file, so nobody else may write there. `own`: needed by itself. */
function filePerm(node: BlockNode, asked: PermRequest, own: PermBits): PermRequest {
  if (node.parents.length === 0) return { perm: asked.perm, shared: asked.shared };
  return { perm: asked.perm | perm.consistentRead | own, shared: (asked.shared | perm.writeUnchanged) & ~(perm.write | perm.resize) };
}

async function open(host: NodeHost): Promise<DriverState> {
  const { options } = host;
  const file = await host.openChild('file', childRole.filtered | childRole.primary, { child: 'format' });
  const target = await host.openChild('target', childRole.data, { child: 'format' });
  const onError = options.enum('on-cbw-error', ['break-guest-write', 'break-snapshot'] as const);
  const timeoutMs = (options.number('cbw-timeout') ?? 0) * 1000;
  const bitmapNode = options.string('bitmap.node');
  const bitmapName = options.string('bitmap.name');
  const only = bitmapNode === undefined && bitmapName === undefined ? undefined : findBitmap(host, bitmapNode ?? '', bitmapName ?? '');
  return makeCopyBeforeWrite(host.node, file, target, { leastCluster: options.bytes('min-cluster-size') ?? 0, onError, timeoutMs, clock: host.clock, only });
}

function findBitmap(host: NodeHost, nodeName: string, name: string): DirtyBitmap {
  const node = host.findNode(nodeName);
  if (node === undefined) throw new BlockError(`Node '${nodeName}' not found`, { code: 'ERR_NOT_FOUND' });
  return node.dirtyBitmaps.get(name);
}

/** Throws when the filter cannot begin with what `only` has. */
function checkOnly(only: DirtyBitmap, size: number): void {
  try {
    only.checkSource(size);
  } catch (error) {
    throw error instanceof BlockError
      ? error.prepend(`Cannot create block-copy-state: Failed to merge bitmap '${only.name ?? ''}' to internal copy-bitmap: `)
      : error;
  }
}

export interface CopyBeforeWriteOptions {
  /** Smallest unit of copying, bytes: a power of two; 0 = no wish. */
  readonly leastCluster: number | bigint;
  readonly onError: OnCbwError;
  /** How long a guest's write waits for its copy; 0 = to the end. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** What is dirty there is all that the filter keeps. */
  readonly only?: DirtyBitmap | undefined;
}

/** The filter `node` over edges that it has already. Throws for a unit that cannot be; holds nothing that needs closing. */
export function makeCopyBeforeWrite(node: BlockNode, file: Child, target: Child, options: CopyBeforeWriteOptions): CopyBeforeWriteState {
  const { leastCluster: least, onError, timeoutMs, clock, only } = options;
  if (least > maxInt64) throw new BlockError(`Cannot create block-copy-state: min-cluster-size too large: ${least} > ${maxInt64}`, { code: 'ERR_OPTION' });
  const wish = BigInt(least);
  if ((wish & (wish - 1n)) !== 0n) throw new BlockError('Cannot create block-copy-state: min-cluster-size needs to be a power of 2', { code: 'ERR_OPTION' });
  if (least > maxClusterSize)
    throw new BlockError(`Cannot create block-copy-state: min-cluster-size too large: ${least} > ${maxClusterSize}`, { code: 'ERR_OPTION' });
  const clusterSize = Math.max(minClusterSize, Number(least), target.node.limits.clusterSize);
  if (only !== undefined) checkOnly(only, file.size());
  return new CopyBeforeWriteState(node, file, target, { clusterSize, onError, timeoutMs, clock, only });
}

function childPerm(node: BlockNode, child: Child, asked: PermRequest): PermRequest {
  if (child.name === 'target') return targetPerm;
  const isDiscarding = node.isOpen && node.state instanceof CopyBeforeWriteState && node.state.copy.range.discardSource;
  return filePerm(node, asked, isDiscarding ? perm.write : 0);
}

export const copyBeforeWriteDriver: BlockDriver = { name: 'copy-before-write', kind: 'filter', hasNameOfChild: true, open, childPerm };
