/* Nodes over a driver of the test's own: every call is logged, and waits as long as the test holds its kind back. */
import { BlockBackend } from '../../src/core/block/backend.ts';
import type { Child } from '../../src/core/block/child.ts';
import { type BlockDriver, type ChildRoles, type DriverState, type Limits, type ReqFlags, reqFlag, type TruncateOptions } from '../../src/core/block/driver.ts';
import { Graph } from '../../src/core/block/graph.ts';
import { BlockNode, type NodeSettings } from '../../src/core/block/node.ts';
import { runTransaction } from '../../src/core/block/transaction.ts';
import type { Maybe } from '../../src/core/util/maybe.ts';
import { perm } from '../../src/core/util/perm-bits.ts';

export type FakeOp = 'read' | 'write' | 'zero' | 'discard' | 'flush' | 'truncate';

const settings: NodeSettings = {
  readOnly: false,
  autoReadOnly: false,
  forceShare: false,
  noIo: false,
  discard: true,
  detectZeroes: 'off',
  cache: { direct: false, noFlush: false },
};

const driver: BlockDriver = {
  name: 'fake',
  kind: 'format',
  open: () => Promise.reject(new Error('made by the test')),
  childPerm: () => ({ perm: perm.none, shared: perm.all }),
};

export interface FakeOptions {
  readonly size?: number;
  readonly limits?: Partial<Limits>;
  readonly writeFlags?: ReqFlags;
  readonly settings?: Partial<NodeSettings>;
  /** Operations that the driver lacks. */
  readonly lacks?: readonly FakeOp[];
  readonly driver?: Partial<BlockDriver>;
  /** What it tells of its extents; without, it cannot tell. */
  readonly status?: NonNullable<DriverState['status']>;
}

/** An opened node whose driver keeps its bytes in memory. */
export class FakeNode {
  readonly node: BlockNode;
  readonly log: string[] = [];
  bytes: Uint8Array;
  /** Thrown by the next call of its kind. */
  failure: { readonly op: FakeOp; readonly error: Error } | undefined;
  readonly #held = new Set<FakeOp>();
  #gates: { readonly text: string; readonly open: () => void }[] = [];

  constructor(name: string, options: FakeOptions = {}) {
    this.bytes = new Uint8Array(options.size ?? 65536);
    this.node = new BlockNode(name, { ...driver, ...options.driver }, { ...settings, ...options.settings });
    const state: DriverState = {
      limits: { requestAlign: 1, maxTransfer: 0, zeroAlign: 1, discardAlign: 1, clusterSize: 0, ...options.limits },
      writeFlags: options.writeFlags ?? reqFlag.compressed,
      size: () => this.bytes.length,
      read: (offset, into, flags) => this.#run('read', offset, into.length, flags, () => into.set(this.bytes.subarray(offset, offset + into.length))),
      write: (offset, from, flags) => this.#run('write', offset, from.length, flags, () => this.bytes.set(from, offset)),
      zero: (offset, length, flags) => {
        const result = this.#run('zero', offset, length, flags, () => void this.bytes.fill(0, offset, offset + length));
        return result instanceof Promise ? result.then(() => true) : true;
      },
      discard: (offset, length) => this.#run('discard', offset, length, 0, () => {}),
      flush: () => this.#run('flush', 0, 0, 0, () => {}),
      truncate: async (size: number, _options: TruncateOptions) => {
        await this.#run('truncate', size, 0, 0, () => {
          const old = this.bytes;
          this.bytes = new Uint8Array(size);
          this.bytes.set(old.subarray(0, size));
        });
      },
      quiesce: () => this.log.push('quiesce'),
      resume: () => this.log.push('resume'),
      close: async () => void this.log.push('close'),
      ...(options.status === undefined ? {} : { status: options.status }),
    };
    for (const op of options.lacks ?? []) delete state[op as keyof DriverState];
    this.node.setState(state);
  }

  /** From now on calls of these kinds wait for `release`. */
  hold(...ops: FakeOp[]): void {
    for (const op of ops) this.#held.add(op);
  }

  /** Calls that wait, oldest first. */
  get waiting(): string[] {
    return this.#gates.map(({ text }) => text);
  }

  /** Lets the call go on that has waited longest, or the one that `text` names. */
  async release(text?: string): Promise<void> {
    const index = text === undefined ? 0 : this.#gates.findIndex((gate) => gate.text === text);
    const [gate] = this.#gates.splice(index, 1);
    if (gate === undefined || index < 0) throw new Error(`nothing waits: ${text ?? 'at all'}`);
    gate.open();
    await settled();
  }

  /** Lets all go on, and holds nothing back any more. */
  async releaseAll(): Promise<void> {
    this.#held.clear();
    for (const gate of this.#gates.splice(0)) gate.open();
    await settled();
  }

  #run(op: FakeOp, offset: number, length: number, flags: ReqFlags, body: () => void): Maybe<void> {
    const text = op === 'flush' ? op : `${op} ${offset}${op === 'truncate' ? '' : `+${length}`}${flags === 0 ? '' : ` flags ${flags}`}`;
    this.log.push(text);
    const finish = (): void => {
      const { failure } = this;
      if (failure?.op === op) {
        this.failure = undefined;
        throw failure.error;
      }
      body();
    };
    if (!this.#held.has(op)) return finish();
    return new Promise<void>((resolve) => this.#gates.push({ text, open: resolve })).then(finish);
  }
}

/** Lets everything run that can run. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A user at the root of `node`. */
export function userOf(node: BlockNode, graph: Graph = new Graph(), name?: string): BlockBackend {
  const asked = node.readOnly ? perm.consistentRead : perm.consistentRead | perm.write | perm.resize;
  const backend = new BlockBackend(graph, { perm: asked, shared: perm.all, ...(name === undefined ? {} : { name }) });
  backend.insert(node);
  return backend;
}

/** `node` stands below `parent` from now on, as its child `name`. */
export function attachBelow(graph: Graph, parent: BlockNode, node: BlockNode, roles: ChildRoles, name = 'file'): Child {
  return runTransaction((transaction) => graph.attach(name, roles, parent, node, transaction, { perm: perm.none, shared: perm.all }));
}
