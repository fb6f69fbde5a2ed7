/*
 * QMP's `transaction`: several actions at one instant, all or none. Which kinds there are; what each does is in its home.
 * Rule source: observed behaviour of QEMU 11.1.
 */
import { BlockError } from '../../core/util/errors.ts';
import { JobGroup } from '../../jobs/group.ts';
import type { Engine } from '../engine.ts';
import { type Action, runActions } from './action.ts';
import { type BackupArgs, backupAction } from './backup.ts';
import {
  type AddBitmapArgs,
  addBitmapAction,
  type BitmapName,
  clearBitmapAction,
  enableBitmapAction,
  type MergeBitmapArgs,
  mergeBitmapAction,
  removeBitmapAction,
} from './bitmaps.ts';

export type ActionArgs =
  | { readonly type: 'abort' }
  | { readonly type: 'block-dirty-bitmap-add'; readonly data: AddBitmapArgs }
  | { readonly type: `block-dirty-bitmap-${'remove' | 'clear' | 'enable' | 'disable'}`; readonly data: BitmapName }
  | { readonly type: 'block-dirty-bitmap-merge'; readonly data: MergeBitmapArgs }
  | { readonly type: 'blockdev-backup'; readonly data: BackupArgs };

/** Kinds whose jobs can end together. */
const groupable: readonly ActionArgs['type'][] = ['blockdev-backup'];

/** `isGrouped`: when one of the jobs fails or is cancelled, all are undone. */
export async function runTransaction(engine: Engine, actions: readonly ActionArgs[], isGrouped: boolean): Promise<void> {
  const lonely = isGrouped ? actions.find(({ type }) => !groupable.includes(type)) : undefined;
  if (lonely !== undefined)
    throw new BlockError(`Action '${lonely.type}' does not support transaction property completion-mode = grouped`, { code: 'ENOTSUP' });
  const group = isGrouped ? new JobGroup() : undefined;
  await runActions(
    engine,
    actions.map((args) => actionOf(engine, args, group)),
    { drains: true },
  );
}

/** One definition a kind: what a command of the same name runs, too. */
export function actionOf(engine: Engine, args: ActionArgs, group?: JobGroup): Action<unknown> {
  switch (args.type) {
    case 'abort':
      return abortAction;
    case 'block-dirty-bitmap-add':
      return addBitmapAction(engine, args.data);
    case 'block-dirty-bitmap-remove':
      return removeBitmapAction(engine, args.data);
    case 'block-dirty-bitmap-clear':
      return clearBitmapAction(engine, args.data);
    case 'block-dirty-bitmap-enable':
    case 'block-dirty-bitmap-disable':
      return enableBitmapAction(engine, args.data, args.type === 'block-dirty-bitmap-enable');
    case 'block-dirty-bitmap-merge':
      return mergeBitmapAction(engine, args.data);
    case 'blockdev-backup':
      return backupAction(engine, args.data, group);
  }
}

/** Fails, so that a test of a transaction can see all of it taken back. */
const abortAction: Action<never> = {
  drains: false,
  apply: () => {
    throw new BlockError('Transaction aborted using Abort action', { code: 'ERR_STATE' });
  },
};
