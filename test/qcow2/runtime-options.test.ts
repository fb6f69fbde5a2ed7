/* Options of an open image that do not lie on the medium: what is refused, in the peer's words; and extents as it tells them. */
import { afterEach, describe, expect, it } from 'vitest';
import { nodeStatus } from '../../src/core/block/block-status.ts';
import { reqFlag } from '../../src/core/block/driver.ts';
import { type Disk, filled, newDisk, newMedium, openMedium } from './image-support.ts';

const cluster = 4096;
const size = 64 * cluster;
const mib = 1 << 20;

let disk: Disk | undefined;
afterEach(async () => {
  await disk?.engine.close();
  disk = undefined;
});

describe('options of an open image', () => {
  it.each<[Record<string, string | number | boolean>, string]>([
    [
      { 'cache-size': mib, 'l2-cache-size': mib, 'refcount-cache-size': mib },
      'cache-size, l2-cache-size and refcount-cache-size may not be set at the same time',
    ],
    [{ 'cache-size': mib, 'l2-cache-size': mib + 1 }, 'l2-cache-size may not exceed cache-size'],
    [{ 'cache-size': mib, 'refcount-cache-size': mib + 1 }, 'refcount-cache-size may not exceed cache-size'],
    [{ 'refcount-cache-size': 2 ** 52 }, 'Refcount cache size too big'],
    ...[256, 3000, 2 * cluster].map((bytes): [Record<string, number>, string] => [
      { 'l2-cache-entry-size': bytes },
      `L2 cache entry size must be a power of two between 512 and the cluster size (${cluster})`,
    ]),
    [{ 'overlap-check': 'some' }, "Unsupported value 'some' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all"],
  ])('are refused: %j', async (open, message) => {
    const medium = await newMedium({ size, cluster_size: cluster });
    await expect(openMedium(medium, { open })).rejects.toMatchObject({ message: expect.stringContaining(message), code: expect.stringMatching(/^E[A-Z_]+$/) });
  });

  it.each<Record<string, string | number | boolean>>([
    { 'cache-size': mib, 'l2-cache-size': mib },
    { 'cache-size': mib, 'refcount-cache-size': mib },
    { 'cache-size': 512 },
    { 'l2-cache-size': 0, 'refcount-cache-size': 0 },
    { 'l2-cache-entry-size': 512 },
    { 'l2-cache-entry-size': cluster },
    { 'overlap-check': 'all' },
    { 'overlap-check': 'none' },
  ])('change nothing of what is read: %j', async (open) => {
    disk = await newDisk({ values: { size, cluster_size: cluster }, open });
    for (let index = 0; index < 64; index += 3) await disk.backend.write(index * cluster, filled(cluster, index + 1));
    const found = new Uint8Array(size);
    await disk.backend.read(0, found);
    for (let index = 0; index < 64; index++) expect(found[index * cluster + 5]).toBe(index % 3 === 0 ? index + 1 : 0);
  });
});

describe('extents of an image', () => {
  it('are holes, data with their place, zeros with and without, and compressed clusters', async () => {
    disk = await newDisk({ values: { size, cluster_size: cluster } });
    const { backend } = disk;
    await backend.write(cluster, filled(2 * cluster, 1));
    await backend.write(4 * cluster, filled(cluster, 2));
    await backend.zero(4 * cluster, cluster);
    await backend.zero(6 * cluster, cluster, reqFlag.mayUnmap);
    await backend.write(8 * cluster, filled(cluster, 3), reqFlag.compressed);
    const node = backend.node ?? expect.fail('no node');
    const told: Record<string, unknown>[] = [];
    for (let at = 0; at < size; ) {
      const { length, data, zero, allocated, compressed, hostOffset } = await nodeStatus(node, at, size - at, true);
      told.push({ at: at / cluster, length: length / cluster, data, zero, allocated, isCompressed: compressed === true, hasPlace: hostOffset !== undefined });
      at += length;
    }
    const hole = { data: false, zero: true, allocated: false, isCompressed: false, hasPlace: false };
    const own = { ...hole, allocated: true };
    expect(told).toEqual([
      { at: 0, length: 1, ...hole },
      { at: 1, length: 2, ...own, data: true, zero: false, hasPlace: true },
      { at: 3, length: 1, ...hole },
      { at: 4, length: 1, ...own, hasPlace: true },
      { at: 5, length: 1, ...hole },
      { at: 6, length: 1, ...own },
      { at: 7, length: 1, ...hole },
      { at: 8, length: 1, ...own, data: true, zero: false, isCompressed: true },
      { at: 9, length: 55, ...hole },
    ]);
  });
});
