/*
 * `convert --bitmaps`: the persistent bitmaps of the source go along. They are merged into new ones of the target,
 * which record when those of the source do. Rule source: observed behaviour of qemu-img 11.1.
 */
import type { Reporter } from '../cli/report.ts';
import type { DirtyBitmap } from '../core/block/dirty-bitmap.ts';
import type { BlockNode } from '../core/block/node.ts';
import { BlockError } from '../core/util/errors.ts';
import type { Engine } from '../engine/engine.ts';
import { runAction } from '../engine/ops/action.ts';
import { addBitmapAction, mergeBitmapAction, removeBitmapAction } from '../engine/ops/bitmaps.ts';

/** Bitmaps that outlive the node, newest first. */
function persistentBitmaps(node: BlockNode): (DirtyBitmap & { readonly name: string })[] {
  return [...node.dirtyBitmaps].filter((bitmap): bitmap is DirtyBitmap & { readonly name: string } => bitmap.isPersistent && bitmap.name !== undefined);
}

/** Throws when the bitmaps of `source` cannot be copied. */
export function checkSourceBitmaps(source: BlockNode | undefined, skipBroken: boolean): void {
  if (source?.state.bitmapStore?.isSupported !== true) throw new BlockError('Source lacks bitmap support', { code: 'ENOTSUP' });
  if (skipBroken) return;
  for (const bitmap of persistentBitmaps(source)) {
    if (!bitmap.isInconsistent) continue;
    throw new BlockError(`Cannot copy inconsistent bitmap '${bitmap.name}'`, {
      code: 'EINVAL',
      detail: "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it",
    });
  }
}

/** Throws when `target` cannot keep bitmaps. */
export function checkTargetBitmaps(target: BlockNode | undefined): void {
  if (target?.state.bitmapStore?.isSupported !== true)
    throw new BlockError(`Format driver '${target?.driver.name ?? 'raw'}' does not support bitmaps`, { code: 'ENOTSUP' });
}

/** Copies the bitmaps of `source`, which has the size of `target`. Rejects with the peer's words; those before stay. */
export async function copyBitmaps(engine: Engine, source: BlockNode, target: BlockNode, report: Reporter): Promise<void> {
  for (const { name, granularity, isEnabled, isInconsistent } of persistentBitmaps(source)) {
    if (isInconsistent) {
      report.warning(`Skipping inconsistent bitmap '${name}'`);
      continue;
    }
    const node = target.name;
    await told(`Failed to create bitmap ${name}: `, () =>
      runAction(engine, addBitmapAction(engine, { node, name, granularity, persistent: true, disabled: !isEnabled })),
    );
    try {
      const merge = mergeBitmapAction(engine, { node, target: name, bitmaps: [{ node: source.name, name }] });
      await told(`Failed to populate bitmap ${name}: `, () => runAction(engine, merge));
    } catch (error) {
      await runAction(engine, removeBitmapAction(engine, { node, name }));
      throw error;
    }
  }
}

async function told(context: string, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    throw error instanceof BlockError ? error.prepend(context) : error;
  }
}
