/* A layer of a chain by the name that people give it: as the image above spells it, or any other name of the same file. */
import { imageBelow, skipFilters } from '../core/block/chain.ts';
import { fullBackingName } from '../core/block/info.ts';
import type { BlockNode } from '../core/block/node.ts';
import { realPath } from '../core/storage/real-path.ts';

/** The layer below `top` that is called `name`; names are relative to the image that names the layer, as it names it. */
export function findInChain(top: BlockNode, name: string): BlockNode | undefined {
  for (let above = skipFilters(top), below = imageBelow(above); below !== undefined; above = below, below = imageBelow(above)) {
    const recorded = above.state.imageBacking?.filename;
    if (recorded === name) return below;
    const wanted = fullBackingName(above, name);
    const real = wanted === undefined ? undefined : realPath(wanted);
    const named = recorded === undefined ? undefined : fullBackingName(above, recorded);
    if (real !== undefined && named !== undefined && real === realPath(named)) return below;
  }
  return undefined;
}
