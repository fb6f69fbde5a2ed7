/*
 * QAPI types that commands of the block layer take: names, members and their order as QEMU 11.1 has them.
 */
import {
  alternate,
  bool,
  enumOf,
  int64,
  integer,
  listOf,
  optional,
  type Schema,
  size,
  str,
  struct,
  uint16,
  uint32,
  union,
  withFeatures,
} from '../../core/util/schema.ts';
import type { AddBitmapArgs, BitmapName, MergeBitmapArgs } from '../../engine/ops/bitmaps.ts';
import type { ActionArgs } from '../../engine/ops/transaction.ts';
import { type FlatAddress, type LegacyAddress, onCbwError, socketAddress, socketAddressLegacy } from './common.ts';

const blockdevOnError = enumOf('BlockdevOnError', ['report', 'ignore', 'enospc', 'stop', 'auto']);
const mirrorSyncMode = enumOf('MirrorSyncMode', ['top', 'full', 'none', 'incremental', 'bitmap']);
/** Arguments of blockdev-backup. Sizes in bytes, speed in bytes a second. */
export interface BlockdevBackupArgs {
  'job-id'?: string | undefined;
  device: string;
  sync: 'top' | 'full' | 'none' | 'incremental' | 'bitmap';
  speed?: number | bigint | undefined;
  bitmap?: string | undefined;
  'bitmap-mode'?: 'on-success' | 'never' | 'always' | undefined;
  compress?: boolean | undefined;
  'on-source-error'?: 'report' | 'ignore' | 'enospc' | 'stop' | 'auto' | undefined;
  'on-target-error'?: 'report' | 'ignore' | 'enospc' | 'stop' | 'auto' | undefined;
  'on-cbw-error'?: 'break-guest-write' | 'break-snapshot' | undefined;
  'auto-finalize'?: boolean | undefined;
  'auto-dismiss'?: boolean | undefined;
  'filter-node-name'?: string | undefined;
  'discard-source'?: boolean | undefined;
  'x-perf'?:
    | {
        'use-copy-range'?: boolean | undefined;
        'max-workers'?: number | undefined;
        'max-chunk'?: number | undefined;
        'min-cluster-size'?: number | bigint | undefined;
      }
    | undefined;
  target: string;
}

export const blockdevBackup: Schema<BlockdevBackupArgs> = struct('BlockdevBackup', {
  'job-id': optional(str),
  device: str,
  sync: mirrorSyncMode,
  speed: optional(integer(int64)),
  bitmap: optional(str),
  'bitmap-mode': optional(enumOf('BitmapSyncMode', ['on-success', 'never', 'always'])),
  compress: optional(bool),
  'on-source-error': optional(blockdevOnError),
  'on-target-error': optional(blockdevOnError),
  'on-cbw-error': optional(onCbwError),
  'auto-finalize': optional(bool),
  'auto-dismiss': optional(bool),
  'filter-node-name': optional(str),
  'discard-source': optional(bool),
  'x-perf': withFeatures(
    optional(
      struct('BackupPerf', {
        'use-copy-range': optional(bool),
        'max-workers': optional(int64),
        'max-chunk': optional(int64),
        'min-cluster-size': optional(integer(size)),
      }),
    ),
    ['unstable'],
  ),
  target: str,
});

const nbdServerFields = {
  'handshake-max-seconds': optional(uint32),
  'tls-creds': optional(str),
  'tls-authz': optional(str),
  'max-connections': optional(uint32),
};

export interface NbdServerArgs<Address> {
  'handshake-max-seconds'?: number | undefined;
  'tls-creds'?: string | undefined;
  'tls-authz'?: string | undefined;
  'max-connections'?: number | undefined;
  addr: Address;
}

export const nbdServerOptions: Schema<NbdServerArgs<FlatAddress>> = struct('NbdServerOptions', { ...nbdServerFields, addr: socketAddress });
export const nbdServerOptionsLegacy: Schema<NbdServerArgs<LegacyAddress>> = struct('NbdServerOptionsLegacy', { ...nbdServerFields, addr: socketAddressLegacy });

export const bitmapName: Schema<BitmapName> = struct('BlockDirtyBitmap', { node: str, name: str });
const bitmapOrString = alternate('BlockDirtyBitmapOrStr', { string: str, object: bitmapName });

export interface BlockExportArgs {
  type: 'nbd' | 'vhost-user-blk' | 'fuse' | 'vduse-blk';
  id: string;
  'node-name': string;
  writable?: boolean | undefined;
  writethrough?: boolean | undefined;
  name?: string | undefined;
  description?: string | undefined;
  bitmaps?: (string | { node: string; name: string })[] | undefined;
  'allocation-depth'?: boolean | undefined;
  iothread?: string | string[] | undefined;
  'fixed-iothread'?: boolean | undefined;
}

export const blockExportOptions: Schema<BlockExportArgs> = union('BlockExportOptions', {
  base: {
    type: enumOf('BlockExportType', ['nbd', 'vhost-user-blk', 'fuse', 'vduse-blk']),
    id: str,
    'fixed-iothread': optional(bool),
    iothread: optional(alternate('BlockExportIothreads', { string: str, array: listOf(str) })),
    'node-name': str,
    writable: optional(bool),
    writethrough: optional(bool),
    'allow-inactive': optional(bool),
  },
  tag: 'type',
  branches: {
    nbd: struct('BlockExportOptionsNbd', {
      name: optional(str),
      description: optional(str),
      bitmaps: optional(listOf(bitmapOrString)),
      'allocation-depth': optional(bool),
    }),
    'vhost-user-blk': struct('BlockExportOptionsVhostUserBlk', { addr: socketAddress, 'logical-block-size': optional(size), 'num-queues': optional(uint16) }),
    fuse: struct('BlockExportOptionsFuse', {
      mountpoint: str,
      growable: optional(bool),
      'allow-other': optional(enumOf('FuseExportAllowOther', ['off', 'on', 'auto'])),
    }),
    'vduse-blk': struct('BlockExportOptionsVduseBlk', {
      name: str,
      'num-queues': optional(uint16),
      'queue-size': optional(uint16),
      'logical-block-size': optional(size),
      serial: optional(str),
    }),
  },
});

export interface NbdServerAddArgs {
  name?: string | undefined;
  description?: string | undefined;
  device: string;
  writable?: boolean | undefined;
  bitmap?: string | undefined;
}

export const nbdServerAdd: Schema<NbdServerAddArgs> = struct('NbdServerAddOptions', {
  name: optional(str),
  description: optional(str),
  device: str,
  writable: optional(bool),
  bitmap: optional(str),
});

export const removeMode: Schema<'safe' | 'hard'> = enumOf('BlockExportRemoveMode', ['safe', 'hard']);

export const addBitmap: Schema<AddBitmapArgs> = struct('BlockDirtyBitmapAdd', {
  node: str,
  name: str,
  granularity: optional(uint32),
  persistent: optional(bool),
  disabled: optional(bool),
});
export const mergeBitmap: Schema<MergeBitmapArgs> = struct('BlockDirtyBitmapMerge', { node: str, target: str, bitmaps: listOf(bitmapOrString) });

const bitmapAction = struct('BlockDirtyBitmapWrapper', { data: bitmapName });

/** Actions that `transaction` knows; those of commands to come answer as unknown words do. */
export const transactionAction: Schema<ActionArgs> = union('TransactionAction', {
  base: {
    type: enumOf('TransactionActionKind', [
      'abort',
      'block-dirty-bitmap-add',
      'block-dirty-bitmap-remove',
      'block-dirty-bitmap-clear',
      'block-dirty-bitmap-enable',
      'block-dirty-bitmap-disable',
      'block-dirty-bitmap-merge',
      'blockdev-backup',
    ]),
  },
  tag: 'type',
  branches: {
    abort: struct('AbortWrapper', { data: struct('Abort', {}) }),
    'block-dirty-bitmap-add': struct('BlockDirtyBitmapAddWrapper', { data: addBitmap }),
    'block-dirty-bitmap-remove': bitmapAction,
    'block-dirty-bitmap-clear': bitmapAction,
    'block-dirty-bitmap-enable': bitmapAction,
    'block-dirty-bitmap-disable': bitmapAction,
    'block-dirty-bitmap-merge': struct('BlockDirtyBitmapMergeWrapper', { data: mergeBitmap }),
    'blockdev-backup': struct('BlockdevBackupWrapper', { data: blockdevBackup }),
  },
});
