/* The two families of job commands over one set of verbs. */
import { bool, int64, integer, listOf, optional, str, struct } from '../../core/util/schema.ts';
import { cancelJob, completeJob } from '../../engine/ops/jobs.ts';
import { type AnyCommand, type CommandContext, defineCommand, noArguments } from '../command.ts';
import { blockJobInfo, jobInfo } from '../types/results.ts';

async function complete(context: CommandContext, job: Parameters<typeof completeJob>[1]): Promise<void> {
  if (await completeJob(context.engine, job)) {
    context.note("block-job-complete: a backup with sync=none is ended by 'block-job-cancel' today; done");
  }
}

const byId = struct({ id: str });
const byDevice = struct({ device: str });

export const jobCommands: readonly AnyCommand[] = [
  defineCommand({
    name: 'query-jobs',
    summary: 'List jobs',
    args: noArguments,
    returns: listOf(jobInfo),
    guards: [],
    run: (_args, { engine }) => engine.jobs.list().map((job) => job.info()),
  }),
  defineCommand({
    name: 'query-block-jobs',
    summary: 'List block jobs',
    args: noArguments,
    returns: listOf(blockJobInfo),
    guards: [],
    run: (_args, { engine }) =>
      engine.jobs
        .blockJobs()
        .filter((job) => job.status !== 'null')
        .map((job) => job.blockInfo()),
  }),
  defineCommand({ name: 'job-pause', summary: 'Pause a job', args: byId, guards: [], run: (args, { engine }) => engine.jobs.find(args.id).userPause() }),
  defineCommand({
    name: 'job-resume',
    summary: 'Resume a paused job',
    args: byId,
    guards: [],
    run: (args, { engine }) => engine.jobs.find(args.id).userResume(),
  }),
  defineCommand({
    name: 'job-cancel',
    summary: 'Cancel a job',
    args: byId,
    guards: [],
    run: (args, { engine }) => cancelJob(engine, engine.jobs.find(args.id), true),
  }),
  defineCommand({
    name: 'job-complete',
    summary: 'Complete a ready job',
    args: byId,
    guards: [],
    run: (args, { engine }) => engine.jobs.find(args.id).complete(),
  }),
  defineCommand({
    name: 'job-finalize',
    summary: 'Let a pending job take effect',
    args: byId,
    guards: [],
    run: (args, { engine }) => engine.jobs.find(args.id).finalize(),
  }),
  defineCommand({
    name: 'job-dismiss',
    summary: 'Forget a concluded job',
    args: byId,
    guards: [],
    run: (args, { engine }) => engine.jobs.find(args.id).dismiss(),
  }),
  defineCommand({
    name: 'block-job-cancel',
    summary: 'Cancel a block job',
    args: struct({ device: str, force: optional(bool) }),
    guards: [],
    run: (args, { engine }) => cancelJob(engine, engine.jobs.findBlockJob(args.device), args.force ?? false),
  }),
  defineCommand({
    name: 'block-job-pause',
    summary: 'Pause a block job',
    args: byDevice,
    guards: [],
    deprecated: true,
    today: 'job-pause',
    run: (args, { engine }) => engine.jobs.findBlockJob(args.device).userPause(),
  }),
  defineCommand({
    name: 'block-job-resume',
    summary: 'Resume a paused block job',
    args: byDevice,
    guards: [],
    deprecated: true,
    today: 'job-resume',
    run: (args, { engine }) => engine.jobs.findBlockJob(args.device).userResume(),
  }),
  defineCommand({
    name: 'block-job-complete',
    summary: 'Complete a ready block job',
    args: byDevice,
    guards: [],
    deprecated: true,
    run: (args, context) => complete(context, context.engine.jobs.findBlockJob(args.device)),
  }),
  defineCommand({
    name: 'block-job-finalize',
    summary: 'Let a pending block job take effect',
    args: byId,
    guards: [],
    deprecated: true,
    today: 'job-finalize',
    run: (args, { engine }) => engine.jobs.findBlockJob(args.id).finalize(),
  }),
  defineCommand({
    name: 'block-job-dismiss',
    summary: 'Forget a concluded block job',
    args: byId,
    guards: [],
    deprecated: true,
    today: 'job-dismiss',
    run: (args, { engine }) => engine.jobs.findBlockJob(args.id).dismiss(),
  }),
  defineCommand({
    name: 'block-job-set-speed',
    summary: 'Limit the speed of a block job, bytes a second',
    args: struct({ device: str, speed: integer(int64) }),
    guards: [],
    run: (args, { engine }) => engine.jobs.findBlockJob(args.device).setSpeed(args.speed),
  }),
];
