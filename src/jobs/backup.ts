/*
 * The backup job: a copy-before-write filter above the source keeps the instant of its start; `none` only watches guest
 * writes, `full` and `top` also copy everything (or what the top layer holds) in the background.
 * Must not know monitors or formats. Rule source: QEMU's documentation of blockdev-backup.
 */
import type { BlockCopy } from '../core/block/block-copy.ts';
import { failedSide } from '../core/block/block-copy.ts';
import { BlockError } from '../core/util/errors.ts';
import type { Job, JobBody, OnError } from './job.ts';

export interface BackupOptions {
  readonly sync: 'none' | 'full' | 'top';
  readonly copy: BlockCopy;
  readonly onSourceError: OnError;
  readonly onTargetError: OnError;
  /** Set once the frozen state was given up (on-cbw-error=break-snapshot). */
  readonly snapshotError: () => BlockError | undefined;
  /** Takes the filter out of the graph. */
  readonly removeFilter: () => Promise<void>;
}

/** Bytes copied between two looks at pausing and limits. */
const chunk = 1024 * 1024;

export class BackupBody implements JobBody {
  readonly type = 'backup';
  readonly #options: BackupOptions;

  constructor(options: BackupOptions) {
    this.#options = options;
  }

  async run(job: Job): Promise<void> {
    if (this.#options.sync === 'none') await job.idleUntilCancelled();
    else await this.#copyAll(job);
  }

  async #copyAll(job: Job): Promise<void> {
    const { copy } = this.#options;
    copy.skipUnallocated = this.#options.sync === 'top';
    const step = Math.max(chunk, copy.clusterSize);
    for (let at = copy.nextLeft(0); at !== undefined && !job.isCancelled; at = copy.nextLeft(at)) {
      await job.pausePoint(step);
      if (job.isCancelled) return;
      const lost = this.#options.snapshotError();
      if (lost !== undefined) throw lost;
      const length = Math.min(step, copy.size - at);
      try {
        await copy.copy(at, length);
      } catch (error) {
        if (!(error instanceof BlockError)) throw error;
        const side = failedSide(error) ?? 'write';
        await job.onIoError(side, side === 'read' ? this.#options.onSourceError : this.#options.onTargetError, error);
        continue;
      }
      await job.limitRate(length);
    }
    // copies that guest writes began may still be under way
    if (!job.isCancelled) await copy.copy(0, copy.size);
    const lost = this.#options.snapshotError();
    if (lost !== undefined) throw lost;
  }

  async clean(): Promise<void> {
    await this.#options.removeFilter();
  }
}
