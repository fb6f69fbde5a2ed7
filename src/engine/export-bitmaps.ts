/*
 * Dirty bitmaps that an export shows: looked up by name along the chain, or on a node that is named; busy while they are
 * shown. Rule source: observed answers of block-export-add and qemu-nbd -B in QEMU 11.1.
 */
import { nextInChain } from '../core/block/chain.ts';
import type { DirtyBitmap } from '../core/block/dirty-bitmap.ts';
import type { Graph } from '../core/block/graph.ts';
import type { BlockNode } from '../core/block/node.ts';
import { BlockError } from '../core/util/errors.ts';

/** A bitmap of the exported chain, or one of any node. */
export type BitmapName = string | { readonly node: string; readonly name: string };

/** Finds all, in the order in which they were named. Throws in QEMU's words. */
export function findBitmaps(graph: Graph, node: BlockNode, isReadOnly: boolean, names: readonly BitmapName[]): DirtyBitmap[] {
  return names.map((name) => {
    const bitmap = typeof name === 'string' ? findInChain(node, isReadOnly, name) : findOn(graph, name);
    bitmap.check(['busy', 'inconsistent']);
    return bitmap;
  });
}

function findInChain(top: BlockNode, isReadOnly: boolean, name: string): DirtyBitmap {
  for (let node: BlockNode | undefined = top; node !== undefined; node = nextInChain(node)) {
    const bitmap = node.dirtyBitmaps.find(name);
    if (bitmap === undefined) continue;
    // its clients would be told of changes that they were promised not to see
    if (isReadOnly && !node.readOnly && bitmap.isEnabled)
      throw new BlockError(`Enabled bitmap '${name}' incompatible with readonly export`, { code: 'ERR_OPTION' });
    return bitmap;
  }
  throw new BlockError(`Bitmap '${name}' is not found`, { code: 'ERR_NOT_FOUND' });
}

function findOn(graph: Graph, { node: nodeName, name }: { readonly node: string; readonly name: string }): DirtyBitmap {
  const node = graph.find(nodeName);
  if (node === undefined) throw new BlockError(`Node '${nodeName}' not found`, { code: 'ERR_NOT_FOUND' });
  return node.dirtyBitmaps.get(name);
}
