/*
 * Job: a long-running user of nodes on the one state machine that all jobs share. Owns status, pausing, cancelling,
 * finalizing and the events; a body does the work and never emits an event. A job is a parent: its edges ask for nothing
 * and keep their node, its operation blockers keep commands away from every node it was told of.
 * Rule source: QEMU's documented job states and verbs; order of events as observed on 11.1.
 */
import type { Child, Parent } from '../core/block/child.ts';
import type { BlockNode } from '../core/block/node.ts';
import { BlockError, invariant } from '../core/util/errors.ts';
import { isPending, type Maybe } from '../core/util/maybe.ts';
import { type GroupMember, JobGroup } from './group.ts';
import { errorAction, type JobBody, type JobHost, type JobOptions, type JobType, type OnError } from './job-body.ts';
import { blockJobInfo, jobInfo } from './job-info.ts';
import { JobNodes } from './job-nodes.ts';
import { RateLimit } from './rate-limit.ts';
import { hasWork, isOver, type JobStatus, type JobVerb, mayApply, mayBecome } from './states.ts';

export class Job implements Parent, GroupMember {
  readonly id: string;
  readonly type: JobType;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
  readonly stayAtNode = true;
  readonly isEndless: boolean;
  readonly limit: RateLimit;
  current = 0;
  total = 0;
  error: BlockError | undefined;
  ioStatus: 'ok' | 'failed' | 'nospace' = 'ok';
  readonly #body: JobBody;
  readonly #host: JobHost;
  readonly #group: JobGroup;
  readonly #nodes: JobNodes;
  #status: JobStatus | undefined;
  #pauseCount = 0;
  #isUserPaused = false;
  #isCancelled = false;
  #isStarted = false;
  /** The body is over (or never began). */
  #isBodyDone = false;
  /** The body does nothing until it is woken: a pause takes effect at once. */
  #isIdle = false;
  #shouldComplete = false;
  #isConcluding = false;
  #failure: unknown;
  readonly #wake: (() => void)[] = [];
  readonly #pausedWaiters: (() => void)[] = [];
  readonly #bodyWaiters: (() => void)[] = [];
  readonly #endWaiters: (() => void)[] = [];

  /** Emits `created`. The manager checked the id. */
  constructor(host: JobHost, body: JobBody, options: JobOptions, group: JobGroup = new JobGroup()) {
    this.#host = host;
    this.#body = body;
    this.#group = group;
    this.#nodes = new JobNodes(host.graph);
    this.id = options.id;
    this.type = body.type;
    this.isEndless = body.isEndless ?? false;
    this.autoFinalize = options.autoFinalize;
    this.autoDismiss = options.autoDismiss;
    this.limit = new RateLimit(host.clock, options.speed);
    group.join(this);
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

  get isUserPaused(): boolean {
    return this.#isUserPaused;
  }

  get isBusy(): boolean {
    return this.#body.worksBeside !== true && this.#isStarted && !this.#isBodyDone && !this.#isIdle && this.status !== 'paused' && this.status !== 'standby';
  }

  get isCancelled(): boolean {
    return this.#isCancelled;
  }

  get isWaiting(): boolean {
    return this.#status === 'waiting';
  }

  get isReady(): boolean {
    return this.#status === 'ready' || this.#status === 'standby';
  }

  /** A ready job was told to complete. */
  get shouldComplete(): boolean {
    return this.#shouldComplete;
  }

  get speed(): number {
    return this.limit.speed;
  }

  /** JobInfo of QAPI. */
  info(): Record<string, unknown> {
    return jobInfo(this);
  }

  /** BlockJobInfo of QAPI. */
  blockInfo(): Record<string, unknown> {
    return blockJobInfo(this);
  }

  /** Throws unless `verb` is allowed now. */
  check(verb: JobVerb): void {
    if (!mayApply(verb, this.status)) throw new BlockError(`Job '${this.id}' in state '${this.status}' cannot accept command verb '${verb}'`);
  }

  // -- nodes ------------------------------------------------------------------------------------------------------------
  /** Takes a node into use: an edge that keeps it, and all operations blocked on it. */
  addNode(name: string, node: BlockNode): void {
    this.#nodes.add(this, name, node, `block device is in use by block job: ${this.type}`, `job '${this.id}'`);
  }

  /** Its edges, oldest first. */
  get edges(): readonly Child[] {
    return this.#nodes.edges;
  }

  // -- life -------------------------------------------------------------------------------------------------------------
  /** Begins. The body's first turn comes after the command's reply. */
  start(): void {
    this.#isStarted = true;
    this.#setStatus('running');
    void this.#main();
  }

  async #main(): Promise<void> {
    try {
      await this.#idle(this.#host.clock.nextTurn());
      await this.pausePoint();
      if (!this.#isCancelled) await this.#body.run(this);
    } catch (error) {
      this.error = asJobError(error);
    }
    this.#isBodyDone = true;
    if (this.#isCancelled) this.error ??= new BlockError('Operation canceled', { code: 'ECANCELED' });
    if (this.error !== undefined) this.#setStatus('aborting');
    else this.#setStatus('waiting');
    wakeAll(this.#pausedWaiters);
    wakeAll(this.#bodyWaiters);
    try {
      if (this.error !== undefined) await this.#group.abort(this);
      else await this.#group.succeeded();
    } catch (error) {
      // nobody waits for this function: whoever waits for the end of the job is told
      this.#failure = error;
      wakeAll(this.#endWaiters);
    }
  }

  async whenBodyDone(): Promise<void> {
    if (this.#isStarted && !this.#isBodyDone) await new Promise<void>((resolve) => this.#bodyWaiters.push(resolve));
  }

  becomePending(): void {
    this.#setStatus('pending');
    if (!this.autoFinalize) this.#host.events.emit('BLOCK_JOB_PENDING', { type: this.type, id: this.id });
  }

  async prepare(): Promise<boolean> {
    try {
      await this.#body.prepare?.();
      return true;
    } catch (error) {
      this.error = asJobError(error);
      return false;
    }
  }

  /** The end, good or bad: leaves the nodes, takes its changes out of the graph, tells the outcome. */
  async conclude(): Promise<void> {
    if (this.#isConcluding) return;
    this.#isConcluding = true;
    if (this.#isCancelled) this.error ??= new BlockError('Operation canceled', { code: 'ECANCELED' });
    const isFailed = this.error !== undefined;
    if (isFailed && this.#status !== 'aborting') this.#setStatus('aborting');
    try {
      await this.#host.graph.turn(async () => {
        if (isFailed) this.#body.abort?.();
        else this.#body.commit?.();
        this.#nodes.release();
        await this.#body.clean();
      });
    } catch (error) {
      this.error ??= asJobError(error);
    }
    this.#group.leave(this);
    if (this.#isStarted) this.#emitEnd();
    this.#setStatus('concluded');
    if (this.autoDismiss || !this.#isStarted) this.dismiss();
    wakeAll(this.#endWaiters);
  }

  /** Ends a job that was never started, as if it had not been made; `told` of it on the way. */
  discard(...told: readonly JobStatus[]): void {
    this.#nodes.release();
    this.#group.leave(this);
    this.#isConcluding = true;
    this.#isBodyDone = true;
    for (const status of told) this.#setStatus(status);
    this.#setStatus('null');
    this.#host.forget(this);
  }

  #emitEnd(): void {
    const data = this.#eventData();
    if (this.#isCancelled) this.#host.events.emit('BLOCK_JOB_CANCELLED', data);
    else this.#host.events.emit('BLOCK_JOB_COMPLETED', this.error === undefined ? data : { ...data, error: this.error.message });
  }

  #eventData(): Record<string, unknown> {
    return { type: this.type, device: this.id, len: this.total, offset: this.current, speed: this.speed };
  }

  /** Settles when the job has concluded. */
  async whenEnded(): Promise<void> {
    if (!isOver(this.status) && this.#failure === undefined) await new Promise<void>((resolve) => this.#endWaiters.push(resolve));
    if (this.#failure !== undefined) throw this.#failure;
  }

  // -- verbs; the caller has checked them -------------------------------------------------------------------------------
  requestCancel(): void {
    this.#isCancelled = true;
    if (this.#isUserPaused) {
      this.#isUserPaused = false;
      this.resume();
    }
    this.kick();
  }

  /** Ends the job without its result. Settles when it is over. */
  async cancel(): Promise<void> {
    if (isOver(this.status)) return;
    this.requestCancel();
    await this.whenBodyDone();
    await this.#group.abort(this);
  }

  /** Throws when the user paused it already or the state forbids it. Takes effect at once when the body is idle, else at its next pause point. */
  userPause(): void {
    if (this.#isUserPaused) throw new BlockError('Job is already paused');
    this.check('pause');
    this.#isUserPaused = true;
    this.quiesce();
  }

  userResume(): void {
    if (!this.#isUserPaused) throw new BlockError("Can't resume a job that was not paused");
    this.check('resume');
    this.#isUserPaused = false;
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

  /** Tells a ready job to finish. */
  complete(): void {
    this.check('complete');
    this.#shouldComplete = true;
    this.kick();
  }

  async finalize(): Promise<void> {
    this.check('finalize');
    await this.#group.finalize();
  }

  dismiss(): void {
    this.check('dismiss');
    this.#setStatus('null');
    this.#host.forget(this);
  }

  // -- for bodies -------------------------------------------------------------------------------------------------------
  /** Gives everyone else a turn when this job used up its share, and stops here while the job is paused. Nothing may be in flight. */
  async pausePoint(bytes = 0): Promise<void> {
    const turn = this.#host.budget.tick(bytes);
    if (isPending(turn)) await this.#idle(turn);
    while (this.#pauseCount > 0) {
      this.#enterPause();
      await this.#idle(this.#woken());
    }
  }

  /** Does nothing until the job is cancelled or, when ready, told to complete. */
  async idleUntilEnd(): Promise<void> {
    while (!this.#isCancelled && !this.#shouldComplete) {
      await this.#idle(this.#woken());
      await this.pausePoint();
    }
  }

  /** Waits until the rate limit lets `bytes` more through; ends early when the job is kicked (cancelled, another speed). Nothing may be in flight. */
  async limitRate(bytes: number): Promise<void> {
    const waitMs = this.limit.delayFor(bytes);
    if (waitMs <= 0 || this.#isCancelled) return;
    const abort = new AbortController();
    const wake = (): void => abort.abort();
    this.#wake.push(wake);
    await this.#idle(this.#host.clock.sleep(waitMs, abort.signal));
    if (this.#wake.includes(wake)) this.#wake.splice(this.#wake.indexOf(wake), 1);
  }

  /** The target is in sync: from now on the job may be completed. */
  enterReady(): void {
    this.#setStatus('ready');
    this.#host.events.emit('BLOCK_JOB_READY', this.#eventData());
  }

  /** What to do about a failed request, by the policy: settles for another try (now, or when the user resumed), throws to fail. */
  async onIoError(operation: 'read' | 'write', policy: OnError, error: BlockError): Promise<void> {
    const action = errorAction(policy, error);
    if (action === 'stop' && !this.#isUserPaused) {
      // as if the user had paused it: job-resume goes on
      this.#isUserPaused = true;
      this.#pauseCount++;
    }
    this.#host.events.emit('BLOCK_JOB_ERROR', { device: this.id, operation, action });
    if (action === 'report') throw error;
    if (action === 'stop') this.ioStatus = error.code === 'ENOSPC' ? 'nospace' : 'failed';
    await this.pausePoint();
  }

  kick(): void {
    wakeAll(this.#wake);
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  async #idle(pending: Promise<void>): Promise<void> {
    this.#isIdle = true;
    // a pause that was asked for meanwhile need not wait for the next pause point
    if (this.#pauseCount > 0) this.#enterPause();
    await pending;
    this.#isIdle = false;
  }

  // -- as a parent ------------------------------------------------------------------------------------------------------
  describe(): string {
    return `${this.type} job '${this.id}'`;
  }

  quiesce(): void {
    this.#pauseCount++;
    if (this.#isAtWork && this.#isIdle) this.#enterPause();
  }

  /** Settles at the next pause point of the body; one that is over, or has nothing in flight, is idle. */
  whenIdle(): Maybe<void> {
    if (!this.#isAtWork || this.#isIdle) return;
    return new Promise<void>((resolve) => this.#pausedWaiters.push(resolve));
  }

  get #isAtWork(): boolean {
    return this.#isStarted && !this.#isBodyDone && hasWork(this.status);
  }

  resume(): void {
    invariant(this.#pauseCount > 0, 'resume without pause');
    if (--this.#pauseCount > 0) return;
    if (this.#status === 'paused') this.#setStatus('running');
    else if (this.#status === 'standby') this.#setStatus('ready');
    this.kick();
  }

  #enterPause(): void {
    if (this.#status === 'running') this.#setStatus('paused');
    else if (this.#status === 'ready') this.#setStatus('standby');
    wakeAll(this.#pausedWaiters);
  }

  #setStatus(to: JobStatus): void {
    invariant(mayBecome(this.#status, to), `job ${this.#status ?? 'undefined'} → ${to}`);
    this.#status = to;
    this.#host.events.emit('JOB_STATUS_CHANGE', { status: to, id: this.id });
  }
}

/** A bug of ours must not look like a finished job; the message tells it from the medium's errors. */
function asJobError(error: unknown): BlockError {
  if (error instanceof BlockError) return error;
  return new BlockError(`internal error: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}

function wakeAll(waiters: (() => void)[]): void {
  for (const wake of waiters.splice(0)) wake();
}
