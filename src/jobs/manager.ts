/* The jobs of one system, by id: creation with its checks, look-ups with their messages, and the end of all of them. */
import type { Graph } from '../core/block/graph.ts';
import type { Clock } from '../core/util/clock.ts';
import { BlockError } from '../core/util/errors.ts';
import type { EventSink } from '../core/util/events.ts';
import type { YieldBudget } from '../core/util/maybe.ts';
import { Job, type JobBody, JobGroup, type JobHost, type JobOptions } from './job.ts';

export class JobManager {
  readonly #jobs = new Map<string, Job>();
  readonly #host: JobHost;

  constructor(graph: Graph, events: EventSink, clock: Clock, budget: YieldBudget) {
    this.#host = { graph, events, clock, budget, forget: (job) => void this.#jobs.delete(job.id) };
  }

  /** Throws `Invalid job ID 'x'` or `Job ID 'x' already in use`. */
  checkId(id: string): void {
    if (!/^[A-Za-z][A-Za-z0-9\-._]*$/.test(id)) throw new BlockError(`Invalid job ID '${id}'`);
    if (this.#jobs.has(id)) throw new BlockError(`Job ID '${id}' already in use`);
  }

  /** A job in state `created`. The caller gives it nodes and starts it. */
  create(body: JobBody, options: JobOptions, group: JobGroup = new JobGroup()): Job {
    this.checkId(options.id);
    const job = new Job(this.#host, body, options, group);
    this.#jobs.set(job.id, job);
    return job;
  }

  /** Newest first, as QEMU lists them. */
  list(): readonly Job[] {
    return [...this.#jobs.values()].reverse();
  }

  /** Throws `Job not found`. */
  find(id: string): Job {
    const job = this.#jobs.get(id);
    if (job === undefined) throw new BlockError('Job not found');
    return job;
  }

  /** As find, for block-job-* commands. */
  findBlockJob(id: string): Job {
    const job = this.#jobs.get(id);
    if (job === undefined) throw new BlockError(`Block job '${id}' not found`, { qmpClass: 'DeviceNotActive' });
    return job;
  }

  /** Ends every job, dismissed or not. */
  async cancelAll(): Promise<void> {
    for (const job of this.list()) if (job.status !== 'concluded') await job.cancel(true);
  }
}
