/* Commands that add, delete, resize, back up and group. Old spellings are rewritten by upgrade.ts. */
import type { OptionTree } from '../../core/block/options.ts';
import { enumOf, int64, integer, listOf, optional, str, struct } from '../../core/util/schema.ts';
import type { Engine } from '../../engine/engine.ts';
import { objectDefinition } from '../../engine/object-types.ts';
import { runAction } from '../../engine/ops/action.ts';
import { startBackup } from '../../engine/ops/backup.ts';
import { deleteDriveOrNode } from '../../engine/ops/drives.ts';
import { lookupNode } from '../../engine/ops/lookup.ts';
import { addNode, deleteNode, resizeNode } from '../../engine/ops/nodes.ts';
import { addObject } from '../../engine/ops/objects.ts';
import { type ActionArgs, actionOf, runTransaction } from '../../engine/ops/transaction.ts';
import { type AnyCommand, defineCommand } from '../command.ts';
import { addBitmap, bitmapName, blockdevBackup, mergeBitmap, transactionAction } from '../types/block.ts';
import { blockdevOptions } from '../types/blockdev.ts';
import { upgradeBlockdevAdd } from '../upgrade.ts';

/** A command that is an action of `transaction`, too. */
async function runOne(engine: Engine, action: ActionArgs): Promise<void> {
  await runAction(engine, actionOf(engine, action));
}

export const blockCommands: readonly AnyCommand[] = [
  defineCommand({
    name: 'blockdev-add',
    summary: 'Add a block node',
    args: blockdevOptions,
    guards: [],
    upgrade: upgradeBlockdevAdd,
    run: async (args, { engine }) => {
      await addNode(engine, args as OptionTree);
    },
  }),
  defineCommand({
    name: 'blockdev-del',
    summary: 'Delete a node that blockdev-add made',
    args: struct({ 'node-name': str }),
    guards: [{ arg: 'node-name', op: 'drive-del' }],
    run: (args, { engine }) => deleteNode(engine, args['node-name']),
  }),
  defineCommand({
    name: 'drive_del',
    summary: 'Delete a drive, or a node that blockdev-add made (an HMP command in QEMU)',
    args: struct({ id: str }),
    guards: [{ arg: 'id', op: 'drive-del' }],
    isOwn: true,
    run: async (args, { engine, note }) => {
      await deleteDriveOrNode(engine, args.id);
      note("drive_del: a command of the human monitor; over QMP a node is deleted by 'blockdev-del node-name=…' today");
    },
  }),
  defineCommand({
    name: 'block_resize',
    summary: 'Change the size of a node',
    args: struct({ device: optional(str), 'node-name': optional(str), size: integer(int64) }),
    guards: [
      { arg: 'device', op: 'resize' },
      { arg: 'node-name', op: 'resize' },
    ],
    run: (args, { engine }) => resizeNode(engine, lookupNode(engine, { device: args.device, nodeName: args['node-name'] }), args.size),
  }),
  defineCommand({
    name: 'blockdev-backup',
    summary: 'Start a backup of a node onto another one',
    args: blockdevBackup,
    guards: [
      { arg: 'device', op: 'backup-source' },
      { arg: 'target', op: 'backup-target' },
    ],
    run: async (args, { engine }) => {
      await startBackup(engine, args);
    },
  }),
  defineCommand({
    name: 'block-dirty-bitmap-add',
    summary: 'Begin to note what changes on a node',
    args: addBitmap,
    guards: [],
    run: (data, { engine }) => runOne(engine, { type: 'block-dirty-bitmap-add', data }),
  }),
  defineCommand({
    name: 'block-dirty-bitmap-remove',
    summary: 'Take a dirty bitmap away',
    args: bitmapName,
    guards: [],
    run: (data, { engine }) => runOne(engine, { type: 'block-dirty-bitmap-remove', data }),
  }),
  defineCommand({
    name: 'block-dirty-bitmap-clear',
    summary: 'Make a dirty bitmap clean',
    args: bitmapName,
    guards: [],
    run: (data, { engine }) => runOne(engine, { type: 'block-dirty-bitmap-clear', data }),
  }),
  defineCommand({
    name: 'block-dirty-bitmap-enable',
    summary: 'Let a dirty bitmap record',
    args: bitmapName,
    guards: [],
    run: (data, { engine }) => runOne(engine, { type: 'block-dirty-bitmap-enable', data }),
  }),
  defineCommand({
    name: 'block-dirty-bitmap-disable',
    summary: 'Stop a dirty bitmap from recording',
    args: bitmapName,
    guards: [],
    run: (data, { engine }) => runOne(engine, { type: 'block-dirty-bitmap-disable', data }),
  }),
  defineCommand({
    name: 'block-dirty-bitmap-merge',
    summary: 'Add what other bitmaps say to one',
    args: mergeBitmap,
    guards: [],
    run: (data, { engine }) => runOne(engine, { type: 'block-dirty-bitmap-merge', data }),
  }),
  defineCommand({
    name: 'transaction',
    summary: 'Carry out several actions at one instant, all or none',
    args: struct({
      actions: listOf(transactionAction),
      properties: optional(struct('TransactionProperties', { 'completion-mode': optional(enumOf('ActionCompletionMode', ['individual', 'grouped'])) })),
    }),
    guards: [],
    run: async (args, { engine }) => {
      await runTransaction(engine, args.actions, args.properties?.['completion-mode'] === 'grouped');
    },
  }),
  defineCommand({
    name: 'object-add',
    summary: 'Add a user-creatable object',
    args: objectDefinition,
    guards: [],
    run: (args, { engine }) => addObject(engine.objects, args),
  }),
  defineCommand({
    name: 'object-del',
    summary: 'Delete a user-creatable object',
    args: struct({ id: str }),
    guards: [],
    run: (args, { engine }) => engine.objects.remove(args.id),
  }),
];
