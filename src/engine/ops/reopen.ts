/* Reopening what a backend uses: other permissions to write, another cache mode, other options of its driver. */
import type { BlockBackend } from '../../core/block/backend.ts';
import { findOption } from '../../core/block/driver-options.ts';
import type { BlockNode, NodeSettings } from '../../core/block/node.ts';
import { reopenNodes } from '../../core/block/reopen-nodes.ts';
import { BlockError } from '../../core/util/errors.ts';
import type { Engine } from '../engine.ts';

export interface NodeChange {
  readonly readOnly?: boolean | undefined;
  readonly cache?: NodeSettings['cache'] | undefined;
  /** Options of the driver by flat name. */
  readonly options: Readonly<Record<string, string>>;
}

/** All nodes below that have their settings from the top change with it, or none does. Throws QEMU's words. */
export async function reopenBackend(engine: Engine, backend: BlockBackend, change: NodeChange): Promise<void> {
  await engine.graph.turn(async () => {
    const top = backend.node;
    if (top === undefined) throw new BlockError('No medium found', { code: 'ENOMEDIUM' });
    const table = engine.registry.entry(top.driver.name)?.options;
    for (const name of Object.keys(change.options)) {
      if (findOption(table?.own ?? [], name)?.mayReopen !== true) throw new BlockError(`Cannot change the option '${name}'`, { code: 'EINVAL' });
    }
    const changes = inheritors(top).map((node) => {
      const { settings } = node;
      const next = { ...settings, readOnly: change.readOnly ?? settings.readOnly, cache: change.cache ?? settings.cache };
      return { node, next, options: node === top ? { ...node.openOptions, ...change.options } : node.openOptions };
    });
    // a medium that stays as it is needs no new descriptor
    await reopenNodes(changes.filter(({ node, next }) => node === top || !sameMedium(node.settings, next)));
  });
}

function sameMedium(before: NodeSettings, after: NodeSettings): boolean {
  return before.readOnly === after.readOnly && before.cache.direct === after.cache.direct && before.cache.noFlush === after.cache.noFlush;
}

/** The lowest first. A node that somebody named is its owner's to change. */
function inheritors(top: BlockNode): BlockNode[] {
  const found = [top];
  for (let node = top.primary?.node; node !== undefined && !node.monitorOwned; node = node.primary?.node) found.unshift(node);
  return found;
}
