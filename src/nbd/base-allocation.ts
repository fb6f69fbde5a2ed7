/* `base:allocation`: holes (bit 0) and what reads as zeros (bit 1). Rule source: NBD protocol document, "base:allocation". */
import type { BlockStatus } from '../core/block/driver.ts';
import { chain, type Maybe } from '../core/util/maybe.ts';
import type { Extent, MetaContext } from './meta-context.ts';
import { NBD_STATE_HOLE, NBD_STATE_ZERO } from './protocol.ts';

/** `status`: the export's, by offset and length. */
export function baseAllocation(status: (offset: number, length: number) => Maybe<BlockStatus>): MetaContext {
  return { name: 'base:allocation', wildcards: ['base:'], extentAt: (offset, length) => chain(status(offset, length), extentOf) };
}

function extentOf({ length, data, zero }: BlockStatus): Extent {
  return { length, state: (data ? 0 : NBD_STATE_HOLE) | (zero ? NBD_STATE_ZERO : 0) };
}
