/*
 * QAPI types of block nodes: what blockdev-add takes, names, members and their order as QEMU 11.1 has them. A driver that
 * this engine lacks is checked like the others and then answers `Unknown driver 'x'`; an unknown word is the enum's error.
 */
import { driverNames } from '../../core/block/driver-names.ts';
import {
  alternate,
  bool,
  enumOf,
  int64,
  lazy,
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
import { blockdevOptionsFile, onCbwError } from './common.ts';
import { otherDrivers } from './other-drivers.ts';

export const blockdevDriver: Schema<string> = enumOf('BlockdevDriver', driverNames);

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

const genericFormat: Schema<object> = struct('BlockdevOptionsGenericFormat', { file: blockdevRef });
const genericCow: Schema<object> = struct('BlockdevOptionsGenericCOWFormat', { backing: optional(blockdevRefOrNull) }, { base: genericFormat });
const nullOptions = struct('BlockdevOptionsNull', { size: optional(int64), 'latency-ns': optional(saturating(size)), 'read-zeroes': optional(bool) });

/** Options of a node, as blockdev-add takes them. */
export const blockdevOptions: Schema<Record<string, unknown>> = lazy(() =>
  union('BlockdevOptions', {
    base: {
      driver: blockdevDriver,
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
      ...otherDrivers(blockdevRef, blockdevRefOrNull, genericFormat, genericCow),
      file: blockdevOptionsFile,
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
