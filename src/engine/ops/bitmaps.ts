/*
 * Dirty bitmaps of nodes by name: the actions behind block-dirty-bitmap-*. What a bitmap is, is core/block/dirty-bitmap.ts.
 * Rule source: observed behaviour of QEMU 11.1.
 */
import { changeObstacles, type DirtyBitmap, useObstacles } from '../../core/block/dirty-bitmap.ts';
import { BlockError } from '../../core/util/errors.ts';
import type { Engine } from '../engine.ts';
import type { Action } from './action.ts';
import { lookupEither } from './lookup.ts';

export interface BitmapName {
  /** A node or a block device. */
  readonly node: string;
  readonly name: string;
}

export interface AddBitmapArgs extends BitmapName {
  /** Bytes a bit; by default what the node's format suggests. */
  readonly granularity?: number | undefined;
  readonly persistent?: boolean | undefined;
  /** Records nothing until it is enabled. */
  readonly disabled?: boolean | undefined;
}

export interface MergeBitmapArgs {
  readonly node: string;
  readonly target: string;
  /** By name on `node`, or on a node of their own. */
  readonly bitmaps: readonly (string | BitmapName)[];
}

export function addBitmapAction(engine: Engine, args: AddBitmapArgs): Action {
  return {
    drains: false,
    apply: (transaction) => {
      const { name } = args;
      if (name === '') throw new BlockError('Bitmap name cannot be empty');
      const node = lookupEither(engine, args.node);
      const { dirtyBitmaps } = node;
      const granularity = args.granularity ?? dirtyBitmaps.defaultGranularity;
      dirtyBitmaps.checkGranularity(granularity);
      if (args.persistent) throw new BlockError(`Can't store persistent bitmaps to ${node.displayName}: Operation not supported`, { code: 'ENOTSUP' });
      const bitmap = dirtyBitmaps.add({ name, granularity, isEnabled: args.disabled !== true });
      transaction.add({ abort: () => dirtyBitmaps.remove(bitmap) });
    },
  };
}

/** It stays, busy, until the transaction is committed: a later action finds its name taken. */
export function removeBitmapAction(engine: Engine, args: BitmapName): Action {
  return {
    drains: false,
    apply: (transaction) => {
      const bitmap = findBitmap(engine, args);
      bitmap.check(['busy', 'read-only']);
      bitmap.isBusy = true;
      transaction.add({
        commit: () => bitmap.node.dirtyBitmaps.remove(bitmap),
        abort: () => {
          bitmap.isBusy = false;
        },
      });
    },
  };
}

export function clearBitmapAction(engine: Engine, args: BitmapName): Action {
  return {
    drains: false,
    apply: (transaction) => {
      const bitmap = findBitmap(engine, args);
      bitmap.check(changeObstacles);
      transaction.add({ abort: bitmap.clear() });
    },
  };
}

/** Lets a bitmap record, or stops it. */
export function enableBitmapAction(engine: Engine, args: BitmapName, isEnabled: boolean): Action {
  return {
    drains: false,
    apply: (transaction) => {
      const bitmap = findBitmap(engine, args);
      bitmap.check(useObstacles);
      const before = bitmap.isEnabled;
      bitmap.isEnabled = isEnabled;
      transaction.add({
        abort: () => {
          bitmap.isEnabled = before;
        },
      });
    },
  };
}

export function mergeBitmapAction(engine: Engine, args: MergeBitmapArgs): Action {
  return {
    drains: false,
    apply: (transaction) => {
      const target = findBitmap(engine, { node: args.node, name: args.target });
      for (const source of args.bitmaps) {
        const from = findBitmap(engine, typeof source === 'string' ? { node: args.node, name: source } : source);
        transaction.add({ abort: target.merge(from) });
      }
    },
  };
}

function findBitmap({ graph }: Engine, { node: name, name: bitmap }: BitmapName): DirtyBitmap {
  const node = graph.findDeviceOrNode(name);
  if (node === undefined) throw new BlockError(`Node '${name}' not found`, { code: 'ENOENT' });
  return node.dirtyBitmaps.get(bitmap);
}
