/*
 * Another backing node, with what the image says of it: the edge and the header change together or not at all. For every
 * command that moves an overlay (rebase, change-backing-file, the ends of stream and commit). Called in the graph turn, on
 * drained nodes.
 */
import { BlockError } from '../util/errors.ts';
import type { DriverStep, RecordedBacking } from './driver.ts';
import type { Graph } from './graph.ts';
import type { BlockNode } from './node.ts';
import type { PreparedReopen } from './reopen.ts';

export interface BackingChange {
  /** The node below from now on; null = none. */
  readonly below: BlockNode | null;
  /** What the image is to say: `none`, a name and a format. Absent: it stays as it is. */
  readonly record?: RecordedBacking | 'none' | undefined;
}

/** Exactly one of `apply` and `abort` is called, then `settle`. Rejects, with nothing changed, for a name that the image cannot take. */
export async function prepareBacking(graph: Graph, node: BlockNode, { below, record }: BackingChange): Promise<PreparedReopen> {
  const step = record === undefined ? undefined : await write(node, record);
  return {
    apply: (transaction) => {
      if (step !== undefined) transaction.add(step);
      graph.setBacking(node, below, transaction);
    },
    abort: () => step?.abort(),
    settle: async () => step?.settle?.(),
  };
}

function write(node: BlockNode, record: RecordedBacking | 'none'): Promise<DriverStep> {
  const { state } = node;
  if (state.writeBacking === undefined) throw new BlockError('Operation not supported', { code: 'ENOTSUP' });
  if (node.readOnly) throw new BlockError('Block node is read-only', { code: 'EPERM' });
  return state.writeBacking(record === 'none' ? undefined : record);
}
