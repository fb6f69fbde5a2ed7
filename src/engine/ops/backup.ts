/*
 * blockdev-backup: the checks in QEMU's order, then one drained section in which the copy-before-write filter goes above
 * the source for all its users and the job takes its nodes. A failure leaves graph and locks as they were.
 */

import { drainNodes } from '../../core/block/drain.ts';
import type { BlockNode } from '../../core/block/node.ts';
import type { OptionTree } from '../../core/block/options.ts';
import { runTransaction } from '../../core/block/transaction.ts';
import { CopyBeforeWriteState } from '../../core/drivers/copy-before-write.ts';
import { BlockError, invariant } from '../../core/util/errors.ts';
import { BackupBody } from '../../jobs/backup.ts';
import { type Job, JobGroup, type OnError } from '../../jobs/job.ts';
import type { System } from '../system.ts';
import { lookupEither } from './lookup.ts';

export interface BackupArgs {
  readonly 'job-id'?: string | undefined;
  readonly device: string;
  readonly target: string;
  readonly sync: 'top' | 'full' | 'none' | 'incremental' | 'bitmap';
  readonly speed?: number | undefined;
  readonly bitmap?: string | undefined;
  readonly 'bitmap-mode'?: 'on-success' | 'never' | 'always' | undefined;
  readonly compress?: boolean | undefined;
  readonly 'on-source-error'?: OnError | undefined;
  readonly 'on-target-error'?: OnError | undefined;
  readonly 'on-cbw-error'?: 'break-guest-write' | 'break-snapshot' | undefined;
  readonly 'auto-finalize'?: boolean | undefined;
  readonly 'auto-dismiss'?: boolean | undefined;
  readonly 'filter-node-name'?: string | undefined;
  readonly 'x-perf'?:
    | { readonly 'max-workers'?: number | undefined; readonly 'max-chunk'?: number | undefined; readonly 'min-cluster-size'?: number | undefined }
    | undefined;
}

/** Starts a backup job; settles when the command may be answered. */
export async function startBackup(system: System, args: BackupArgs): Promise<Job> {
  const prepared = await prepareBackup(system, args);
  await prepared.start();
  return prepared.job;
}

/** A backup that is in place but has not started: its state is frozen from now on. One of the two is called. */
export interface PreparedBackup {
  readonly job: Job;
  start(): Promise<void>;
  abort(): Promise<void>;
}

/** Everything up to the start, for `transaction`: several disks are frozen at one instant. */
export function prepareBackup(system: System, args: BackupArgs, group: JobGroup = new JobGroup()): Promise<PreparedBackup> {
  return system.engine.graph.turn(async () => {
    const source = lookupEither(system, args.device);
    const target = lookupEither(system, args.target);
    checkBitmapArguments(args);
    checkNodes(source, target, args);
    const section = await drainNodes([source, target]);
    let filter: BlockNode | undefined;
    try {
      filter = await insertFilter(system, source, target, args);
      const job = createJob(system, filter, target, args, group);
      // the job begins inside the drained section, as every user of these nodes does
      void job.quiesce();
      return {
        job,
        start: async () => {
          job.start();
          // its first turn meets the section that is still open
          await new Promise<void>((resolve) => setImmediate(resolve));
          section[Symbol.dispose]();
          job.resume();
        },
        abort: async () => {
          section[Symbol.dispose]();
          await job.cancel(true);
        },
      };
    } catch (error) {
      section[Symbol.dispose]();
      if (filter !== undefined) await dropFilter(system, filter);
      throw error;
    }
  });
}

function checkBitmapArguments(args: BackupArgs): void {
  const { sync, bitmap } = args;
  let mode = args['bitmap-mode'];
  if ((sync === 'bitmap' || sync === 'incremental') && bitmap === undefined) {
    throw new BlockError(`must provide a valid bitmap name for '${sync}' sync mode`);
  }
  if (sync === 'incremental') {
    if (mode !== undefined && mode !== 'on-success') throw new BlockError("Bitmap sync mode must be 'on-success' when using sync mode 'incremental'");
    mode = 'on-success';
  }
  if (bitmap !== undefined) {
    if (mode === undefined) throw new BlockError('Bitmap sync mode must be given when providing a bitmap');
    throw new BlockError(`Bitmap '${bitmap}' could not be found`);
  }
  if (mode !== undefined) throw new BlockError('Cannot specify bitmap sync mode without a bitmap');
}

function checkNodes(source: BlockNode, target: BlockNode, args: BackupArgs): void {
  if ((args.speed ?? 0) < 0) throw new BlockError("Parameter 'speed' expects a non-negative value");
  if (source === target) throw new BlockError('Source and target cannot be the same');
  if (args.compress) throw new BlockError(`Compression is not supported for this drive ${target.displayName}`);
  source.blockers.check('backup-source');
  target.blockers.check('backup-target');
  const perf = args['x-perf'];
  const workers = perf?.['max-workers'];
  if (workers !== undefined && (workers < 1 || workers > 2147483647)) throw new BlockError('max-workers must be between 1 and 2147483647');
  const maxChunk = perf?.['max-chunk'];
  if (maxChunk !== undefined && maxChunk < 0) throw new BlockError('max-chunk must be zero (which means no limit) or positive');
  if (source.size() !== target.size()) throw new BlockError('Source and target image have different sizes');
}

async function insertFilter(system: System, source: BlockNode, target: BlockNode, args: BackupArgs): Promise<BlockNode> {
  const { graph, opener } = system.engine;
  const name = args['filter-node-name'];
  const leastCluster = args['x-perf']?.['min-cluster-size'];
  const options: OptionTree = {
    driver: 'copy-before-write',
    file: source.name,
    target: target.name,
    ...(name === undefined ? {} : { 'node-name': name }),
    ...(args['on-cbw-error'] === undefined ? {} : { 'on-cbw-error': args['on-cbw-error'] }),
    ...(leastCluster === undefined ? {} : { 'min-cluster-size': leastCluster }),
    discard: 'unmap',
  };
  let filter: BlockNode | undefined;
  try {
    filter = await opener.openNode(options);
    const inserted = filter;
    runTransaction((transaction) => graph.replaceNode(source, inserted, transaction));
    return inserted;
  } catch (error) {
    if (filter !== undefined) await graph.releaseUnused(filter);
    if (error instanceof BlockError) throw error.prepend('Could not create node: ');
    throw error;
  }
}

function createJob(system: System, filter: BlockNode, target: BlockNode, args: BackupArgs, group: JobGroup): Job {
  const { state } = filter;
  invariant(state instanceof CopyBeforeWriteState, 'backup filter');
  const body = new BackupBody({
    sync: args.sync === 'full' || args.sync === 'top' ? args.sync : 'none',
    copy: state.copy,
    onSourceError: args['on-source-error'] ?? 'report',
    onTargetError: args['on-target-error'] ?? 'report',
    snapshotError: () => state.snapshotError,
    removeFilter: async () => {
      await system.engine.graph.turn(() => dropFilter(system, filter));
      warnOfThaw(system, target);
    },
  });
  const job = system.jobs.create(
    body,
    {
      id: args['job-id'] ?? filter.deviceName ?? '',
      autoFinalize: args['auto-finalize'] ?? true,
      autoDismiss: args['auto-dismiss'] ?? true,
      speed: args.speed ?? 0,
    },
    group,
  );
  const progress = (): void => {
    job.current = state.copy.copiedBytes;
    job.total = args.sync === 'none' ? filter.size() : state.copy.copiedBytes + state.copy.remainingBytes;
    if (job.total > filter.size() && args.sync === 'full') job.total = filter.size();
    if (job.current > job.total) job.current = job.total;
  };
  state.copy.onProgress = progress;
  progress();
  job.addNode('main node', filter);
  job.addNode('target', target);
  return job;
}

/** Gives the source back to its users and closes the filter. */
async function dropFilter(system: System, filter: BlockNode): Promise<void> {
  const { graph } = system.engine;
  const source = filter.filtered?.node;
  invariant(source !== undefined, 'filter without source');
  using _section = await drainNodes([filter]);
  runTransaction((transaction) => graph.replaceNode(filter, source, transaction));
  await graph.releaseUnused(filter);
}

/** The frozen view of a target that is still exported follows the guest from now on: QEMU says nothing, we do. */
function warnOfThaw(system: System, target: BlockNode): void {
  if (system.strict) return;
  for (const entry of system.exports.of(target)) {
    system.engine.events.emit('TSIMG_SNAPSHOT_THAWED', { 'node-name': target.name, export: entry.id }, { isOwn: true });
  }
}
