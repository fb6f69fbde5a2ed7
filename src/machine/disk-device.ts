/*
 * A guest's disk: a drive (a named block backend) on a simple device with a qom path, or a drive that no device has yet. Asks to read and write, and lets
 * others read and resize only. The medium can go (drive_del) while the device stays. Knows no format.
 */
import { BlockBackend } from '../core/block/backend.ts';
import type { DeviceStats } from '../core/block/device-info.ts';
import { drainNodes } from '../core/block/drain.ts';
import { reqFlag } from '../core/block/driver.ts';
import type { Graph } from '../core/block/graph.ts';
import type { BlockNode } from '../core/block/node.ts';
import { runTransaction } from '../core/block/transaction.ts';
import { BlockError } from '../core/util/errors.ts';
import type { Maybe } from '../core/util/maybe.ts';
import { perm } from '../core/util/perm-bits.ts';

export interface DiskCounts {
  writtenBytes: number;
  readBytes: number;
  requests: number;
  errors: number;
}

export class DiskDevice {
  /** Id of the device and of its drive. */
  readonly id: string;
  readonly qomPath: string;
  readonly isReadOnly: boolean;
  readonly counts: DiskCounts = { writtenBytes: 0, readBytes: 0, requests: 0, errors: 0 };
  /** What query-blockstats tells. */
  readonly stats: DeviceStats = { readBytes: 0, readOperations: 0, writeBytes: 0, writeOperations: 0, flushOperations: 0, unmapBytes: 0, unmapOperations: 0 };
  /** False: a drive of its own (drive_add), which no guest sees. */
  readonly isAttached: boolean;
  readonly #graph: Graph;
  readonly #backend: BlockBackend;
  #hasDrive = true;

  constructor(graph: Graph, id: string, node: BlockNode | undefined, isAttached = true) {
    this.#graph = graph;
    this.id = id;
    this.qomPath = `/machine/peripheral/${id}`;
    this.isAttached = isAttached;
    this.isReadOnly = node?.readOnly ?? false;
    this.#backend = new BlockBackend(graph, {
      name: id,
      perm: perm.consistentRead | (isAttached && !this.isReadOnly ? perm.write : perm.none),
      shared: isAttached ? perm.consistentRead | perm.writeUnchanged | perm.resize : perm.all,
      describe: () => `block device '${this.id}'`,
    });
    if (node !== undefined) this.#backend.insert(node);
  }

  get node(): BlockNode | undefined {
    return this.#backend.node;
  }

  get backend(): BlockBackend {
    return this.#backend;
  }

  /** False once drive_del took the drive; its name is then free. */
  get hasDrive(): boolean {
    return this.#hasDrive;
  }

  get size(): number {
    return this.#backend.node?.size() ?? 0;
  }

  /** Puts the device onto another node (qom-set property drive): requests wait meanwhile. */
  async setNode(node: BlockNode): Promise<void> {
    const { root } = this.#backend;
    if (root === undefined) throw new BlockError(`Device '${this.id}' has no medium`, { code: 'ENOMEDIUM' });
    const from = root.node;
    {
      using _section = await drainNodes([from, node]);
      runTransaction((transaction) => this.#graph.replaceChild(root, node, transaction));
    }
    await this.#graph.releaseUnused(from);
  }

  /** Takes the medium out; the drive stays. */
  async eject(): Promise<void> {
    await this.#backend.remove();
  }

  /** Takes the drive away: its node closes when nobody else uses it. The guest's requests fail from now on. */
  async deleteDrive(): Promise<void> {
    this.#hasDrive = false;
    await this.eject();
  }

  read(offset: number, into: Uint8Array): Maybe<void> {
    this.counts.requests++;
    this.counts.readBytes += into.length;
    this.stats.readBytes += into.length;
    this.stats.readOperations++;
    return this.#backend.read(offset, into);
  }

  write(offset: number, from: Uint8Array): Maybe<void> {
    this.counts.requests++;
    this.counts.writtenBytes += from.length;
    this.stats.writeBytes += from.length;
    this.stats.writeOperations++;
    return this.#backend.write(offset, from);
  }

  zero(offset: number, length: number): Maybe<void> {
    this.counts.requests++;
    this.counts.writtenBytes += length;
    this.stats.writeBytes += length;
    this.stats.writeOperations++;
    return this.#backend.zero(offset, length, reqFlag.mayUnmap);
  }

  discard(offset: number, length: number): Maybe<void> {
    this.counts.requests++;
    this.stats.unmapBytes += length;
    this.stats.unmapOperations++;
    return this.#backend.discard(offset, length);
  }

  flush(): Maybe<void> {
    this.counts.requests++;
    this.stats.flushOperations++;
    return this.#backend.flush();
  }

  async close(): Promise<void> {
    await this.#backend.remove();
  }
}
