/*
 * The backup job: a copy-before-write filter above the source keeps the instant of its start; `none` only watches guest
 * writes, `full` and `top` also copy everything (or what the top layer holds) in the background.
 * Must not know monitors or formats. Rule source: QEMU's documentation of blockdev-backup.
 */
import { type BlockCopy, failedSide } from '../core/block/block-copy.ts';
import { BlockError } from '../core/util/errors.ts';
import { isPending } from '../core/util/maybe.ts';
import type { BlockJob } from './block-job.ts';
import type { BlockJobBody, OnError } from './job-body.ts';

export interface BackupOptions {
  readonly sync: 'none' | 'full' | 'top';
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

export class BackupBody implements BlockJobBody {
  readonly type = 'backup';
  readonly worksBeside = true;
  readonly isEndless: boolean;
  readonly #options: BackupOptions;

  constructor(options: BackupOptions) {
    this.#options = options;
    this.isEndless = options.sync === 'none';
  }

  async run(job: BlockJob): Promise<void> {
    if (this.#options.sync === 'none') await job.idleUntilEnd();
    else await this.#copyAll(job);
  }

  async #copyAll(job: BlockJob): Promise<void> {
    const { copy, onSourceError, onTargetError } = this.#options;
    if (this.#options.sync === 'top') await this.#keepTop(job);
    while (!job.isCancelled) {
      await job.pausePoint();
      if (job.isCancelled) return;
      const before = copy.copiedBytes;
      const error = await this.#batch(job.speed > 0 ? 1 : Math.min(maxWorkers, this.#options.workers));
      if (error !== undefined) {
        const side = failedSide(error) ?? 'write';
        await job.onIoError(side, side === 'read' ? onSourceError : onTargetError, error);
        continue;
      }
      const copied = copy.copiedBytes - before;
      if (copy.nextLeft(0) === undefined) break;
      await job.pausePoint(copied);
      await job.limitRate(copied);
    }
    // copies that guest writes began may still be under way
    if (!job.isCancelled) await copy.copy(0, copy.size);
  }

  /** Leaves only what the top layer of the source holds. */
  async #keepTop(job: BlockJob): Promise<void> {
    const { copy } = this.#options;
    copy.skipUnallocated = true;
    for (let at: number | undefined = 0; at !== undefined && !job.isCancelled; ) {
      await job.pausePoint(copy.clusterSize);
      at = await copy.dropUnallocated(at);
    }
    copy.skipUnallocated = false;
  }

  /** Copies the next chunks at once; settles when all have, with the first error of a medium. */
  async #batch(count: number): Promise<BlockError | undefined> {
    const { copy, maxChunk } = this.#options;
    const chunk = Math.max(copy.clusterSize, maxChunk > 0 ? Math.min(maxChunk, chunkBytes) : chunkBytes);
    const pending: Promise<void>[] = [];
    let failure: unknown;
    const fail = (error: unknown): void => {
      failure ??= error;
    };
    let at: number | undefined = copy.nextLeft(0);
    for (let started = 0; started < count && at !== undefined && failure === undefined; started++) {
      const length = Math.min(chunk, copy.size - at);
      try {
        const result = copy.copy(at, length);
        if (isPending(result)) pending.push(result.catch(fail));
      } catch (error) {
        fail(error);
      }
      at = copy.nextLeft(at + length);
    }
    await Promise.all(pending);
    if (failure === undefined || failure instanceof BlockError) return failure;
    throw failure;
  }

  async clean(): Promise<void> {
    await this.#options.removeFilter();
  }
}
