/*
 * Drained sections: nobody above the nodes issues requests and nothing is in flight on them. Requests are held at the
 * roots (block backends queue them, jobs pause); the counts live on the nodes, so that whoever is attached meanwhile is
 * held too, and released when it leaves. Sections nest. Requests of requests in flight always pass, so that those settle;
 * nodes that are being opened are not waited for.
 * Never awaited inside a request.
 */
import { isPending } from '../util/maybe.ts';
import type { Parent } from './child.ts';
import type { Graph } from './graph.ts';
import type { BlockNode } from './node.ts';

/** Quiesces `nodes` and all above, and waits until nothing is in flight there. Dispose ends the section. */
export async function drainNodes(nodes: readonly BlockNode[]): Promise<Disposable> {
  const quiesced = new Set(nodes);
  for (const node of quiesced) node.quiesce();
  await whenQuiet(quiesced);
  return endOf(quiesced);
}

/** Drains every node of the graph, and those that are published while the section lasts. */
export async function drainAll(graph: Graph): Promise<Disposable> {
  const quiesced = new Set<BlockNode>();
  graph.drainedSections.add(quiesced);
  for (const node of graph.nodes) {
    // what a given-up opener left there may never end
    if (graph.hasStrays(node)) continue;
    quiesced.add(node);
    node.quiesce();
  }
  await whenQuiet(quiesced);
  return endOf(quiesced, () => graph.drainedSections.delete(quiesced));
}

function endOf(quiesced: Set<BlockNode>, before?: () => void): Disposable {
  return {
    [Symbol.dispose]: () => {
      before?.();
      for (const node of quiesced) node.resume();
      quiesced.clear();
    },
  };
}

/** All are told to stop before the first is waited for: else one could feed another. Looks again after each wait: edges may have changed. */
async function whenQuiet(nodes: Iterable<BlockNode>): Promise<void> {
  for (let waits = busyAbove(nodes); waits.length > 0; waits = busyAbove(nodes)) await Promise.all(waits);
}

function busyAbove(nodes: Iterable<BlockNode>): Promise<void>[] {
  const waits: Promise<void>[] = [];
  const seen = new Set<Parent>();
  const visit = (parent: Parent): void => {
    if (seen.has(parent)) return;
    seen.add(parent);
    const idle = parent.whenIdle();
    if (isPending(idle)) waits.push(idle);
    for (const edge of parent.asNode?.parents ?? []) visit(edge.parent);
  };
  for (const node of nodes) visit(node);
  return waits;
}
