/*
 * Job: a long-running user of nodes on the one state machine that all jobs share. Owns status, pausing, cancelling,
 * finalizing and the events; a body does the work and never emits an event. A job is a parent: its edges ask for nothing
 * and keep their node, its operation blockers keep commands away from every node it was told of.
 * Rule source: QEMU's documented job states and verbs; order of events as observed on 11.1.
 */
import type { Child, Parent } from '../core/block/child.ts';
import { childRole } from '../core/block/driver.ts';
import type { Graph } from '../core/block/graph.ts';
import type { BlockNode } from '../core/block/node.ts';
import { runTransaction } from '../core/block/transaction.ts';
import type { Clock } from '../core/util/clock.ts';
import { BlockError, invariant } from '../core/util/errors.ts';
import type { EventSink } from '../core/util/events.ts';
import type { Maybe, YieldBudget } from '../core/util/maybe.ts';
import { perm } from '../core/util/perm-bits.ts';
import { RateLimit } from './rate-limit.ts';
import { type JobStatus, type JobVerb, mayApply, mayBecome } from './states.ts';

export type JobType = 'backup';
export type OnError = 'report' | 'ignore' | 'enospc' | 'stop' | 'auto';

export interface JobBody {
  readonly type: JobType;
  /** The work. Settles when it is done, or soon after `job.isCancelled`. */
  run(job: Job): Promise<void>;
  /** Undoes what the job put into the graph, whatever the outcome. */
  clean(): Promise<void>;
  onSpeed?(): void;
}

export interface JobOptions {
  readonly id: string;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
  /** Bytes a second, 0 = no limit. */
  readonly speed: number;
}

export interface JobHost {
  readonly graph: Graph;
  readonly events: EventSink;
  readonly clock: Clock;
  readonly budget: YieldBudget;
  /** The job is gone. */
  forget(job: Job): void;
}

/** Jobs that end together: all commit or all abort. A job on its own is a group of one. */
export class JobGroup {
  readonly jobs: Job[] = [];
  readonly isGrouped: boolean;

  constructor(isGrouped = false) {
    this.isGrouped = isGrouped;
  }
}

export class Job implements Parent {
  readonly id: string;
  readonly type: JobType;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
  readonly stayAtNode = true;
  readonly limit: RateLimit;
  current = 0;
  total = 0;
  error: BlockError | undefined;
  ioStatus: 'ok' | 'failed' | 'nospace' = 'ok';
  readonly #body: JobBody;
  readonly #host: JobHost;
  readonly #group: JobGroup;
  readonly #edges: Child[] = [];
  readonly #blockers: Disposable[] = [];
  #status: JobStatus | undefined;
  #pauseCount = 0;
  #isUserPaused = false;
  #isStopped = false;
  #isCancelled = false;
  #isIdle = false;
  #isBusy = true;
  #wake: (() => void)[] = [];
  #pausedWaiters: (() => void)[] = [];
  #endWaiters: (() => void)[] = [];

  constructor(host: JobHost, body: JobBody, options: JobOptions, group: JobGroup) {
    this.#host = host;
    this.#body = body;
    this.#group = group;
    this.id = options.id;
    this.type = body.type;
    this.autoFinalize = options.autoFinalize;
    this.autoDismiss = options.autoDismiss;
    this.limit = new RateLimit(host.clock, options.speed);
    group.jobs.push(this);
    this.#setStatus('created');
  }

  // -- what others see --------------------------------------------------------------------------------------------------
  get status(): JobStatus {
    invariant(this.#status !== undefined, 'job without status');
    return this.#status;
  }

  get isPaused(): boolean {
    return this.#pauseCount > 0;
  }

  get isBusy(): boolean {
    return this.#isBusy && !this.#isIdle && (this.status === 'running' || this.status === 'ready');
  }

  get isCancelled(): boolean {
    return this.#isCancelled;
  }

  get speed(): number {
    return this.limit.speed;
  }

  /** JobInfo of QAPI. */
  info(): Record<string, unknown> {
    return {
      id: this.id,
      type: this.type,
      status: this.status,
      'current-progress': this.current,
      'total-progress': this.total,
      ...(this.error === undefined ? {} : { error: this.error.message }),
    };
  }

  /** BlockJobInfo of QAPI. */
  blockInfo(): Record<string, unknown> {
    return {
      type: this.type,
      device: this.id,
      len: this.total,
      offset: this.current,
      busy: this.isBusy,
      paused: this.isPaused,
      speed: this.speed,
      'io-status': this.ioStatus,
      ready: this.status === 'ready' || this.status === 'standby',
      status: this.status,
      'auto-finalize': this.autoFinalize,
      'auto-dismiss': this.autoDismiss,
      ...(this.error === undefined ? {} : { error: this.error.message }),
    };
  }

  /** Throws unless `verb` is allowed now. */
  check(verb: JobVerb): void {
    if (!mayApply(verb, this.status)) throw new BlockError(`Job '${this.id}' in state '${this.status}' cannot accept command verb '${verb}'`);
  }

  // -- nodes ------------------------------------------------------------------------------------------------------------
  /** Takes a node into use: an edge that keeps it, and all operations blocked on it. */
  addNode(name: string, node: BlockNode): void {
    this.#edges.push(
      runTransaction((transaction) => this.#host.graph.attach(name, childRole.data, this, node, transaction, { perm: perm.none, shared: perm.all })),
    );
    this.#blockers.push(node.blockers.block('all', `block device is in use by block job: ${this.type}`, `job '${this.id}'`));
  }

  get nodes(): readonly BlockNode[] {
    return this.#edges.map((edge) => edge.node);
  }

  #releaseNodes(): void {
    for (const guard of this.#blockers.splice(0)) guard[Symbol.dispose]();
    const edges = this.#edges.splice(0);
    runTransaction((transaction) => {
      for (const edge of edges) this.#host.graph.detach(edge, transaction);
    });
  }

  // -- life -------------------------------------------------------------------------------------------------------------
  /** Begins. The body's first turn comes after the command's reply. */
  start(): void {
    this.#setStatus('running');
    void this.#main();
  }

  async #main(): Promise<void> {
    try {
      await this.pausePoint();
      await new Promise((resolve) => setImmediate(resolve));
      await this.pausePoint();
      if (!this.#isCancelled) await this.#body.run(this);
    } catch (error) {
      if (!(error instanceof BlockError)) {
        // a bug of ours must not look like a finished backup
        this.error = new BlockError(`internal error: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      } else if (!this.#isCancelled) this.error = error;
    }
    this.#isBusy = false;
    this.#wakePausedWaiters();
    if (this.#isCancelled || this.error !== undefined) await this.#abortGroup();
    else await this.#wait();
  }

  async #wait(): Promise<void> {
    this.#setStatus('waiting');
    if (this.#group.jobs.some((job) => job.status !== 'waiting')) return;
    for (const job of this.#group.jobs) job.#setStatus('pending');
    for (const job of this.#group.jobs) if (!job.autoFinalize) this.#host.events.emit('BLOCK_JOB_PENDING', { type: job.type, id: job.id });
    if (this.#group.jobs.every((job) => job.autoFinalize)) await this.#finalizeGroup();
  }

  async #finalizeGroup(): Promise<void> {
    for (const job of [...this.#group.jobs]) await job.#conclude();
  }

  async #abortGroup(): Promise<void> {
    const others = this.#group.jobs.filter((job) => job !== this && !job.#isEnded);
    for (const job of others) await job.cancel(true);
    await this.#conclude();
  }

  get #isEnded(): boolean {
    return this.#status === 'aborting' || this.#status === 'concluded' || this.#status === 'null';
  }

  async #conclude(): Promise<void> {
    if (this.#isEnded) return;
    const failed = this.#isCancelled || this.error !== undefined;
    if (failed) {
      this.#setStatus('aborting');
      if (this.error === undefined) this.error = new BlockError('Operation canceled', { code: 'ECANCELED' });
    }
    this.#releaseNodes();
    try {
      await this.#body.clean();
    } catch (error) {
      if (error instanceof BlockError) this.error ??= error;
      else throw error;
    }
    this.#emitEnd();
    this.#setStatus('concluded');
    if (this.autoDismiss) this.dismiss();
    for (const wake of this.#endWaiters.splice(0)) wake();
  }

  #emitEnd(): void {
    const data = { type: this.type, device: this.id, len: this.total, offset: this.current, speed: this.speed };
    if (this.#isCancelled) this.#host.events.emit('BLOCK_JOB_CANCELLED', data);
    else this.#host.events.emit('BLOCK_JOB_COMPLETED', this.error === undefined ? data : { ...data, error: this.error.message });
  }

  /** Settles when the job has concluded. */
  whenEnded(): Maybe<void> {
    if (this.#status === 'concluded' || this.#status === 'null') return;
    return new Promise((resolve) => this.#endWaiters.push(resolve));
  }

  // -- verbs; the caller has checked them -------------------------------------------------------------------------------
  /** Ends the job without its result. Settles when it is over. */
  async cancel(_force: boolean): Promise<void> {
    if (this.#status === 'concluded' || this.#status === 'null') return;
    const wasRunning = this.#isBusy;
    this.#isCancelled = true;
    if (this.#pauseCount > 0) {
      this.#isUserPaused = false;
      this.#isStopped = false;
      this.#pauseCount = 0;
      this.#leavePause();
    }
    this.kick();
    if (wasRunning) await this.whenEnded();
    else await this.#abortGroup();
  }

  async userPause(): Promise<void> {
    if (this.#isUserPaused) throw new BlockError('Job is already paused');
    this.check('pause');
    this.#isUserPaused = true;
    await this.quiesce();
  }

  userResume(): void {
    if (!this.#isUserPaused && !this.#isStopped) throw new BlockError("Can't resume a job that was not paused");
    this.check('resume');
    this.#isUserPaused = false;
    this.#isStopped = false;
    this.ioStatus = 'ok';
    this.resume();
  }

  setSpeed(speed: number): void {
    this.check('set-speed');
    if (speed < 0) throw new BlockError("Parameter 'speed' expects a non-negative value");
    this.limit.speed = speed;
    this.#body.onSpeed?.();
    this.kick();
  }

  async finalize(): Promise<void> {
    this.check('finalize');
    await this.#finalizeGroup();
  }

  dismiss(): void {
    this.check('dismiss');
    this.#setStatus('null');
    this.#host.forget(this);
  }

  // -- for bodies -------------------------------------------------------------------------------------------------------
  /** Gives everyone else a turn when this job used up its share, and stops here while the job is paused. */
  async pausePoint(bytes = 0): Promise<void> {
    await this.#host.budget.tick(bytes);
    while (this.#pauseCount > 0 && !this.#isCancelled) {
      this.#enterPause();
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  /** Does nothing until the job is cancelled. */
  async idleUntilCancelled(): Promise<void> {
    this.#isIdle = true;
    while (!this.#isCancelled) {
      await this.pausePoint();
      if (this.#isCancelled) break;
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
    this.#isIdle = false;
  }

  /** Waits until the rate limit lets `bytes` more through; ends early when the job is kicked. */
  async limitRate(bytes: number): Promise<void> {
    const waitMs = this.limit.delayFor(bytes);
    if (waitMs <= 0) return;
    const abort = new AbortController();
    this.#wake.push(() => abort.abort());
    await this.#host.clock.sleep(waitMs, abort.signal);
  }

  /** What to do about a failed request, by the policy: retry after the user resumed, go on, or fail. */
  async onIoError(operation: 'read' | 'write', policy: OnError, error: BlockError): Promise<void> {
    const isNoSpace = error.code === 'ENOSPC';
    const action = policy === 'enospc' ? (isNoSpace ? 'stop' : 'report') : policy === 'auto' ? 'report' : policy;
    this.#host.events.emit('BLOCK_JOB_ERROR', { device: this.id, operation, action });
    if (action === 'report') throw error;
    if (action !== 'stop') return;
    this.ioStatus = isNoSpace ? 'nospace' : 'failed';
    this.#isStopped = true;
    this.#pauseCount++;
    await this.pausePoint();
  }

  kick(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  // -- as a parent ------------------------------------------------------------------------------------------------------
  describe(): string {
    return `${this.type} job '${this.id}'`;
  }

  quiesce(): Maybe<void> {
    this.#pauseCount++;
    if (!this.#isBusy || this.#isCancelled || this.#status === 'created' || this.#status === 'paused') return;
    const stopped = new Promise<void>((resolve) => this.#pausedWaiters.push(resolve));
    this.kick();
    return stopped;
  }

  resume(): void {
    if (this.#pauseCount === 0) return;
    if (--this.#pauseCount === 0) {
      this.#leavePause();
      this.kick();
    }
  }

  #enterPause(): void {
    if (this.#status === 'running') this.#setStatus('paused');
    this.#wakePausedWaiters();
  }

  #leavePause(): void {
    if (this.#status === 'paused') this.#setStatus('running');
  }

  #wakePausedWaiters(): void {
    for (const wake of this.#pausedWaiters.splice(0)) wake();
  }

  #setStatus(to: JobStatus): void {
    invariant(mayBecome(this.#status, to), `job ${this.#status ?? 'undefined'} → ${to}`);
    this.#status = to;
    this.#host.events.emit('JOB_STATUS_CHANGE', { status: to, id: this.id });
  }
}
