/*
 * Operation blockers: for each node, which management commands may not name it now, and why (2013 series "op_blockers";
 * QEMU: BlockOpType). Permissions guard data; these guard commands. Checked by the operations in src/engine/ops.
 */
import { BlockError } from '../util/errors.ts';

/** The operation types of QEMU 11.1, and `dataplane` of the 2013 series. */
export const blockOps = [
  'backup-source',
  'backup-target',
  'change',
  'commit-source',
  'commit-target',
  'dataplane',
  'drive-del',
  'eject',
  'external-snapshot',
  'internal-snapshot',
  'internal-snapshot-delete',
  'mirror-source',
  'mirror-target',
  'resize',
  'stream',
  'replace',
] as const;
export type BlockOp = (typeof blockOps)[number];

/** One reason, and who set it (`job 'fleece'`, `node 'target0'`). */
export interface BlockerRecord {
  readonly op: BlockOp;
  readonly reason: string;
  readonly owner: string;
}

interface Entry {
  readonly reason: string;
  readonly owner: string;
}

export class OpBlockers {
  readonly #entries = new Map<BlockOp, Entry[]>();
  readonly #nameOfNode: () => string;

  /** `nameOfNode` gives the name used in messages: the device name if the node has one, else its node name. */
  constructor(nameOfNode: () => string) {
    this.#nameOfNode = nameOfNode;
  }

  /** Blocks `ops` until the result is disposed. `reason` is QEMU's text (`node is used as backing hd of 'top'`). */
  block(ops: BlockOp | readonly BlockOp[] | 'all', reason: string, owner: string): Disposable {
    const list: readonly BlockOp[] = ops === 'all' ? blockOps : typeof ops === 'string' ? [ops] : ops;
    const entry: Entry = { reason, owner };
    for (const op of list) {
      const entries = this.#entries.get(op);
      // QEMU inserts at the head of its list: the newest reason is the one told
      if (entries === undefined) this.#entries.set(op, [entry]);
      else entries.unshift(entry);
    }
    return {
      [Symbol.dispose]: () => {
        for (const op of list) {
          const entries = this.#entries.get(op);
          const index = entries?.indexOf(entry) ?? -1;
          if (index >= 0) entries?.splice(index, 1);
        }
      },
    };
  }

  /** Throws `Node 'x' is busy: REASON` when `op` is blocked. */
  check(op: BlockOp): void {
    const first = this.#entries.get(op)?.[0];
    if (first !== undefined) throw new BlockError(`Node '${this.#nameOfNode()}' is busy: ${first.reason}`, { code: 'EBUSY' });
  }

  isBlocked(op: BlockOp): boolean {
    return (this.#entries.get(op)?.length ?? 0) > 0;
  }

  get isEmpty(): boolean {
    for (const entries of this.#entries.values()) if (entries.length > 0) return false;
    return true;
  }

  /** All reasons, by operation in the order of `blockOps`. */
  list(): BlockerRecord[] {
    return blockOps.flatMap((op) => (this.#entries.get(op) ?? []).map((entry) => ({ op, ...entry })));
  }
}
