/* One thing wrong with an image: what check tells of it, what each repair sets right, and that the guest sees the same after it. */
import { describe, expect, it } from 'vitest';
import type { CheckResult } from '../../src/core/block/driver.ts';
import type { MemoryStorage } from '../../src/core/storage/memory.ts';
import { checkMedium, copyMedium, filled, newDisk, openMedium } from './image-support.ts';

const cluster = 4096;
const size = 16 * cluster;
/** Where creation puts them: header, refcount table, refcount block, L1 table; then the L2 table and two data clusters. */
const at = { refcountTable: cluster, refcountBlock: 2 * cluster, l1: 3 * cluster, l2: 4 * cluster, data: 5 * cluster, free: 7 * cluster };

async function sound(): Promise<MemoryStorage> {
  const { engine, backend, medium } = await newDisk({ values: { size, cluster_size: cluster } });
  await backend.write(0, filled(2 * cluster, 7));
  await engine.close();
  return medium;
}

function view(medium: MemoryStorage, offset: number, length = 8): DataView {
  const bytes = new Uint8Array(length);
  medium.read(offset, bytes);
  return new DataView(bytes.buffer);
}

function change(medium: MemoryStorage, offset: number, to: (old: bigint) => bigint): void {
  const word = view(medium, offset);
  word.setBigUint64(0, to(word.getBigUint64(0)));
  medium.write(offset, new Uint8Array(word.buffer));
}

function setCount(medium: MemoryStorage, index: number, count: number): void {
  medium.write(at.refcountBlock + index * 2, Uint8Array.of(count >> 8, count & 0xff));
}

interface Repaired {
  readonly lines: string[];
  readonly result: CheckResult | undefined;
}

async function repair(medium: MemoryStorage, fix: { readonly leaks: boolean; readonly errors: boolean }): Promise<Repaired> {
  const { engine, backend } = await openMedium(medium);
  const lines: string[] = [];
  const take = (text: string): void => void lines.push(text);
  try {
    const result = await backend.node?.state.check?.(fix, { line: take, error: take });
    return { lines, result };
  } finally {
    await engine.close();
  }
}

const leaks = { leaks: true, errors: false };
const errors = { leaks: false, errors: true };
const all = { leaks: true, errors: true };

async function isSound(medium: MemoryStorage): Promise<void> {
  expect(await checkMedium(medium)).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0, messages: [] });
  const { engine, backend } = await openMedium(medium);
  const found = new Uint8Array(size);
  await backend.read(0, found);
  expect(found.subarray(0, 2 * cluster).every((byte) => byte === 7)).toBe(true);
  expect(found.subarray(2 * cluster).every((byte) => byte === 0)).toBe(true);
  await engine.close();
}

describe('check', () => {
  it('finds nothing in a sound image, and tells how much of it is in use', async () => {
    const medium = await sound();
    expect(await checkMedium(medium)).toEqual({
      ...{ corruptions: 0, leaks: 0, checkErrors: 0, corruptionsFixed: 0, leaksFixed: 0, messages: [] },
      ...{ imageEndOffset: at.free, totalClusters: 16, allocatedClusters: 2, fragmentedClusters: 0, compressedClusters: 0 },
    });
    expect((await repair(medium, all)).lines).toEqual([]);
    await isSound(medium);
  });

  it('counts clusters that are out of order, and compressed ones', async () => {
    const { engine, backend, medium } = await newDisk({ values: { size, cluster_size: cluster } });
    for (const index of [3, 2, 1]) await backend.write(index * cluster, filled(cluster, 1));
    await backend.write(8 * cluster, filled(cluster, 2), 8);
    await engine.close();
    expect(await checkMedium(medium)).toMatchObject({ allocatedClusters: expect.any(Number), fragmentedClusters: expect.any(Number), corruptions: 0 });
    expect((await checkMedium(medium)).fragmentedClusters).toBeGreaterThan(0);
  });
});

interface Scene {
  readonly breaks: (medium: MemoryStorage) => void;
  readonly told: readonly string[];
  readonly found: { readonly corruptions: number; readonly leaks: number };
  /** Lines of a repair, and the repairs that do it. */
  readonly repairing: readonly string[];
  readonly by: readonly { readonly leaks: boolean; readonly errors: boolean }[];
}

const scenes: Record<string, Scene> = {
  'a cluster that nothing uses is counted': {
    breaks: (medium) => {
      medium.write(at.free, new Uint8Array(cluster));
      setCount(medium, 7, 1);
    },
    told: ['Leaked cluster 7 refcount=1 reference=0'],
    found: { corruptions: 0, leaks: 1 },
    repairing: ['Leaked cluster 7 refcount=1 reference=0', 'Repairing cluster 7 refcount=1 reference=0'],
    by: [leaks, all],
  },
  'a cluster is counted too often': {
    breaks: (medium) => setCount(medium, 5, 2),
    told: ['Leaked cluster 5 refcount=2 reference=1', 'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000005000 refcount=2'],
    found: { corruptions: 1, leaks: 1 },
    repairing: ['Leaked cluster 5 refcount=2 reference=1', 'Repairing cluster 5 refcount=2 reference=1'],
    by: [leaks, all],
  },
  'a cluster in use is not counted': {
    breaks: (medium) => setCount(medium, 5, 0),
    told: ['ERROR cluster 5 refcount=0 reference=1', 'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000005000 refcount=0'],
    found: { corruptions: 2, leaks: 0 },
    repairing: [
      'ERROR cluster 5 refcount=0 reference=1',
      'Rebuilding refcount structure',
      'Repairing cluster 1 refcount=1 reference=0',
      'Repairing cluster 2 refcount=1 reference=0',
    ],
    by: [all],
  },
  'an entry of a data cluster is not marked as its own': {
    breaks: (medium) => change(medium, at.l2, (entry) => entry & ~(1n << 63n)),
    told: ['ERROR OFLAG_COPIED data cluster: l2_entry=5000 refcount=1'],
    found: { corruptions: 1, leaks: 0 },
    repairing: ['Repairing OFLAG_COPIED data cluster: l2_entry=5000 refcount=1'],
    by: [errors, leaks, all],
  },
  'an entry of an L2 table is not marked as its own': {
    breaks: (medium) => change(medium, at.l1, (entry) => entry & ~(1n << 63n)),
    told: ['ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=4000 refcount=1'],
    found: { corruptions: 1, leaks: 0 },
    repairing: ['Repairing OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=4000 refcount=1'],
    by: [errors, leaks, all],
  },
};

describe.each(Object.entries(scenes))('%s', (_what, { breaks, told, found, repairing, by }) => {
  it('is told', async () => {
    const medium = await sound();
    breaks(medium);
    const before = copyMedium(medium);
    expect(await checkMedium(medium)).toMatchObject({ ...found, checkErrors: 0, messages: told, corruptionsFixed: 0, leaksFixed: 0 });
    // looking changes nothing
    expect(Buffer.compare(new Uint8Array(view(medium, 0, medium.size()).buffer), new Uint8Array(view(before, 0, before.size()).buffer))).toBe(0);
  });

  it.each(by)('is repaired with %j', async (fix) => {
    const medium = await sound();
    breaks(medium);
    const { lines, result } = await repair(medium, fix);
    expect(lines).toEqual(repairing);
    expect(result).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
    expect((result?.corruptionsFixed ?? 0) + (result?.leaksFixed ?? 0)).toBeGreaterThan(0);
    await isSound(medium);
  });
});

describe('a repair', () => {
  it('of errors alone leaves leaks, and one of leaks leaves errors', async () => {
    const leaking = await sound();
    leaking.write(at.free, new Uint8Array(cluster));
    setCount(leaking, 7, 1);
    expect((await repair(leaking, errors)).result).toMatchObject({ leaks: 1, leaksFixed: 0 });
    const wrong = await sound();
    setCount(wrong, 5, 0);
    await expect(repair(wrong, leaks)).rejects.toMatchObject({ code: 'EIO' });
  });

  it('of a refcount table without a block makes new ones', async () => {
    const medium = await sound();
    change(medium, at.refcountTable, () => 0n);
    expect((await checkMedium(medium)).messages.slice(0, 6)).toEqual([0, 1, 3, 4, 5, 6].map((index) => `ERROR cluster ${index} refcount=0 reference=1`));
    const { lines, result } = await repair(medium, all);
    expect(lines.slice(-2)).toEqual(['Rebuilding refcount structure', 'Repairing cluster 1 refcount=1 reference=0']);
    expect(result).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0, corruptionsFixed: 6 });
    await isSound(medium);
  });

  it.each([
    [512, 'ERROR refcount block 0 is not cluster aligned; refcount table entry corrupted'],
    [1, 'ERROR refcount table entry 0 has reserved bits set'],
  ])('as the peer gives up where a block is at +%i, and leaves the guest its data', async (off, line) => {
    const medium = await sound();
    change(medium, at.refcountTable, (entry) => entry + BigInt(off));
    expect((await checkMedium(medium)).messages[0]).toBe(line);
    await expect(repair(medium, all)).rejects.toMatchObject({ code: 'EIO' });
    const { engine, backend } = await openMedium(medium, { readOnly: true });
    const found = new Uint8Array(2 * cluster);
    await backend.read(0, found);
    expect(found.every((byte) => byte === 7)).toBe(true);
    await engine.close();
  });
});
