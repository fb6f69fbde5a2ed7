/*
 * blockdev-backup: the checks in QEMU's order, then the copy-before-write filter goes above the source for all its users
 * and the job takes its nodes. A failure leaves graph and locks as they were.
 */

import { isReachable } from '../../core/block/chain.ts';
import { type DirtyBitmap, useObstacles } from '../../core/block/dirty-bitmap.ts';
import { drainNodes } from '../../core/block/drain.ts';
import { childRole } from '../../core/block/driver.ts';
import { addFilter, type FilterSpec } from '../../core/block/filter-node.ts';
import type { BlockNode } from '../../core/block/node.ts';
import { runTransaction, type Transaction } from '../../core/block/transaction.ts';
import { CopyBeforeWriteState, copyBeforeWriteDriver, makeCopyBeforeWrite } from '../../core/drivers/copy-before-write.ts';
import { BlockError, invariant } from '../../core/util/errors.ts';
import { BackupBody, type BitmapMode } from '../../jobs/backup.ts';
import { BlockJob } from '../../jobs/block-job.ts';
import type { JobGroup } from '../../jobs/group.ts';
import type { BlockJobOptions, OnError } from '../../jobs/job-body.ts';
import type { Engine } from '../engine.ts';
import { type Action, runAction } from './action.ts';
import { lookupEither } from './lookup.ts';

export interface BackupArgs {
  readonly 'job-id'?: string | undefined;
  readonly device: string;
  readonly target: string;
  readonly sync: 'top' | 'full' | 'none' | 'incremental' | 'bitmap';
  readonly speed?: number | bigint | undefined;
  readonly bitmap?: string | undefined;
  readonly 'bitmap-mode'?: BitmapMode | undefined;
  readonly compress?: boolean | undefined;
  readonly 'on-source-error'?: OnError | undefined;
  readonly 'on-target-error'?: OnError | undefined;
  readonly 'on-cbw-error'?: 'break-guest-write' | 'break-snapshot' | undefined;
  readonly 'auto-finalize'?: boolean | undefined;
  readonly 'auto-dismiss'?: boolean | undefined;
  readonly 'filter-node-name'?: string | undefined;
  readonly 'discard-source'?: boolean | undefined;
  readonly 'x-perf'?:
    | { readonly 'max-workers'?: number | undefined; readonly 'max-chunk'?: number | undefined; readonly 'min-cluster-size'?: number | bigint | undefined }
    | undefined;
}

/** blockdev-backup: the job that is running when it was committed. Its state is frozen from then on. */
export function backupAction(engine: Engine, args: BackupArgs, group?: JobGroup): Action<BlockJob> {
  let started: BlockJob | undefined;
  return {
    drains: true,
    apply: (transaction) => {
      const source = lookupEither(engine, args.device);
      const target = lookupEither(engine, args.target);
      const given = checkBitmapArguments(source, args);
      checkNodes(source, target, args);
      if (given !== undefined) useBitmap(given, transaction);
      checkSizes(source, target, args);
      const filter = insertFilter(engine, source, target, args, transaction);
      const job = createJob(engine, filter, target, args, given, group);
      // it begins with a pause of its own: those of one transaction go on one after the other, the newest first
      job.quiesce();
      transaction.add({
        commit: () => {
          job.start();
          started = job;
        },
        abort: () => job.discard('aborting', 'concluded'),
      });
      return job;
    },
    clean: async () => started?.resume(),
  };
}

/** Starts a backup job. */
export function startBackup(engine: Engine, args: BackupArgs): Promise<BlockJob> {
  return runAction(engine, backupAction(engine, args));
}

interface GivenBitmap {
  readonly bitmap: DirtyBitmap;
  readonly mode: BitmapMode;
}

function checkBitmapArguments(source: BlockNode, args: BackupArgs): GivenBitmap | undefined {
  const { sync, bitmap: name } = args;
  const mode = sync === 'incremental' ? (args['bitmap-mode'] ?? 'on-success') : args['bitmap-mode'];
  if ((sync === 'bitmap' || sync === 'incremental') && name === undefined) {
    throw new BlockError(`must provide a valid bitmap name for '${sync}' sync mode`, { code: 'ERR_OPTION' });
  }
  if (sync === 'incremental' && mode !== 'on-success') {
    throw new BlockError("Bitmap sync mode must be 'on-success' when using sync mode 'incremental'", { code: 'ERR_OPTION' });
  }
  if (name === undefined) {
    if (mode !== undefined) throw new BlockError('Cannot specify bitmap sync mode without a bitmap', { code: 'ERR_OPTION' });
    return undefined;
  }
  const bitmap = source.dirtyBitmaps.find(name);
  if (bitmap === undefined) throw new BlockError(`Bitmap '${name}' could not be found`, { code: 'ERR_NOT_FOUND' });
  if (mode === undefined) throw new BlockError('Bitmap sync mode must be given when providing a bitmap', { code: 'ERR_OPTION' });
  bitmap.check(useObstacles);
  if (sync === 'none') throw new BlockError(`sync mode '${sync}' does not produce meaningful bitmap outputs`, { code: 'ERR_OPTION' });
  if (mode === 'never' && sync !== 'bitmap' && sync !== 'incremental') {
    throw new BlockError(`Bitmap sync mode '${mode}' has no meaningful effect when combined with sync mode '${sync}'`, { code: 'ERR_OPTION' });
  }
  return { bitmap, mode };
}

/** From here on a successor notes what changes, until the job has settled what becomes of both. */
function useBitmap({ bitmap, mode }: GivenBitmap, transaction: Transaction): void {
  if (mode !== 'never') bitmap.check();
  const { dirtyBitmaps } = bitmap.node;
  dirtyBitmaps.createSuccessor(bitmap);
  transaction.add({ abort: () => dirtyBitmaps.reclaim(bitmap) });
}

const maxInt32 = 2147483647;
const maxInt64 = 9223372036854775807n;

function checkNodes(source: BlockNode, target: BlockNode, args: BackupArgs): void {
  if (source === target) throw new BlockError('Source and target cannot be the same', { code: 'ERR_IN_USE' });
  if (args.compress && !target.takesCompressed)
    throw new BlockError(`Compression is not supported for this drive ${target.deviceName ?? ''}`, { code: 'ENOTSUP' });
  source.blockers.check('backup-source');
  target.blockers.check('backup-target');
}

function checkSizes(source: BlockNode, target: BlockNode, args: BackupArgs): void {
  const perf = args['x-perf'] ?? {};
  const workers = perf['max-workers'] ?? 1;
  if (workers < 1 || workers > maxInt32) throw new BlockError(`max-workers must be between 1 and ${maxInt32}`, { code: 'ERR_OPTION' });
  if ((perf['max-chunk'] ?? 0) < 0) throw new BlockError('max-chunk must be zero (which means no limit) or positive', { code: 'ERR_OPTION' });
  const least = perf['min-cluster-size'] ?? 0;
  if (least < 0 || least > maxInt64)
    throw new BlockError(`min-cluster-size too large: ${BigInt.asUintN(64, BigInt(least))} > ${maxInt64}`, { code: 'ERR_OPTION' });
  if (source.size() !== target.size()) throw new BlockError('Source and target image have different sizes', { code: 'ERR_STATE' });
}

/** A format that stores compressed clusters; a filter above one does not count, nor does raw, which only hands its flags down. */
function insertFilter(engine: Engine, source: BlockNode, target: BlockNode, args: BackupArgs, transaction: Transaction): BlockNode {
  const filter = saying('Could not create node: ', () => addFilter(engine.graph, filterSpec(engine, source, target, args), transaction));
  const { copy } = filterState(filter);
  copy.range.compress = args.compress ?? false;
  copy.range.discardSource = args['discard-source'] ?? false;
  saying('Could not replace node: ', () => engine.graph.replaceNode(source, filter, transaction));
  return filter;
}

function filterSpec(engine: Engine, source: BlockNode, target: BlockNode, args: BackupArgs): FilterSpec {
  const name = args['filter-node-name'];
  const onError = args['on-cbw-error'];
  const leastCluster = args['x-perf']?.['min-cluster-size'];
  return {
    name,
    driver: copyBeforeWriteDriver,
    options: {
      driver: 'copy-before-write',
      file: source.name,
      target: target.name,
      ...(name === undefined ? {} : { 'node-name': name }),
      ...(onError === undefined ? {} : { 'on-cbw-error': onError }),
      ...(leastCluster === undefined ? {} : { 'min-cluster-size': leastCluster }),
    },
    children: [
      { key: 'file', roles: childRole.filtered | childRole.primary, node: source },
      { key: 'target', roles: childRole.data, node: target },
    ],
    open: (node, [file, onto]) => {
      invariant(file !== undefined && onto !== undefined, 'edges of the filter');
      return makeCopyBeforeWrite(node, file, onto, {
        leastCluster: leastCluster ?? 0,
        onError: onError ?? 'break-guest-write',
        timeoutMs: 0,
        clock: engine.clock,
      });
    },
  };
}

/** Runs `body`; what it throws begins with `context`. */
function saying<T>(context: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw error instanceof BlockError ? error.prepend(context) : error;
  }
}

function createJob(
  engine: Engine,
  filter: BlockNode,
  target: BlockNode,
  args: BackupArgs,
  given: GivenBitmap | undefined,
  group: JobGroup | undefined,
): BlockJob {
  const { copy } = filterState(filter);
  const maxChunk = args['x-perf']?.['max-chunk'] ?? 0;
  if (maxChunk > 0 && maxChunk < copy.clusterSize) {
    throw new BlockError(`Required max-chunk (${maxChunk}) is less than backup cluster size (${copy.clusterSize})`, { code: 'ERR_OPTION' });
  }
  const body = new BackupBody({
    sync: args.sync === 'incremental' ? 'bitmap' : args.sync,
    bitmap: given,
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
