/* The verbs of jobs, in both families of commands. A verb's rules are the job's; the ways to find one differ. */
import type { Job } from '../../jobs/job.ts';
import type { System } from '../system.ts';

export async function cancelJob(_system: System, job: Job, force: boolean): Promise<void> {
  job.check('cancel');
  await job.cancel(force);
}

/**
 * block-job-complete. A backup with sync=none has nothing to complete: the 2013 workflow ends it by this verb all the
 * same, so outside --strict it is ended like a cancel. True when that was done.
 */
export async function completeJob(system: System, job: Job): Promise<boolean> {
  if (!system.strict && job.type === 'backup' && (job.status === 'running' || job.status === 'paused')) {
    await job.cancel(false);
    return true;
  }
  job.check('complete');
  return false;
}
