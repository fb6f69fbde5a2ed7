/*
 * Permissions: what each parent needs of a node and tolerates from others, checked over the whole subgraph before any
 * change takes effect. `refreshPermissions` computes new edge permissions top-down inside a transaction; on a conflict it
 * throws and the transaction's abort puts every edge and every image lock back.
 * Rule source: QEMU's documented BLK_PERM_* semantics, edges as listed by x-debug-query-block-graph.
 */
import { BlockError } from '../util/errors.ts';
import { alignUp } from '../util/math.ts';
import { describePerms, type PermBits, perm } from '../util/perm-bits.ts';
import type { Child } from './child.ts';
import { childRole, type PermRequest } from './driver.ts';
import type { BlockNode } from './node.ts';
import type { Transaction } from './transaction.ts';

const sector = 512;

/** What all parents of a node need together, and what all of them tolerate. */
function cumulativePerms(node: BlockNode): PermRequest {
  let needed: PermBits = perm.none;
  let shared: PermBits = perm.all;
  for (const parent of node.parents) {
    needed |= parent.perm;
    shared &= parent.shared;
  }
  return { perm: needed, shared };
}

/** What `node` needs of `child`: the driver's own rule, or the one of the edge's roles. */
export function childPerm(node: BlockNode, child: Child, asked: PermRequest): PermRequest {
  const { perm: needed, shared } = node.driver.childPerm?.(node, child, asked) ?? defaultChildPerm(node, child, asked);
  return { perm: needed, shared: node.settings.forceShare ? perm.all : shared };
}

function defaultChildPerm(node: BlockNode, child: Child, asked: PermRequest): PermRequest {
  const { roles } = child;
  if ((roles & childRole.filtered) !== 0) return asked;
  if ((roles & childRole.cow) !== 0) return cowPerm(asked);
  return storagePerm(node, child, asked);
}

function cowPerm(asked: PermRequest): PermRequest {
  // an overlay only reads its backing; writers of it are fine exactly when the overlay's own users tolerate writers
  const tolerated = (asked.shared & perm.write) !== 0 ? perm.write | perm.resize : perm.none;
  return { perm: asked.perm & perm.consistentRead, shared: perm.consistentRead | perm.writeUnchanged | tolerated };
}

function storagePerm(node: BlockNode, child: Child, asked: PermRequest): PermRequest {
  let { perm: needed, shared } = asked;
  shared |= perm.writeUnchanged;
  if ((child.roles & childRole.metadata) !== 0) {
    // metadata may be written at any time while the image is writable, and must not be changed by others
    if (!node.readOnly) needed |= perm.write | perm.resize;
    if (!node.settings.noIo) needed |= perm.consistentRead;
    shared &= ~(perm.write | perm.resize);
  }
  if ((child.roles & childRole.data) !== 0) {
    // a write to the image may make the file longer
    if ((needed & perm.write) !== 0) needed |= perm.resize;
    shared &= ~perm.resize;
  }
  return { perm: needed, shared };
}

/** Recomputes the permissions below `roots` (edges into them must be set already) as part of `transaction`. */
export function refreshPermissions(roots: readonly BlockNode[], transaction: Transaction): void {
  for (const node of topDown(roots)) refreshNode(node, transaction);
}

/** Nodes below `roots`, every parent before its children. */
function topDown(roots: readonly BlockNode[]): BlockNode[] {
  const seen = new Set<BlockNode>();
  const order: BlockNode[] = [];
  const visit = (node: BlockNode): void => {
    if (seen.has(node)) return;
    seen.add(node);
    for (const child of node.children) visit(child.node);
    order.push(node);
  };
  for (const root of roots) visit(root);
  return order.reverse();
}

function refreshNode(node: BlockNode, transaction: Transaction): void {
  checkConflicts(node);
  if (!node.isOpen) return;
  const asked = cumulativePerms(node);
  if (node.readOnly && (asked.perm & (perm.write | perm.writeUnchanged)) !== 0) {
    throw node.whyReadOnly ?? new BlockError('Block node is read-only', { code: 'EPERM' });
  }
  checkAlignedEnd(node, asked.perm);
  for (const child of node.children) {
    const wanted = childPerm(node, child, asked);
    setEdge(child, wanted.perm, wanted.shared, transaction);
  }
  const change = node.state.permUpdate?.(asked.perm, ~asked.shared & perm.all);
  if (change !== undefined) transaction.add(change);
}

/** What is written to the last block of a node is written as a whole block: without the right to resize it must end there. */
function checkAlignedEnd(node: BlockNode, held: PermBits): void {
  if ((held & perm.write) === 0 || (held & perm.resize) !== 0) return;
  if (alignUp(node.size(), sector) % node.limits.requestAlign === 0) return;
  throw new BlockError("Cannot get 'write' permission without 'resize': Image size is not a multiple of request alignment", { code: 'EPERM' });
}

/** Changes an edge's permissions, undone by abort. Does not check. */
export function setEdge(child: Child, needed: PermBits, shared: PermBits, transaction: Transaction): void {
  const before = { perm: child.perm, shared: child.shared };
  if (before.perm === needed && before.shared === shared) return;
  child.perm = needed;
  child.shared = shared;
  transaction.add({
    abort: () => {
      child.perm = before.perm;
      child.shared = before.shared;
    },
  });
}

/** Throws for the first pair of parents where one needs what the other does not share. */
function checkConflicts(node: BlockNode): void {
  for (const a of node.parents) {
    for (const b of node.parents) {
      if (a === b) continue;
      const clash = b.perm & ~a.shared & perm.all;
      if (clash === 0) continue;
      throw new BlockError(
        `Permission conflict on node '${node.name}': permissions '${describePerms(clash)}' are both required by ${describeUse(b)} and unshared by ${describeUse(a)}.`,
        { code: 'EPERM' },
      );
    }
  }
}

function describeUse(child: Child): string {
  return `${child.parent.describe()} (uses node '${child.node.name}' as '${child.name}' child)`;
}
