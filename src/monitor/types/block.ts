/*
 * QAPI types of the block layer that the monitor's commands take: names, members and their order as QEMU 11.1 has them.
 * Drivers that this engine lacks keep their names (their options are not checked further): naming one gives
 * `Unknown driver 'x'`, an unknown word the enum's error.
 */
import {
  alternate,
  bool,
  deprecated,
  enumOf,
  int64,
  lazy,
  listOf,
  nullValue,
  optional,
  type Schema,
  saturating,
  size,
  str,
  struct,
  uint32,
  union,
} from '../../core/util/schema.ts';

const blockdevDrivers = [
  'blkdebug',
  'blklogwrites',
  'blkreplay',
  'blkverify',
  'bochs',
  'cloop',
  'compress',
  'copy-before-write',
  'copy-on-read',
  'dmg',
  'file',
  'snapshot-access',
  'ftp',
  'ftps',
  'host_cdrom',
  'host_device',
  'http',
  'https',
  'io_uring',
  'iscsi',
  'luks',
  'nbd',
  'nfs',
  'null-aio',
  'null-co',
  'nvme',
  'nvme-io_uring',
  'parallels',
  'preallocate',
  'qcow',
  'qcow2',
  'qed',
  'quorum',
  'raw',
  'rbd',
  'replication',
  'ssh',
  'throttle',
  'vdi',
  'vhdx',
  'virtio-blk-vfio-pci',
  'virtio-blk-vhost-user',
  'virtio-blk-vhost-vdpa',
  'vmdk',
  'vpc',
  'vvfat',
] as const;

const blockdevOnError = enumOf('BlockdevOnError', ['report', 'ignore', 'enospc', 'stop', 'auto']);
const mirrorSyncMode = enumOf('MirrorSyncMode', ['top', 'full', 'none', 'incremental', 'bitmap']);
const onCbwError = enumOf('OnCbwError', ['break-guest-write', 'break-snapshot']);
const cacheOptions = struct('BlockdevCacheOptions', { direct: optional(bool), 'no-flush': optional(bool) });

const blockdevRef: Schema<unknown> = lazy(() => alternate('BlockdevRef', { object: blockdevOptions, string: str }));
const blockdevRefOrNull: Schema<unknown> = lazy(() => alternate('BlockdevRefOrNull', { object: blockdevOptions, string: str, null: nullValue }));

const overlapMode = enumOf('Qcow2OverlapCheckMode', ['none', 'constant', 'cached', 'all']);
const overlapFlags = struct('Qcow2OverlapCheckFlags', {
  template: optional(overlapMode),
  'main-header': optional(bool),
  'active-l1': optional(bool),
  'active-l2': optional(bool),
  'refcount-table': optional(bool),
  'refcount-block': optional(bool),
  'snapshot-table': optional(bool),
  'inactive-l1': optional(bool),
  'inactive-l2': optional(bool),
  'bitmap-directory': optional(bool),
});
const qcow2Encryption = union('BlockdevQcow2Encryption', {
  base: { format: enumOf('BlockdevQcow2EncryptionFormat', ['aes', 'luks']) },
  tag: 'format',
  branches: {
    aes: struct('QCryptoBlockOptionsQCow', { 'key-secret': optional(str) }),
    luks: struct('QCryptoBlockOptionsLUKS', { 'key-secret': optional(str) }),
  },
});

const genericFormat = struct('BlockdevOptionsGenericFormat', { file: blockdevRef });
const genericCow = struct('BlockdevOptionsGenericCOWFormat', { backing: optional(blockdevRefOrNull) }, { base: genericFormat });
const fileOptions = struct('BlockdevOptionsFile', {
  filename: str,
  'pr-manager': optional(str),
  locking: optional(enumOf('OnOffAuto', ['auto', 'on', 'off'])),
  aio: optional(enumOf('BlockdevAioOptions', ['threads', 'native', 'io_uring'])),
  'aio-max-batch': optional(int64),
  'drop-cache': optional(bool),
  'x-check-cache-dropped': optional(bool),
});
const nullOptions = struct('BlockdevOptionsNull', { size: optional(int64), 'latency-ns': optional(saturating(size)), 'read-zeroes': optional(bool) });

/** Options of a node, as blockdev-add takes them. */
export const blockdevOptions: Schema<Record<string, unknown>> = lazy(() =>
  union('BlockdevOptions', {
    base: {
      driver: enumOf('BlockdevDriver', blockdevDrivers),
      'node-name': optional(str),
      discard: optional(enumOf('BlockdevDiscardOptions', ['ignore', 'unmap'])),
      cache: optional(cacheOptions),
      active: optional(bool),
      'read-only': optional(bool),
      'auto-read-only': optional(bool),
      'force-share': optional(bool),
      'detect-zeroes': optional(enumOf('BlockdevDetectZeroesOptions', ['off', 'on', 'unmap'])),
    },
    tag: 'driver',
    branches: {
      'copy-before-write': struct(
        'BlockdevOptionsCbw',
        {
          target: blockdevRef,
          bitmap: optional(struct('BlockDirtyBitmap', { node: str, name: str })),
          'on-cbw-error': optional(onCbwError),
          'cbw-timeout': optional(uint32),
          'min-cluster-size': optional(size),
        },
        { base: genericFormat },
      ),
      file: fileOptions,
      'null-co': nullOptions,
      'null-aio': nullOptions,
      qcow2: struct(
        'BlockdevOptionsQcow2',
        {
          'lazy-refcounts': optional(bool),
          'pass-discard-request': optional(bool),
          'pass-discard-snapshot': optional(bool),
          'pass-discard-other': optional(bool),
          'discard-no-unref': optional(bool),
          'overlap-check': optional(alternate('Qcow2OverlapChecks', { object: overlapFlags, string: overlapMode })),
          'cache-size': optional(int64),
          'l2-cache-size': optional(int64),
          'l2-cache-entry-size': optional(int64),
          'refcount-cache-size': optional(int64),
          'cache-clean-interval': optional(int64),
          encrypt: optional(qcow2Encryption),
          'data-file': optional(blockdevRef),
        },
        { base: genericCow },
      ),
      raw: struct('BlockdevOptionsRaw', { offset: optional(int64), size: optional(int64) }, { base: genericFormat }),
      'snapshot-access': genericFormat,
    },
  }),
);

/** Arguments of blockdev-backup. Sizes in bytes, speed in bytes a second. */
export interface BlockdevBackupArgs {
  'job-id'?: string | undefined;
  device: string;
  sync: 'top' | 'full' | 'none' | 'incremental' | 'bitmap';
  speed?: number | undefined;
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
    | { 'use-copy-range'?: boolean | undefined; 'max-workers'?: number | undefined; 'max-chunk'?: number | undefined; 'min-cluster-size'?: number | undefined }
    | undefined;
  target: string;
}

export const blockdevBackup: Schema<BlockdevBackupArgs> = struct('BlockdevBackup', {
  'job-id': optional(str),
  device: str,
  sync: mirrorSyncMode,
  speed: optional(saturating(int64)),
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
  'x-perf': optional(
    struct('BackupPerf', {
      'use-copy-range': optional(bool),
      'max-workers': optional(int64),
      'max-chunk': optional(int64),
      'min-cluster-size': optional(size),
    }),
  ),
  target: str,
});

const inetSocket = struct('InetSocketAddress', {
  host: str,
  port: str,
  numeric: optional(bool),
  to: optional(int64),
  ipv4: optional(bool),
  ipv6: optional(bool),
  'keep-alive': optional(bool),
  mptcp: optional(bool),
});
const unixSocket = struct('UnixSocketAddress', { path: str, abstract: optional(bool), tight: optional(bool) });
const socketType = enumOf('SocketAddressType', ['inet', 'unix', 'vsock', 'fd']);

/** nbd-server-start's form: the members of an address under `data`. */
export type LegacyAddress =
  | { type: 'inet'; data: InetAddress }
  | { type: 'unix'; data: { path: string } }
  | { type: 'vsock'; data: unknown }
  | { type: 'fd'; data: { str: string } };
export interface InetAddress {
  host: string;
  port: string;
}

const socketAddressLegacy: Schema<LegacyAddress> = union('SocketAddressLegacy', {
  base: { type: socketType },
  tag: 'type',
  branches: {
    inet: struct('InetSocketAddressWrapper', { data: inetSocket }),
    unix: struct('UnixSocketAddressWrapper', { data: unixSocket }),
    vsock: struct('VsockSocketAddressWrapper', { data: struct('VsockSocketAddress', { cid: str, port: str }) }),
    fd: struct('FdSocketAddressWrapper', { data: struct('FdSocketAddress', { str }) }),
  },
});

export type FlatAddress = ({ type: 'inet' } & InetAddress) | { type: 'unix'; path: string } | { type: 'vsock' } | { type: 'fd'; str: string };

/** The flat form of command-line options. */
const socketAddress: Schema<FlatAddress> = union('SocketAddress', {
  base: { type: socketType },
  tag: 'type',
  branches: { inet: inetSocket, unix: unixSocket, vsock: struct('VsockSocketAddress', { cid: str, port: str }), fd: struct('FdSocketAddress', { str }) },
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

const bitmapOrString = alternate('BlockDirtyBitmapOrStr', { string: str, object: struct('BlockDirtyBitmap', { node: str, name: str }) });

export interface BlockExportArgs {
  type: 'nbd' | 'vhost-user-blk' | 'fuse' | 'vduse-blk';
  id: string;
  'node-name': string;
  writable?: boolean | undefined;
  writethrough?: boolean | undefined;
  name?: string | undefined;
  description?: string | undefined;
  bitmaps?: unknown[] | undefined;
  'allocation-depth'?: boolean | undefined;
}

export const blockExportOptions: Schema<BlockExportArgs> = union('BlockExportOptions', {
  base: {
    type: enumOf('BlockExportType', ['nbd', 'vhost-user-blk', 'fuse', 'vduse-blk']),
    id: str,
    'fixed-iothread': optional(bool),
    iothread: optional(str),
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
    'vhost-user-blk': {},
    fuse: {},
    'vduse-blk': {},
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

/** Actions that `transaction` knows; those of commands to come answer as unknown words do. */
export type TransactionAction = { type: 'abort' } | { type: 'blockdev-backup'; data: BlockdevBackupArgs };

export const transactionAction: Schema<TransactionAction> = union('TransactionAction', {
  base: { type: enumOf('TransactionActionKind', ['abort', 'blockdev-backup']) },
  tag: 'type',
  branches: {
    abort: struct('AbortWrapper', { data: struct('Abort', {}) }),
    'blockdev-backup': struct('BlockdevBackupWrapper', { data: blockdevBackup }),
  },
});

export interface SecretArgs {
  'qom-type': 'secret';
  id: string;
  format?: 'raw' | 'base64' | undefined;
  data?: string | undefined;
  file?: string | undefined;
}

export const secretOptions: Schema<SecretArgs> = union('ObjectOptions', {
  base: { 'qom-type': enumOf('ObjectType', ['secret']), id: str },
  tag: 'qom-type',
  branches: {
    secret: struct('SecretProperties', {
      loaded: optional(deprecated(bool)),
      format: optional(enumOf('QCryptoSecretFormat', ['raw', 'base64'])),
      keyid: optional(str),
      iv: optional(str),
      data: optional(str),
      file: optional(str),
    }),
  },
});
