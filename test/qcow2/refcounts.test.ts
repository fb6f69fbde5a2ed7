/* Taking clusters and giving them back, as seen on the medium. */
import { afterEach, describe, expect, it } from 'vitest';
import type { BlockBackend } from '../../src/core/block/backend.ts';
import { reqFlag } from '../../src/core/block/driver.ts';
import { FaultyStorage } from '../../src/core/storage/faulty.ts';
import type { MemoryStorage } from '../../src/core/storage/memory.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { seeded } from '../support/random.ts';
import { bytesOf, checkMedium, type DiskOptions, filled, newDisk } from './image-support.ts';

const kib = 1024;
let engine: Engine;
let medium: MemoryStorage;
afterEach(() => engine.close().catch(() => {}));

async function disk(options: DiskOptions): Promise<BlockBackend> {
  const made = await newDisk(options);
  engine = made.engine;
  medium = made.medium;
  return made.backend;
}

/** Where on the medium a cluster of one byte lies. */
function placeOf(value: number, clusterSize: number): number {
  const bytes = bytesOf(medium);
  const wanted = filled(clusterSize, value);
  for (let at = 0; at < bytes.length; at += clusterSize) if (Buffer.compare(bytes.subarray(at, at + clusterSize), wanted) === 0) return at;
  return -1;
}

async function isConsistent(leaks = 0): Promise<void> {
  await engine.close();
  expect(await checkMedium(medium)).toMatchObject({ corruptions: 0, leaks, checkErrors: 0 });
}

const noise = (length: number, seed: number): Uint8Array => {
  const random = seeded(seed);
  return new Uint8Array(length).map(() => random(256));
};

describe('the search for free clusters', () => {
  it('takes the lowest one that was given back, then goes on behind it', async () => {
    const backend = await disk({ values: { size: 1 << 20, cluster_size: 4096 } });
    for (let index = 0; index < 6; index++) await backend.write(index * 4096, filled(4096, 10 + index));
    await backend.flush();
    const places = [10, 11, 12, 13, 14, 15].map((value) => placeOf(value, 4096));
    await backend.discard(3 * 4096, 4096);
    await backend.discard(4096, 4096);
    await backend.write(20 * 4096, filled(4096, 20));
    await backend.write(21 * 4096, filled(4096, 21));
    await backend.write(22 * 4096, filled(4096, 22));
    await backend.flush();
    expect(placeOf(20, 4096)).toBe(places[1]);
    expect(placeOf(21, 4096)).toBe(places[3]);
    expect(placeOf(22, 4096)).toBe((places[5] ?? 0) + 4096);
    await isConsistent();
  });

  it('passes over a gap that is too small for the whole', async () => {
    const backend = await disk({ values: { size: 1 << 20, cluster_size: 4096 } });
    for (let index = 0; index < 4; index++) await backend.write(index * 4096, filled(4096, 10 + index));
    await backend.flush();
    const last = placeOf(13, 4096);
    await backend.discard(4096, 4096);
    await backend.write(20 * 4096, filled(8192, 20));
    await backend.flush();
    expect(placeOf(20, 4096)).toBe(last + 4096);
    await isConsistent();
  });
});

describe('compressed clusters', () => {
  const values = { size: 64 * 65536 };

  it('lie one behind the other in one cluster, which is free when the last of them goes', async () => {
    const backend = await disk({ values });
    const size = (): number => bytesOf(medium).length;
    await backend.write(0, filled(65536, 1), reqFlag.compressed);
    await backend.flush();
    const before = size();
    for (let index = 1; index < 5; index++) await backend.write(index * 65536, filled(65536, 1 + index), reqFlag.compressed);
    await backend.flush();
    expect(size()).toBeLessThanOrEqual(before + 1024);
    const buffer = new Uint8Array(65536);
    for (let index = 0; index < 5; index++) {
      await backend.read(index * 65536, buffer);
      expect(Buffer.compare(buffer, filled(65536, 1 + index))).toBe(0);
    }
    for (let index = 0; index < 5; index++) await backend.discard(index * 65536, 65536);
    await backend.write(10 * 65536, filled(65536, 99));
    await backend.flush();
    expect(placeOf(99, 65536)).toBeLessThan(before);
    await isConsistent();
  });

  it('do not go on in a cluster that was given back', async () => {
    const backend = await disk({ values });
    await backend.write(0, filled(65536, 1), reqFlag.compressed);
    await backend.write(0, noise(65536, 1));
    const mine = noise(65536, 2);
    await backend.write(2 * 65536, mine);
    await backend.write(3 * 65536, filled(65536, 1), reqFlag.compressed);
    const back = new Uint8Array(65536);
    await backend.read(2 * 65536, back);
    expect(Buffer.compare(back, mine)).toBe(0);
    await isConsistent();
  });

  it('share no cluster where counts go up to 1', async () => {
    const backend = await disk({ values: { ...values, refcount_bits: 1 } });
    await backend.write(0, filled(65536, 1), reqFlag.compressed);
    await backend.write(65536, filled(65536, 2), reqFlag.compressed);
    await backend.flush();
    const buffer = new Uint8Array(65536);
    await backend.read(65536, buffer);
    expect(Buffer.compare(buffer, filled(65536, 2))).toBe(0);
    await isConsistent();
  });

  it('that go on in the next cluster are whole, and given back whole', async () => {
    const backend = await disk({ values: { size: 1 << 20, cluster_size: 4096 } });
    // each a bit more than half a cluster
    const half = (seed: number): Uint8Array => {
      const data = new Uint8Array(4096);
      data.set(noise(2200, seed));
      return data;
    };
    for (let index = 0; index < 9; index++) await backend.write(index * 4096, half(index), reqFlag.compressed);
    const buffer = new Uint8Array(4096);
    for (let index = 0; index < 9; index++) {
      await backend.read(index * 4096, buffer);
      expect(Buffer.compare(buffer, half(index))).toBe(0);
    }
    for (let index = 0; index < 9; index += 2) await backend.discard(index * 4096, 4096);
    await backend.write(100 * 4096, filled(8 * 4096, 5));
    for (let index = 1; index < 9; index += 2) {
      await backend.read(index * 4096, buffer);
      expect(Buffer.compare(buffer, half(index))).toBe(0);
    }
    await isConsistent();
  });

  it('that fail are given back', async () => {
    let isFailing = false;
    const backend = await disk({
      values,
      wrap: (storage) => {
        const faulty = new FaultyStorage(storage, {
          fail: (op, _offset, length) => (isFailing && op === 'write' && length > 8 && length < 1000 ? failure() : undefined),
        });
        return faulty;
      },
    });
    isFailing = true;
    await expect(Promise.resolve(backend.write(0, filled(65536, 1), reqFlag.compressed))).rejects.toThrow('No space left on device');
    isFailing = false;
    await backend.write(65536, filled(65536, 2), reqFlag.compressed);
    await isConsistent();
  });
});

function failure(): BlockError {
  return new BlockError('No space left on device', { code: 'ENOSPC' });
}

describe('discards below', () => {
  const punched: string[] = [];
  const watched: NonNullable<DiskOptions['wrap']> = (storage) =>
    new FaultyStorage(storage, { before: (op, offset, length) => void (op === 'discard' ? punched.push(`${offset}+${length}`) : 0) });

  async function discarded(open: Record<string, boolean>): Promise<string[]> {
    const backend = await disk({ values: { size: 1 << 20, cluster_size: 4096 }, wrap: watched, open });
    await backend.write(0, filled(4 * 4096, 7));
    await backend.flush();
    const at = placeOf(7, 4096);
    punched.length = 0;
    await backend.discard(4096, 2 * 4096);
    const found = punched.map((range) => range.replace(String(at + 4096), 'second'));
    await isConsistent();
    return found;
  }

  it('come as one for clusters side by side', async () => {
    expect(await discarded({})).toEqual([`second+${2 * 4096}`]);
  });

  it('do not come where requests are not to be passed on', async () => {
    expect(await discarded({ 'pass-discard-request': false })).toEqual([]);
  });

  it('come for clusters that keep their place', async () => {
    expect(await discarded({ 'discard-no-unref': true })).toEqual([`second+${2 * 4096}`]);
    expect(await discarded({ 'discard-no-unref': true, 'pass-discard-request': false })).toEqual([]);
  });
});

describe('refcount blocks and their table', () => {
  it.each([1, 2, 4, 8, 16, 32, 64])('grow with counts of %i bits', async (bits) => {
    const size = 600 * kib;
    const backend = await disk({ values: { size, cluster_size: 512, refcount_bits: bits } });
    for (let at = 0; at < size; at += 30 * kib) await backend.write(at, filled(30 * kib, 1 + at / kib / 30));
    await backend.flush();
    const buffer = new Uint8Array(30 * kib);
    for (let at = 0; at < size; at += 30 * kib) {
      await backend.read(at, buffer);
      expect(Buffer.compare(buffer, filled(30 * kib, 1 + at / kib / 30))).toBe(0);
    }
    await isConsistent();
  });

  it('move to a larger table when that is full, and the old one is free', async () => {
    const size = 2560 * kib;
    const backend = await disk({ values: { size, cluster_size: 512, refcount_bits: 64 } });
    for (let at = 0; at < size; at += 64 * kib) await backend.write(at, filled(64 * kib, 1 + at / kib / 64));
    await backend.flush();
    const bytes = bytesOf(medium);
    const table = new DataView(bytes.buffer).getUint32(52);
    expect(table).toBeGreaterThan(1024);
    const buffer = new Uint8Array(64 * kib);
    for (let at = 0; at < size; at += 64 * kib) {
      await backend.read(at, buffer);
      expect(Buffer.compare(buffer, filled(64 * kib, 1 + at / kib / 64))).toBe(0);
    }
    await isConsistent();
  });
});
