/*
 * The backup job: a copy-before-write filter above the source keeps the instant of its start; `none` only watches guest
 * writes, `full` and `top` also copy everything (or what the top layer holds) in the background.
 * Must not know monitors or formats. Rule source: QEMU's documentation of blockdev-backup.
 */
import type { BlockCopy } from '../core/block/block-copy.ts';
import type { DirtyBitmap } from '../core/block/dirty-bitmap.ts';
import { failedSide } from '../core/block/range-copy.ts';
import { BlockError } from '../core/util/errors.ts';
import type { BlockJob } from './block-job.ts';
import type { BlockJobBody, OnError } from './job-body.ts';
import { type TransferPiece, type TransferPlan, transfer } from './transfer.ts';

/** Whether a bitmap goes on from the start of the backup: when it succeeded, never, or else with what was not copied. */
export type BitmapMode = 'on-success' | 'never' | 'always';

export interface BackupOptions {
  readonly sync: 'none' | 'full' | 'top' | 'bitmap';
  /** What `bitmap` copies, and what becomes of it. A successor of it records while the job is there. */
  readonly bitmap?: { readonly bitmap: DirtyBitmap; readonly mode: BitmapMode } | undefined;
  readonly copy: BlockCopy;
  readonly onSourceError: OnError;
  readonly onTargetError: OnError;
  /** Copies in flight at once. */
  readonly workers: number;
  /** Largest copy in bytes, 0 = no limit. */
  readonly maxChunk: number;
  /** Takes the filter out of the graph. Runs inside a graph turn. */
  readonly removeFilter: () => Promise<void>;
}

/** Bytes of one copy: what block-copy reads into one buffer. */
const chunkBytes = 1024 * 1024;
/** More copies at once only cost memory: the media do not get faster. */
const maxWorkers = 4;

interface Chunk extends TransferPiece {
  readonly offset: number;
}

export class BackupBody implements BlockJobBody {
  readonly type = 'backup';
  readonly worksBeside = true;
  readonly isEndless: boolean;
  readonly #options: BackupOptions;

  constructor(options: BackupOptions) {
    this.#options = options;
    this.isEndless = options.sync === 'none';
    // before the guest can write: nothing else is saved for it
    if (options.sync === 'bitmap' && options.bitmap !== undefined) options.copy.keepOnly(options.bitmap.bitmap);
  }

  async run(job: BlockJob): Promise<void> {
    if (this.#options.sync === 'none') await job.idleUntilEnd();
    else await this.#copyAll(job);
  }

  async #copyAll(job: BlockJob): Promise<void> {
    const { copy } = this.#options;
    if (this.#options.sync === 'top') await this.#keepTop(job);
    await transfer(this.#plan(job));
    // copies that guest writes began may still be under way
    if (!job.isCancelled) await copy.copy(0, copy.size);
  }

  /** Leaves only what the top layer of the source holds. */
  async #keepTop(job: BlockJob): Promise<void> {
    const { copy } = this.#options;
    copy.range.skipUnallocated = true;
    for (let at: number | undefined = 0; at !== undefined && !job.isCancelled; ) {
      await job.pausePoint(copy.clusterSize);
      at = await copy.dropUnallocated(at);
    }
    copy.range.skipUnallocated = false;
  }

  /** Everything that is left, in chunks; what guest writes copied meanwhile drops out, what failed comes again. */
  #plan(job: BlockJob): TransferPlan<Chunk> {
    const { copy, maxChunk, onSourceError, onTargetError, workers } = this.#options;
    const chunk = Math.max(copy.clusterSize, maxChunk > 0 ? Math.min(maxChunk, chunkBytes) : chunkBytes);
    return {
      ordered: false,
      // a rate is kept by one copy at a time
      get inFlight() {
        return job.speed > 0 ? 1 : Math.min(maxWorkers, workers);
      },
      next: () => {
        const offset = copy.nextLeft(0);
        return offset === undefined ? undefined : { offset, length: Math.min(chunk, copy.size - offset) };
      },
      finish: ({ offset, length }) => copy.copy(offset, length),
      onError: async (error) => {
        if (!(error instanceof BlockError)) throw error;
        const side = failedSide(error) ?? 'write';
        await job.onIoError(side, side === 'read' ? onSourceError : onTargetError, error);
      },
      delayFor: (bytes) => job.limit.delayFor(bytes),
      sleep: (ms) => job.sleep(ms),
      tick: (bytes) => job.tick(bytes),
      get mustPause() {
        return job.isPaused;
      },
      pause: () => job.pausePoint(),
      get isCancelled() {
        return job.isCancelled;
      },
    };
  }

  commit(): void {
    const { bitmap } = this.#options;
    if (bitmap !== undefined) settleBitmap(bitmap.bitmap, bitmap.mode !== 'never');
  }

  abort(): void {
    const { bitmap, copy } = this.#options;
    if (bitmap === undefined) return;
    const isAlways = bitmap.mode === 'always';
    const left = settleBitmap(bitmap.bitmap, isAlways);
    if (isAlways) copy.markLeft(left);
  }

  async clean(): Promise<void> {
    await this.#options.removeFilter();
  }
}

/** The bitmap as it is when the backup is over: what changed since its start, or that and what it had before. */
function settleBitmap(bitmap: DirtyBitmap, isDone: boolean): DirtyBitmap {
  const { dirtyBitmaps } = bitmap.node;
  if (isDone) return dirtyBitmaps.abdicate(bitmap);
  dirtyBitmaps.reclaim(bitmap);
  return bitmap;
}
