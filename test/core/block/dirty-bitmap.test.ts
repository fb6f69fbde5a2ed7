import { describe, expect, it } from 'vitest';
import { type DirtyBitmap, useObstacles } from '../../../src/core/block/dirty-bitmap.ts';
import { reqFlag } from '../../../src/core/block/driver.ts';
import { FakeNode, type FakeOptions, userOf } from '../../support/fake-node.ts';

const kib = 1024;

function disk(options: FakeOptions = {}): FakeNode {
  return new FakeNode('n', { size: 64 * kib, ...options });
}

const dirty = (bitmap: DirtyBitmap): string => [...bitmap.runs()].map(({ offset, length }) => `${offset}+${length}`).join(' ');
const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(1);
const errorOf = (body: () => unknown): { code: string; message: string; detail?: string } => {
  try {
    body();
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error('nothing was thrown');
};

describe('a dirty bitmap', () => {
  it('notes writes, zeros and discards in whole grains, and no reads', async () => {
    const { node } = disk();
    const user = userOf(node);
    const bitmap = node.dirtyBitmaps.add({ name: 'b', granularity: 4 * kib });
    await user.read(0, new Uint8Array(4096));
    await user.flush();
    expect([dirty(bitmap), bitmap.count]).toEqual(['', 0]);
    await user.write(4095, bytes(2));
    await user.zero(16 * kib, 1);
    await user.discard(32 * kib, 8 * kib);
    expect(dirty(bitmap)).toBe('0+8192 16384+4096 32768+8192');
    expect(bitmap.count).toBe(5 * 4096);
    expect([bitmap.isDirty(8191), bitmap.isDirty(8192)]).toEqual([true, false]);
  });

  it('notes a write once it has ended, also when it failed', async () => {
    const fake = disk();
    const user = userOf(fake.node);
    const bitmap = fake.node.dirtyBitmaps.add({ name: 'b', granularity: 512 });
    fake.hold('write');
    const write = Promise.resolve(user.write(0, bytes(512)));
    expect(bitmap.count).toBe(0);
    await fake.releaseAll();
    await write;
    expect(bitmap.count).toBe(512);
    fake.failure = { op: 'write', error: new Error('broken') };
    expect(() => user.write(1024, bytes(512))).toThrow('broken');
    expect(dirty(bitmap)).toBe('0+512 1024+512');
  });

  it('notes changes that were under way when it was added', async () => {
    const fake = disk();
    const user = userOf(fake.node);
    fake.hold('write', 'zero', 'discard');
    const requests = [
      user.write(0, bytes(512)),
      user.zero(512, 512),
      user.discard(1024, 512),
      fake.node.parents[0]?.write(4096, bytes(512), reqFlag.serialising),
    ];
    const bitmap = fake.node.dirtyBitmaps.add({ name: 'b', granularity: 512 });
    await fake.releaseAll();
    await Promise.all(requests);
    expect(dirty(bitmap)).toBe('0+1536 4096+512');
  });

  it('notes a change before whoever waits for its range goes on', async () => {
    const fake = disk();
    const edge = userOf(fake.node).root;
    const bitmap = fake.node.dirtyBitmaps.add({ name: 'b', granularity: 512 });
    fake.hold('write');
    const write = edge?.write(0, bytes(512), reqFlag.serialising);
    const seen: number[] = [];
    const read = Promise.resolve(edge?.read(0, new Uint8Array(1))).then(() => seen.push(bitmap.count));
    await fake.releaseAll();
    await Promise.all([write, read]);
    expect(seen).toEqual([512]);
  });

  it('notes nothing of a discard that the node drops', async () => {
    const { node } = disk({ settings: { discard: false } });
    const bitmap = node.dirtyBitmaps.add({ name: 'b', granularity: 512 });
    await userOf(node).discard(0, 512);
    expect(bitmap.count).toBe(0);
  });

  it('notes written zeros that became a zero write', async () => {
    const { node } = disk({ settings: { detectZeroes: 'on' } });
    const bitmap = node.dirtyBitmaps.add({ name: 'b', granularity: 512 });
    await userOf(node).write(512, new Uint8Array(512));
    expect(dirty(bitmap)).toBe('512+512');
  });

  it('notes nothing while it is disabled, read-only or inconsistent', async () => {
    const { node } = disk();
    const { dirtyBitmaps } = node;
    const off = dirtyBitmaps.add({ name: 'off', granularity: 512, isEnabled: false });
    const readOnly = dirtyBitmaps.add({ name: 'ro', granularity: 512, isReadOnly: true });
    const inconsistent = dirtyBitmaps.add({ name: 'bad', granularity: 512, isInconsistent: true });
    const on = dirtyBitmaps.add({ name: 'on', granularity: 512 });
    await userOf(node).write(0, bytes(512));
    expect([off, readOnly, inconsistent, on].map((bitmap) => bitmap.count)).toEqual([0, 0, 0, 512]);
    off.isEnabled = true;
    await userOf(node).write(512, bytes(512));
    expect(dirty(off)).toBe('512+512');
  });

  it('costs the request path nothing once the last one is gone', async () => {
    const { node } = disk();
    expect(node.watchesWrites).toBe(false);
    const first = node.dirtyBitmaps.add({ granularity: 512 });
    const second = node.dirtyBitmaps.add({ granularity: 512 });
    expect([node.watchesWrites, node.observers.length]).toEqual([true, 1]);
    node.dirtyBitmaps.remove(first);
    expect(node.watchesWrites).toBe(true);
    node.dirtyBitmaps.remove(second);
    expect([node.watchesWrites, node.observers.length]).toEqual([false, 0]);
    expect(() => node.dirtyBitmaps.remove(second)).toThrow('removal of a bitmap that is not there');
    node.dirtyBitmaps.add({ granularity: 512 });
    expect(node.observers.length).toBe(1);
  });

  it('ends with the node: a last grain that is not whole counts as one, and runs are cut', async () => {
    const { node } = disk({ size: 10_000 });
    const bitmap = node.dirtyBitmaps.add({ name: 'b', granularity: 4 * kib });
    bitmap.set(9999, 1);
    expect([dirty(bitmap), bitmap.count, bitmap.byteLength]).toEqual(['8192+1808', 4096, 1]);
    bitmap.reset(8192, 1808);
    expect(bitmap.count).toBe(0);
  });

  it('takes marks away from whole grains only', () => {
    const { node } = disk();
    const bitmap = node.dirtyBitmaps.add({ name: 'b', granularity: 4 * kib });
    bitmap.set(0, 64 * kib);
    bitmap.reset(1, 12 * kib);
    expect(dirty(bitmap)).toBe('0+4096 12288+53248');
    bitmap.set(0, 0);
    bitmap.reset(0, 4095);
    expect(dirty(bitmap)).toBe('0+4096 12288+53248');
  });

  it('is searched from anywhere to anywhere', () => {
    const { node } = disk();
    const bitmap = node.dirtyBitmaps.add({ name: 'b', granularity: 4 * kib });
    bitmap.set(8 * kib, 8 * kib);
    expect(bitmap.nextDirty(0)).toEqual({ offset: 8 * kib, length: 8 * kib });
    expect(bitmap.nextDirty(9000, 10_000)).toEqual({ offset: 9000, length: 1000 });
    expect(bitmap.nextDirty(0, 8 * kib)).toBeUndefined();
    expect(bitmap.nextDirty(0, 8 * kib + 1)).toEqual({ offset: 8 * kib, length: 1 });
    expect(bitmap.nextDirty(16 * kib)).toBeUndefined();
    // the last grain is dirty, but nothing is behind the end
    const { node: odd } = disk({ size: 10_000 });
    const last = odd.dirtyBitmaps.add({ granularity: 4 * kib });
    last.set(9000, 1000);
    expect([last.nextDirty(9999), last.nextDirty(10_000), last.nextDirty(9999, 9999)]).toEqual([{ offset: 9999, length: 1 }, undefined, undefined]);
  });

  it('goes to a medium and back as bytes', () => {
    const { node } = disk();
    const bitmap = node.dirtyBitmaps.add({ name: 'b', granularity: 512 });
    bitmap.set(0, 1024);
    bitmap.set(9 * 512, 1);
    const whole = new Uint8Array(bitmap.byteLength);
    bitmap.serialise(0, whole);
    expect([whole.length, ...whole.subarray(0, 3)]).toEqual([16, 3, 2, 0]);
    const copy = node.dirtyBitmaps.add({ name: 'copy', granularity: 512 });
    copy.deserialise(0, whole.subarray(0, 1));
    copy.deserialise(1, whole.subarray(1));
    expect(dirty(copy)).toBe('0+1024 4608+512');
  });

  it('follows the size of the node: what is new is clean, what is gone is gone', async () => {
    const fake = disk();
    const user = userOf(fake.node);
    const bitmap = fake.node.dirtyBitmaps.add({ name: 'b', granularity: 4 * kib });
    bitmap.set(0, 64 * kib);
    const how = { exact: true, prealloc: 'off' } as const;
    await user.truncate(100 * kib, how);
    expect([bitmap.size, dirty(bitmap)]).toEqual([100 * kib, '0+65536']);
    await user.truncate(6 * kib, how);
    expect([bitmap.size, dirty(bitmap), bitmap.count]).toEqual([6 * kib, '0+6144', 8 * kib]);
    await user.truncate(64 * kib, how);
    expect(dirty(bitmap)).toBe('0+8192');
  });
});

describe('names and granularities of bitmaps', () => {
  it('are refused in the words of QEMU', () => {
    const { dirtyBitmaps } = disk().node;
    dirtyBitmaps.add({ name: 'b', granularity: 512 });
    const refused: [{ name?: string; granularity: number }, string, string][] = [
      [{ name: '', granularity: 512 }, 'Bitmap name cannot be empty', 'ERR_NAME'],
      [{ name: 'c', granularity: 256 }, 'Granularity must be power of 2 and at least 512', 'ERR_OPTION'],
      [{ name: 'c', granularity: 513 }, 'Granularity must be power of 2 and at least 512', 'ERR_OPTION'],
      [{ name: 'b', granularity: 1024 }, 'Bitmap already exists: b', 'EEXIST'],
      [{ name: 'é'.repeat(512), granularity: 512 }, `Bitmap name too long: ${'é'.repeat(512)}`, 'ERR_NAME'],
    ];
    for (const [options, message, code] of refused) expect(errorOf(() => dirtyBitmaps.add(options))).toMatchObject({ message, code });
    dirtyBitmaps.add({ name: 'x'.repeat(1023), granularity: 512 });
    expect([...dirtyBitmaps].length).toBe(2);
  });

  it('are found, newest first', () => {
    const { dirtyBitmaps } = disk().node;
    const a = dirtyBitmaps.add({ name: 'a', granularity: 512 });
    dirtyBitmaps.add({ granularity: 512 });
    dirtyBitmaps.add({ granularity: 512 });
    dirtyBitmaps.add({ name: 'b', granularity: 512 });
    expect([...dirtyBitmaps].map(({ name }) => name)).toEqual(['b', undefined, undefined, 'a']);
    expect(dirtyBitmaps.get('a')).toBe(a);
    expect(dirtyBitmaps.find('c')).toBeUndefined();
    expect(errorOf(() => dirtyBitmaps.get('c'))).toMatchObject({ message: "Dirty bitmap 'c' not found", code: 'ENOENT' });
  });

  it.each([
    [0, 65536],
    [512, 4096],
    [4096, 4096],
    [32768, 32768],
    [65536, 65536],
    [2097152, 65536],
  ])('clusters of %i bytes have grains of %i bytes when nobody says', (clusterSize, granularity) => {
    expect(disk({ limits: { clusterSize } }).node.dirtyBitmaps.defaultGranularity).toBe(granularity);
  });
});

describe('a bitmap that stands in the way', () => {
  it('says why, in the words of QEMU', () => {
    const { dirtyBitmaps } = disk().node;
    const bitmap = dirtyBitmaps.add({ name: 'b', granularity: 512 });
    bitmap.check();
    bitmap.isInconsistent = true;
    expect(errorOf(() => bitmap.check())).toMatchObject({
      message: "Bitmap 'b' is inconsistent and cannot be used",
      detail: 'Try block-dirty-bitmap-remove to delete this bitmap from disk',
    });
    bitmap.isReadOnly = true;
    expect(errorOf(() => bitmap.check())).toMatchObject({ message: "Bitmap 'b' is readonly and cannot be modified", code: 'EACCES' });
    bitmap.isBusy = true;
    expect(errorOf(() => bitmap.check())).toMatchObject({
      message: "Bitmap 'b' is currently in use by another operation and cannot be used",
      code: 'EBUSY',
    });
    // who removes it does not mind that it is inconsistent
    bitmap.isBusy = false;
    bitmap.isReadOnly = false;
    bitmap.check(['busy', 'read-only']);
    bitmap.isInconsistent = false;
    bitmap.isReadOnly = true;
    bitmap.check(useObstacles);
  });
});
