/*
 * Reopening: an open node goes on with other settings. Prepared first (flush, new descriptors), then applied as part of a
 * transaction with the permissions that follow; whatever fails leaves the node as it was. Called in the graph turn with
 * the node drained. Which nodes and which options a command means is its own affair.
 */
import { BlockError } from '../util/errors.ts';
import { perm } from '../util/perm-bits.ts';
import type { BlockNode, NodeSettings } from './node.ts';
import type { OptionTree } from './options.ts';
import { refreshPermissions } from './permissions.ts';
import type { Transaction } from './transaction.ts';

/** Exactly one of `apply` and `abort` is called. */
export interface PreparedReopen {
  /** Puts the settings into force with the commit of `transaction`. Throws QEMU's words for users who need what goes. */
  apply(transaction: Transaction): void;
  abort(): void;
  /** To be called after either, still drained. */
  settle(): Promise<void>;
}

/** `options`: all of the node, as they are to be. Those that its driver can change while it is open come into force, too. */
export async function prepareReopen(node: BlockNode, next: NodeSettings, options: OptionTree = node.openOptions): Promise<PreparedReopen> {
  const { state, driver } = node;
  if (state.reopen === undefined) {
    throw new BlockError(`Block format '${driver.name}' used by node '${node.name}' does not support reopening files`, { code: 'ENOTSUP' });
  }
  const step = await state.reopen(next, options);
  return {
    apply: (transaction) => {
      const before = node.settings;
      transaction.add({
        commit: () => {
          node.openOptions = options;
          step.commit();
        },
        abort: () => {
          node.settings = before;
          step.abort();
        },
      });
      if (next.readOnly && node.parents.some((edge) => (edge.perm & (perm.write | perm.writeUnchanged)) !== 0)) {
        throw new BlockError(`Read-only block node '${node.name}' cannot support read-write users`, { code: 'EPERM' });
      }
      node.settings = next;
      refreshPermissions([node], transaction);
    },
    abort: () => step.abort(),
    settle: async () => {
      // the next change tries again, and tells what it comes to
      await step.settle?.().catch(() => {});
    },
  };
}
