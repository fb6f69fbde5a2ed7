/*
 * Engine: the composition root. Owns the graph, the registry of drivers, events, the yield budget and the clock, and the
 * services on top of them: jobs, exports, objects and, where a program gives it one, the machine. Storage is injected.
 * The operations in src/engine/ops take an engine; QMP, HMP, shell, programs and the library all come through them.
 * Code that few commands need (formats, NBD, what a job does) loads at first use. Knows every layer below, no program.
 */
import { BlockBackend, noIoPerms, readerPerms, writerPerms } from '../core/block/backend.ts';
import { drainNodes } from '../core/block/drain.ts';
import type { PermRequest } from '../core/block/driver.ts';
import { allowAll, type OpenPolicy } from '../core/block/gate.ts';
import { Graph } from '../core/block/graph.ts';
import type { BlockNode } from '../core/block/node.ts';
import { type ImageName, Opener } from '../core/block/open.ts';
import type { OptionTree } from '../core/block/options.ts';
import { DriverRegistry } from '../core/block/registry.ts';
import { runTransaction } from '../core/block/transaction.ts';
import { smallRequest } from '../core/storage/local-file.ts';
import { localStorage } from '../core/storage/local-open.ts';
import type { OpenStorage } from '../core/storage/storage.ts';
import { type Clock, realClock } from '../core/util/clock.ts';
import { EventSink } from '../core/util/events.ts';
import { YieldBudget } from '../core/util/maybe.ts';
import { JobManager } from '../jobs/manager.ts';
import type { Machine } from '../machine/machine.ts';
import { driverEntries } from './drivers.ts';
import { ExportManager } from './exports.ts';
import { foreignFormat } from './foreign-formats.ts';
import { ObjectStore } from './objects.ts';
import { runAction } from './ops/action.ts';
import { addNodeAction } from './ops/nodes.ts';

export interface EngineOptions {
  readonly openStorage?: OpenStorage;
  readonly clock?: Clock;
  /** Largest synchronous file request in bytes: Infinity for programs with one user (default 64 KiB). */
  readonly syncLimit?: number;
  /** Decides about backing and data files that images name themselves (default: all are opened, as QEMU does). */
  readonly implicitOpen?: OpenPolicy;
  /** Answer exactly as QEMU 11.1 does: no old spellings, no events or warnings of our own. */
  readonly strict?: boolean;
}

export interface OpenBackendOptions extends ImageName {
  /** Default true. */
  readonly readOnly?: boolean;
  /** Share everything and take no locks (`-U`). */
  readonly forceShare?: boolean;
  /** Do not open the backing chain. */
  readonly noBacking?: boolean;
  readonly cache?: { readonly direct?: boolean; readonly noFlush?: boolean };
  /** Discards and unmapping zero writes reach the file. */
  readonly discard?: boolean;
  readonly detectZeroes?: 'off' | 'on' | 'unmap';
  readonly perms?: PermRequest;
}

export class Engine implements AsyncDisposable {
  readonly graph: Graph = new Graph();
  readonly registry: DriverRegistry = new DriverRegistry(driverEntries, foreignFormat);
  readonly clock: Clock;
  readonly events: EventSink;
  readonly budget: YieldBudget;
  readonly openStorage: OpenStorage;
  readonly opener: Opener;
  readonly strict: boolean;
  readonly jobs: JobManager;
  readonly exports: ExportManager;
  readonly objects: ObjectStore;
  /** The simulated machine; undefined in a storage daemon, in tools and in the library. */
  machine: Machine | undefined;
  readonly #closers: (() => Promise<void>)[] = [];
  #closing: Promise<void> | undefined;

  constructor(options: EngineOptions = {}) {
    this.clock = options.clock ?? realClock;
    this.budget = new YieldBudget(this.clock);
    this.strict = options.strict ?? false;
    this.events = new EventSink(() => this.clock.now());
    this.openStorage = options.openStorage ?? localStorage({ syncLimit: options.syncLimit ?? smallRequest, clock: this.clock });
    this.objects = new ObjectStore();
    this.opener = new Opener({
      graph: this.graph,
      registry: this.registry,
      openStorage: this.openStorage,
      clock: this.clock,
      objects: this.objects,
      policy: options.implicitOpen ?? allowAll,
      emit: (event, data) => this.events.emit(event, data, { isOwn: event.startsWith('TSIMG_') }),
    });
    this.jobs = new JobManager(this.graph, this.events, this.clock, this.budget);
    this.exports = new ExportManager(this);
  }

  /** Opens a node that the monitor owns (blockdev-add). Undoes everything when it fails. */
  addNode(options: OptionTree): Promise<BlockNode> {
    return runAction(this, addNodeAction(this, options));
  }

  /** Opens an image for a program: a backend with the permissions of a reader, or of a writer. */
  async openBackend(options: OpenBackendOptions): Promise<BlockBackend> {
    const readOnly = options.readOnly ?? true;
    const extra: OptionTree = { ...options.options };
    extra['read-only'] ??= readOnly;
    if (!readOnly) extra['auto-read-only'] ??= false;
    if (options.forceShare) extra['force-share'] = true;
    if (options.noBacking) extra['backing'] = null;
    if (options.discard !== undefined) extra['discard'] ??= options.discard ? 'unmap' : 'ignore';
    if (options.detectZeroes !== undefined) extra['detect-zeroes'] ??= options.detectZeroes;
    if (options.cache !== undefined) {
      extra['cache'] = { ...asObject(extra['cache']), direct: options.cache.direct ?? false, 'no-flush': options.cache.noFlush ?? false };
    }
    const opened = await this.opener.openImageApart({ ...options, options: extra });
    const backend = new BlockBackend(this.graph, options.perms ?? (options.noIo ? noIoPerms : readOnly ? readerPerms : writerPerms));
    try {
      await this.graph.turn(async () =>
        runTransaction((transaction) => {
          opened.publish(transaction);
          backend.insert(opened.top, transaction);
        }),
      );
    } catch (error) {
      await opened.close().catch(() => {});
      throw error;
    }
    return backend;
  }

  /** A new backend on `node`; the node is released when that fails. */
  async attachBackend(node: BlockNode, perms: PermRequest): Promise<BlockBackend> {
    const backend = new BlockBackend(this.graph, perms);
    try {
      backend.insert(node);
    } catch (error) {
      await this.graph.releaseUnused(node);
      throw error;
    }
    return backend;
  }

  /** Closes a backend opened here. A flush error is thrown after everything is closed. */
  async closeBackend(backend: BlockBackend): Promise<void> {
    await backend.remove();
  }

  /** Makes `close` run at shutdown, when the guest stands still and before exports and nodes go; the last one registered first. */
  onClose(close: () => Promise<void>): void {
    this.#closers.push(close);
  }

  /**
   * Shuts down in the one right order: guest, openings, listeners, exports, jobs, requests under way, backends, nodes top-down (each
   * gives up its storage and locks). Exports close before jobs end: the other order thaws a frozen view under its readers.
   * An error in one step skips no other; the first is thrown when all is closed. A second call waits for the first.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const failures: unknown[] = [];
    const attempt = async (body: () => unknown): Promise<void> => {
      try {
        await body();
      } catch (error) {
        failures.push(error);
      }
    };
    await attempt(() => {
      this.objects.ending();
      return this.machine?.stopGuest();
    });
    // nobody waits for what is still being opened
    await attempt(() => this.opener.close());
    for (const close of this.#closers.splice(0).reverse()) await attempt(close);
    await attempt(() => this.exports.close());
    await attempt(() => this.jobs.cancelAll());
    await attempt(async () => (await drainNodes(this.#drainable()))[Symbol.dispose]());
    await attempt(() => this.machine?.close());
    for (const backend of this.#backends()) await attempt(() => backend.remove());
    for (const node of [...this.graph.nodes].reverse()) {
      node.monitorOwned = false;
      await attempt(() => this.graph.releaseUnused(node));
    }
    await attempt(() => this.objects.close());
    if (failures.length > 0) throw failures[0];
  }

  /** All nodes but those on which an opener that was given up may wait for ever. */
  #drainable(): BlockNode[] {
    return [...this.graph.nodes].filter((node) => !this.graph.hasStrays(node));
  }

  /** Every backend that still has a medium, whoever made it. */
  #backends(): Set<BlockBackend> {
    const found = new Set<BlockBackend>();
    for (const node of this.graph.nodes) for (const { parent } of node.parents) if (parent instanceof BlockBackend) found.add(parent);
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function asObject(value: unknown): Record<string, never> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, never>) : {};
}
