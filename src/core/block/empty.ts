/* Emptying a layer: what it held is in the layer below now, or nobody wants it. */
import { drainNodes } from './drain.ts';
import type { Graph } from './graph.ts';
import type { BlockNode } from './node.ts';

/** Makes all of `node` show its backing node. False: its driver cannot. Takes the graph turn. */
export async function makeEmpty(graph: Graph, node: BlockNode): Promise<boolean> {
  if (node.state.makeEmpty === undefined) return false;
  await graph.turn(async () => {
    using _section = await drainNodes([node]);
    await node.state.makeEmpty?.();
  });
  return true;
}
