/*
 * Exports by id, and the NBD server that carries them. An export is a block backend with a name for clients; it asks for
 * reads (and writes when writable) and shares everything but resizing. The NBD code loads when the server starts.
 * Rule source: observed behaviour of nbd-server-start, block-export-add and -del in QEMU 11.1.
 */
import { BlockBackend } from '../core/block/backend.ts';
import type { DirtyBitmap } from '../core/block/dirty-bitmap.ts';
import type { BlockNode } from '../core/block/node.ts';
import { BlockError } from '../core/util/errors.ts';
import { isIdentifier } from '../core/util/identifier.ts';
import { perm } from '../core/util/perm-bits.ts';
import type { NbdAddress } from '../nbd/address.ts';
import type { NbdExport } from '../nbd/export.ts';
import type { NbdServer } from '../nbd/server.ts';
import type { Engine } from './engine.ts';
import { type BitmapName, findBitmaps } from './export-bitmaps.ts';

export interface ExportOptions {
  readonly id: string;
  readonly node: BlockNode;
  /** Name for NBD clients. */
  readonly name: string;
  readonly description?: string | undefined;
  readonly writable: boolean;
  readonly writethrough?: boolean;
  /** The block device whose medium it shows: it ends when that goes. */
  readonly device?: string | undefined;
  /** Names of the I/O threads to run in; everything runs in one thread, so they are only looked up. */
  readonly iothreads?: readonly string[] | undefined;
  /** Dirty bitmaps to show. */
  readonly bitmaps?: readonly BitmapName[] | undefined;
  /** Show which layer of the chain has the data. */
  readonly allocationDepth?: boolean | undefined;
}

/** An export in force. */
export interface BlockExport {
  readonly id: string;
  readonly type: 'nbd';
  readonly node: BlockNode;
  readonly writable: boolean;
  readonly backend: BlockBackend;
  readonly device: string | undefined;
  isShuttingDown: boolean;
}

interface Entry extends BlockExport {
  readonly nbd: NbdExport;
  readonly bitmaps: readonly DirtyBitmap[];
}

export interface ServerOptions {
  readonly maxConnections?: number;
  readonly handshakeTimeoutMs?: number;
}

/** Longest name and description on the wire, bytes (NBD protocol, "Values"). */
const maxString = 4096;

export class ExportManager {
  readonly #engine: Engine;
  readonly #exports = new Map<string, Entry>();
  #server: NbdServer | undefined;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  get serverAddress(): NbdAddress | undefined {
    return this.#server?.address;
  }

  /** Rejects with `NBD server already running` or the socket's message. */
  async startServer(address: NbdAddress, options: ServerOptions = {}): Promise<void> {
    if (this.#server !== undefined) throw new BlockError('NBD server already running', { code: 'ERR_STATE' });
    const { NbdServer } = await import('../nbd/server.ts');
    const server = new NbdServer({ budget: this.#engine.budget, clock: this.#engine.clock, ...options });
    this.#server = server;
    try {
      await server.start(address);
    } catch (error) {
      this.#server = undefined;
      throw error;
    }
  }

  /** Deletes all exports, newest first, and stops listening. */
  async stopServer(): Promise<void> {
    const server = this.#server;
    if (server === undefined) throw new BlockError('NBD server not running', { code: 'ERR_STATE' });
    this.#server = undefined;
    const entries = [...this.#exports.values()].reverse();
    await server.stop();
    for (const entry of entries) await this.#finish(entry);
  }

  /** Throws for an id that is malformed or taken. */
  checkId(id: string): void {
    if (!isIdentifier(id)) throw new BlockError('Invalid block export id', { code: 'ERR_NAME' });
    if (this.#exports.has(id)) throw new BlockError(`Block export id '${id}' is already in use`, { code: 'ERR_NAME' });
  }

  /** Adds an export. The checks are in QEMU's order; nothing is left behind when one fails. */
  async add(options: ExportOptions): Promise<BlockExport> {
    const { id, node, name, description } = options;
    this.checkId(id);
    if (options.writable && node.readOnly) throw new BlockError('Cannot export read-only node as writable', { code: 'ERR_OPTION' });
    if (options.iothreads !== undefined) this.#checkThreads(options.iothreads);
    const needed = perm.consistentRead | (options.writable ? perm.write : perm.none);
    const backend = new BlockBackend(this.#engine.graph, { perm: needed, shared: perm.all });
    backend.insert(node);
    try {
      const server = this.#server;
      if (server === undefined) throw new BlockError('NBD server not running', { code: 'ERR_STATE' });
      if (Buffer.byteLength(name) > maxString) throw new BlockError(`export name '${name}' too long`, { code: 'ERR_NAME' });
      if (description !== undefined && Buffer.byteLength(description) > maxString)
        throw new BlockError(`description '${description}' too long`, { code: 'ERR_OPTION' });
      if (server.findExport(name) !== undefined) throw new BlockError(`NBD server already has export named '${name}'`, { code: 'ERR_NAME' });
      const [{ NbdExport }, { dirtyBitmapContext }] = await Promise.all([import('../nbd/export.ts'), import('../nbd/dirty-bitmap.ts')]);
      const bitmaps = findBitmaps(this.#engine.graph, node, !options.writable, options.bitmaps ?? []);
      // clients have been told a size: nobody may change it from now on
      backend.setPerm(needed, perm.all & ~perm.resize);
      const nbd = new NbdExport({
        name,
        backend,
        description,
        writable: options.writable,
        writethrough: options.writethrough,
        multiConn: server.servesSeveral,
        allocationDepth: options.allocationDepth,
      });
      for (const bitmap of bitmaps) nbd.addContext(dirtyBitmapContext(bitmap, nbd.start));
      server.addExport(nbd);
      for (const bitmap of bitmaps) bitmap.isBusy = true;
      const entry: Entry = {
        id,
        type: 'nbd',
        // a filter may come between
        get node() {
          return backend.node ?? node;
        },
        writable: options.writable,
        device: options.device,
        isShuttingDown: false,
        backend,
        nbd,
        bitmaps,
      };
      this.#exports.set(id, entry);
      return entry;
    } catch (error) {
      await backend.remove();
      throw error;
    }
  }

  /** Takes an export away: `safe` fails while clients use it, `hard` drops them. */
  async remove(id: string, mode: 'safe' | 'hard' = 'safe'): Promise<void> {
    const entry = this.#exports.get(id);
    const server = this.#server;
    if (entry === undefined || server === undefined) throw new BlockError(`Export '${id}' is not found`, { code: 'ERR_NOT_FOUND' });
    if (mode === 'safe' && entry.nbd.clientCount > 0) {
      throw new BlockError(`export '${id}' still in use`, { code: 'ERR_IN_USE', detail: "Use mode='hard' to force client disconnect" });
    }
    entry.isShuttingDown = true;
    await server.removeExport(entry.nbd.name, 'hard');
    await this.#finish(entry);
  }

  /** The medium of this block device went: exports of the device end. */
  async removeOfDevice(device: string): Promise<void> {
    for (const entry of this.list()) if (entry.device === device) await this.remove(entry.id, 'hard');
  }

  /** Id of the export that NBD clients know as `name`. */
  findByName(name: string): string | undefined {
    for (const entry of this.#exports.values()) if (entry.nbd.name === name) return entry.id;
    return undefined;
  }

  /** Newest first, as QEMU lists them. */
  list(): readonly BlockExport[] {
    return [...this.#exports.values()].reverse();
  }

  /** Exports of `node` itself. */
  of(node: BlockNode): readonly BlockExport[] {
    return this.list().filter((entry) => entry.node === node);
  }

  async close(): Promise<void> {
    if (this.#server !== undefined) await this.stopServer();
  }

  #checkThreads(names: readonly string[]): void {
    if (names.length === 0) throw new BlockError('The set of I/O threads must not be empty', { code: 'EINVAL' });
    for (const name of names) {
      if (!this.#engine.objects.has('iothread', name)) throw new BlockError(`iothread "${name}" not found`, { code: 'ENOENT' });
    }
  }

  async #finish(entry: Entry): Promise<void> {
    this.#exports.delete(entry.id);
    for (const bitmap of entry.bitmaps) bitmap.isBusy = false;
    await entry.backend.remove();
    this.#engine.events.emit('BLOCK_EXPORT_DELETED', { id: entry.id });
  }
}
