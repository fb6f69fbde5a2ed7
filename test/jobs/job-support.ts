/* What the tests of jobs share: a clock moved by hand, a manager whose events are written down, bodies. Cancels what a test leaves. */
import { afterEach } from 'vitest';
import { Graph } from '../../src/core/block/graph.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { EventSink } from '../../src/core/util/events.ts';
import { YieldBudget } from '../../src/core/util/maybe.ts';
import { BlockJob } from '../../src/jobs/block-job.ts';
import type { JobGroup } from '../../src/jobs/group.ts';
import type { BlockJobBody } from '../../src/jobs/job-body.ts';
import { JobManager } from '../../src/jobs/manager.ts';
import { ManualClock } from '../support/manual-clock.ts';

export interface Setting {
  readonly graph: Graph;
  readonly jobs: JobManager;
  readonly clock: ManualClock;
  /** `id status`, and `EVENT id` for the others. */
  readonly log: string[];
}

export function setting(): Setting {
  const clock = new ManualClock();
  const events = new EventSink(() => clock.now());
  const log: string[] = [];
  events.listen(({ name, data = {} }) => {
    log.push(name === 'JOB_STATUS_CHANGE' ? `${data['id']} ${data['status']}` : `${name} ${data['device'] ?? data['id']}`);
  });
  const graph = new Graph();
  return { graph, jobs: new JobManager(graph, events, clock, new YieldBudget()), clock, log };
}

export const turns = async (count = 5): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

export type Run = (job: BlockJob) => Promise<void>;
export const idle: Run = (job) => job.idleUntilEnd();
export const atOnce: Run = async () => {};
export const failing: Run = async () => {
  throw new BlockError('Input/output error', { code: 'EIO' });
};

export interface Given extends Partial<BlockJobBody> {
  readonly id?: string;
  readonly autoFinalize?: boolean;
  readonly autoDismiss?: boolean;
  readonly speed?: number;
}

let current: JobManager | undefined;
afterEach(async () => {
  await current?.cancelAll();
  current = undefined;
});

export function make({ jobs }: Setting, run: Run, given: Given = {}, group?: JobGroup): BlockJob {
  current = jobs;
  const { id = 'j', autoFinalize = true, autoDismiss = true, speed = 0, ...rest } = given;
  const options = { id, autoFinalize, autoDismiss, speed };
  return jobs.create(options, (host) => new BlockJob(host, { type: 'backup', run, clean: async () => {}, ...rest }, options, group));
}

export function started(where: Setting, run: Run, given: Given = {}, group?: JobGroup): BlockJob {
  const job = make(where, run, given, group);
  job.start();
  return job;
}
