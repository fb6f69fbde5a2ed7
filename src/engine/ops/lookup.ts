/* Names given by users to nodes, in the three ways QEMU's commands look them up, each with its message. */
import type { BlockNode } from '../../core/block/node.ts';
import { BlockError } from '../../core/util/errors.ts';
import type { Engine } from '../engine.ts';

/** A block device's root node or a node by either name. An absent name prints empty. */
export function lookupNode(engine: Engine, names: { readonly device?: string | undefined; readonly nodeName?: string | undefined }): BlockNode {
  const { graph } = engine;
  const { device, nodeName } = names;
  if (device !== undefined) {
    const disk = engine.machine?.findDrive(device);
    if (disk !== undefined) {
      if (disk.node === undefined) throw new BlockError(`Device '${device}' has no medium`, { code: 'ENOMEDIUM' });
      return disk.node;
    }
  }
  const found = nodeName === undefined ? undefined : graph.find(nodeName);
  if (found !== undefined) return found;
  throw new BlockError(`Cannot find device='${device ?? ''}' nor node-name='${nodeName ?? ''}'`, { code: 'ERR_NOT_FOUND' });
}

/** One argument that may be either (`device=` of most commands). */
export function lookupEither(engine: Engine, name: string): BlockNode {
  return lookupNode(engine, { device: name, nodeName: name });
}

/** By node name only. */
export function lookupNodeName(engine: Engine, name: string): BlockNode {
  const found = engine.graph.find(name);
  if (found === undefined) throw new BlockError(`Failed to find node with node-name='${name}'`, { code: 'ERR_NOT_FOUND' });
  return found;
}
