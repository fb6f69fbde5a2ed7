/* Reopening what a backend uses: other permissions to write, another cache mode, other options of its driver. */
import type { BlockBackend } from '../../core/block/backend.ts';
import { drainNodes } from '../../core/block/drain.ts';
import { findOption } from '../../core/block/driver-options.ts';
import type { BlockNode, NodeSettings } from '../../core/block/node.ts';
import type { OptionTree } from '../../core/block/options.ts';
import { type PreparedReopen, prepareReopen } from '../../core/block/reopen.ts';
import { runTransaction } from '../../core/block/transaction.ts';
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
    const nodes = inheritors(top);
    using _section = await drainNodes(nodes);
    const prepared: PreparedReopen[] = [];
    try {
      for (const node of nodes) {
        const { settings } = node;
        const next = { ...settings, readOnly: change.readOnly ?? settings.readOnly, cache: change.cache ?? settings.cache };
        // a medium that stays as it is needs no new descriptor
        if (node !== top && sameMedium(settings, next)) continue;
        const options: OptionTree = node === top ? { ...node.openOptions, ...change.options } : node.openOptions;
        prepared.push(await prepareReopen(node, next, options));
      }
    } catch (error) {
      for (const each of prepared) each.abort();
      for (const each of prepared) await each.settle();
      throw error;
    }
    try {
      runTransaction((transaction) => {
        // users first: what is below may only lose what they no longer need
        for (const each of change.readOnly === true ? [...prepared].reverse() : prepared) each.apply(transaction);
      });
    } finally {
      // former descriptors hold their locks until they are closed
      (await drainNodes(nodes))[Symbol.dispose]();
      for (const each of prepared) await each.settle();
    }
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
