/* Backups of what a bitmap has: what is copied, what the bitmap says afterwards, and what is noted meanwhile. */
import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../src/core/block/backend.ts';
import type { DirtyBitmap } from '../../src/core/block/dirty-bitmap.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { perm } from '../../src/core/util/perm-bits.ts';
import { createImage } from '../../src/engine/create.ts';
import { type BackupArgs, startBackup } from '../../src/engine/ops/backup.ts';
import { runTransaction } from '../../src/engine/ops/transaction.ts';
import { type MemoryEngine, type MemoryEngineOptions, memoryEngine } from '../support/memory-engine.ts';

const cluster = 65536;
const size = 16 * cluster;
const backup: BackupArgs = { 'job-id': 'j', device: 'src', target: 'tgt', sync: 'bitmap', bitmap: 'b', 'auto-finalize': false };

let made: MemoryEngine | undefined;
afterEach(async () => {
  await made?.engine.close();
  made = undefined;
});

interface Setting {
  readonly where: MemoryEngine;
  readonly guest: BlockBackend;
  readonly bitmap: () => DirtyBitmap | undefined;
}

/** `src` of ones with bitmap `b`, which has clusters 2 and 5; `tgt` of nothing. */
async function marked(options: MemoryEngineOptions = {}): Promise<Setting> {
  const where = memoryEngine(options);
  made = where;
  const { engine, media } = where;
  const base = new MemoryStorage('base', { size });
  base.write(0, new Uint8Array(size).fill(1));
  media.set('base', base);
  await createImage(engine, 'qcow2', 'target', { size });
  const node = await engine.addNode({ driver: 'raw', 'node-name': 'src', file: { driver: 'file', filename: 'base' } });
  await engine.addNode({ driver: 'qcow2', 'node-name': 'tgt', file: { driver: 'file', filename: 'target' } });
  const guest = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write, shared: perm.all & ~perm.write });
  guest.insert(node);
  node.dirtyBitmaps.add({ name: 'b', granularity: 4096 });
  await guest.write(2 * cluster + 512, new Uint8Array(512).fill(2));
  await guest.write(5 * cluster, new Uint8Array(4096).fill(5));
  return { where, guest, bitmap: () => node.dirtyBitmaps.find('b') };
}

const offsets = (bitmap: DirtyBitmap | undefined): number[] => [...(bitmap?.runs() ?? [])].map(({ offset }) => offset / cluster);

/** The clusters of `tgt` that hold something. */
async function copied({ where }: Setting): Promise<number[]> {
  const node = where.engine.graph.find('tgt');
  const bytes = new Uint8Array(size);
  await node?.state.read(0, bytes, 0);
  return Array.from({ length: 16 }, (_, index) => index).filter((index) => bytes[index * cluster] !== 0);
}

describe.each([
  ['on-success', [9], [2, 5, 9]],
  ['never', [2, 5, 9], [2, 5, 9]],
  ['always', [9], [9]],
] as const)('bitmap-mode %s', (mode, afterSuccess, afterCancel) => {
  it('copies what the bitmap has, with guest writes in between', async () => {
    const setting = await marked();
    const job = await startBackup(setting.where.engine, { ...backup, 'bitmap-mode': mode });
    await setting.guest.write(9 * cluster, new Uint8Array(512).fill(3));
    expect(setting.bitmap()).toMatchObject({ isBusy: true });
    await job.whenBodyDone();
    expect([job.current, job.total]).toEqual([2 * cluster, 2 * cluster]);
    await job.finalize();
    expect(await copied(setting)).toEqual([2, 5]);
    expect([setting.bitmap()?.isBusy, setting.bitmap()?.isRecording, offsets(setting.bitmap())]).toEqual([false, true, [...afterSuccess]]);
    await setting.guest.write(0, new Uint8Array(512));
    expect(setting.bitmap()?.isDirty(0)).toBe(true);
  });

  it('goes on as it must when the backup was cancelled', async () => {
    const setting = await marked();
    const job = await startBackup(setting.where.engine, { ...backup, 'bitmap-mode': mode });
    await setting.guest.write(9 * cluster, new Uint8Array(512).fill(3));
    await job.whenBodyDone();
    await job.cancel();
    expect([setting.bitmap()?.isBusy, offsets(setting.bitmap())]).toEqual([false, [...afterCancel]]);
  });
});

it('bitmap-mode always adds what could not be copied', async () => {
  let isFull = false;
  const setting = await marked({
    wrap: (storage, path) =>
      path !== 'target'
        ? storage
        : new Proxy(storage, {
            get: (target, key) => {
              const value: unknown = Reflect.get(target, key, target);
              if (key === 'write' && isFull) {
                return () => {
                  throw new BlockError('No space left on device', { code: 'ENOSPC' });
                };
              }
              return typeof value === 'function' ? value.bind(target) : value;
            },
          }),
  });
  isFull = true;
  const job = await startBackup(setting.where.engine, { ...backup, 'auto-finalize': true, 'bitmap-mode': 'always' });
  await job.whenBodyDone();
  isFull = false;
  await setting.where.engine.graph.turn(async () => {});
  expect(job.error?.message).toBe('No space left on device');
  expect([setting.bitmap()?.isBusy, offsets(setting.bitmap())]).toEqual([false, [2, 5]]);
});

it('a chain of actions that name what the ones before made begins at one instant', async () => {
  const setting = await marked();
  const chain = (more: readonly { readonly type: 'abort' }[]): Promise<void> =>
    runTransaction(
      setting.where.engine,
      [
        { type: 'block-dirty-bitmap-add', data: { node: 'src', name: 'b1', disabled: true } },
        { type: 'block-dirty-bitmap-merge', data: { node: 'src', target: 'b1', bitmaps: ['b'] } },
        { type: 'block-dirty-bitmap-clear', data: { node: 'src', name: 'b' } },
        { type: 'blockdev-backup', data: { ...backup, bitmap: 'b1', 'bitmap-mode': 'never' } },
        ...more,
      ],
      false,
    );
  await expect(chain([{ type: 'abort' }])).rejects.toThrow('Transaction aborted using Abort action');
  expect([offsets(setting.bitmap()), [...(setting.bitmap()?.node.dirtyBitmaps ?? [])].length]).toEqual([[2, 5], 1]);
  await chain([]);
  const job = setting.where.engine.jobs.list()[0];
  await setting.guest.write(7 * cluster, new Uint8Array(512));
  await job?.whenBodyDone();
  await job?.finalize();
  expect(await copied(setting)).toEqual([2, 5]);
  expect(offsets(setting.bitmap())).toEqual([7]);
});

it('a filter that keeps what a bitmap has shows nothing else, and saves nothing else', async () => {
  const setting = await marked();
  const { engine } = setting.where;
  await setting.guest.remove();
  const node = await engine.addNode({ driver: 'copy-before-write', 'node-name': 'cbw', file: 'src', target: 'tgt', bitmap: { node: 'src', name: 'b' } });
  const view = await engine.addNode({ driver: 'snapshot-access', 'node-name': 'view', file: 'cbw' });
  const guest = new BlockBackend(engine.graph, { perm: perm.write, shared: perm.all });
  guest.insert(node);
  await guest.write(2 * cluster, new Uint8Array(cluster).fill(9));
  await guest.write(3 * cluster, new Uint8Array(cluster).fill(9));
  expect(await copied(setting)).toEqual([2]);
  const into = new Uint8Array(1024);
  await view.state.read(2 * cluster, into, 0);
  expect([into[0], into[512]]).toEqual([1, 2]);
  expect(() => view.state.read(3 * cluster, into, 0)).toThrow('Permission denied');
  await guest.remove();
});
