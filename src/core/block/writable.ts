/*
 * A node of somebody's chain becomes writable for a while, or read-only again, together with the file below it: for whoever
 * writes to a layer that others only read (commit, stream).
 */
import { drainNodes } from './drain.ts';
import type { Graph } from './graph.ts';
import type { BlockNode } from './node.ts';
import { type PreparedReopen, prepareReopen } from './reopen.ts';
import { runTransaction } from './transaction.ts';

/** Reopens `node` and what it keeps its data in. Rejects with nothing changed. Takes the graph turn. */
export async function setReadOnly(graph: Graph, node: BlockNode, readOnly: boolean): Promise<void> {
  await graph.turn(async () => {
    const nodes = ownNodes(node).filter((at) => at.readOnly !== readOnly);
    using _section = await drainNodes(nodes);
    const prepared: PreparedReopen[] = [];
    let isApplied = false;
    try {
      for (const at of nodes) prepared.push(await prepareReopen(at, { ...at.settings, readOnly }));
      isApplied = true;
      // a file is writable before its format is, and the other way about
      const inOrder = readOnly ? prepared : [...prepared].reverse();
      runTransaction((transaction) => {
        for (const step of inOrder) step.apply(transaction);
      });
    } finally {
      if (!isApplied) for (const step of prepared) step.abort();
      for (const step of readOnly ? prepared : prepared.reverse()) await step.settle();
    }
  });
}

/** The node and what holds its bytes, top-down, without its backing chain. */
function ownNodes(node: BlockNode): BlockNode[] {
  const nodes = [node];
  for (const at of nodes) for (const child of at.children) if (child !== at.backing && !nodes.includes(child.node)) nodes.push(child.node);
  return nodes;
}
