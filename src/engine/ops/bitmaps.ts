/*
 * Dirty bitmaps of nodes by name: the actions behind block-dirty-bitmap-*. What a bitmap is, is core/block/dirty-bitmap.ts.
 * Rule source: observed behaviour of QEMU 11.1.
 */
import { changeObstacles, type DirtyBitmap, useObstacles } from '../../core/block/dirty-bitmap.ts';
import type { BlockNode } from '../../core/block/node.ts';
import { BlockError } from '../../core/util/errors.ts';
import { chain } from '../../core/util/maybe.ts';
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
      if (name === '') throw new BlockError('Bitmap name cannot be empty', { code: 'ERR_NAME' });
      const node = lookupEither(engine, args.node);
      const { dirtyBitmaps } = node;
      const granularity = args.granularity ?? dirtyBitmaps.defaultGranularity;
      dirtyBitmaps.checkGranularity(granularity);
      const isPersistent = args.persistent === true;
      if (isPersistent) checkCanBeStored(node, name, granularity);
      const bitmap = dirtyBitmaps.add({ name, granularity, isEnabled: args.disabled !== true, isPersistent });
      transaction.add({ abort: () => dirtyBitmaps.remove(bitmap) });
    },
  };
}

function checkCanBeStored(node: BlockNode, name: string, granularity: number): void {
  const { bitmapStore } = node.state;
  if (node.readOnly) throw new BlockError(`Cannot add a persistent bitmap to read-only or inactive node '${node.name}'`, { code: 'EPERM' });
  if (bitmapStore === undefined) throw new BlockError(`Can't store persistent bitmaps to ${node.displayName}: Operation not supported`, { code: 'ENOTSUP' });
  bitmapStore.check(name, granularity);
}

/**
 * It stays, busy, until the transaction is committed: a later action finds its name taken. From the medium it goes at
 * once, as with the peer: taken back, it is stored again when the node closes.
 */
export function removeBitmapAction(engine: Engine, args: BitmapName): Action {
  let bitmap: DirtyBitmap | undefined;
  return {
    drains: false,
    touched: () => (bitmap === undefined ? [] : [bitmap.node]),
    apply: (transaction) => {
      const found = findBitmap(engine, args);
      const { node } = found;
      found.check(['busy']);
      if (found.isPersistent && node.readOnly) {
        throw new BlockError(`Cannot remove persistent bitmap '${args.name}': no write access to node '${node.name}'`, { code: 'EPERM' });
      }
      found.check(['read-only']);
      return chain(found.isPersistent ? node.state.bitmapStore?.remove(args.name) : undefined, () => {
        bitmap = found;
        found.isBusy = true;
        transaction.add({
          commit: () => node.dirtyBitmaps.remove(found),
          abort: () => {
            found.isBusy = false;
          },
        });
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
