/*
 * The nodes that a job was told of: an edge to each that asks for nothing and keeps its node, and all operations blocked on
 * it until the job lets go.
 */
import type { Child, Parent } from '../core/block/child.ts';
import { childRole } from '../core/block/driver.ts';
import type { Graph } from '../core/block/graph.ts';
import type { BlockNode } from '../core/block/node.ts';
import { runTransaction } from '../core/block/transaction.ts';
import { perm } from '../core/util/perm-bits.ts';

export class JobNodes {
  readonly #graph: Graph;
  readonly #edges: Child[] = [];
  readonly #blockers: Disposable[] = [];

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  get edges(): readonly Child[] {
    return this.#edges;
  }

  add(job: Parent, name: string, node: BlockNode, reason: string, owner: string): void {
    this.#edges.push(runTransaction((transaction) => this.#graph.attach(name, childRole.data, job, node, transaction, { perm: perm.none, shared: perm.all })));
    this.#blockers.push(node.blockers.block('all', reason, owner));
  }

  release(): void {
    for (const guard of this.#blockers.splice(0)) guard[Symbol.dispose]();
    const edges = this.#edges.splice(0);
    runTransaction((transaction) => {
      for (const edge of edges) this.#graph.detach(edge, transaction);
    });
  }
}
