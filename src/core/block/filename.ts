/*
 * What a node is called to people: the plain filename when that alone opens the same node again, else `json:{…}` with the
 * options that matter, keys in QEMU's order.
 */
import { writeJson } from '../util/json-write.ts';
import { childRole } from './driver.ts';
import type { BlockNode } from './node.ts';

/** The plain filename that opens this node again, if there is one. */
export function exactFilename(node: BlockNode): string | undefined {
  if (!node.isOpen) return undefined;
  const { state } = node;
  if (state.exactFilename !== undefined) return state.exactFilename;
  if (node.isBackingOverridden || state.strongOptions !== undefined) return undefined;
  if (node.driver.kind === 'filter') return undefined;
  const primary = node.primary;
  // a format over a format is not found again by a name
  if (primary?.node.driver.kind === 'format') return undefined;
  return primary === undefined || node.children.some((child) => (child.roles & childRole.data) !== 0 && child !== primary)
    ? undefined
    : exactFilename(primary.node);
}

/**
 * The file from whose folder relative names in the image of `node` go out: that at the end of its primary children, whatever
 * filters and windows lie between. Where there is none: the node that has no folder.
 */
export function mediumName(node: BlockNode): string | BlockNode {
  if (node.driver.hasNoFolder === true) return node;
  return node.primary === undefined ? (exactFilename(node) ?? node) : mediumName(node.primary.node);
}

/** The options that decide what the guest sees, children included. */
function fullOptions(node: BlockNode): Record<string, unknown> {
  const options: Record<string, unknown> = { driver: node.driver.name, ...node.state.strongOptions };
  for (const child of node.children) {
    if ((child.roles & childRole.cow) !== 0 && !node.isBackingOverridden) continue;
    const list = /^(.+)\.\d+$/.exec(child.name)?.[1];
    if (list === undefined) options[child.name] = fullOptions(child.node);
    else options[list] = [...((options[list] as unknown[] | undefined) ?? []), fullOptions(child.node)];
  }
  if (node.isBackingOverridden && node.backing === undefined) options['backing'] = null;
  return options;
}

/** The filename as QEMU prints it for the node. */
export function nodeFilename(node: BlockNode): string {
  if (!node.isOpen) return '';
  if (node.driver.hasNameOfChild === true && node.primary !== undefined) return nodeFilename(node.primary.node);
  return exactFilename(node) ?? `json:${writeJson(fullOptions(node))}`;
}
