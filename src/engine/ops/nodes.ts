/*
 * Adding, deleting and resizing nodes: the checks in QEMU's order, operation blockers among them, then the change.
 * Rule source: observed behaviour of blockdev-add, blockdev-del, drive_del and block_resize in QEMU 11.1.
 */
import { BlockBackend } from '../../core/block/backend.ts';
import { drainNodes } from '../../core/block/drain.ts';
import type { BlockNode } from '../../core/block/node.ts';
import type { OptionTree } from '../../core/block/options.ts';
import type { Unpublished } from '../../core/block/unpublished.ts';
import { BlockError, invariant } from '../../core/util/errors.ts';
import { diskSize } from '../../core/util/offsets.ts';
import { perm } from '../../core/util/perm-bits.ts';
import type { Engine } from '../engine.ts';
import { type Action, runAction } from './action.ts';
import { lookupNodeName } from './lookup.ts';

/** blockdev-add. */
export async function addNode(engine: Engine, options: OptionTree): Promise<BlockNode> {
  if (options['node-name'] === undefined) throw new BlockError("'node-name' must be specified for the root node", { code: 'ERR_OPTION' });
  return runAction(engine, addNodeAction(engine, options));
}

/** A new node of the monitor's. */
export function addNodeAction({ opener }: Engine, options: OptionTree): Action<BlockNode> {
  let opened: Unpublished | undefined;
  return {
    drains: false,
    open: async () => {
      opened = await opener.openApart(options);
    },
    apply: (transaction) => {
      invariant(opened !== undefined, 'opened before');
      const { top } = opened;
      opened.publish(transaction);
      top.monitorOwned = true;
      transaction.add({
        abort: () => {
          top.monitorOwned = false;
        },
      });
      return top;
    },
    clean: async () => {
      if (opened?.top.monitorOwned === false) await opened.close().catch(() => {});
    },
  };
}

/** blockdev-del. */
export function deleteNode(engine: Engine, name: string): Promise<void> {
  return runAction(engine, deleteNodeAction(engine, name));
}

export function deleteNodeAction(engine: Engine, name: string): Action {
  let node: BlockNode | undefined;
  return {
    drains: false,
    apply: (transaction) => {
      const found = lookupNodeName(engine, name);
      if (found.parents.some((edge) => edge.parent instanceof BlockBackend)) throw new BlockError(`Node ${found.name} is in use`, { code: 'EBUSY' });
      found.blockers.check('drive-del');
      if (!found.monitorOwned) throw new BlockError(`Node ${found.name} is not owned by the monitor`, { code: 'ERR_STATE' });
      if (found.parents.length > 0) throw new BlockError(`Block device ${found.displayName} is in use`, { code: 'EBUSY' });
      found.monitorOwned = false;
      node = found;
      transaction.add({
        abort: () => {
          found.monitorOwned = true;
        },
      });
    },
    clean: async () => {
      if (node !== undefined) await engine.graph.releaseUnused(node);
    },
  };
}

/** block_resize. `size` in bytes. Users of the node wait meanwhile and find the new size. */
export async function resizeNode(engine: Engine, node: BlockNode, size: number | bigint): Promise<void> {
  if (size < 0) throw new BlockError("Parameter 'size' expects a >0 size", { code: 'ERR_OPTION' });
  await engine.graph.turn(async () => {
    if (!node.isOpen) throw new BlockError(`Cannot find device='' nor node-name='${node.name}'`, { code: 'ERR_NOT_FOUND' });
    node.blockers.check('resize');
    const backend = new BlockBackend(engine.graph, { perm: perm.resize, shared: perm.all });
    backend.insert(node);
    try {
      using _section = await drainNodes([node]);
      await backend.truncate(diskSize(size), { exact: false, prealloc: 'off' });
    } finally {
      await backend.remove();
    }
  });
}
