/* Snapshots inside an image: what the disk and each snapshot hold after any order of making, applying and deleting them. */
import { describe, expect, it } from 'vitest';
import { applySnapshot, createSnapshot, deleteSnapshot, showSnapshot, snapshotsOf } from '../../src/core/block/snapshots.ts';
import type { SnapshotDetails } from '../../src/core/block/stores.ts';
import type { MemoryStorage } from '../../src/core/storage/memory.ts';
import { ImageBytes } from '../support/qcow2-bytes.ts';
import { seeded } from '../support/random.ts';
import { bytesOf, checkMedium, type Disk, filled, newDisk, newMedium, openMedium } from './image-support.ts';

const cluster = 1024;
const size = 64 * cluster;

const details = (name: string, more: Partial<SnapshotDetails> = {}): SnapshotDetails => {
  return { name, vmStateSize: 0, dateSec: 11, dateNsec: 22, vmClockNsec: 33n, icount: 44n, ...more };
};

function nodeOf({ backend }: Disk) {
  const { node } = backend;
  if (node === undefined) throw new Error('no node');
  return node;
}

const take = (disk: Disk, name: string, more: Partial<SnapshotDetails> = {}): Promise<void> =>
  createSnapshot(disk.engine.graph, nodeOf(disk), details(name, more));
const apply = (disk: Disk, name: string): Promise<void> => applySnapshot(disk.engine.graph, nodeOf(disk), name);
const drop = (disk: Disk, name: string): Promise<void> => deleteSnapshot(disk.engine.graph, nodeOf(disk), name);
const list = (disk: Disk): string[] => snapshotsOf(nodeOf(disk)).map(({ id, name }) => `${id}:${name}`);

async function contentOf({ backend }: Disk): Promise<Uint8Array> {
  const content = new Uint8Array(backend.size());
  await backend.read(0, content);
  return content;
}

async function isSound(medium: MemoryStorage): Promise<void> {
  expect(await checkMedium(medium)).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0, messages: [] });
}

async function shown(medium: MemoryStorage, key: { id?: string; name?: string }): Promise<Uint8Array> {
  const disk = await openMedium(medium, { readOnly: true });
  await showSnapshot(disk.engine.graph, nodeOf(disk), [key]);
  const content = await contentOf(disk);
  await disk.engine.close();
  return content;
}

describe('snapshots of an image', () => {
  it('hold the disk as it was, whatever is written later', async () => {
    const disk = await newDisk({ values: { size, cluster_size: cluster } });
    await disk.backend.write(0, filled(10 * cluster, 1));
    await take(disk, 'one');
    await disk.backend.write(cluster, filled(3 * cluster, 2));
    await disk.backend.write(40 * cluster, filled(512, 3));
    await take(disk, 'two');
    await disk.backend.discard(0, size);
    expect(list(disk)).toEqual(['1:one', '2:two']);
    await disk.engine.close();
    await isSound(disk.medium);
    const one = await shown(disk.medium, { name: 'one' });
    const two = await shown(disk.medium, { id: '2' });
    expect(one.subarray(0, 10 * cluster)).toEqual(filled(10 * cluster, 1));
    expect(one.subarray(10 * cluster).every((byte) => byte === 0)).toBe(true);
    expect(two.subarray(cluster, 4 * cluster)).toEqual(filled(3 * cluster, 2));
    expect(two.subarray(4 * cluster, 10 * cluster)).toEqual(filled(6 * cluster, 1));
    expect(two[40 * cluster]).toBe(3);
  });

  it('are not written by a disk that shares their tables and clusters', async () => {
    const disk = await newDisk({ values: { size, cluster_size: cluster } });
    await disk.backend.write(0, filled(size, 1));
    await take(disk, 'one');
    const image = new ImageBytes(bytesOf(disk.medium));
    for (const at of [...image.l1Places(), ...image.l2Places()]) expect(image.u64(at) >> 63n).toBe(0n);
    for (const at of image.l2Places()) expect(image.refcount(image.offsetAt(at) / cluster)).toBe(2);
    await drop(disk, 'one');
    await disk.backend.flush();
    const alone = new ImageBytes(bytesOf(disk.medium));
    for (const at of [...alone.l1Places(), ...alone.l2Places()]) expect(alone.u64(at) >> 63n).toBe(1n);
    for (const at of alone.l2Places()) expect(alone.refcount(alone.offsetAt(at) / cluster)).toBe(1);
    await disk.engine.close();
    await isSound(disk.medium);
  });

  it('are listed with all that they say of themselves', async () => {
    const disk = await newDisk({ values: { size, cluster_size: cluster } });
    await take(disk, 'far', { vmStateSize: 2 ** 40, dateSec: 2 ** 31, vmClockNsec: 2n ** 60n, icount: undefined });
    await take(disk, '', { icount: 7n });
    await disk.engine.close();
    const again = await openMedium(disk.medium, { readOnly: true });
    expect(snapshotsOf(nodeOf(again))).toEqual([
      { id: '1', name: 'far', vmStateSize: 2 ** 40, dateSec: 2 ** 31, dateNsec: 22, vmClockNsec: 2n ** 60n, icount: undefined },
      { id: '2', name: '', vmStateSize: 0, dateSec: 11, dateNsec: 22, vmClockNsec: 33n, icount: 7n },
    ]);
    await again.engine.close();
  });

  it('get the next ID behind the highest number, and keep what others wrote into an entry', async () => {
    const medium = await newMedium({ size, cluster_size: cluster });
    const image = new ImageBytes(bytesOf(medium));
    image.takeSnapshots([
      { name: Buffer.from('strange'), id: '41' },
      { name: Buffer.from('nameless'), id: 'x9', extra: 40 },
    ]);
    const old = Buffer.from(image.bytes);
    const second = Number(old.readBigUInt64BE(64)) + 80;
    expect(old.readUInt32BE(second + 36)).toBe(40);
    image.bytes.fill(0x5a, second + 64, second + 80);
    medium.truncate(0);
    medium.write(0, image.bytes);
    const disk = await openMedium(medium);
    await take(disk, 'mine');
    expect(list(disk)).toEqual(['41:strange', 'x9:nameless', '42:mine']);
    await drop(disk, 'strange');
    await disk.engine.close();
    await isSound(medium);
    const after = Buffer.from(bytesOf(medium));
    const table = Number(after.readBigUInt64BE(64));
    expect(after.readUInt32BE(60)).toBe(2);
    // the first 24 bytes are known and set right
    expect(after.readUInt32BE(table + 36)).toBe(40);
    expect(after.subarray(table + 64, table + 80)).toEqual(Buffer.alloc(16, 0x5a));
  });

  it('leave no table and no clusters when the last of them goes', async () => {
    const disk = await newDisk({ values: { size, cluster_size: cluster } });
    await disk.backend.write(0, filled(20 * cluster, 1));
    await disk.backend.flush();
    const before = new ImageBytes(bytesOf(disk.medium));
    const counts = Array.from({ length: 60 }, (_, index) => before.refcount(index));
    await take(disk, 'one');
    await disk.backend.write(0, filled(20 * cluster, 2));
    await take(disk, 'two');
    await apply(disk, 'one');
    await drop(disk, 'two');
    await drop(disk, 'one');
    await disk.engine.close();
    const after = new ImageBytes(bytesOf(disk.medium));
    expect([after.u32(60), after.u64(64)]).toEqual([0, 0n]);
    const total = (numbers: number[]): number => numbers.reduce((sum, count) => sum + count, 0);
    expect(total(Array.from({ length: 200 }, (_, index) => after.refcount(index)))).toBe(total(counts));
    await isSound(disk.medium);
  });
});

describe('a disk that becomes what it was', () => {
  it('takes the size of the snapshot, both ways', async () => {
    const disk = await newDisk({ values: { size, cluster_size: cluster } });
    await disk.backend.write(0, filled(size, 1));
    await take(disk, 'small');
    await disk.backend.truncate(3 * size, { exact: false, prealloc: 'off' });
    await disk.backend.write(2 * size, filled(size, 2));
    await take(disk, 'large');
    await apply(disk, 'small');
    expect(disk.backend.size()).toBe(size);
    expect(await contentOf(disk)).toEqual(filled(size, 1));
    await apply(disk, '2');
    expect(disk.backend.size()).toBe(3 * size);
    const large = await contentOf(disk);
    expect(large.subarray(0, size)).toEqual(filled(size, 1));
    expect(large.subarray(2 * size)).toEqual(filled(size, 2));
    await disk.backend.write(0, filled(cluster, 9));
    await disk.engine.close();
    await isSound(disk.medium);
    expect((await shown(disk.medium, { name: 'small' }))[0]).toBe(1);
  });

  it('is refused while bitmaps record, for names that are not there, and for a version 2 disk of another size', async () => {
    const disk = await newDisk({ values: { size, cluster_size: cluster } });
    await take(disk, 'one');
    await expect(apply(disk, 'two')).rejects.toMatchObject({ code: 'ENOENT', message: 'Failed to load snapshot: No such file or directory' });
    await expect(drop(disk, '1')).rejects.toMatchObject({ message: 'snapshot not found' });
    nodeOf(disk).dirtyBitmaps.add({ name: 'b', granularity: 1024 });
    await expect(apply(disk, 'one')).rejects.toMatchObject({ code: 'EBUSY', message: 'Device has active dirty bitmaps' });
    await disk.engine.close();
    await isSound(disk.medium);
  });

  it('names an ID before a name', async () => {
    const disk = await newDisk({ values: { size, cluster_size: cluster } });
    await disk.backend.write(0, filled(cluster, 1));
    await take(disk, '2');
    await disk.backend.write(0, filled(cluster, 2));
    await take(disk, 'other');
    await apply(disk, '2');
    expect((await contentOf(disk))[0]).toBe(2);
    await disk.engine.close();
  });
});

describe('showing a snapshot', () => {
  it('is for images that are read only', async () => {
    const disk = await newDisk({ values: { size, cluster_size: cluster } });
    await take(disk, 'one');
    await expect(showSnapshot(disk.engine.graph, nodeOf(disk), [{ name: 'one' }])).rejects.toThrow('Device is not readonly');
    await expect(showSnapshot(disk.engine.graph, nodeOf(disk), [{ id: '1', name: 'two' }])).rejects.toThrow("Can't find snapshot");
    await disk.engine.close();
  });
});

it('counts that have no room leave the image as it was', async () => {
  const disk = await newDisk({ values: { size, cluster_size: cluster, refcount_bits: 2 } });
  await disk.backend.write(0, filled(30 * cluster, 1));
  await take(disk, 'one');
  await take(disk, 'two');
  await expect(take(disk, 'three')).rejects.toMatchObject({ code: 'EINVAL' });
  expect(list(disk)).toEqual(['1:one', '2:two']);
  await expect(apply(disk, 'one')).rejects.toMatchObject({ code: 'EINVAL', message: 'Failed to load snapshot: Invalid argument' });
  await disk.engine.close();
  await isSound(disk.medium);
});

describe('any order of it, against a model', () => {
  it.each([1, 2, 3, 4, 5, 6])('seed %d', async (seed) => {
    const random = seeded(seed);
    const values = [{ cluster_size: 512 }, { cluster_size: 1024 }, { cluster_size: 16384, extended_l2: true }][seed % 3];
    const disk = await newDisk({ values: { size, ...values } });
    let model = new Uint8Array(size);
    const kept = new Map<string, Uint8Array>();
    for (let step = 1; step <= 40; step++) {
      const names = [...kept.keys()];
      const name = names[random(Math.max(1, names.length))];
      const kind = random(10);
      if (kind < 5) {
        const at = random(size / 512 - 8) * 512;
        const length = (1 + random(8)) * 512;
        await disk.backend.write(at, filled(length, step));
        model.fill(step, at, at + length);
      } else if (kind < 6) {
        await disk.backend.discard(0, size / 4);
        model.fill(0, 0, size / 4);
      } else if (kind < 8) {
        await take(disk, `s${step}`);
        kept.set(`s${step}`, Uint8Array.from(model));
      } else if (name !== undefined && kind === 8) {
        await apply(disk, name);
        model = Uint8Array.from(kept.get(name) ?? model);
      } else if (name !== undefined) {
        await drop(disk, name);
        kept.delete(name);
      }
      if (step % 10 === 0) expect(Buffer.from(await contentOf(disk)).equals(model), `step ${step}`).toBe(true);
    }
    await disk.engine.close();
    await isSound(disk.medium);
    for (const [name, content] of kept) expect(Buffer.from(await shown(disk.medium, { name })).equals(content), name).toBe(true);
  });
});
