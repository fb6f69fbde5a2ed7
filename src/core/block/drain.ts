/*
 * Drained sections: every parent above the nodes stops issuing requests and what is in flight settles. Sections nest by
 * counters in the parents. Requests queue only at block backends; child requests of a request in flight always pass.
 */
import { isPending } from '../util/maybe.ts';
import type { Parent } from './child.ts';
import type { BlockNode } from './node.ts';

/** Quiesces the roots above `nodes` and waits until nothing is in flight on them. Dispose ends the section. Never awaited inside a request. */
export async function drainNodes(nodes: readonly BlockNode[]): Promise<Disposable> {
  const roots = new Set<Parent>();
  const above = new Set<BlockNode>();
  const visit = (node: BlockNode): void => {
    if (above.has(node)) return;
    above.add(node);
    for (const edge of node.parents) {
      if (edge.parent.asNode !== undefined) visit(edge.parent.asNode);
      else roots.add(edge.parent);
    }
  };
  for (const node of nodes) visit(node);
  // all are told to stop before the first is waited for: else one could feed another
  const stopping = [...roots].map((root) => root.quiesce());
  for (const pending of stopping) if (isPending(pending)) await pending;
  for (let busy = true; busy; ) {
    busy = false;
    for (const node of above) {
      const idle = node.whenIdle();
      if (isPending(idle)) {
        busy = true;
        await idle;
      }
    }
  }
  return {
    [Symbol.dispose]: () => {
      for (const root of roots) root.resume();
    },
  };
}
