/*
 * The one walker of chains: what lies below an image, with and without filters, and links that must stay. A chain goes
 * down by `backing` for overlays and by the filtered child for filters; raw ends it, although it passes its file through.
 */
import { BlockError } from '../util/errors.ts';
import type { Child } from './child.ts';
import type { BlockNode } from './node.ts';

/** The edge to the next node of the chain; undefined at its end. */
export function chainLink(node: BlockNode): Child | undefined {
  return node.backing ?? (node.driver.kind === 'filter' ? node.filtered : undefined);
}

/** The next node of the chain: a filter counts as one. */
export function nextInChain(node: BlockNode): BlockNode | undefined {
  return chainLink(node)?.node;
}

/** All nodes of the chain, filters too, from `top` down to and without `base`. */
export function chainNodes(top: BlockNode, base?: BlockNode): BlockNode[] {
  const nodes: BlockNode[] = [];
  for (let at: BlockNode | undefined = top; at !== undefined && at !== base; at = nextInChain(at)) nodes.push(at);
  return nodes;
}

/** Skips filters: the first node that has content of its own. */
export function skipFilters(node: BlockNode): BlockNode {
  let at = node;
  while (at.driver.kind === 'filter') {
    const below = at.filtered;
    if (below === undefined) break;
    at = below.node;
  }
  return at;
}

/** The next image below with content of its own: where the layer of `node` ends. */
export function imageBelow(node: BlockNode): BlockNode | undefined {
  const below = skipFilters(node).backing;
  return below === undefined ? undefined : skipFilters(below.node);
}

/** True when `target` is `from` or below it by any edges. */
export function isReachable(from: BlockNode, target: BlockNode): boolean {
  const seen = new Set<BlockNode>([from]);
  for (const node of seen) {
    if (node === target) return true;
    for (const child of node.children) seen.add(child.node);
  }
  return false;
}

/**
 * Keeps every link from `top` down to `base` (to the end without) as it is until the result is disposed of: whoever would
 * change one of them fails. Throws when one is kept already, or when `base` is not below. `owner` is told to people.
 */
export function freezeChain(top: BlockNode, base: BlockNode | undefined, owner: string): Disposable {
  const links: Child[] = [];
  for (let at = top; at !== base; ) {
    const link = chainLink(at);
    if (link === undefined) {
      if (base === undefined) break;
      throw new BlockError(`'${base.name}' is not in the backing chain of '${top.name}'`, { code: 'EINVAL' });
    }
    if (link.frozenBy !== undefined) {
      throw new BlockError(`Cannot change '${link.name}' link from '${at.name}' to '${link.node.name}'`, { code: 'EPERM', hint: keptBy(link) });
    }
    links.push(link);
    at = link.node;
  }
  for (const link of links) link.frozenBy = owner;
  return {
    [Symbol.dispose]: () => {
      for (const link of links.splice(0)) link.frozenBy = undefined;
    },
  };
}

/** Throws when an edge of a node must stay as it is. */
export function checkNotFrozen(link: Child): void {
  if (link.frozenBy === undefined) return;
  throw new BlockError(`Cannot change frozen '${link.name}' link from '${link.parent.asNode?.name ?? ''}' to '${link.node.name}'`, {
    code: 'EPERM',
    hint: keptBy(link),
  });
}

/** The same for an edge that would follow a replaced node. */
export function checkMayMove(link: Child): void {
  if (link.frozenBy === undefined) return;
  throw new BlockError(`Cannot change '${link.name}' link to '${link.node.name}'`, { code: 'EPERM', hint: keptBy(link) });
}

function keptBy(link: Child): string {
  return `${link.frozenBy ?? 'somebody'} works on this chain`;
}
