/* `qemu:dirty-bitmap:NAME`: what a dirty bitmap has marked (bit 0). Rule source: qemu-nbd's documentation of -B. */
import type { DirtyRun } from '../core/block/dirty-bitmap.ts';
import type { Extent, MetaContext } from './meta-context.ts';

/** The part of a dirty bitmap that is shown. */
export interface ShownBitmap {
  readonly name?: string | undefined;
  /** The first dirty run in [offset, end) of the node. */
  nextDirty(offset: number, end: number): DirtyRun | undefined;
}

/** `start`: where the export begins in the node. */
export function dirtyBitmapContext(bitmap: ShownBitmap, start: number): MetaContext {
  return {
    name: `qemu:dirty-bitmap:${bitmap.name ?? ''}`,
    wildcards: ['qemu:', 'qemu:dirty-bitmap:'],
    extentAt: (offset, length): Extent => {
      const at = start + offset;
      const run = bitmap.nextDirty(at, at + length);
      if (run === undefined) return { length, state: 0 };
      return run.offset > at ? { length: run.offset - at, state: 0 } : { length: run.length, state: 1 };
    },
  };
}
