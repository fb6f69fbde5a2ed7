/*
 * The jobs of one engine, by id: the checks of a new one, look-ups with their messages, and the end of all of them. What a
 * job is made of is brought by whoever makes one, so that an engine without jobs does not load it.
 */
import type { Graph } from '../core/block/graph.ts';
import type { Clock } from '../core/util/clock.ts';
import { BlockError } from '../core/util/errors.ts';
import type { EventSink } from '../core/util/events.ts';
import { isIdentifier } from '../core/util/identifier.ts';
import type { YieldBudget } from '../core/util/maybe.ts';
import type { BlockJob } from './block-job.ts';
import type { Job } from './job.ts';
import type { JobHost, JobOptions } from './job-body.ts';

export class JobManager {
  readonly #jobs = new Map<string, Job>();
  readonly #host: JobHost;

  constructor(graph: Graph, events: EventSink, clock: Clock, budget: YieldBudget) {
    this.#host = { graph, events, clock, budget, forget: (job) => void this.#jobs.delete(job.id) };
  }

  /**
   * The job that `make` makes, once its id is found good. Throws `Invalid job ID 'x'`, `Job ID 'x' already
   * in use`, or for a negative speed, after which the job is gone again.
   */
  create<J extends Job>(options: JobOptions & { readonly speed?: number | bigint }, make: (host: JobHost) => J): J {
    const { id } = options;
    if (!isIdentifier(id)) throw new BlockError(`Invalid job ID '${id}'`, { code: 'ERR_NAME' });
    if (this.#jobs.has(id)) throw new BlockError(`Job ID '${id}' already in use`, { code: 'ERR_NAME' });
    const job = make(this.#host);
    this.#jobs.set(id, job);
    if (options.speed !== undefined && options.speed < 0) {
      // the peer finds this out after the job was made: its events show that
      job.discard();
      throw new BlockError("Parameter 'speed' expects a non-negative value", { code: 'ERR_OPTION' });
    }
    return job;
  }

  /** Newest first, as QEMU lists them. */
  list(): readonly Job[] {
    return [...this.#jobs.values()].reverse();
  }

  /** Those on nodes, newest first. */
  blockJobs(): readonly BlockJob[] {
    return this.list().flatMap((job) => job.asBlockJob ?? []);
  }

  /** Throws `Job not found`. */
  find(id: string): Job {
    const job = this.#jobs.get(id);
    if (job === undefined) throw new BlockError('Job not found', { code: 'ERR_NOT_FOUND' });
    return job;
  }

  /** As find, for block-job-* commands. */
  findBlockJob(id: string): BlockJob {
    const job = this.#jobs.get(id)?.asBlockJob;
    if (job === undefined) throw new BlockError(`Block job '${id}' not found`, { code: 'ERR_NOT_FOUND', qmpClass: 'DeviceNotActive' });
    return job;
  }

  /** Ends every job and forgets it; the first error is thrown when all have ended. */
  async cancelAll(): Promise<void> {
    const failures: unknown[] = [];
    for (const job of this.list()) {
      await job.cancel().catch((error: unknown) => failures.push(error));
      if (job.status === 'concluded') job.dismiss();
    }
    if (failures.length > 0) throw failures[0];
  }
}
