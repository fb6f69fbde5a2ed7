/* What of an image can be changed afterwards: what it says of itself then, that its guest sees the same, and that check finds nothing. */
import { describe, expect, it } from 'vitest';
import type { CreateValues } from '../../src/core/block/driver.ts';
import { reqFlag } from '../../src/core/block/driver.ts';
import { checkMedium, type Disk, filled, newDisk, openMedium } from './image-support.ts';

const cluster = 4096;
const size = 64 * cluster;

/** A disk with data, zeros with and without a place, and holes; what its guest reads. */
async function start(values: CreateValues = {}): Promise<{ readonly disk: Disk; readonly content: Uint8Array }> {
  const disk = await newDisk({ values: { size, cluster_size: cluster, ...values } });
  const { backend } = disk;
  const content = new Uint8Array(size);
  for (const [at, length, byte] of [
    [0, 3 * cluster, 1],
    [10 * cluster + 100, 5000, 2],
    [40 * cluster, 8 * cluster, 3],
  ] as const) {
    await backend.write(at, filled(length, byte));
    content.fill(byte, at, at + length);
  }
  for (const [at, flags] of [
    [cluster, 0],
    [41 * cluster, reqFlag.mayUnmap],
    [60 * cluster, 0],
  ] as const) {
    await backend.zero(at, cluster, flags);
    content.fill(0, at, at + cluster);
  }
  return { disk, content };
}

const facts = ({ backend }: Disk): Record<string, unknown> => ({ ...backend.node?.state.info?.().specific?.data });

async function amend(disk: Disk, values: CreateValues): Promise<number[][]> {
  const progress: number[][] = [];
  await disk.backend.node?.state.amend?.(values, { force: false, onProgress: (...told) => void progress.push(told) });
  return progress;
}

/** The guest reads the same now and after another open, and the image is sound. */
async function isSame({ disk, content }: { readonly disk: Disk; readonly content: Uint8Array }, length = size): Promise<Record<string, unknown>> {
  const read = async ({ backend }: Disk): Promise<void> => {
    const found = new Uint8Array(length);
    await backend.read(0, found);
    expect(Buffer.compare(found.subarray(0, size), content)).toBe(0);
    expect(found.subarray(size).every((byte) => byte === 0)).toBe(true);
  };
  await read(disk);
  await disk.engine.close();
  expect(await checkMedium(disk.medium)).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0, messages: [] });
  const again = await openMedium(disk.medium);
  await read(again);
  const told = facts(again);
  await again.engine.close();
  return told;
}

describe('an image', () => {
  it('goes down in version, its zeros written, and up again', async () => {
    const made = await start({ lazy_refcounts: false });
    expect((await amend(made.disk, { compat: '0.10' })).length).toBeGreaterThan(0);
    expect(facts(made.disk)).toEqual({ compat: '0.10', 'compression-type': 'zlib', 'refcount-bits': 16 });
    await made.disk.backend.write(50 * cluster, filled(cluster, 9));
    made.content.fill(9, 50 * cluster, 51 * cluster);
    await amend(made.disk, { compat: 'v3' });
    expect(facts(made.disk)).toMatchObject({ compat: '1.1', 'lazy-refcounts': false, corrupt: false });
    expect(await isSame(made)).toMatchObject({ compat: '1.1' });
  });

  it('of the old version stays that on the medium', async () => {
    const made = await start();
    await amend(made.disk, { compat: 'v2' });
    expect(await isSame(made)).toEqual({ compat: '0.10', 'compression-type': 'zlib', 'refcount-bits': 16 });
  });

  it('with a backing file hides it under its zeros, also in the old version', async () => {
    const backing = filled(size, 0xbb);
    const disk = await newDisk({ values: { size, cluster_size: cluster }, backing });
    const content = Uint8Array.from(backing);
    await disk.backend.zero(4 * cluster, 9 * cluster);
    content.fill(0, 4 * cluster, 13 * cluster);
    await amend(disk, { compat: '0.10' });
    const found = new Uint8Array(size);
    await disk.backend.read(0, found);
    expect(Buffer.compare(found, content)).toBe(0);
    await disk.engine.close();
    expect(await checkMedium(disk.medium, { backing })).toMatchObject({ corruptions: 0, leaks: 0, messages: [] });
  });

  it.each([1, 2, 4, 8, 32, 64])('counts with %i bits', async (refcount_bits) => {
    const made = await start();
    expect((await amend(made.disk, { refcount_bits })).length).toBeGreaterThan(0);
    expect(facts(made.disk)['refcount-bits']).toBe(refcount_bits);
    await made.disk.backend.write(20 * cluster, filled(cluster, 7));
    made.content.fill(7, 20 * cluster, 21 * cluster);
    expect(await isSame(made)).toMatchObject({ 'refcount-bits': refcount_bits });
  });

  it('takes lazy refcounts and gives them up', async () => {
    const made = await start();
    await amend(made.disk, { lazy_refcounts: true });
    expect(facts(made.disk)['lazy-refcounts']).toBe(true);
    await made.disk.backend.write(20 * cluster, filled(cluster, 7));
    made.content.fill(7, 20 * cluster, 21 * cluster);
    await made.disk.backend.flush();
    expect(made.disk.backend.node?.state.info?.().dirty).toBe(true);
    await amend(made.disk, { lazy_refcounts: false });
    expect(made.disk.backend.node?.state.info?.().dirty).toBe(false);
    expect(await isSame(made)).toMatchObject({ 'lazy-refcounts': false });
  });

  it('grows and shrinks', async () => {
    const made = await start();
    await amend(made.disk, { size: 2 * size });
    expect(made.disk.backend.size()).toBe(2 * size);
    await isSame(made, 2 * size);
  });

  it('stays as it is when nothing else is asked for', async () => {
    const made = await start();
    const before = facts(made.disk);
    expect(await amend(made.disk, { compat: '1.1', refcount_bits: 16, lazy_refcounts: false })).toEqual([]);
    expect(await isSame(made)).toEqual(before);
  });

  it.each<[CreateValues, string, CreateValues?]>([
    [{ compat: '2.0' }, 'Unknown compatibility level 2.0'],
    [{ data_file: 'd' }, 'data-file can only be set for images that use an external data file'],
    [{ data_file_raw: true }, 'data-file-raw cannot be set on existing images'],
    [{ refcount_bits: 5 }, 'Refcount width must be a power of two and may not exceed 64 bits'],
    [{ refcount_bits: 128 }, 'Refcount width must be a power of two and may not exceed 64 bits'],
    [{ compat: '0.10', refcount_bits: 8 }, 'Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)'],
    [{ compat: '0.10', lazy_refcounts: true }, 'Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)'],
    [{ backing_file: 'other' }, 'Cannot amend the backing file'],
    [{ backing_fmt: 'raw' }, 'Cannot amend the backing file'],
    [{ 'encrypt.state': 'active' }, "Can't amend encryption options - encryption not present"],
    [{ compat: '0.10' }, 'compat=0.10 requires refcount_bits=16', { refcount_bits: 8 }],
  ])('refuses %j', async (values, message, created) => {
    const made = await start(created);
    const refused = await amend(made.disk, values).then(
      () => expect.fail('accepted'),
      (error: unknown) => error,
    );
    expect(refused).toMatchObject({ message, code: expect.stringMatching(/^E[A-Z_]+$/) });
    await isSame(made);
  });
});
