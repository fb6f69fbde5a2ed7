/* What query-jobs and query-block-jobs tell of a job, as QAPI names it. */
import type { BlockJob } from './block-job.ts';
import type { Job } from './job.ts';

type Data = Record<string, unknown>;

/** JobInfo. */
export function jobInfo(job: Job): Data {
  return { id: job.id, type: job.type, status: job.status, 'current-progress': job.current, 'total-progress': job.total, ...errorOf(job) };
}

/** BlockJobInfo. */
export function blockJobInfo(job: BlockJob): Data {
  return {
    type: job.type,
    device: job.id,
    len: job.total,
    offset: job.current,
    busy: job.isBusy,
    paused: job.isPaused,
    speed: job.speed,
    'io-status': job.ioStatus,
    ready: job.isReady,
    status: job.status,
    'auto-finalize': job.autoFinalize,
    'auto-dismiss': job.autoDismiss,
    ...errorOf(job),
  };
}

function errorOf({ error }: Job): Data {
  return error === undefined ? {} : { error: error.message };
}
