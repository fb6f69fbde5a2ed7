/*
 * Engine: the composition root. Owns the graph, the registry of drivers, events, the yield budget and the clock; storage
 * is injected. Jobs, exports and the machine are loaded at first use and hang here. Knows every layer below, no program.
 */
import { BlockBackend, noIoPerms, readerPerms, writerPerms } from '../core/block/backend.ts';
import type { PermRequest } from '../core/block/driver.ts';
import { Graph } from '../core/block/graph.ts';
import type { BlockNode } from '../core/block/node.ts';
import { type ImageName, Opener } from '../core/block/open.ts';
import type { OptionTree } from '../core/block/options.ts';
import { DriverRegistry } from '../core/block/registry.ts';
import { runTransaction } from '../core/block/transaction.ts';
import { localStorage, smallRequest } from '../core/storage/local-file.ts';
import type { OpenStorage } from '../core/storage/storage.ts';
import { type Clock, realClock } from '../core/util/clock.ts';
import { EventSink } from '../core/util/events.ts';
import { YieldBudget } from '../core/util/maybe.ts';
import { driverEntries } from './drivers.ts';
import { foreignFormat } from './foreign-formats.ts';

export interface EngineOptions {
  readonly openStorage?: OpenStorage;
  readonly clock?: Clock;
  /** Largest synchronous file request in bytes: Infinity for programs with one user (default 64 KiB). */
  readonly syncLimit?: number;
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
  readonly budget: YieldBudget = new YieldBudget();
  readonly openStorage: OpenStorage;
  readonly opener: Opener;
  readonly #backends = new Set<BlockBackend>();
  readonly #closers: (() => Promise<void>)[] = [];
  #isClosed = false;

  constructor(options: EngineOptions = {}) {
    this.clock = options.clock ?? realClock;
    this.events = new EventSink(() => this.clock.now());
    this.openStorage = options.openStorage ?? localStorage({ syncLimit: options.syncLimit ?? smallRequest });
    this.opener = new Opener({
      graph: this.graph,
      registry: this.registry,
      openStorage: this.openStorage,
      clock: this.clock,
      emit: (event, data) => this.events.emit(event, data, { isOwn: event.startsWith('TSIMG_') }),
    });
  }

  /** Opens a node that the monitor owns (blockdev-add). Undoes everything when it fails. */
  async addNode(options: OptionTree): Promise<BlockNode> {
    const opened = await this.opener.openApart(options);
    try {
      return await this.graph.turn(async () => {
        runTransaction((transaction) => opened.publish(transaction));
        opened.top.monitorOwned = true;
        return opened.top;
      });
    } catch (error) {
      await opened.close().catch(() => {});
      throw error;
    }
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
    this.#backends.add(backend);
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
    this.#backends.add(backend);
    return backend;
  }

  /** Closes a backend opened here. A flush error is thrown after everything is closed. */
  async closeBackend(backend: BlockBackend): Promise<void> {
    this.#backends.delete(backend);
    await backend.remove();
  }

  /** Makes `close` run at shutdown, before the nodes go; the last one registered first. */
  onClose(close: () => Promise<void>): void {
    this.#closers.push(close);
  }

  /**
   * Shuts down in the one right order: guest, listeners, exports, jobs (registered closers, newest first), then backends,
   * nodes top-down, storage and locks. The first error is thrown when all is closed.
   */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const failures: unknown[] = [];
    const attempt = async (body: () => Promise<void>): Promise<void> => {
      try {
        await body();
      } catch (error) {
        failures.push(error);
      }
    };
    // nobody waits for what is still being opened
    await attempt(() => this.opener.close());
    for (const close of this.#closers.splice(0).reverse()) await attempt(close);
    for (const backend of [...this.#backends]) await attempt(() => this.closeBackend(backend));
    for (const node of [...this.graph.nodes].reverse()) {
      node.monitorOwned = false;
      await attempt(() => this.graph.releaseUnused(node));
    }
    if (failures.length > 0) throw failures[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function asObject(value: unknown): Record<string, never> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, never>) : {};
}
