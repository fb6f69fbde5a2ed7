/* Images that grow and shrink, with all kinds of preallocation: what was there stays, what comes reads as zeros, and the check finds nothing. */
import { describe, expect, it } from 'vitest';
import { type BlockBackend, resizerPerms } from '../../src/core/block/backend.ts';
import type { CreateValues } from '../../src/core/block/driver.ts';
import type { MemoryStorage } from '../../src/core/storage/memory.ts';
import { memoryEngine } from '../support/memory-engine.ts';
import { checkMedium, filled, newMedium, path } from './image-support.ts';

const kib = 1024;

async function withDisk(medium: MemoryStorage, body: (backend: BlockBackend) => Promise<void>): Promise<void> {
  const { engine, media } = memoryEngine();
  media.set(path, medium);
  try {
    await body(await engine.openBackend({ filename: path, format: 'qcow2', readOnly: false, discard: true, perms: resizerPerms }));
  } finally {
    await engine.close();
  }
}

async function content(backend: BlockBackend): Promise<Uint8Array> {
  const bytes = new Uint8Array(backend.size());
  await backend.read(0, bytes);
  return bytes;
}

const isClean = async (medium: MemoryStorage): Promise<void> => {
  const { corruptions, leaks, messages } = await checkMedium(medium);
  expect({ corruptions, leaks, messages }).toEqual({ corruptions: 0, leaks: 0, messages: [] });
};

const layouts: readonly [string, CreateValues][] = [
  ['512 byte clusters', { cluster_size: 512 }],
  ['4 KiB clusters', { cluster_size: 4096 }],
  ['extended L2', { cluster_size: 16384, extended_l2: true }],
  ['version 2', { cluster_size: 4096, compat: 'v2' }],
];

describe.each(layouts)('a disk with %s', (_name, values) => {
  it.each(['off', 'metadata', 'falloc', 'full'] as const)('grows, preallocated %s', async (prealloc) => {
    const medium = await newMedium({ ...values, size: 100 * kib });
    await withDisk(medium, async (backend) => {
      await backend.write(0, filled(100 * kib, 7));
      const before = medium.size();
      await backend.truncate(700 * kib, { exact: true, prealloc });
      expect(backend.size()).toBe(700 * kib);
      const expected = new Uint8Array(700 * kib).fill(7, 0, 100 * kib);
      expect(Buffer.compare(await content(backend), expected)).toBe(0);
      // who asks for room has it now
      expect(medium.size() >= before + 600 * kib).toBe(prealloc !== 'off');
      const grown = medium.size();
      await backend.write(300 * kib, filled(200 * kib, 9));
      expected.fill(9, 300 * kib, 500 * kib);
      expect(Buffer.compare(await content(backend), expected)).toBe(0);
      if (prealloc !== 'off') expect(medium.size()).toBe(grown);
    });
    await isClean(medium);
  });

  it('shrinks, and what was cut off is gone', async () => {
    const medium = await newMedium({ ...values, size: 700 * kib });
    await withDisk(medium, async (backend) => {
      await backend.write(0, filled(700 * kib, 7));
      const before = medium.size();
      await backend.truncate(192 * kib, { exact: true, prealloc: 'off' });
      expect(Buffer.compare(await content(backend), filled(192 * kib, 7))).toBe(0);
      expect(medium.size()).toBeLessThan(before - 400 * kib);
      await backend.truncate(300 * kib, { exact: true, prealloc: 'off' });
      expect(Buffer.compare(await content(backend), new Uint8Array(300 * kib).fill(7, 0, 192 * kib))).toBe(0);
    });
    await isClean(medium);
    await withDisk(medium, async (backend) => expect(backend.size()).toBe(300 * kib));
  });

  it.each(['metadata', 'falloc', 'full'] as const)('is made with %s preallocation', async (preallocation) => {
    const medium = await newMedium({ ...values, size: 200 * kib, preallocation });
    expect(medium.size()).toBeGreaterThanOrEqual(200 * kib);
    await withDisk(medium, async (backend) => {
      const made = medium.size();
      expect(Buffer.compare(await content(backend), new Uint8Array(200 * kib))).toBe(0);
      await backend.write(1000, filled(150 * kib, 3));
      expect(medium.size()).toBe(made);
      expect(Buffer.compare(await content(backend), new Uint8Array(200 * kib).fill(3, 1000, 1000 + 150 * kib))).toBe(0);
    });
    await isClean(medium);
  });
});
