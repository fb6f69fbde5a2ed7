/* `qemu:allocation-depth`: which layer decides, 1 for the image itself, 2 for its backing file and so on; 0: none does. Rule source: qemu-nbd's documentation of -A. */
import type { BlockStatus } from '../core/block/driver.ts';
import { chain, type Maybe } from '../core/util/maybe.ts';
import type { Extent, MetaContext } from './meta-context.ts';

/** A block status that says which layer of the chain it comes from, 0 for the first. */
export interface LayeredStatus extends BlockStatus {
  readonly depth?: number | undefined;
}

/** `status`: the export's, by offset and length. */
export function allocationDepth(status: (offset: number, length: number) => Maybe<LayeredStatus>): MetaContext {
  return { name: 'qemu:allocation-depth', wildcards: ['qemu:'], extentAt: (offset, length) => chain(status(offset, length), extentOf) };
}

function extentOf({ length, allocated, depth = 0 }: LayeredStatus): Extent {
  return { length, state: allocated ? depth + 1 : 0 };
}
