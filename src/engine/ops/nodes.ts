/*
 * Adding, deleting and resizing nodes: the checks in QEMU's order, operation blockers among them, then the change.
 * Rule source: observed behaviour of blockdev-add, blockdev-del, drive_del and block_resize in QEMU 11.1.
 */
import { BlockBackend } from '../../core/block/backend.ts';
import { drainNodes } from '../../core/block/drain.ts';
import type { BlockNode } from '../../core/block/node.ts';
import type { OptionTree } from '../../core/block/options.ts';
import { BlockError } from '../../core/util/errors.ts';
import { perm } from '../../core/util/perm-bits.ts';
import type { Engine } from '../engine.ts';
import { lookupNodeName } from './lookup.ts';

/** blockdev-add. */
export async function addNode(engine: Engine, options: OptionTree): Promise<BlockNode> {
  if (options['node-name'] === undefined) throw new BlockError("'node-name' must be specified for the root node");
  return engine.addNode(options);
}

/** blockdev-del. */
export async function deleteNode(engine: Engine, name: string): Promise<void> {
  const { graph } = engine;
  await graph.turn(async () => {
    const node = lookupNodeName(engine, name);
    if (node.parents.some((edge) => edge.parent instanceof BlockBackend)) throw new BlockError(`Node ${node.name} is in use`);
    node.blockers.check('drive-del');
    if (!node.monitorOwned) throw new BlockError(`Node ${node.name} is not owned by the monitor`);
    if (node.parents.length > 0) throw new BlockError(`Block device ${node.displayName} is in use`);
    node.monitorOwned = false;
    await graph.releaseUnused(node);
  });
}

/** block_resize. `size` in bytes. Users of the node wait meanwhile and find the new size. */
export async function resizeNode(engine: Engine, node: BlockNode, size: number): Promise<void> {
  if (size < 0) throw new BlockError("Parameter 'size' expects a >0 size");
  await engine.graph.turn(async () => {
    if (!node.isOpen) throw new BlockError(`Cannot find device='' nor node-name='${node.name}'`);
    node.blockers.check('resize');
    const backend = new BlockBackend(engine.graph, { perm: perm.resize, shared: perm.all });
    backend.insert(node);
    try {
      using _section = await drainNodes([node]);
      await backend.truncate(size, { exact: false, prealloc: 'off' });
    } finally {
      await backend.remove();
    }
  });
}
