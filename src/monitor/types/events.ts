/* Events and their data, for query-qmp-schema and for completion of `wait`. */
import { bool, enumOf, int64, optional, type Schema, str, struct } from '../../core/util/schema.ts';

const jobStatus = enumOf('JobStatus', ['undefined', 'created', 'running', 'paused', 'ready', 'standby', 'waiting', 'pending', 'aborting', 'concluded', 'null']);
const jobType = enumOf('JobType', ['commit', 'stream', 'mirror', 'backup', 'create', 'amend', 'snapshot-load', 'snapshot-save', 'snapshot-delete']);
const ended = { type: jobType, device: str, len: int64, offset: int64, speed: int64 };

export const monitorEvents: readonly { readonly name: string; readonly data?: Schema<unknown> }[] = [
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
  { name: 'SHUTDOWN', data: struct({ guest: bool, reason: str }) },
  { name: 'STOP' },
  { name: 'RESUME' },
];
