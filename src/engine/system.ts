/*
 * System: what one monitor controls: the engine with its jobs, exports, objects and, for tsqmp, the simulated machine.
 * The operations in src/engine/ops take it; QMP, HMP, shell and programs all come through them. Written once here: the
 * order of shutdown. Exports close before jobs end: the other order thaws a frozen view under its readers.
 */
import { JobManager } from '../jobs/manager.ts';
import type { Machine } from '../machine/machine.ts';
import { Engine, type EngineOptions } from './engine.ts';
import { ExportManager } from './exports.ts';
import { ObjectStore } from './objects.ts';

export interface SystemOptions extends EngineOptions {
  /** Answer exactly as QEMU 11.1 does: no old spellings, no events or warnings of our own. */
  readonly strict?: boolean;
}

export class System implements AsyncDisposable {
  readonly engine: Engine;
  readonly jobs: JobManager;
  readonly exports: ExportManager;
  readonly objects: ObjectStore;
  readonly strict: boolean;
  /** The simulated machine; undefined in a storage daemon. */
  machine: Machine | undefined;

  constructor(options: SystemOptions = {}) {
    this.engine = new Engine(options);
    this.strict = options.strict ?? false;
    this.jobs = new JobManager(this.engine.graph, this.engine.events, this.engine.clock, this.engine.budget);
    this.exports = new ExportManager(this.engine);
    this.objects = new ObjectStore();
  }

  /** Stops the guest, then listeners and exports, then jobs, then the engine. The first error is thrown when all is closed. */
  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (const step of [
      () => this.machine?.stopGuest(),
      () => this.exports.close(),
      () => this.jobs.cancelAll(),
      () => this.machine?.close(),
      () => this.engine.close(),
    ]) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
