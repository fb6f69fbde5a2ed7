/* The writer of an image begins and ends with reopening: what the medium says of bitmaps and of the dirty bit follows. */
import { describe, expect, it } from 'vitest';
import { drainNodes } from '../../src/core/block/drain.ts';
import type { OptionTree } from '../../src/core/block/options.ts';
import { prepareReopen } from '../../src/core/block/reopen.ts';
import { runTransaction } from '../../src/core/block/transaction.ts';
import { delayed } from '../../src/core/storage/faulty.ts';
import type { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { bytesOf, checkMedium, copyMedium, type Disk, filled, mediumOf, newMedium, openMedium } from './image-support.ts';

const values = { size: 1 << 20, cluster_size: 4096 };

async function reopen(disk: Disk, readOnly: boolean, { fails = false, options }: { fails?: boolean; options?: OptionTree } = {}): Promise<void> {
  const { node } = disk.backend;
  if (node === undefined) throw new Error('no node');
  await disk.engine.graph.turn(async () => {
    using _section = await drainNodes([node]);
    const prepared = await prepareReopen(node, { ...node.settings, readOnly }, options);
    try {
      runTransaction((transaction) => {
        prepared.apply(transaction);
        if (fails) throw new Error('aborted');
      });
    } finally {
      await prepared.settle();
    }
  });
}

async function withBitmap(wrap?: (storage: Storage) => Storage): Promise<Disk> {
  const disk = await openMedium(await newMedium(values), wrap === undefined ? {} : { wrap });
  disk.backend.node?.dirtyBitmaps.add({ name: 'b', granularity: 512, isPersistent: true });
  await disk.backend.write(0, filled(512, 1));
  return disk;
}

/** A user that needs nothing of the node lets it become read-only. */
function letGo(disk: Disk): void {
  disk.backend.setPerm(0, 15);
}

/** What the next to open a copy of the medium would find. */
async function found(medium: MemoryStorage): Promise<readonly (readonly [string | undefined, boolean, number])[]> {
  const disk = await openMedium(copyMedium(medium), { readOnly: true });
  const bitmaps = [...(disk.backend.node?.dirtyBitmaps ?? [])].map(({ name, isInconsistent, count }) => [name, isInconsistent, count] as const);
  await disk.engine.close();
  return bitmaps;
}

describe.each([
  ['at once', (storage: Storage) => storage],
  ['pending', (storage: Storage) => delayed(storage)],
] as const)('storage that answers %s', (_name, wrap) => {
  it('has the bitmaps while the node is read-only, and not while it may be written', async () => {
    const disk = await withBitmap(wrap);
    letGo(disk);
    await reopen(disk, true);
    expect(await found(disk.medium)).toEqual([['b', false, 512]]);
    expect(disk.backend.node?.dirtyBitmaps.find('b')).toMatchObject({ isReadOnly: true, count: 512 });
    await reopen(disk, false);
    expect(await found(disk.medium)).toEqual([['b', true, 0]]);
    disk.backend.setPerm(2, 15);
    await disk.backend.write(8192, filled(512, 2));
    await disk.engine.close();
    expect(await found(disk.medium)).toEqual([['b', false, 1024]]);
    expect(await checkMedium(disk.medium)).toMatchObject({ corruptions: 0, leaks: 0, messages: [] });
  });

  it('is in use again when it was not made read-only after all', async () => {
    const disk = await withBitmap(wrap);
    letGo(disk);
    await expect(reopen(disk, true, { fails: true })).rejects.toThrow('aborted');
    expect(await found(disk.medium)).toEqual([['b', true, 0]]);
    disk.backend.setPerm(2, 15);
    await disk.backend.write(8192, filled(512, 2));
    await disk.engine.close();
    expect(await found(disk.medium)).toEqual([['b', false, 1024]]);
  });
});

it('an image opened read-only becomes one that is written: what it holds is not overwritten', async () => {
  const first = await withBitmap();
  await first.engine.close();
  const disk = await openMedium(first.medium, { readOnly: true });
  expect(disk.backend.node?.dirtyBitmaps.find('b')).toMatchObject({ isReadOnly: true, isEnabled: true, count: 512 });
  const { node } = disk.backend;
  await disk.engine.graph.turn(async () => {
    const below = node?.primary?.node;
    if (node === undefined || below === undefined) throw new Error('no node');
    using _section = await drainNodes([below]);
    const prepared = await Promise.all([below, node].map((each) => prepareReopen(each, { ...each.settings, readOnly: false })));
    runTransaction((transaction) => {
      for (const each of prepared) each.apply(transaction);
    });
    for (const each of prepared) await each.settle();
  });
  disk.backend.setPerm(2, 15);
  await disk.backend.write(600 * 1024, filled(4096, 3));
  await disk.engine.close();
  expect(await checkMedium(disk.medium)).toMatchObject({ corruptions: 0, leaks: 0, messages: [] });
  expect(await found(disk.medium)).toEqual([['b', false, 4608]]);
});

it('a medium that cannot be told of a writer takes no write, until it can', async () => {
  let isFailing = false;
  const failing = (storage: Storage): Storage =>
    new Proxy(storage, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key, target);
        if (key === 'write' && isFailing) {
          return () => {
            throw new BlockError('Input/output error', { code: 'EIO' });
          };
        }
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  const disk = await withBitmap(failing);
  letGo(disk);
  await reopen(disk, true);
  isFailing = true;
  await reopen(disk, false);
  disk.backend.setPerm(2, 15);
  await expect(disk.backend.write(0, filled(512, 9))).rejects.toThrow('Input/output error');
  await expect(Promise.resolve(disk.backend.zero(0, 4096))).rejects.toThrow('Input/output error');
  expect(await found(mediumOf(bytesOf(disk.medium)))).toEqual([['b', false, 512]]);
  isFailing = false;
  await disk.backend.write(0, filled(512, 9));
  expect(await found(disk.medium)).toEqual([['b', true, 0]]);
  await disk.engine.close();
});

it("bitmaps that could not be stored for a reader are still the writer's, and stored at the end", async () => {
  let left = Number.POSITIVE_INFINITY;
  const failing = (storage: Storage): Storage =>
    new Proxy(storage, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key, target);
        if (key === 'write') {
          return (offset: number, from: Uint8Array) => {
            if (left-- <= 0) throw new BlockError('Input/output error', { code: 'EIO' });
            return target.write(offset, from);
          };
        }
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  for (let count = 0; count < 12; count++) {
    const disk = await withBitmap(failing);
    letGo(disk);
    left = count;
    await reopen(disk, true).catch((error: Error) =>
      expect(error.message).toMatch(/^(Failed to (write bitmap 'b' to file|update bitmap extension): )?Input\/output error$/),
    );
    left = Number.POSITIVE_INFINITY;
    await disk.engine.close();
    expect([count, await found(disk.medium)]).toEqual([count, [['b', false, 512]]]);
    expect(await checkMedium(disk.medium)).toMatchObject({ corruptions: 0, messages: expect.any(Array) });
  }
});

it('options of the driver come into force, and the dirty bit goes with lazy refcounts', async () => {
  const disk = await openMedium(await newMedium({ ...values, lazy_refcounts: true }));
  await disk.backend.write(0, filled(4096, 1));
  const isDirty = (): unknown => disk.backend.node?.state.info?.()?.dirty;
  expect(isDirty()).toBe(true);
  await reopen(disk, false, { options: { 'lazy-refcounts': false, 'l2-cache-entry-size': 512, 'l2-cache-size': 1024, 'overlap-check': 'all' } });
  expect(isDirty()).toBe(false);
  expect(await checkMedium(copyMedium(disk.medium))).toMatchObject({ corruptions: 0, leaks: 0, messages: [] });
  for (let at = 0; at < 1 << 20; at += 65536) await disk.backend.write(at, filled(4096, 2));
  expect(isDirty()).toBe(false);
  const into = new Uint8Array(4096);
  await disk.backend.read(983040, into);
  expect(into[4095]).toBe(2);
  await expect(reopen(disk, false, { options: { 'overlap-check': 'what' } })).rejects.toThrow("Unsupported value 'what' for qcow2 option 'overlap-check'");
  await disk.engine.close();
  expect(await checkMedium(disk.medium)).toMatchObject({ corruptions: 0, leaks: 0, messages: [] });
});
