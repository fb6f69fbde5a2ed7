import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../src/core/block/backend.ts';
import { FaultyStorage } from '../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { perm } from '../../src/core/util/perm-bits.ts';
import { createImage } from '../../src/engine/create.ts';
import { type BackupArgs, startBackup } from '../../src/engine/ops/backup.ts';
import { cancelJob, completeJob } from '../../src/engine/ops/jobs.ts';
import { runTransaction } from '../../src/engine/ops/transaction.ts';
import { type MemoryEngine, type MemoryEngineOptions, memoryEngine } from '../support/memory-engine.ts';

const cluster = 65536;
const size = 4 * 1024 * 1024;
const backup: BackupArgs = { 'job-id': 'j', device: 'src', target: 'tgt', sync: 'none', 'filter-node-name': 'cbw' };

let made: MemoryEngine | undefined;
afterEach(async () => {
  await made?.engine.close();
  made = undefined;
});

/** Nodes `src` (raw, filled with ones) and `tgt` (qcow2, backing src). */
async function fleecing(options: MemoryEngineOptions = {}, source: 'raw' | 'overlay' = 'raw'): Promise<MemoryEngine> {
  const result = memoryEngine(options);
  made = result;
  const { engine, media } = result;
  const base = new MemoryStorage('base', { size });
  base.write(0, new Uint8Array(size).fill(1));
  media.set('base', base);
  await createImage(engine, 'qcow2', 'target', { size });
  const raw = { driver: 'raw', file: { driver: 'file', filename: 'base' } };
  if (source === 'raw') await engine.addNode({ ...raw, 'node-name': 'src', discard: 'unmap' });
  else {
    await createImage(engine, 'qcow2', 'overlay', { size });
    await engine.addNode({
      driver: 'qcow2',
      'node-name': 'src',
      file: { driver: 'file', filename: 'overlay' },
      backing: { ...raw, 'node-name': 'base' },
    });
  }
  const backing = source === 'raw' ? { backing: 'src' } : {};
  await engine.addNode({ driver: 'qcow2', 'node-name': 'tgt', file: { driver: 'file', filename: 'target' }, ...backing });
  return result;
}

function user({ engine }: MemoryEngine, name: string, writable: boolean): BlockBackend {
  const node = engine.graph.find(name);
  const backend = new BlockBackend(engine.graph, {
    perm: perm.consistentRead | (writable ? perm.write : perm.none),
    shared: writable ? perm.all & ~perm.write : perm.all,
  });
  if (node !== undefined) backend.insert(node);
  return backend;
}

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

async function readAll(backend: BlockBackend): Promise<Uint8Array> {
  const all = new Uint8Array(backend.size());
  await backend.read(0, all);
  return all;
}

describe('a backup that only watches (sync=none)', () => {
  it('puts its filter under the users of the source, and takes it away in the end', async () => {
    const where = await fleecing();
    const { graph } = where.engine;
    const guest = user(where, 'src', true);
    const job = await startBackup(where.engine, backup);
    expect(guest.node?.name).toBe('cbw');
    expect(graph.find('tgt')?.backing?.node.name).toBe('src');
    await turns(3);
    await job.cancel();
    expect(guest.node?.name).toBe('src');
    expect(graph.find('cbw')).toBeUndefined();
    expect(where.log).toEqual(['j created', 'j running', 'j paused', 'j running', 'j aborting', 'BLOCK_JOB_CANCELLED j', 'j concluded', 'j null']);
    await guest.remove();
  });

  it('has the edges of the peer', async () => {
    const where = await fleecing();
    await startBackup(where.engine, backup);
    const edges = [...where.engine.graph.nodes].flatMap((node) =>
      node.parents.map((edge) => [edge.parent.asNode?.name ?? edge.parent.describe(), node.name, edge.name, edge.perm, edge.shared]),
    );
    const { consistentRead: r, write: w, writeUnchanged: u, resize: s, all, none } = perm;
    expect(edges.filter(([, node]) => !String(node).startsWith('#'))).toEqual(
      expect.arrayContaining([
        ['cbw', 'src', 'file', r, r | u],
        ['cbw', 'tgt', 'target', w, r | w | u],
        ['tgt', 'src', 'backing', none, all],
        ["backup job 'j'", 'cbw', 'main node', none, all],
        ["backup job 'j'", 'tgt', 'target', none, all],
      ]),
    );
    const file = where.engine.graph.find('tgt')?.child('file');
    expect([file?.perm, file?.shared]).toEqual([r | w | s, r | u]);
  });

  it('counts what guest writes made it copy, in whole clusters', async () => {
    const where = await fleecing();
    const guest = user(where, 'src', true);
    const job = await startBackup(where.engine, backup);
    await guest.write(100, new Uint8Array(10).fill(2));
    await guest.write(5 * cluster - 1, new Uint8Array(2).fill(2));
    await guest.write(101, new Uint8Array(10).fill(3));
    expect([job.current, job.total]).toEqual([3 * cluster, size]);
    await guest.remove();
  });

  it('counts a last part of a cluster as a whole one', async () => {
    const result = memoryEngine();
    made = result;
    for (const name of ['src', 'tgt']) {
      result.media.set(name, new MemoryStorage(name, { size: 102400 }));
      await result.engine.addNode({ driver: 'file', 'node-name': name, filename: name });
    }
    const job = await startBackup(result.engine, backup);
    expect(job.total).toBe(131072);
  });

  it('drops discards, as the filter of a job does in QEMU', async () => {
    const where = await fleecing();
    const guest = user(where, 'src', true);
    const job = await startBackup(where.engine, backup);
    await guest.discard(0, cluster);
    expect(job.current).toBe(0);
    expect((await readAll(guest)).every((byte) => byte === 1)).toBe(true);
    await guest.remove();
  });

  it('stays when a copy fails and the view is given up, as QEMU does', async () => {
    const full = new BlockError('No space left on device', { code: 'ENOSPC' });
    let isFull = false;
    const wrap = (storage: Storage, path: string): Storage =>
      new FaultyStorage(storage, { fail: (op) => (isFull && path === 'target' && op === 'write' ? full : undefined) });
    const where = await fleecing({ wrap });
    const guest = user(where, 'src', true);
    const job = await startBackup(where.engine, { ...backup, 'on-cbw-error': 'break-snapshot' });
    isFull = true;
    await guest.write(0, new Uint8Array(10).fill(2));
    isFull = false;
    await turns(5);
    expect(job.status).toBe('running');
    await guest.remove();
  });
});

describe('a full backup', () => {
  it.each(['full', 'top'] as const)('copies the instant of its start while the guest writes (sync=%s)', async (sync) => {
    const where = await fleecing({ wrap: (storage) => new FaultyStorage(storage, { before: () => turns(1) }) });
    const guest = user(where, 'src', true);
    const target = user(where, 'tgt', false);
    const job = await startBackup(where.engine, { ...backup, sync });
    for (let at = 0; job.status !== 'null' && at < 40; at++) {
      await guest.write(((at * 7) % 60) * cluster + 11, new Uint8Array(70000).fill(9));
    }
    await job.whenEnded();
    expect(where.log).toEqual(['j created', 'j running', 'j paused', 'j running', 'j waiting', 'j pending', 'BLOCK_JOB_COMPLETED j', 'j concluded', 'j null']);
    expect([job.current, job.total]).toEqual([size, size]);
    // the filter is gone: what the target shows now is its own
    await guest.write(0, new Uint8Array(size).fill(8));
    expect((await readAll(target)).every((byte) => byte === 1)).toBe(true);
    await guest.remove();
    await target.remove();
  });

  it('of the top layer leaves out what lies below (sync=top)', async () => {
    const where = await fleecing({}, 'overlay');
    const guest = user(where, 'src', true);
    await guest.write(3 * cluster, new Uint8Array(2 * cluster).fill(5));
    const job = await startBackup(where.engine, { ...backup, sync: 'top' });
    await job.whenEnded();
    expect([job.current, job.total]).toEqual([2 * cluster, 2 * cluster]);
    const target = user(where, 'tgt', false);
    const all = await readAll(target);
    expect([all[3 * cluster], all[5 * cluster - 1], all[0], all[5 * cluster]]).toEqual([5, 5, 0, 0]);
    await target.remove();
    await guest.remove();
  });

  it('goes on after a full medium was given room (on-target-error=enospc)', async () => {
    const full = new BlockError('No space left on device', { code: 'ENOSPC' });
    let isFull = true;
    const wrap = (storage: Storage, path: string): Storage =>
      new FaultyStorage(storage, { fail: (op) => (isFull && path === 'target' && op === 'write' ? full : undefined) });
    isFull = false;
    const where = await fleecing({ wrap });
    isFull = true;
    const job = await startBackup(where.engine, { ...backup, sync: 'full', 'on-target-error': 'enospc' });
    await turns(10);
    expect(where.log.slice(4)).toEqual(['BLOCK_JOB_ERROR j', 'j paused']);
    expect(job.blockInfo()).toMatchObject({ 'io-status': 'nospace', paused: true, status: 'paused' });
    isFull = false;
    job.userResume();
    await job.whenEnded();
    expect(where.log.slice(6)).toEqual(['j running', 'j waiting', 'j pending', 'BLOCK_JOB_COMPLETED j', 'j concluded', 'j null']);
  });

  it('tells a failed read from a failed write', async () => {
    const broken = new BlockError('Input/output error', { code: 'EIO' });
    let failing = '';
    const wrap = (storage: Storage, path: string): Storage =>
      new FaultyStorage(storage, { fail: (op) => (path === failing && (op === 'read' || op === 'write') ? broken : undefined) });
    const where = await fleecing({ wrap });
    const events: unknown[] = [];
    where.engine.events.listen(({ name, data }) => {
      if (name === 'BLOCK_JOB_ERROR' || name === 'BLOCK_JOB_COMPLETED') events.push(data);
    });
    for (const path of ['base', 'target']) {
      failing = path;
      const job = await startBackup(where.engine, { ...backup, sync: 'full' });
      await job.whenEnded();
      failing = '';
    }
    expect(events).toMatchObject([
      { operation: 'read', action: 'report' },
      { error: 'Input/output error' },
      { operation: 'write', action: 'report' },
      { error: 'Input/output error' },
    ]);
  });

  it('keeps to its speed and can be cancelled meanwhile', async () => {
    const where = await fleecing();
    const job = await startBackup(where.engine, { ...backup, sync: 'full', speed: 1 });
    await turns(10);
    expect(job.current).toBe(1024 * 1024);
    expect(job.isBusy).toBe(false);
    await job.cancel();
    expect(where.log.slice(-4)).toEqual(['j aborting', 'BLOCK_JOB_CANCELLED j', 'j concluded', 'j null']);
  });
});

describe('several backups', () => {
  it('of one transaction start newest first, in one drained section', async () => {
    const where = await fleecing();
    const { engine } = where;
    for (const name of ['src2', 'tgt2']) await engine.addNode({ driver: 'null-co', 'node-name': name, size });
    const actions = [
      { type: 'blockdev-backup', data: { ...backup, 'job-id': 'a', 'filter-node-name': 'fa' } },
      { type: 'blockdev-backup', data: { ...backup, 'job-id': 'b', device: 'src2', target: 'tgt2', 'filter-node-name': 'fb' } },
    ] as const;
    await runTransaction(where.engine, actions, true);
    expect(where.log).toEqual(['a created', 'b created', 'b running', 'b paused', 'a running', 'a paused', 'b running', 'a running']);
  });

  it('that were prepared in vain leave nothing behind', async () => {
    const where = await fleecing();
    const actions = [{ type: 'blockdev-backup', data: backup }, { type: 'abort' }] as const;
    await expect(runTransaction(where.engine, actions, false)).rejects.toThrow('Transaction aborted using Abort action');
    expect(where.log).toEqual(['j created', 'j aborting', 'j concluded', 'j null']);
    expect(where.engine.graph.find('cbw')).toBeUndefined();
    expect(where.engine.graph.find('src')?.blockers.isBlocked('backup-source')).toBe(false);
    const guest = user(where, 'src', true);
    await guest.write(0, new Uint8Array(10));
    await guest.remove();
  });

  it('of one source stack their filters and end in any order', async () => {
    const where = await fleecing();
    const { engine } = where;
    await engine.addNode({ driver: 'null-co', 'node-name': 'n', size });
    const guest = user(where, 'src', true);
    const view = user(where, 'tgt', false);
    const first = await startBackup(engine, backup);
    const second = await startBackup(engine, { ...backup, 'job-id': 'k', target: 'n', 'filter-node-name': 'cbw2' });
    await guest.write(0, new Uint8Array(cluster).fill(2));
    expect([first.current, second.current]).toEqual([cluster, cluster]);
    await second.cancel();
    await guest.write(cluster, new Uint8Array(cluster).fill(2));
    expect(first.current).toBe(2 * cluster);
    expect((await readAll(view)).every((byte) => byte === 1)).toBe(true);
    await first.cancel();
    expect(guest.node?.name).toBe('src');
    await guest.remove();
    await view.remove();
  });
});

describe('the verbs of a backup', () => {
  it('refuse a soft cancel while the user holds the job', async () => {
    const where = await fleecing();
    const job = await startBackup(where.engine, backup);
    await turns(3);
    job.userPause();
    await expect(cancelJob(where.engine, job, false)).rejects.toThrow("The block job for device 'j' is currently paused");
    await cancelJob(where.engine, job, true);
    expect(job.status).toBe('null');
    await expect(cancelJob(where.engine, job, true)).rejects.toThrow("Job 'j' in state 'null' cannot accept command verb 'cancel'");
  });

  it('complete it in the words of 2013, but not under --strict', async () => {
    for (const strict of [false, true]) {
      const where = await fleecing({ strict });
      const job = await startBackup(where.engine, backup);
      await turns(3);
      if (strict) await expect(completeJob(where.engine, job)).rejects.toThrow("Job 'j' in state 'running' cannot accept command verb 'complete'");
      else expect(await completeJob(where.engine, job)).toBe(true);
      expect(job.status).toBe(strict ? 'running' : 'null');
      await where.engine.close();
    }
  });
});

describe('blockdev-backup refuses', () => {
  it.each<[Partial<BackupArgs>, string]>([
    [{ device: 'nosuch' }, "Cannot find device='nosuch' nor node-name='nosuch'"],
    [{ target: 'nosuch', sync: 'bitmap' }, "Cannot find device='nosuch' nor node-name='nosuch'"],
    [{ sync: 'bitmap', target: 'src' }, "must provide a valid bitmap name for 'bitmap' sync mode"],
    [{ sync: 'incremental', 'bitmap-mode': 'never' }, "must provide a valid bitmap name for 'incremental' sync mode"],
    [{ sync: 'incremental', bitmap: 'b', 'bitmap-mode': 'never' }, "Bitmap sync mode must be 'on-success' when using sync mode 'incremental'"],
    [{ bitmap: 'b' }, "Bitmap 'b' could not be found"],
    [{ 'bitmap-mode': 'never' }, 'Cannot specify bitmap sync mode without a bitmap'],
    [{ target: 'src', speed: -1 }, 'Source and target cannot be the same'],
    [{ target: 'big', compress: true }, 'Compression is not supported for this drive '],
    [{ target: 'big', 'x-perf': { 'max-workers': 0 } }, 'max-workers must be between 1 and 2147483647'],
    [{ target: 'big', 'x-perf': { 'max-chunk': -1 } }, 'max-chunk must be zero (which means no limit) or positive'],
    [{ target: 'big', speed: -1 }, 'Source and target image have different sizes'],
    [{ target: 'ro', speed: -1 }, 'Could not create node: Block node is read-only'],
    [{ 'filter-node-name': 'src' }, "Could not create node: Duplicate nodes with node-name='src'"],
    [{ 'filter-node-name': 'a b', 'job-id': undefined }, "Could not create node: Invalid node-name: 'a b'"],
    [{ 'x-perf': { 'min-cluster-size': 512000 } }, 'Could not create node: Cannot create block-copy-state: min-cluster-size needs to be a power of 2'],
    [{ 'x-perf': { 'max-chunk': 512 }, 'job-id': undefined }, 'Required max-chunk (512) is less than backup cluster size (65536)'],
    [{ 'job-id': undefined, speed: -1 }, "Invalid job ID ''"],
    [{ 'job-id': '1bad', speed: -1 }, "Invalid job ID '1bad'"],
    [{ speed: -1 }, "Parameter 'speed' expects a non-negative value"],
  ])('%j', async (args, message) => {
    const where = await fleecing();
    const { engine } = where;
    await engine.addNode({ driver: 'null-co', 'node-name': 'big', size: 2 * size });
    await engine.addNode({ driver: 'null-co', 'node-name': 'ro', size, 'read-only': true });
    const before = [...engine.graph.nodes].map((node) => [node.name, node.parents.length, node.children.length]);
    await expect(startBackup(where.engine, { ...backup, ...args })).rejects.toThrow(message);
    expect([...engine.graph.nodes].map((node) => [node.name, node.parents.length, node.children.length])).toEqual(before);
    expect(where.engine.jobs.list()).toEqual([]);
    // nothing is still drained or blocked
    const job = await startBackup(where.engine, backup);
    await job.cancel();
  });

  it('a node that a backup uses already', async () => {
    const where = await fleecing();
    await startBackup(where.engine, backup);
    const busy = "Node 'tgt' is busy: block device is in use by block job: backup";
    await expect(startBackup(where.engine, backup)).rejects.toThrow(busy);
    await expect(startBackup(where.engine, { ...backup, device: 'tgt', target: 'src' })).rejects.toThrow(busy);
    await expect(startBackup(where.engine, { ...backup, device: 'cbw', target: 'tgt' })).rejects.toThrow(
      "Node 'cbw' is busy: block device is in use by block job: backup",
    );
  });
});
