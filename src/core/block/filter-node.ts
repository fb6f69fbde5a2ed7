/*
 * A filter that the engine itself puts above published nodes: made, attached, opened and published at once, as part of a
 * transaction, so that it takes effect or is gone with it. For drivers whose open neither waits nor holds anything.
 * Must not know any driver.
 */
import type { Child } from './child.ts';
import type { BlockDriver, ChildRoles, DriverState } from './driver.ts';
import type { Graph } from './graph.ts';
import { BlockNode } from './node.ts';
import { OptionReader, type OptionTree } from './options.ts';
import { refreshPermissions } from './permissions.ts';
import { readSettings, topInherited } from './settings.ts';
import type { Transaction } from './transaction.ts';

export interface FilterSpec {
  /** By default one that the user need not know: `#blockNNN`. */
  readonly name: string | undefined;
  readonly driver: BlockDriver;
  /** What would open the same filter again, for queries. */
  readonly options: OptionTree;
  readonly children: readonly { readonly key: string; readonly roles: ChildRoles; readonly node: BlockNode }[];
  /** The driver's state over the edges, which come in the order of `children`. */
  open(node: BlockNode, edges: readonly Child[]): DriverState;
}

/** Called in the graph turn. Throws QEMU's words for a name that is taken, a cycle or a conflict of permissions. */
export function addFilter(graph: Graph, spec: FilterSpec, transaction: Transaction): BlockNode {
  if (spec.name !== undefined) graph.checkName(spec.name);
  const node = new BlockNode(spec.name ?? graph.implicitName(), spec.driver, readSettings(new OptionReader({}), topInherited));
  node.implicit = spec.name === undefined;
  node.openOptions = spec.options;
  graph.addApart(node);
  transaction.add({ abort: () => graph.dropApart(node) });
  const edges = spec.children.map(({ key, roles, node: child }) => graph.attach(key, roles, node, child, transaction));
  node.setState(spec.open(node, edges));
  refreshPermissions([node], transaction);
  graph.publish(node, transaction);
  return node;
}
