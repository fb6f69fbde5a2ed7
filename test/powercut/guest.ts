/* A guest that knows what it was promised: for each sector the values that may be found after a power cut. */
import { type BlockBackend, readerPerms } from '../../src/core/block/backend.ts';
import { prepareBacking } from '../../src/core/block/backing.ts';
import { imageBelow } from '../../src/core/block/chain.ts';
import { drainNodes } from '../../src/core/block/drain.ts';
import { reqFlag, type TruncateOptions } from '../../src/core/block/driver.ts';
import { makeEmpty } from '../../src/core/block/empty.ts';
import type { BlockNode } from '../../src/core/block/node.ts';
import { applySnapshot, createSnapshot, deleteSnapshot } from '../../src/core/block/snapshots.ts';
import { runTransaction } from '../../src/core/block/transaction.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { commitInto } from '../../src/jobs/commit.ts';
import { copyDifferences, unitOf } from '../../src/jobs/rebase-copy.ts';
import { sector, type Tape } from './tape.ts';

export interface Promised {
  /** From this place of the tape on. */
  readonly at: number;
  readonly sizes: ReadonlySet<number>;
  /** By sector, up to the largest of the sizes. */
  readonly allowed: readonly ReadonlySet<number>[];
  /** The disk is one of these as a whole, by sector; absent: each sector for itself. */
  readonly wholes: readonly (readonly number[])[] | undefined;
  /** Snapshots that were ever asked for: what each holds, by sector. */
  readonly snapshots: ReadonlyMap<string, readonly number[]>;
  /** Those that must be there. */
  readonly kept: ReadonlySet<string>;
}

export class Guest {
  readonly promises: Promised[] = [];
  readonly backend: BlockBackend;
  readonly #tape: Tape;
  readonly #backing: Uint8Array;
  #allowed: Set<number>[] = [];
  #current: number[] = [];
  #sizes: Set<number>;
  #wholes: (readonly number[])[] | undefined;
  #snapshots = new Map<string, readonly number[]>();
  #kept = new Set<string>();
  /** Requests that failed. */
  failed = 0;

  readonly #engine: Engine;

  constructor(engine: Engine, backend: BlockBackend, tape: Tape, backing: Uint8Array | undefined) {
    this.#engine = engine;
    this.backend = backend;
    this.#tape = tape;
    this.#backing = backing ?? new Uint8Array(0);
    this.#sizes = new Set([backend.size()]);
  }

  get size(): number {
    return this.backend.size();
  }

  async begin(): Promise<void> {
    await this.#look(0, this.size);
    this.#settle();
  }

  async write(offset: number, length: number, value: number, isCompressed = false): Promise<void> {
    await this.#change(offset, length, [value], () =>
      this.backend.write(offset, new Uint8Array(length).fill(value), isCompressed ? reqFlag.compressed : reqFlag.none),
    );
  }

  async zero(offset: number, length: number, mayUnmap: boolean): Promise<void> {
    await this.#change(offset, length, [0], () => this.backend.zero(offset, length, mayUnmap ? reqFlag.mayUnmap : reqFlag.none));
  }

  async discard(offset: number, length: number): Promise<void> {
    await this.#change(offset, length, [0], () => this.backend.discard(offset, length));
  }

  async flush(): Promise<void> {
    if (await this.attempt(() => this.backend.flush())) this.#settle();
  }

  async resize(size: number, prealloc: TruncateOptions['prealloc'] = 'off'): Promise<void> {
    const old = this.size;
    this.#wholes = undefined;
    this.#sizes.add(size);
    for (let at = Math.min(old, size); at < Math.max(old, size); at += sector) {
      const set = this.#setAt(at);
      set.add(0);
      // what is cut off may show what lies below before it is gone
      if (size < old) set.add(this.#backing[at] ?? 0);
    }
    this.#promise();
    await this.attempt(() => this.backend.truncate(size, { exact: false, prealloc }));
    // what a failed change left, and what a larger disk shows
    const from = Math.min(old, size);
    if (this.size > from) await this.#look(from, this.size - from);
    this.#current.length = this.size / sector;
    this.#promise();
  }

  /** Moves what the image holds into its backing file. The disk reads as before, all the time. */
  async commit(): Promise<void> {
    const { graph, budget } = this.#engine;
    const { backend } = this;
    await this.attempt(async () => {
      const node = backend.node;
      const base = node === undefined ? undefined : imageBelow(node);
      if (node === undefined || base === undefined) throw new Error('no backing file');
      await commitInto({ graph, top: backend, base, budget });
      await makeEmpty(graph, node);
    });
    await this.#look(0, this.size);
  }

  /** Puts another backing file under the image, raw. The disk reads as before, all the time. */
  async rebase(name: string): Promise<void> {
    const engine = this.#engine;
    const { backend: overlay } = this;
    await this.attempt(async () => {
      const { node } = overlay;
      if (node === undefined) throw new Error('no image');
      const below = imageBelow(node);
      await using from = below === undefined ? undefined : await engine.attachBackend(below, readerPerms);
      await using to = await engine.openBackend({ filename: name, format: 'raw' });
      await copyDifferences({ overlay, from, to, unit: unitOf(node, false), isCompressed: false, budget: engine.budget });
      await overlay.flush();
      await engine.graph.turn(async () => {
        using _section = await drainNodes([node]);
        const prepared = await prepareBacking(engine.graph, node, { below: to.node ?? null, record: { filename: name, format: 'raw' } });
        try {
          runTransaction((transaction) => prepared.apply(transaction));
        } finally {
          await prepared.settle();
        }
      });
    });
    await this.#look(0, this.size);
  }

  /** Keeps the disk under a name that was never used before. */
  async takeSnapshot(name: string): Promise<void> {
    this.#snapshots.set(name, [...this.#current]);
    this.#promise();
    const details = { name, vmStateSize: 0, dateSec: 1, dateNsec: 2, vmClockNsec: 3n, icount: 0n };
    if (await this.attempt(() => createSnapshot(this.#engine.graph, this.#node, details))) this.#kept.add(name);
    this.#promise();
  }

  /** Makes the disk what it was: from a flush on it is the one or the other as a whole, and durably so when this is through. */
  async applySnapshot(name: string): Promise<void> {
    const next = this.#snapshots.get(name);
    if (next === undefined || !this.#kept.has(name) || !(await this.attempt(() => this.backend.flush()))) return;
    this.#settle();
    this.#wholes = [[...this.#current], next];
    this.#sizes.add(next.length * sector);
    for (const [index, value] of next.entries()) this.#setAt(index * sector).add(value);
    this.#promise();
    const isDone = await this.attempt(() => applySnapshot(this.#engine.graph, this.#node, name));
    await this.#look(0, this.size);
    this.#current.length = this.size / sector;
    if (isDone) this.#settle();
    this.#promise();
  }

  async deleteSnapshot(name: string): Promise<void> {
    if (!this.#kept.delete(name)) return;
    this.#promise();
    await this.attempt(() => deleteSnapshot(this.#engine.graph, this.#node, name));
  }

  get #node(): BlockNode {
    const { node } = this.backend;
    if (node === undefined) throw new Error('no image');
    return node;
  }

  /** Has the image repaired. False when a request failed on the way. */
  async repair(fix: { readonly leaks: boolean; readonly errors: boolean }): Promise<boolean> {
    return await this.attempt(() => this.backend.node?.state.check?.(fix, { line: () => {}, error: () => {} }));
  }

  /** What the disk holds, as the guest last saw it. */
  get content(): readonly number[] {
    return this.#current;
  }

  async #change(offset: number, length: number, values: readonly number[], body: () => unknown): Promise<void> {
    // from the moment the request is given, either may be found
    this.#wholes = undefined;
    for (let at = offset; at < offset + length; at += sector) for (const value of values) this.#setAt(at).add(value);
    this.#promise();
    await this.attempt(body);
    await this.#look(offset, length);
  }

  /** False, and counted, when the request fails. */
  async attempt(body: () => unknown): Promise<boolean> {
    try {
      await body();
      return true;
    } catch (error) {
      if (!(error instanceof BlockError) || error.code === 'ENOMEDIUM') throw error;
      this.failed++;
      return false;
    }
  }

  async #look(offset: number, length: number): Promise<void> {
    const now = new Uint8Array(length);
    await this.backend.read(offset, now);
    for (let at = 0; at < length; at += sector) {
      const value = now[at] ?? 0;
      this.#current[(offset + at) / sector] = value;
      this.#setAt(offset + at).add(value);
    }
  }

  #setAt(offset: number): Set<number> {
    const index = offset / sector;
    let set = this.#allowed[index];
    if (set === undefined) {
      set = new Set();
      this.#allowed[index] = set;
    }
    return set;
  }

  /** Everything so far is on stable storage: one value each, one size. */
  #settle(): void {
    this.#sizes = new Set([this.size]);
    this.#wholes = undefined;
    this.#allowed = this.#current.map((value) => new Set([value]));
    this.#promise();
  }

  #promise(): void {
    this.promises.push({
      at: this.#tape.length,
      sizes: new Set(this.#sizes),
      allowed: this.#allowed.map((set) => new Set(set)),
      wholes: this.#wholes,
      snapshots: new Map(this.#snapshots),
      kept: new Set(this.#kept),
    });
  }
}
