/* The verbs of jobs, in both families of commands. A verb's rules are the job's; what differs between the families is here. */
import { BlockError } from '../../core/util/errors.ts';
import type { Job } from '../../jobs/job.ts';
import type { Engine } from '../engine.ts';

/**
 * job-cancel, and block-job-cancel, which without `force` refuses a job that the user paused, and lets one that is ready finish
 * without its effect (a mirror then keeps the instant and does not pivot). Settles when a job that is ended by force is over.
 */
export async function cancelJob(_engine: Engine, job: Job, isForced: boolean): Promise<void> {
  if (job.isUserPaused && !isForced) throw new BlockError(`The block job for device '${job.id}' is currently paused`, { code: 'ERR_STATE' });
  job.check('cancel');
  if (job.isReady && !isForced) job.cancelSoftly();
  else await job.cancel();
}

/**
 * block-job-complete. A backup with sync=none has nothing to complete: the 2013 workflow ends it by this verb all the same,
 * so outside --strict it is ended like a cancel. True when that was done. A backup that copies is no such case: half of it
 * is no backup. job-complete came later than that workflow and refuses as QEMU does.
 */
export async function completeJob(engine: Engine, job: Job): Promise<boolean> {
  if (!engine.strict && job.isEndless && (job.status === 'running' || job.status === 'paused')) {
    await job.cancel();
    return true;
  }
  job.complete();
  return false;
}
