/*
 * BlockJob: a job on nodes. A parent: its edges ask for nothing and keep their node, its operation blockers keep commands
 * away from every node it was told of. Has a speed, an I/O status and a policy for errors, and tells of itself by BLOCK_JOB_*.
 * Must not know what its body does. Rule source: QAPI's BlockJob* commands and events, order as observed on QEMU 11.1.
 */
import type { Child, Parent } from '../core/block/child.ts';
import type { BlockNode } from '../core/block/node.ts';
import { BlockError } from '../core/util/errors.ts';
import { limited } from '../core/util/offsets.ts';
import type { JobGroup } from './group.ts';
import { Job } from './job.ts';
import { type BlockJobBody, type BlockJobOptions, errorAction, type JobHost, type OnError } from './job-body.ts';
import { blockJobInfo } from './job-info.ts';
import { JobNodes } from './job-nodes.ts';
import { RateLimit } from './rate-limit.ts';

export class BlockJob extends Job implements Parent {
  readonly stayAtNode = true;
  readonly limit: RateLimit;
  ioStatus: 'ok' | 'failed' | 'nospace' = 'ok';
  readonly #nodes: JobNodes;
  #speed: number | bigint;

  constructor(host: JobHost, body: BlockJobBody, options: BlockJobOptions, group?: JobGroup) {
    super(host, body, options, group);
    this.#nodes = new JobNodes(host.graph);
    this.#speed = options.speed;
    this.limit = new RateLimit(host.clock, limited(options.speed));
  }

  override get asBlockJob(): BlockJob {
    return this;
  }

  override get usedNodes(): readonly BlockNode[] {
    return this.#nodes.edges.map((edge) => edge.node);
  }

  /** Bytes a second as it was asked for; 0 = no limit. */
  get speed(): number | bigint {
    return this.#speed;
  }

  /** BlockJobInfo of QAPI. */
  blockInfo(): Record<string, unknown> {
    return blockJobInfo(this);
  }

  describe(): string {
    return `${this.type} job '${this.id}'`;
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

  protected override leaveNodes(): void {
    this.#nodes.release();
  }

  // -- verbs ------------------------------------------------------------------------------------------------------------
  /** `speed` in bytes a second, 0 = no limit. */
  setSpeed(speed: number | bigint): void {
    this.check('set-speed');
    if (speed < 0) throw new BlockError("Parameter 'speed' expects a non-negative value", { code: 'ERR_OPTION' });
    this.#speed = speed;
    this.limit.speed = limited(speed);
    this.speedChanged();
    this.kick();
  }

  override userResume(): void {
    super.userResume();
    this.ioStatus = 'ok';
  }

  // -- for bodies -------------------------------------------------------------------------------------------------------
  /** What to do about a failed request, by the policy: settles for another try (now, or when the user resumed), throws to fail. */
  async onIoError(operation: 'read' | 'write', policy: OnError, error: BlockError): Promise<void> {
    const action = errorAction(policy, error);
    if (action === 'stop') this.stopByError();
    this.host.events.emit('BLOCK_JOB_ERROR', { device: this.id, operation, action });
    if (action === 'report') throw error;
    if (action === 'stop') this.ioStatus = error.code === 'ENOSPC' ? 'nospace' : 'failed';
    await this.pausePoint();
  }

  // -- events -----------------------------------------------------------------------------------------------------------
  protected override announcePending(): void {
    this.host.events.emit('BLOCK_JOB_PENDING', { type: this.type, id: this.id });
  }

  protected override announceReady(): void {
    this.host.events.emit('BLOCK_JOB_READY', this.#eventData());
  }

  protected override announceEnd(): void {
    const data = this.#eventData();
    if (this.isCancelled) this.host.events.emit('BLOCK_JOB_CANCELLED', data);
    else this.host.events.emit('BLOCK_JOB_COMPLETED', this.error === undefined ? data : { ...data, error: this.error.message });
  }

  #eventData(): Record<string, unknown> {
    return { type: this.type, device: this.id, len: this.total, offset: this.current, speed: this.speed };
  }
}
