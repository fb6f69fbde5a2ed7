/*
 * The simulated machine: disks as guest devices, a run state, and a guest that does something. Emits STOP and RESUME.
 * Knows nodes and block backends, no command and no format.
 */

import type { Graph } from '../core/block/graph.ts';
import type { BlockNode } from '../core/block/node.ts';
import type { Clock } from '../core/util/clock.ts';
import { BlockError } from '../core/util/errors.ts';
import type { EventSink } from '../core/util/events.ts';
import type { YieldBudget } from '../core/util/maybe.ts';
import { DiskDevice } from './disk-device.ts';
import { Workload, type WorkloadOptions } from './workload.ts';

export type RunState = 'running' | 'paused' | 'shutdown';

/** The part of an engine that a machine uses. */
export interface MachineHost {
  readonly graph: Graph;
  readonly events: EventSink;
  readonly budget: YieldBudget;
  readonly clock: Clock;
}

export class Machine {
  readonly #host: MachineHost;
  readonly #disks = new Map<string, DiskDevice>();
  readonly #workloads = new Set<Workload>();
  #runState: RunState = 'running';

  constructor(host: MachineHost) {
    this.#host = host;
    host.graph.isDeviceName = (name) => this.#disks.get(name)?.hasDrive ?? false;
    host.graph.deviceNode = (name) => {
      const disk = this.#disks.get(name);
      return disk?.hasDrive ? disk.node : undefined;
    };
  }

  get runState(): RunState {
    return this.#runState;
  }

  get disks(): readonly DiskDevice[] {
    return [...this.#disks.values()];
  }

  get workloads(): readonly Workload[] {
    return [...this.#workloads];
  }

  /** Adds a disk on a node that nobody uses yet. The node is released when that fails. */
  async addDisk(id: string, node: BlockNode): Promise<DiskDevice> {
    try {
      if (this.#disks.has(id)) throw new BlockError(`Duplicate ID '${id}' for drive`, { code: 'ERR_NAME' });
      if (this.#host.graph.find(id) !== undefined) throw new BlockError(`Device name '${id}' conflicts with an existing node name`, { code: 'ERR_NAME' });
      const disk = new DiskDevice(this.#host.graph, id, node);
      this.#disks.set(id, disk);
      return disk;
    } catch (error) {
      await this.#host.graph.releaseUnused(node);
      throw error;
    }
  }

  /** Adds a drive without a device, on `node` or empty. The node is released when that fails. */
  addDrive(id: string, node: BlockNode | undefined): void {
    const drive = new DiskDevice(this.#host.graph, id, node, false);
    this.#disks.set(id, drive);
  }

  forget(disk: DiskDevice): void {
    this.#disks.delete(disk.id);
  }

  /** Whether a drive or a device has this name. */
  has(id: string): boolean {
    return this.#disks.has(id);
  }

  /** The disk whose drive has this name, while it has one. */
  findDrive(name: string): DiskDevice | undefined {
    const disk = this.#disks.get(name);
    return disk?.hasDrive ? disk : undefined;
  }

  /** The device with this id or qom path. */
  findDevice(path: string): DiskDevice | undefined {
    return this.disks.find((disk) => disk.isAttached && (disk.id === path || disk.qomPath === path));
  }

  /** A disk of the guest's, for its own requests. */
  guestDisk(id: string): DiskDevice {
    const disk = this.#disks.get(id);
    if (disk?.isAttached !== true) throw new BlockError(`The machine has no disk '${id}'`, { code: 'ERR_NOT_FOUND' });
    return disk;
  }

  // -- run state ----------------------------------------------------------------------------------------------------------
  /** The guest stands still; its disks stay. */
  async stop(): Promise<void> {
    if (this.#runState !== 'running') return;
    this.#runState = 'paused';
    for (const workload of this.#workloads) await workload.pause();
    this.#host.events.emit('STOP');
  }

  cont(): void {
    if (this.#runState !== 'paused') return;
    this.#runState = 'running';
    for (const workload of this.#workloads) workload.resume();
    this.#host.events.emit('RESUME');
  }

  // -- the guest ----------------------------------------------------------------------------------------------------------
  /** Starts a workload on a disk; it runs until stopped. */
  run(id: string, options: WorkloadOptions): Workload {
    const disk = this.guestDisk(id);
    if (disk.isReadOnly) throw new BlockError(`Disk '${id}' is read-only`, { code: 'EROFS' });
    const workload = new Workload(disk, this.#host, options, () => this.#workloads.delete(workload));
    this.#workloads.add(workload);
    workload.start(this.#runState === 'running');
    return workload;
  }

  /** Ends every workload (of one disk); settles when their requests have. */
  async stopGuest(id?: string): Promise<void> {
    for (const workload of [...this.#workloads]) if (id === undefined || workload.disk.id === id) await workload.stop();
  }

  async close(): Promise<void> {
    await this.stopGuest();
    for (const disk of this.#disks.values()) await disk.close();
    this.#disks.clear();
  }
}
