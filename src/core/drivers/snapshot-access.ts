/*
 * Driver `snapshot-access`: presents the frozen view of the copy-before-write filter that is its `file`, read only.
 * It is no filter: its content is not its child's. It asks nothing of the child and lets others do everything there.
 */
import type { Child } from '../block/child.ts';
import {
  type BlockDriver,
  type BlockStatus,
  childRole,
  type DriverState,
  type NodeHost,
  noLimits,
  type PermRequest,
  type SnapshotView,
} from '../block/driver.ts';
import { BlockError } from '../util/errors.ts';
import type { Maybe } from '../util/maybe.ts';
import { perm } from '../util/perm-bits.ts';

class SnapshotAccessState implements DriverState {
  readonly limits = noLimits;
  readonly writeFlags = 0;
  readonly #file: Child;
  /** The view's size does not follow a later change of the disk's. */
  readonly #size: number;

  constructor(file: Child) {
    this.#file = file;
    this.#size = file.size();
  }

  get #view(): SnapshotView {
    const view = this.#file.node.state.snapshotView;
    if (view === undefined) throw new BlockError('Operation not supported', { code: 'ENOTSUP' });
    return view;
  }

  size(): number {
    return this.#size;
  }

  read(offset: number, into: Uint8Array): Maybe<void> {
    return this.#view.read(offset, into);
  }

  status(offset: number, length: number, precise: boolean): Maybe<BlockStatus> {
    return this.#view.status(offset, length, precise);
  }

  discard(offset: number, length: number): Maybe<void> {
    return this.#view.discard(offset, length);
  }

  flush(): void {}

  async close(): Promise<void> {}
}

const nothing: PermRequest = { perm: perm.none, shared: perm.all };

async function open(host: NodeHost): Promise<DriverState> {
  const file = await host.openChild('file', childRole.data | childRole.primary, { child: 'format' });
  return new SnapshotAccessState(file);
}

export const snapshotAccessDriver: BlockDriver = { name: 'snapshot-access', kind: 'filter', hasNameOfChild: true, open, childPerm: () => nothing };
