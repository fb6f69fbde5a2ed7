/*
 * What a job is made of beside its state machine: the body that does the work, its options, what it needs of the engine,
 * and what its policy says about failed requests. Types and one pure rule. Rule source: QAPI's Job* and BlockdevOnError.
 */
import type { Graph } from '../core/block/graph.ts';
import type { Clock } from '../core/util/clock.ts';
import type { BlockError } from '../core/util/errors.ts';
import type { EventSink } from '../core/util/events.ts';
import type { YieldBudget } from '../core/util/maybe.ts';
import type { BlockJob } from './block-job.ts';
import type { Job } from './job.ts';

export type JobType = 'amend' | 'backup' | 'commit' | 'create' | 'mirror' | 'stream';
export type OnError = 'report' | 'ignore' | 'enospc' | 'stop' | 'auto';

export interface JobBody {
  readonly type: JobType;
  /** The work. Settles when it is done, or soon after `job.isCancelled`. */
  run(job: Job): Promise<void>;
  /** The last step that may fail, when all jobs of the group are done. Called once. */
  prepare?(): Promise<void>;
  /** Makes the result take effect, or gives it up: exactly one of the two. */
  commit?(): void;
  abort?(): void;
  /** Undoes what the job put into the graph, whatever the outcome. Called inside the drained turn of the group, after the job left its nodes. */
  clean(): Promise<void>;
  onSpeed?(): void;
  /** Its copies run beside it: QEMU never calls such a job busy. */
  readonly worksBeside?: boolean;
  /** It never ends by itself: only a cancel ends it, and nothing is lost by that. */
  readonly isEndless?: boolean;
}

/** The body of a job on nodes. */
export interface BlockJobBody extends JobBody {
  run(job: BlockJob): Promise<void>;
}

export interface JobOptions {
  readonly id: string;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
}

export interface BlockJobOptions extends JobOptions {
  /** Bytes a second, 0 = no limit. */
  readonly speed: number | bigint;
}

export interface JobHost {
  readonly graph: Graph;
  readonly events: EventSink;
  readonly clock: Clock;
  readonly budget: YieldBudget;
  /** The job is gone. */
  forget(job: Job): void;
}

export type ErrorAction = 'report' | 'ignore' | 'stop';

/** What a job does about `error` under its policy: a full medium can be given room, the rest is reported unless said otherwise. */
export function errorAction(policy: OnError, error: BlockError): ErrorAction {
  if (policy !== 'enospc' && policy !== 'auto') return policy;
  return error.code === 'ENOSPC' ? 'stop' : 'report';
}
