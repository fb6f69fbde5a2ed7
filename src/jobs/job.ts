/*
 * Job: any long-running work on the one state machine that all jobs share: status, pausing, cancelling, finalizing and
 * JOB_STATUS_CHANGE. A body does the work and never emits an event. Knows no node: what jobs on nodes have beside this, the
 * events BLOCK_JOB_* among it, is block-job.ts.
 * Rule source: QEMU's documented job states and verbs; order of events as observed on 11.1.
 */
import type { BlockNode } from '../core/block/node.ts';
import { BlockError, invariant } from '../core/util/errors.ts';
import { asBlockError } from '../core/util/internal-error.ts';
import { isPending, type Maybe } from '../core/util/maybe.ts';
import { Waiters } from '../core/util/waiters.ts';
import type { BlockJob } from './block-job.ts';
import { type GroupMember, JobGroup } from './group.ts';
import type { JobBody, JobHost, JobOptions, JobType } from './job-body.ts';
import { jobInfo } from './job-info.ts';
import { hasWork, isOver, type JobStatus, type JobVerb, mayApply, mayBecome } from './states.ts';

export class Job implements GroupMember {
  readonly id: string;
  readonly type: JobType;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
  readonly isEndless: boolean;
  current = 0;
  total = 0;
  error: BlockError | undefined;
  protected readonly host: JobHost;
  readonly #body: JobBody;
  readonly #group: JobGroup;
  #status: JobStatus | undefined;
  #pauseCount = 0;
  #isUserPaused = false;
  /** Told to end: by force, or softly when it was ready, which lets it finish without its effect. */
  #cancelled: 'no' | 'softly' | 'by force' = 'no';
  #isStarted = false;
  /** The body is over (or never began). */
  #isBodyDone = false;
  /** The body does nothing until it is woken: a pause takes effect at once. */
  #isIdle = false;
  #shouldComplete = false;
  #isConcluding = false;
  #prepared: Promise<boolean> | undefined;
  #failure: unknown;
  /** What the body waits for while it is idle. */
  readonly #kicked = new Waiters();
  readonly #paused = new Waiters();
  readonly #bodyDone = new Waiters();
  readonly #ended = new Waiters();

  /** Emits `created`. The manager checked the id. */
  constructor(host: JobHost, body: JobBody, options: JobOptions, group: JobGroup = new JobGroup()) {
    this.host = host;
    this.#body = body;
    this.#group = group;
    this.id = options.id;
    this.type = body.type;
    this.isEndless = body.isEndless ?? false;
    this.autoFinalize = options.autoFinalize;
    this.autoDismiss = options.autoDismiss;
    group.join(this);
    this.setStatus('created');
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

  /** It ends by force: no result. */
  get isCancelled(): boolean {
    return this.#cancelled === 'by force';
  }

  /** It ends: by force, or because a ready job was cancelled softly, which finishes without taking effect. */
  get isToEnd(): boolean {
    return this.#cancelled !== 'no';
  }

  /** Set for a job on nodes. */
  get asBlockJob(): BlockJob | undefined {
    return undefined;
  }

  /** The nodes that are quiet while it concludes. */
  get usedNodes(): readonly BlockNode[] {
    return [];
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

  /** JobInfo of QAPI. */
  info(): Record<string, unknown> {
    return jobInfo(this);
  }

  /** Throws unless `verb` is allowed now. */
  check(verb: JobVerb): void {
    if (!mayApply(verb, this.status))
      throw new BlockError(`Job '${this.id}' in state '${this.status}' cannot accept command verb '${verb}'`, { code: 'ERR_STATE' });
  }

  // -- life -------------------------------------------------------------------------------------------------------------
  /** Begins. The body's first turn comes after the command's reply. */
  start(): void {
    this.#isStarted = true;
    this.setStatus('running');
    void this.#main();
  }

  async #main(): Promise<void> {
    try {
      await this.#idle(this.host.clock.nextTurn());
      await this.pausePoint();
      if (!this.isCancelled) await this.#body.run(this);
    } catch (error) {
      this.error = asBlockError(error);
    }
    this.#isBodyDone = true;
    this.#noteCancel();
    this.setStatus(this.error === undefined ? 'waiting' : 'aborting');
    this.#paused.wakeAll();
    this.#bodyDone.wakeAll();
    try {
      if (this.error !== undefined) await this.#group.abort(this);
      else await this.#group.succeeded();
    } catch (error) {
      // nobody waits for this function: whoever waits for the end of the job is told
      this.#failure = error;
      this.#ended.wakeAll();
    }
  }

  async whenBodyDone(): Promise<void> {
    if (this.#isStarted && !this.#isBodyDone) await this.#bodyDone.wait();
  }

  becomePending(): void {
    this.setStatus('pending');
    if (!this.autoFinalize) this.announcePending();
  }

  /** Runs the body's last step that may fail; a second call waits for the first. */
  prepare(): Promise<boolean> {
    this.#prepared ??= this.#prepareOnce();
    return this.#prepared;
  }

  async #prepareOnce(): Promise<boolean> {
    try {
      await this.#body.prepare?.();
      return true;
    } catch (error) {
      this.error = asBlockError(error);
      return false;
    }
  }

  inTurn(body: () => Promise<void>): Promise<void> {
    return this.host.graph.turn(body);
  }

  /** The end, good or bad: leaves the nodes, takes its changes out of the graph, tells the outcome. Runs inside the group's drained turn. */
  async conclude(): Promise<void> {
    if (this.#isConcluding) return;
    this.#isConcluding = true;
    this.#noteCancel();
    const isFailed = this.error !== undefined;
    if (isFailed && this.#status !== 'aborting') this.setStatus('aborting');
    try {
      if (isFailed) this.#body.abort?.();
      else this.#body.commit?.();
      this.leaveNodes();
      await this.#body.clean();
    } catch (error) {
      this.error ??= asBlockError(error);
    }
    this.#group.leave(this);
    if (this.#isStarted) this.announceEnd();
    this.setStatus('concluded');
    if (this.autoDismiss || !this.#isStarted) this.dismiss();
    this.#ended.wakeAll();
  }

  /** Ends a job that was never started, as if it had not been made; `told` of it on the way. */
  discard(...told: readonly JobStatus[]): void {
    this.leaveNodes();
    this.#group.leave(this);
    this.#isConcluding = true;
    this.#isBodyDone = true;
    for (const status of told) this.setStatus(status);
    this.setStatus('null');
    this.host.forget(this);
  }

  #noteCancel(): void {
    if (this.isCancelled) this.error ??= new BlockError('Operation canceled', { code: 'ECANCELED' });
  }

  // -- what a kind of job tells beside its status, and what it holds ------------------------------------------------------
  protected announcePending(): void {}
  protected announceReady(): void {}
  protected announceEnd(): void {}
  protected leaveNodes(): void {}
  protected speedChanged(): void {
    this.#body.onSpeed?.();
  }

  /** Settles when the job has concluded. */
  async whenEnded(): Promise<void> {
    if (!isOver(this.status) && this.#failure === undefined) await this.#ended.wait();
    if (this.#failure !== undefined) throw this.#failure;
  }

  // -- verbs; the caller has checked them -------------------------------------------------------------------------------
  requestCancel(): void {
    this.#cancelled = 'by force';
    this.#unpause();
    this.kick();
  }

  /** Lets a ready job finish without its effect (mirror: no pivot). Does not wait. Another job is to be cancelled by force. */
  cancelSoftly(): void {
    invariant(this.isReady, 'soft cancel of a job that is not ready');
    if (this.#cancelled === 'no') this.#cancelled = 'softly';
    this.#unpause();
    this.kick();
  }

  #unpause(): void {
    if (this.#isUserPaused) {
      this.#isUserPaused = false;
      this.resume();
    }
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
    if (this.#isUserPaused) throw new BlockError('Job is already paused', { code: 'ERR_STATE' });
    this.check('pause');
    // one that is on its way out would never wake again
    if (this.isCancelled) return;
    this.#isUserPaused = true;
    this.quiesce();
  }

  userResume(): void {
    if (!this.#isUserPaused) throw new BlockError("Can't resume a job that was not paused", { code: 'ERR_STATE' });
    this.check('resume');
    this.#isUserPaused = false;
    this.resume();
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
    this.setStatus('null');
    this.host.forget(this);
  }

  // -- for bodies -------------------------------------------------------------------------------------------------------
  /** Gives everyone else a turn when this job used up its share, and stops here while the job is paused. Nothing may be in flight. */
  async pausePoint(bytes = 0): Promise<void> {
    const turn = this.host.budget.tick(bytes);
    if (isPending(turn)) await this.#idle(turn);
    while (this.#pauseCount > 0) {
      this.#enterPause();
      await this.#idle(this.#woken());
    }
  }

  /** Gives everyone else a turn when this job used up its share, with requests in flight or not. */
  tick(bytes: number): Maybe<void> {
    return this.host.budget.tick(bytes);
  }

  /** Does nothing until the job is cancelled or, when ready, told to complete. */
  async idleUntilEnd(): Promise<void> {
    while (!this.isToEnd && !this.#shouldComplete) {
      await this.#idle(this.#woken());
      await this.pausePoint();
    }
  }

  /** Does nothing for `ms`; ends early when the job is kicked (cancelled, another speed). Nothing may be in flight. */
  async sleep(ms: number): Promise<void> {
    if (ms <= 0 || this.isCancelled) return;
    const abort = new AbortController();
    const leave = this.#kicked.add(() => abort.abort());
    await this.#idle(this.host.clock.sleep(ms, abort.signal));
    leave();
  }

  /** The work is done but for what goes on meanwhile: from now on the job may be completed. */
  enterReady(): void {
    this.setStatus('ready');
    this.announceReady();
  }

  /** Stops at the next pause point as if the user had paused it: job-resume goes on. */
  protected stopByError(): void {
    if (this.#isUserPaused) return;
    this.#isUserPaused = true;
    this.#pauseCount++;
  }

  kick(): void {
    this.#kicked.wakeAll();
  }

  #woken(): Promise<void> {
    return this.#kicked.wait();
  }

  async #idle(pending: Promise<void>): Promise<void> {
    this.#isIdle = true;
    // a pause that was asked for meanwhile need not wait for the next pause point
    if (this.#pauseCount > 0) this.#enterPause();
    await pending;
    this.#isIdle = false;
  }

  // -- pauses of others: drained sections, transactions -------------------------------------------------------------------
  quiesce(): void {
    this.#pauseCount++;
    if (this.#isAtWork && this.#isIdle) this.#enterPause();
  }

  /** Settles at the next pause point of the body; one that is over, or has nothing in flight, is idle. */
  whenIdle(): Maybe<void> {
    if (!this.#isAtWork || this.#isIdle) return;
    return this.#paused.wait();
  }

  get #isAtWork(): boolean {
    return this.#isStarted && !this.#isBodyDone && hasWork(this.status);
  }

  resume(): void {
    invariant(this.#pauseCount > 0, 'resume without pause');
    if (--this.#pauseCount > 0) return;
    if (this.#status === 'paused') this.setStatus('running');
    else if (this.#status === 'standby') this.setStatus('ready');
    this.kick();
  }

  #enterPause(): void {
    if (this.#status === 'running') this.setStatus('paused');
    else if (this.#status === 'ready') this.setStatus('standby');
    this.#paused.wakeAll();
  }

  protected setStatus(to: JobStatus): void {
    invariant(mayBecome(this.#status, to), `job ${this.#status ?? 'undefined'} → ${to}`);
    this.#status = to;
    this.host.events.emit('JOB_STATUS_CHANGE', { status: to, id: this.id });
  }
}
