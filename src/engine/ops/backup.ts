/*
 * blockdev-backup: the checks in QEMU's order, then one drained section in which the copy-before-write filter goes above
 * the source for all its users and the job takes its nodes. A failure leaves graph and locks as they were.
 */

import { isReachable } from '../../core/block/chain.ts';
import { drainNodes } from '../../core/block/drain.ts';
import { reqFlag } from '../../core/block/driver.ts';
import type { Graph } from '../../core/block/graph.ts';
import type { BlockNode } from '../../core/block/node.ts';
import type { OptionTree } from '../../core/block/options.ts';
import { runTransaction } from '../../core/block/transaction.ts';
import { CopyBeforeWriteState } from '../../core/drivers/copy-before-write.ts';
import { BlockError, invariant } from '../../core/util/errors.ts';
import { BackupBody } from '../../jobs/backup.ts';
import { BlockJob } from '../../jobs/block-job.ts';
import type { JobGroup } from '../../jobs/group.ts';
import type { BlockJobOptions, OnError } from '../../jobs/job-body.ts';
import type { Engine } from '../engine.ts';
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
  readonly 'discard-source'?: boolean | undefined;
  readonly 'x-perf'?:
    | { readonly 'max-workers'?: number | undefined; readonly 'max-chunk'?: number | undefined; readonly 'min-cluster-size'?: number | undefined }
    | undefined;
}

/** Starts a backup job; settles when the command may be answered. */
export async function startBackup(engine: Engine, args: BackupArgs): Promise<BlockJob> {
  const prepared = await prepareBackup(engine, args);
  startPrepared([prepared]);
  return prepared.job;
}

/** A backup that is in place but has not started: its state is frozen from now on. It is started, or aborted. */
export interface PreparedBackup {
  readonly job: BlockJob;
  /** Ends the drained section in which the job was made. */
  release(): void;
  abort(): Promise<void>;
}

/** Starts what was prepared, all before the first may go on: the newest first, as QEMU commits a transaction. */
export function startPrepared(backups: readonly PreparedBackup[]): void {
  const newestFirst = [...backups].reverse();
  for (const { job } of newestFirst) job.start();
  for (const backup of newestFirst) backup.release();
}

/** Everything up to the start, for `transaction`: several disks are frozen at one instant. */
export function prepareBackup(engine: Engine, args: BackupArgs, group?: JobGroup): Promise<PreparedBackup> {
  return engine.graph.turn(async () => {
    const source = lookupEither(engine, args.device);
    const target = lookupEither(engine, args.target);
    checkBitmapArguments(args);
    checkNodes(source, target, args);
    const section = await drainNodes([source, target]);
    let filter: BlockNode | undefined;
    let job: BlockJob;
    try {
      filter = await insertFilter(engine, source, target, args);
      job = createJob(engine, filter, target, args, group);
    } catch (error) {
      section[Symbol.dispose]();
      if (filter !== undefined) await dropFilter(engine, filter);
      throw error;
    }
    // the job begins inside the drained section, as every user of these nodes does; it does nothing yet that could be waited for
    void job.quiesce();
    const release = (): void => {
      section[Symbol.dispose]();
      job.resume();
    };
    return {
      job,
      release,
      abort: async () => {
        release();
        await job.cancel();
      },
    };
  });
}

function checkBitmapArguments(args: BackupArgs): void {
  const { sync, bitmap } = args;
  const mode = args['bitmap-mode'];
  if ((sync === 'bitmap' || sync === 'incremental') && bitmap === undefined) {
    throw new BlockError(`must provide a valid bitmap name for '${sync}' sync mode`);
  }
  if (sync === 'incremental' && mode !== undefined && mode !== 'on-success') {
    throw new BlockError("Bitmap sync mode must be 'on-success' when using sync mode 'incremental'");
  }
  if (bitmap !== undefined) throw new BlockError(`Bitmap '${bitmap}' could not be found`);
  if (mode !== undefined) throw new BlockError('Cannot specify bitmap sync mode without a bitmap');
}

const maxInt32 = 2147483647;
const maxInt64 = 9223372036854775807n;

function checkNodes(source: BlockNode, target: BlockNode, args: BackupArgs): void {
  if (source === target) throw new BlockError('Source and target cannot be the same');
  if (args.compress && !takesCompressed(target)) throw new BlockError(`Compression is not supported for this drive ${target.deviceName ?? ''}`);
  source.blockers.check('backup-source');
  target.blockers.check('backup-target');
  const perf = args['x-perf'] ?? {};
  const workers = perf['max-workers'] ?? 1;
  if (workers < 1 || workers > maxInt32) throw new BlockError(`max-workers must be between 1 and ${maxInt32}`);
  if ((perf['max-chunk'] ?? 0) < 0) throw new BlockError('max-chunk must be zero (which means no limit) or positive');
  const least = perf['min-cluster-size'] ?? 0;
  if (least < 0) throw new BlockError(`min-cluster-size too large: ${BigInt.asUintN(64, BigInt(least))} > ${maxInt64}`);
  if (source.size() !== target.size()) throw new BlockError('Source and target image have different sizes');
}

/** A format that stores compressed clusters; a filter above one does not count, nor does raw, which only hands its flags down. */
function takesCompressed({ driver, state }: BlockNode): boolean {
  return driver.kind === 'format' && driver.isFilterLike !== true && (state.writeFlags & reqFlag.compressed) !== 0;
}

async function insertFilter(engine: Engine, source: BlockNode, target: BlockNode, args: BackupArgs): Promise<BlockNode> {
  const { graph, opener } = engine;
  const name = args['filter-node-name'];
  const leastCluster = args['x-perf']?.['min-cluster-size'];
  const options: OptionTree = {
    driver: 'copy-before-write',
    file: source.name,
    target: target.name,
    ...(name === undefined ? {} : { 'node-name': name }),
    ...(args['on-cbw-error'] === undefined ? {} : { 'on-cbw-error': args['on-cbw-error'] }),
    ...(leastCluster === undefined ? {} : { 'min-cluster-size': leastCluster }),
  };
  let filter: BlockNode | undefined;
  try {
    filter = await opener.openNode(options);
    const inserted = filter;
    const { copy } = filterState(filter);
    copy.compress = args.compress ?? false;
    copy.discardSource = args['discard-source'] ?? false;
    putAbove(graph, source, inserted);
    return inserted;
  } catch (error) {
    if (filter !== undefined) await graph.releaseUnused(filter);
    if (error instanceof BlockError && filter === undefined) throw error.prepend('Could not create node: ');
    throw error;
  }
}

function putAbove(graph: Graph, source: BlockNode, filter: BlockNode): void {
  try {
    runTransaction((transaction) => graph.replaceNode(source, filter, transaction));
  } catch (error) {
    throw error instanceof BlockError ? error.prepend('Could not replace node: ') : error;
  }
}

function createJob(engine: Engine, filter: BlockNode, target: BlockNode, args: BackupArgs, group: JobGroup | undefined): BlockJob {
  const { copy } = filterState(filter);
  const maxChunk = args['x-perf']?.['max-chunk'] ?? 0;
  if (maxChunk > 0 && maxChunk < copy.clusterSize) {
    throw new BlockError(`Required max-chunk (${maxChunk}) is less than backup cluster size (${copy.clusterSize})`);
  }
  const body = new BackupBody({
    sync: args.sync === 'full' || args.sync === 'top' ? args.sync : 'none',
    copy,
    onSourceError: args['on-source-error'] ?? 'report',
    onTargetError: args['on-target-error'] ?? 'report',
    workers: args['x-perf']?.['max-workers'] ?? 64,
    maxChunk,
    removeFilter: async () => {
      const source = filter.filtered?.node;
      await dropFilter(engine, filter);
      if (source !== undefined && copy.nextLeft(0) !== undefined) warnOfThaw(engine, source, target);
    },
  });
  const options: BlockJobOptions = {
    id: args['job-id'] ?? filter.deviceName ?? '',
    autoFinalize: args['auto-finalize'] ?? true,
    autoDismiss: args['auto-dismiss'] ?? true,
    speed: args.speed ?? 0,
  };
  const job = engine.jobs.create(options, (host) => new BlockJob(host, body, options, group));
  copy.onProgress = () => {
    job.current = copy.copiedBytes;
    job.total = copy.copiedBytes + copy.remainingBytes;
  };
  copy.onProgress();
  try {
    job.addNode('main node', filter);
    job.addNode('target', target);
  } catch (error) {
    job.discard();
    throw error;
  }
  return job;
}

function filterState(filter: BlockNode): CopyBeforeWriteState {
  const { state } = filter;
  invariant(state instanceof CopyBeforeWriteState, 'backup filter');
  return state;
}

/** Gives the source back to its users and closes the filter. Runs inside a graph turn. */
async function dropFilter(engine: Engine, filter: BlockNode): Promise<void> {
  const { graph } = engine;
  const source = filter.filtered?.node;
  invariant(source !== undefined, 'filter without source');
  using _section = await drainNodes([filter]);
  runTransaction((transaction) => graph.replaceNode(filter, source, transaction));
  await graph.releaseUnused(filter);
}

/** The view of a target that is still exported follows the guest from now on: QEMU says nothing, we do. */
function warnOfThaw(engine: Engine, source: BlockNode, target: BlockNode): void {
  if (engine.strict || !isReachable(target, source)) return;
  for (const entry of engine.exports.list()) {
    if (isReachable(entry.node, target)) engine.events.emit('TSIMG_SNAPSHOT_THAWED', { 'node-name': target.name, export: entry.id }, { isOwn: true });
  }
}
