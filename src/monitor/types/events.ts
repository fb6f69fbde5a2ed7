/* Events and their data, for query-qmp-schema and for completion of `wait`. */
import { bool, enumOf, int64, optional, type Schema, str, struct } from '../../core/util/schema.ts';

export const jobStatus: Schema<string> = enumOf('JobStatus', [
  'undefined',
  'created',
  'running',
  'paused',
  'ready',
  'standby',
  'waiting',
  'pending',
  'aborting',
  'concluded',
  'null',
]);
export const jobType: Schema<string> = enumOf('JobType', [
  'commit',
  'stream',
  'mirror',
  'backup',
  'create',
  'amend',
  'snapshot-load',
  'snapshot-save',
  'snapshot-delete',
]);
const shutdownCause = enumOf('ShutdownCause', [
  'none',
  'host-error',
  'host-qmp-quit',
  'host-qmp-system-reset',
  'host-signal',
  'host-ui',
  'guest-shutdown',
  'guest-reset',
  'guest-panic',
  'subsystem-reset',
  'snapshot-load',
]);
const ended = { type: jobType, device: str, len: int64, offset: int64, speed: int64 };

export const monitorEvents: readonly { readonly name: string; readonly data?: Schema<unknown>; readonly isMachine?: boolean }[] = [
  { name: 'JOB_STATUS_CHANGE', data: struct({ id: str, status: jobStatus }) },
  { name: 'BLOCK_JOB_COMPLETED', data: struct({ ...ended, error: optional(str) }) },
  { name: 'BLOCK_JOB_CANCELLED', data: struct(ended) },
  { name: 'BLOCK_JOB_PENDING', data: struct({ type: jobType, id: str }) },
  {
    name: 'BLOCK_JOB_ERROR',
    data: struct({ device: str, operation: enumOf('IoOperationType', ['read', 'write']), action: enumOf('BlockErrorAction', ['ignore', 'report', 'stop']) }),
  },
  { name: 'BLOCK_EXPORT_DELETED', data: struct({ id: str }) },
  {
    name: 'BLOCK_IMAGE_CORRUPTED',
    data: struct({ device: str, 'node-name': optional(str), msg: str, offset: optional(int64), size: optional(int64), fatal: bool }),
  },
  {
    name: 'QUORUM_REPORT_BAD',
    data: struct({
      type: enumOf('QuorumOpType', ['read', 'write', 'flush']),
      error: optional(str),
      'node-name': str,
      'sector-num': int64,
      'sectors-count': int64,
    }),
  },
  { name: 'QUORUM_FAILURE', data: struct({ reference: str, 'sector-num': int64, 'sectors-count': int64 }) },
  { name: 'SHUTDOWN', isMachine: true, data: struct({ guest: bool, reason: shutdownCause }) },
  { name: 'STOP', isMachine: true },
  { name: 'RESUME', isMachine: true },
];
