/*
 * Several nodes go on with other settings, all or none: for a command that reopens an image, and for whoever writes to a
 * layer that others only read (commit).
 */
import { drainNodes } from './drain.ts';
import type { Graph } from './graph.ts';
import type { BlockNode, NodeSettings } from './node.ts';
import type { OptionTree } from './options.ts';
import { type PreparedReopen, prepareReopen } from './reopen.ts';
import { runTransaction } from './transaction.ts';

export interface NodeReopen {
  readonly node: BlockNode;
  readonly next: NodeSettings;
  /** All options of the node, as they are to be; absent: as they are. */
  readonly options?: OptionTree;
}

/**
 * Carries `changes` out, the lowest node first; where they take the right to write away its users come first. For holders of
 * the graph turn. Throws QEMU's words, with nothing changed.
 */
export async function reopenNodes(changes: readonly NodeReopen[]): Promise<void> {
  const nodes = changes.map(({ node }) => node);
  using _section = await drainNodes(nodes);
  const prepared: PreparedReopen[] = [];
  try {
    for (const { node, next, options } of changes) prepared.push(await prepareReopen(node, next, options ?? node.openOptions));
  } catch (error) {
    for (const each of prepared) each.abort();
    for (const each of prepared) await each.settle();
    throw error;
  }
  const losesWriters = changes.some(({ node, next }) => next.readOnly && !node.readOnly);
  try {
    runTransaction((transaction) => {
      for (const each of losesWriters ? [...prepared].reverse() : prepared) each.apply(transaction);
    });
  } finally {
    // former descriptors hold their locks until they are closed
    (await drainNodes(nodes))[Symbol.dispose]();
    for (const each of prepared) await each.settle();
  }
}

/** Makes a node of somebody's chain writable, or read-only again, together with what it keeps its data in. Takes the graph turn. */
export async function setReadOnly(graph: Graph, node: BlockNode, readOnly: boolean): Promise<void> {
  await graph.turn(() =>
    reopenNodes(
      ownNodes(node)
        .reverse()
        .filter((at) => at.readOnly !== readOnly)
        .map((at) => ({ node: at, next: { ...at.settings, readOnly } })),
    ),
  );
}

/** The node and what holds its bytes, top-down, without its backing chain. */
function ownNodes(node: BlockNode): BlockNode[] {
  const nodes = [node];
  for (const at of nodes) for (const child of at.children) if (child !== at.backing && !nodes.includes(child.node)) nodes.push(child.node);
  return nodes;
}
