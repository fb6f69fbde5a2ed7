/*
 * What query commands return, for query-qmp-schema. Data only: answers are built elsewhere and not checked against it at run
 * time. Rule source: query-qmp-schema of QEMU 11.1.
 */
import { any, bool, enumOf, int64, lazy, listOf, num, optional, type Schema, str, struct, union, withFeatures } from '../../core/util/schema.ts';
import { blockdevDriver } from './blockdev.ts';
import { jobStatus, jobType } from './events.ts';

const versionTriple = struct('VersionTriple', { major: int64, minor: int64, micro: int64 });
export const versionInfo: Schema<unknown> = struct('VersionInfo', { qemu: versionTriple, package: str });
export const commandInfo: Schema<unknown> = struct('CommandInfo', { name: str });
const jsonType = enumOf('JSONType', ['string', 'number', 'int', 'boolean', 'null', 'object', 'array', 'value']);
const schemaInfoBuiltin = struct('SchemaInfoBuiltin', { 'json-type': jsonType });
const schemaInfoEnumMember = struct('SchemaInfoEnumMember', { name: str, features: optional(listOf(str)) });
const schemaInfoEnum = struct('SchemaInfoEnum', { members: listOf(schemaInfoEnumMember), values: withFeatures(listOf(str), ['deprecated']) });
const schemaInfoArray = struct('SchemaInfoArray', { 'element-type': str });
const schemaInfoObjectMember = struct('SchemaInfoObjectMember', { name: str, type: str, default: optional(any), features: optional(listOf(str)) });
const schemaInfoObjectVariant = struct('SchemaInfoObjectVariant', { case: str, type: str });
const schemaInfoObject = struct('SchemaInfoObject', {
  members: listOf(schemaInfoObjectMember),
  tag: optional(str),
  variants: optional(listOf(schemaInfoObjectVariant)),
});
const schemaInfoAlternateMember = struct('SchemaInfoAlternateMember', { type: str });
const schemaInfoAlternate = struct('SchemaInfoAlternate', { members: listOf(schemaInfoAlternateMember) });
const schemaInfoCommand = struct('SchemaInfoCommand', { 'arg-type': str, 'ret-type': str, 'allow-oob': optional(bool) });
const schemaInfoEvent = struct('SchemaInfoEvent', { 'arg-type': str });
const schemaMetaType = enumOf('SchemaMetaType', ['builtin', 'enum', 'array', 'object', 'alternate', 'command', 'event']);
export const schemaInfo: Schema<unknown> = union('SchemaInfo', {
  base: { name: str, 'meta-type': schemaMetaType, features: optional(listOf(str)) },
  tag: 'meta-type',
  branches: {
    builtin: schemaInfoBuiltin,
    enum: schemaInfoEnum,
    array: schemaInfoArray,
    object: schemaInfoObject,
    alternate: schemaInfoAlternate,
    command: schemaInfoCommand,
    event: schemaInfoEvent,
  },
});
const blockDeviceInfoChildrenElem = struct('BlockDeviceInfo_childrenElem', { child: str, 'node-name': str });
const blockdevDetectZeroesOptions = enumOf('BlockdevDetectZeroesOptions', ['off', 'on', 'unmap']);
const snapshotInfo = struct('SnapshotInfo', {
  id: str,
  name: str,
  'vm-state-size': int64,
  'date-sec': int64,
  'date-nsec': int64,
  'vm-clock-sec': int64,
  'vm-clock-nsec': int64,
  icount: optional(int64),
});
const imageInfoLimits = struct('ImageInfo_limits', {
  'request-alignment': int64,
  'max-discard': optional(int64),
  'discard-alignment': optional(int64),
  'max-write-zeroes': optional(int64),
  'write-zeroes-alignment': optional(int64),
  'opt-transfer': optional(int64),
  'max-transfer': optional(int64),
  'max-hw-transfer': optional(int64),
  'max-iov': int64,
  'max-hw-iov': optional(int64),
  'min-mem-alignment': int64,
  'opt-mem-alignment': int64,
});
const qCryptoCipherAlgo = enumOf('QCryptoCipherAlgo', [
  'aes-128',
  'aes-192',
  'aes-256',
  'des',
  '3des',
  'cast5-128',
  'serpent-128',
  'serpent-192',
  'serpent-256',
  'twofish-128',
  'twofish-192',
  'twofish-256',
  'sm4',
]);
const qCryptoCipherMode = enumOf('QCryptoCipherMode', ['ecb', 'cbc', 'xts', 'ctr']);
const qCryptoIVGenAlgo = enumOf('QCryptoIVGenAlgo', ['plain', 'plain64', 'essiv']);
const qCryptoHashAlgo = enumOf('QCryptoHashAlgo', ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'ripemd160', 'sm3']);
const qCryptoBlockInfoLUKSSlot = struct('QCryptoBlockInfoLUKSSlot', { active: bool, iters: optional(int64), stripes: optional(int64), 'key-offset': int64 });
const qCryptoBlockInfoLUKS = struct('QCryptoBlockInfoLUKS', {
  'cipher-alg': qCryptoCipherAlgo,
  'cipher-mode': qCryptoCipherMode,
  'ivgen-alg': qCryptoIVGenAlgo,
  'ivgen-hash-alg': optional(qCryptoHashAlgo),
  'hash-alg': qCryptoHashAlgo,
  'detached-header': bool,
  'payload-offset': int64,
  'master-key-iters': int64,
  uuid: str,
  slots: listOf(qCryptoBlockInfoLUKSSlot),
});
const blockdevQcow2EncryptionFormat = enumOf('BlockdevQcow2EncryptionFormat', ['aes', 'luks']);
const imageInfoSpecificQCow2Encryption = union('ImageInfoSpecificQCow2Encryption', {
  base: { format: blockdevQcow2EncryptionFormat },
  tag: 'format',
  branches: { luks: qCryptoBlockInfoLUKS },
});
const qcow2BitmapInfoFlags = enumOf('Qcow2BitmapInfoFlags', ['in-use', 'auto']);
const qcow2BitmapInfo = struct('Qcow2BitmapInfo', { name: str, granularity: int64, flags: listOf(qcow2BitmapInfoFlags) });
const qcow2CompressionType = enumOf('Qcow2CompressionType', ['zlib', 'zstd']);
const imageInfoSpecificQCow2 = struct('ImageInfoSpecificQCow2', {
  compat: str,
  'data-file': optional(str),
  'data-file-raw': optional(bool),
  'extended-l2': optional(bool),
  'lazy-refcounts': optional(bool),
  corrupt: optional(bool),
  'refcount-bits': int64,
  encrypt: optional(imageInfoSpecificQCow2Encryption),
  bitmaps: optional(listOf(qcow2BitmapInfo)),
  'compression-type': qcow2CompressionType,
});
const imageInfoSpecificQCow2Wrapper = struct('ImageInfoSpecificQCow2Wrapper', { data: imageInfoSpecificQCow2 });
const vmdkExtentInfo = struct('VmdkExtentInfo', {
  filename: str,
  format: str,
  'virtual-size': int64,
  'cluster-size': optional(int64),
  compressed: optional(bool),
});
const imageInfoSpecificVmdk = struct('ImageInfoSpecificVmdk', { 'create-type': str, cid: int64, 'parent-cid': int64, extents: listOf(vmdkExtentInfo) });
const imageInfoSpecificVmdkWrapper = struct('ImageInfoSpecificVmdkWrapper', { data: imageInfoSpecificVmdk });
const imageInfoSpecificLUKSWrapper = struct('ImageInfoSpecificLUKSWrapper', { data: qCryptoBlockInfoLUKS });
const rbdImageEncryptionFormat = enumOf('RbdImageEncryptionFormat', ['luks', 'luks2', 'luks-any']);
const imageInfoSpecificRbd = struct('ImageInfoSpecificRbd', { 'encryption-format': optional(rbdImageEncryptionFormat) });
const imageInfoSpecificRbdWrapper = struct('ImageInfoSpecificRbdWrapper', { data: imageInfoSpecificRbd });
const imageInfoSpecificFile = struct('ImageInfoSpecificFile', { 'extent-size-hint': optional(int64) });
const imageInfoSpecificFileWrapper = struct('ImageInfoSpecificFileWrapper', { data: imageInfoSpecificFile });
const imageInfoSpecificKind = enumOf('ImageInfoSpecificKind', ['qcow2', 'vmdk', 'luks', 'rbd', 'file']);
const imageInfoSpecific = union('ImageInfoSpecific', {
  base: { type: imageInfoSpecificKind },
  tag: 'type',
  branches: {
    qcow2: imageInfoSpecificQCow2Wrapper,
    vmdk: imageInfoSpecificVmdkWrapper,
    luks: imageInfoSpecificLUKSWrapper,
    rbd: imageInfoSpecificRbdWrapper,
    file: imageInfoSpecificFileWrapper,
  },
});
const imageInfo: Schema<unknown> = struct('ImageInfo', {
  filename: str,
  format: str,
  'dirty-flag': optional(bool),
  'actual-size': optional(int64),
  'virtual-size': int64,
  'cluster-size': optional(int64),
  encrypted: optional(bool),
  compressed: optional(bool),
  'backing-filename': optional(str),
  'full-backing-filename': optional(str),
  'backing-filename-format': optional(str),
  snapshots: optional(listOf(snapshotInfo)),
  limits: optional(imageInfoLimits),
  'format-specific': optional(imageInfoSpecific),
  'backing-image': optional(lazy(() => imageInfo)),
});
const blockdevCacheInfo = struct('BlockdevCacheInfo', { writeback: bool, direct: bool, 'no-flush': bool });
const blockDirtyInfo = struct('BlockDirtyInfo', {
  name: optional(str),
  count: int64,
  granularity: int64,
  recording: bool,
  busy: bool,
  persistent: bool,
  inconsistent: optional(bool),
});
export const blockDeviceInfo: Schema<unknown> = struct('BlockDeviceInfo', {
  file: str,
  'node-name': str,
  ro: bool,
  drv: str,
  backing_file: optional(str),
  backing_file_depth: int64,
  children: listOf(blockDeviceInfoChildrenElem),
  active: bool,
  encrypted: bool,
  detect_zeroes: blockdevDetectZeroesOptions,
  bps: int64,
  bps_rd: int64,
  bps_wr: int64,
  iops: int64,
  iops_rd: int64,
  iops_wr: int64,
  image: imageInfo,
  bps_max: optional(int64),
  bps_rd_max: optional(int64),
  bps_wr_max: optional(int64),
  iops_max: optional(int64),
  iops_rd_max: optional(int64),
  iops_wr_max: optional(int64),
  bps_max_length: optional(int64),
  bps_rd_max_length: optional(int64),
  bps_wr_max_length: optional(int64),
  iops_max_length: optional(int64),
  iops_rd_max_length: optional(int64),
  iops_wr_max_length: optional(int64),
  iops_size: optional(int64),
  group: optional(str),
  cache: blockdevCacheInfo,
  write_threshold: int64,
  'dirty-bitmaps': optional(listOf(blockDirtyInfo)),
});
const blockDeviceIoStatus = enumOf('BlockDeviceIoStatus', ['ok', 'failed', 'nospace']);
export const blockInfo: Schema<unknown> = struct('BlockInfo', {
  device: str,
  qdev: optional(str),
  type: str,
  removable: bool,
  locked: bool,
  inserted: optional(blockDeviceInfo),
  tray_open: optional(bool),
  'io-status': optional(blockDeviceIoStatus),
});
const blockDeviceTimedStats = struct('BlockDeviceTimedStats', {
  interval_length: int64,
  min_rd_latency_ns: int64,
  max_rd_latency_ns: int64,
  avg_rd_latency_ns: int64,
  min_wr_latency_ns: int64,
  max_wr_latency_ns: int64,
  avg_wr_latency_ns: int64,
  min_zone_append_latency_ns: int64,
  max_zone_append_latency_ns: int64,
  avg_zone_append_latency_ns: int64,
  min_flush_latency_ns: int64,
  max_flush_latency_ns: int64,
  avg_flush_latency_ns: int64,
  avg_rd_queue_depth: num,
  avg_wr_queue_depth: num,
  avg_zone_append_queue_depth: num,
});
const blockLatencyHistogramInfo = struct('BlockLatencyHistogramInfo', { boundaries: listOf(int64), bins: listOf(int64) });
const blockDeviceStats = struct('BlockDeviceStats', {
  rd_bytes: int64,
  wr_bytes: int64,
  zone_append_bytes: int64,
  unmap_bytes: int64,
  rd_operations: int64,
  wr_operations: int64,
  zone_append_operations: int64,
  flush_operations: int64,
  unmap_operations: int64,
  rd_total_time_ns: int64,
  wr_total_time_ns: int64,
  zone_append_total_time_ns: int64,
  flush_total_time_ns: int64,
  unmap_total_time_ns: int64,
  wr_highest_offset: int64,
  rd_merged: int64,
  wr_merged: int64,
  zone_append_merged: int64,
  unmap_merged: int64,
  idle_time_ns: optional(int64),
  failed_rd_operations: int64,
  failed_wr_operations: int64,
  failed_zone_append_operations: int64,
  failed_flush_operations: int64,
  failed_unmap_operations: int64,
  invalid_rd_operations: int64,
  invalid_wr_operations: int64,
  invalid_zone_append_operations: int64,
  invalid_flush_operations: int64,
  invalid_unmap_operations: int64,
  account_invalid: bool,
  account_failed: bool,
  timed_stats: listOf(blockDeviceTimedStats),
  rd_latency_histogram: optional(blockLatencyHistogramInfo),
  wr_latency_histogram: optional(blockLatencyHistogramInfo),
  zone_append_latency_histogram: optional(blockLatencyHistogramInfo),
  flush_latency_histogram: optional(blockLatencyHistogramInfo),
});
const blockStatsSpecificFile = struct('BlockStatsSpecificFile', { 'discard-nb-ok': int64, 'discard-nb-failed': int64, 'discard-bytes-ok': int64 });
const blockStatsSpecificNvme = struct('BlockStatsSpecificNvme', { 'completion-errors': int64, 'aligned-accesses': int64, 'unaligned-accesses': int64 });
const blockStatsSpecific = union('BlockStatsSpecific', {
  base: { driver: blockdevDriver },
  tag: 'driver',
  branches: { file: blockStatsSpecificFile, host_device: blockStatsSpecificFile, nvme: blockStatsSpecificNvme },
});
export const blockStats: Schema<unknown> = struct('BlockStats', {
  device: optional(str),
  qdev: optional(str),
  'node-name': optional(str),
  stats: blockDeviceStats,
  'driver-specific': optional(blockStatsSpecific),
  parent: optional(lazy(() => blockStats)),
  backing: optional(lazy(() => blockStats)),
});
const xDbgBlockGraphNodeType = enumOf('XDbgBlockGraphNodeType', ['block-backend', 'block-job', 'block-driver']);
const xDbgBlockGraphNode = struct('XDbgBlockGraphNode', { id: int64, type: xDbgBlockGraphNodeType, name: str });
const blockPermission = enumOf('BlockPermission', ['consistent-read', 'write', 'write-unchanged', 'resize']);
const xDbgBlockGraphEdge = struct('XDbgBlockGraphEdge', {
  parent: int64,
  child: int64,
  name: str,
  perm: listOf(blockPermission),
  'shared-perm': listOf(blockPermission),
});
export const xDbgBlockGraph: Schema<unknown> = struct('XDbgBlockGraph', { nodes: listOf(xDbgBlockGraphNode), edges: listOf(xDbgBlockGraphEdge) });
export const jobInfo: Schema<unknown> = struct('JobInfo', {
  id: str,
  type: jobType,
  status: jobStatus,
  'current-progress': int64,
  'total-progress': int64,
  error: optional(str),
});
const blockJobInfoMirror = struct('BlockJobInfoMirror', { 'actively-synced': bool });
export const blockJobInfo: Schema<unknown> = union('BlockJobInfo', {
  base: {
    type: jobType,
    device: str,
    len: int64,
    offset: int64,
    busy: bool,
    paused: bool,
    speed: int64,
    'io-status': blockDeviceIoStatus,
    ready: bool,
    status: jobStatus,
    'auto-finalize': bool,
    'auto-dismiss': bool,
    error: optional(str),
  },
  tag: 'type',
  branches: { mirror: blockJobInfoMirror },
});
const blockExportType = enumOf('BlockExportType', ['nbd', 'vhost-user-blk', 'fuse', 'vduse-blk']);
export const blockExportInfo: Schema<unknown> = struct('BlockExportInfo', { id: str, type: blockExportType, 'node-name': str, 'shutting-down': bool });
const runState = enumOf('RunState', [
  'debug',
  'inmigrate',
  'internal-error',
  'io-error',
  'paused',
  'postmigrate',
  'prelaunch',
  'finish-migrate',
  'restore-vm',
  'running',
  'save-vm',
  'shutdown',
  'suspended',
  'watchdog',
  'guest-panicked',
  'colo',
]);
export const statusInfo: Schema<unknown> = struct('StatusInfo', { running: bool, status: runState });
