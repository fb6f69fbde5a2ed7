/* The nodes below a node that is being opened: its file, further children by option, and its backing file. */
import { BlockError } from '../util/errors.ts';
import type { Child } from './child.ts';
import { type BlockDriver, type ChildRoles, type ChildWish, childRole } from './driver.ts';
import { exactFilename, mediumName, nodeFilename } from './filename.ts';
import type { BlockNode, NodeSettings } from './node.ts';
import type { Opening } from './opening.ts';
import { asTree, isRelativeName, type OptionReader, type OptionValue } from './options.ts';
import { type Inherited, inheritedByFile } from './settings.ts';
import { notFound } from './unpublished.ts';

/** The child that option `key` names or describes, attached; undefined when there is none and it is optional. */
export async function openChild(
  opening: Opening,
  node: BlockNode,
  reader: OptionReader,
  inherited: Inherited,
  wish: ChildWish & { readonly key: string; readonly roles: ChildRoles },
): Promise<Child | undefined> {
  const { key, roles, recorded } = wish;
  const value = reader.take(key) ?? (recorded === undefined ? undefined : await opening.gate.dataFile(node, recorded));
  if (value === undefined || value === null) {
    if (wish.optional) return undefined;
    throw new BlockError(`A block device must be specified for "${key}"`, { code: 'ERR_OPTION' });
  }
  if (typeof value === 'string') return opening.subtree.attach(key, roles, node, findNode(opening, value, node));
  const role = (roles & childRole.filtered) !== 0 && wish.child === 'format' ? 'format' : (wish.child ?? 'file');
  const child = await opening.open(asTree(value), inheritedByFile(node.settings, roles, inherited), role);
  return attachNew(opening, key, roles, node, child);
}

/** Attaches a child that was opened for `node` alone: taken down again when it cannot be attached. */
async function attachNew(opening: Opening, key: string, roles: ChildRoles, node: BlockNode, child: BlockNode): Promise<Child> {
  try {
    return await opening.subtree.attach(key, roles, node, child);
  } catch (error) {
    await opening.context.graph.releaseUnused(child).catch(() => {});
    throw error;
  }
}

/** The node of that name for a user, which is `parent` when it is there already. */
export function findNode(opening: Opening, reference: string, parent?: BlockNode): BlockNode {
  const found = opening.subtree.find(reference);
  if (found === undefined) throw notFound(reference);
  // of the subtree itself, and above what is opened now
  if (!found.isOpen && found !== parent)
    throw new BlockError(`Making '${reference}' a child of what is opened below it would create a cycle`, { code: 'ERR_IN_USE' });
  return found;
}

export async function openFileToProbe(opening: Opening, reader: OptionReader, settings: NodeSettings, inherited: Inherited): Promise<BlockNode> {
  const file = reader.take('file');
  if (file === undefined || file === null) throw new BlockError('Must specify either driver or file', { code: 'ERR_OPTION' });
  if (typeof file === 'string') return findNode(opening, file);
  return opening.open(asTree(file), inheritedByFile(settings, childRole.metadata, inherited), 'file');
}

/** The node for option `file` of a format or filter; it has no parent yet. */
export async function openFileFirst(
  opening: Opening,
  driver: BlockDriver,
  reader: OptionReader,
  settings: NodeSettings,
  inherited: Inherited,
): Promise<BlockNode | undefined> {
  const file = reader.peek('file');
  if (driver.kind === 'protocol' || file === undefined || file === null) return undefined;
  reader.take('file');
  if (typeof file === 'string') return findNode(opening, file);
  const passesThrough = driver.kind === 'filter' || driver.isFilterLike === true;
  return opening.open(asTree(file), inheritedByFile(settings, passesThrough ? childRole.filtered : childRole.metadata, inherited), 'file');
}

// -- backing ----------------------------------------------------------------------------------------------------------

export async function openBacking(opening: Opening, node: BlockNode, reader: OptionReader, inherited: Inherited): Promise<void> {
  // whoever looks at an image's metadata looks at its backing files one by one; an image below a filter is opened whole
  const isLookedAt = node.settings.noIo && inherited.isBelow !== true;
  if (!node.driver.supportsBacking || isLookedAt) {
    // nothing is opened here, yet "no backing" may be said of every node
    const none = reader.peek('backing');
    if (none !== null && none !== '') return;
    reader.take('backing');
    return;
  }
  const option: OptionValue = reader.take('backing');
  const recorded = node.state.imageBacking;
  if (option === null || option === '') {
    node.isBackingOverridden = recorded !== undefined;
    return;
  }
  const below = await backingNode(opening, node, option, inherited);
  if (below === undefined) return;
  // named by the user: shown in the node's name unless the image records the same
  if (below.isGiven) node.isBackingOverridden = recorded?.filename !== nodeFilename(below.node);
  if (typeof option === 'string') await opening.subtree.attach('backing', childRole.cow, node, below.node);
  else await attachNew(opening, 'backing', childRole.cow, node, below.node);
}

/** The backing file of `node` as option `backing` and the image have it; undefined without. */
async function backingNode(
  opening: Opening,
  node: BlockNode,
  option: OptionValue,
  inherited: Inherited,
): Promise<{ readonly node: BlockNode; readonly isGiven: boolean } | undefined> {
  const recorded = node.state.imageBacking;
  if (recorded !== undefined && typeof option !== 'string' && !('filename' in asTree(asTree(option)['file']))) checkFolder(node, recorded.filename);
  try {
    if (typeof option === 'string') return { node: findNode(opening, option, node), isGiven: true };
    if (option === undefined && recorded === undefined) return undefined;
    const given = asTree(option);
    const tree = recorded === undefined ? given : await opening.gate.backing(node, recorded, given, opening.subtree.begun);
    const { forceShare, noIo, cache } = node.settings;
    const settings = { readOnly: true, autoReadOnly: false, forceShare, noIo, direct: cache.direct, noFlush: cache.noFlush, discard: true };
    const isNamedByImage = recorded !== undefined && !('filename' in asTree(given['file']));
    const above = isNamedByImage ? { overlays: [...(inherited.overlays ?? []), ...mediaOf(node)], nameInOverlay: recorded.filename } : {};
    return {
      node: await opening.open(tree, { ...inherited, ...above, ...settings }, 'format'),
      isGiven: option !== undefined,
    };
  } catch (error) {
    if (error instanceof BlockError) throw error.prepend('Could not open backing file: ');
    throw error;
  }
}

/** Throws when `name`, in the image of `node`, is relative and there is nothing to start from: the working directory is not meant. */
function checkFolder(node: BlockNode, name: string): void {
  const base = mediumName(node);
  if (typeof base === 'string' || !isRelativeName(name)) return;
  throw new BlockError(`Cannot generate a base directory for ${base.driver.name} nodes`, { code: 'ENOTSUP' });
}

/** What tells the medium of an image from all others; empty for what lies on none. */
function mediaOf(node: BlockNode): readonly string[] {
  if (node.driver.isMedium === true) return [node.state.mediumIdentity ?? exactFilename(node) ?? ''];
  return node.primary === undefined ? [] : mediaOf(node.primary.node);
}

/** Throws when the file below an image of a backing chain is that of an image above it, whatever it is called here. */
export function checkLoop(file: BlockNode, { overlays, nameInOverlay }: Inherited): void {
  if (overlays === undefined || !mediaOf(file).some((medium) => overlays.includes(medium))) return;
  throw new BlockError(`Backing file '${nameInOverlay ?? ''}' creates an infinite loop.`, { code: 'ELOOP' });
}
