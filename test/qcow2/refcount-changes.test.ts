/* Changes of refcounts on an image by itself: what is counted, found, given back and told to the file, and what a failure leaves. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { CreateValues } from '../../src/core/block/driver.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import type { ImageOptions, Qcow2Image } from '../../src/qcow2/image.ts';
import { refcountOf, setRefcount } from '../../src/qcow2/refcount-blocks.ts';
import {
  allocateBytes,
  allocateClusters,
  allocateClustersAt,
  changeRefcounts,
  discardFile,
  type FreeReason,
  freeClusters,
  passDiscards,
  releaseClusters,
} from '../../src/qcow2/refcounts.ts';
import type { FakeNode } from '../support/fake-node.ts';
import { bareImage, now } from './bare-image.ts';

const kib = 1024;
const mib = 1024 * kib;
const clusterSize = 512;
/** The first cluster that a new image has free, and counts of 16 bits a block. */
let free: number;
let file: FakeNode;
let image: Qcow2Image;
let events: string[];
let warnings: string[];

async function open(values: CreateValues = {}, options: Partial<ImageOptions> = {}): Promise<void> {
  ({ image, file, events, warnings } = await bareImage({ cluster_size: clusterSize, ...values }, options));
  free = 0;
  while (count(free) !== 0) free++;
  file.log.length = 0;
}

beforeEach(() => open());

const count = (cluster: number): number => now(refcountOf(image, cluster));
const counts = (from: number, length: number): number[] => Array.from({ length }, (_, at) => count(from + at));
const change = (cluster: number, clusters: number, delta: 1 | -1, reason: FreeReason = 'never'): boolean =>
  now(changeRefcounts(image, cluster * clusterSize, clusters * clusterSize, delta, reason));
const failure = (body: () => unknown): BlockError => {
  try {
    body();
  } catch (error) {
    if (error instanceof BlockError) return error;
    throw error;
  }
  throw new Error('did not fail');
};
const discarded = (): string[] => file.log.filter((line) => line.startsWith('discard'));

describe('a change', () => {
  it('is of every cluster that the bytes touch', () => {
    now(changeRefcounts(image, free * clusterSize + 511, 514, 1, 'never'));
    expect(counts(free - 1, 5)).toEqual([1, 1, 1, 1, 0]);
    now(changeRefcounts(image, (free + 1) * clusterSize, clusterSize, 1, 'never'));
    expect(counts(free - 1, 5)).toEqual([1, 1, 2, 1, 0]);
    change(free, 3, -1);
    expect(counts(free, 3)).toEqual([0, 1, 0]);
  });

  it('of nothing is none', () => {
    image.freeIndex = 77;
    expect(now(changeRefcounts(image, free * clusterSize + 1, 0, 1, 'never'))).toBe(true);
    expect(now(changeRefcounts(image, free * clusterSize + 1, -5, -1, 'never'))).toBe(true);
    expect([count(free), image.refcountCache.isDirty, image.refcountCache.dependency]).toEqual([0, false, undefined]);
  });

  it('beyond the largest count fails whole', async () => {
    await open({ refcount_bits: 1 });
    change(free + 1, 1, 1);
    const error = failure(() => change(free, 2, 1));
    expect([error.message, error.code]).toEqual(['Invalid argument', 'EINVAL']);
    expect(counts(free, 3)).toEqual([0, 1, 0]);
    await open({ refcount_bits: 2 });
    for (let time = 0; time < 3; time++) change(free, 1, 1);
    expect(count(free)).toBe(3);
    expect(failure(() => change(free, 1, 1)).code).toBe('EINVAL');
    expect(count(free)).toBe(3);
  });

  it('below nothing fails whole, and nothing of it is discarded', () => {
    change(free, 2, 1);
    const error = failure(() => change(free, 3, -1, 'always'));
    expect([error.message, error.code]).toEqual(['Invalid argument', 'EINVAL']);
    expect(counts(free, 3)).toEqual([1, 1, 0]);
    expect(image.discards.isEmpty).toBe(true);
  });

  it('below nothing leaves what others wait to have discarded', () => {
    change(free, 6, 1);
    change(free + 5, 1, -1, 'always');
    expect(failure(() => change(free, 7, -1, 'always')).code).toBe('EINVAL');
    expect(counts(free, 7)).toEqual([1, 1, 1, 1, 1, 0, 0]);
    expect(image.discards.drain()).toEqual([{ offset: (free + 5) * clusterSize, length: clusterSize }]);
  });

  it('of clusters that nobody counts says so', () => {
    const uncounted = failure(() => change(1000, 1, -1));
    expect([uncounted.message, uncounted.code]).toEqual(['Invalid argument', 'EINVAL']);
    const last = (mib - 1) * 256;
    expect(failure(() => change(last, 1, -1)).code).toBe('EINVAL');
    const beyond = failure(() => change(last + 256, 1, -1));
    expect([beyond.message, beyond.code]).toEqual(['File too large', 'EFBIG']);
    const more = failure(() => change(last + 256, 1, 1));
    expect([more.message, more.code]).toEqual(['File too large', 'EFBIG']);
  });

  it('that needs a block makes it, says "again", and has changed nothing else', () => {
    image.freeIndex = 250;
    expect(change(254, 4, 1)).toBe(false);
    expect(counts(254, 2)).toEqual([0, 0]);
    expect(image.freeIndex).toBe(251);
    const block = image.refcountTable[1] ?? 0;
    expect(block).toBe(250 * clusterSize);
    expect(count(250)).toBe(1);
    expect(change(254, 4, 1)).toBe(true);
    expect(counts(254, 5)).toEqual([1, 1, 1, 1, 0]);
  });

  it('that needs a block goes on behind what it had taken', () => {
    image.freeIndex = 256;
    expect(change(250, 10, 1)).toBe(false);
    // the block counts itself, and the search starts where the request did
    expect([image.refcountTable[1], count(256), image.freeIndex]).toEqual([256 * clusterSize, 1, 250]);
    expect(counts(250, 6)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  it('that takes ranges them out of the discards', () => {
    change(free, 4, 1);
    change(free, 4, -1, 'always');
    change(free + 1, 2, 1);
    expect(image.discards.drain()).toEqual([
      { offset: free * clusterSize, length: clusterSize },
      { offset: (free + 3) * clusterSize, length: clusterSize },
    ]);
  });

  it('that frees comes behind the tables, and is seen by the search', () => {
    change(free, 4, 1);
    image.freeIndex = free + 4;
    change(free + 2, 1, -1);
    expect(image.freeIndex).toBe(free + 2);
    change(free + 3, 1, -1);
    expect(image.freeIndex).toBe(free + 2);
    expect(image.refcountCache.dependency).toBe(image.l2Cache);
  });

  it('that frees a table gives it up', () => {
    change(free, 2, 1);
    image.l2Cache.create(free * clusterSize);
    image.refcountCache.create((free + 1) * clusterSize);
    change(free, 2, -1);
    expect([image.l2Cache.peek(free * clusterSize), image.refcountCache.peek((free + 1) * clusterSize)]).toEqual([undefined, undefined]);
  });
});

describe('what is freed', () => {
  const reasons: readonly FreeReason[] = ['never', 'request', 'snapshot', 'other', 'always'];

  it.each([
    [{ passDiscardRequest: false, passDiscardSnapshot: false, passDiscardOther: false }, ['always']],
    [{ passDiscardRequest: true, passDiscardSnapshot: false, passDiscardOther: false }, ['request', 'always']],
    [{ passDiscardRequest: false, passDiscardSnapshot: true, passDiscardOther: false }, ['snapshot', 'always']],
    [{ passDiscardRequest: false, passDiscardSnapshot: false, passDiscardOther: true }, ['other', 'always']],
  ] as const)('is discarded as told: %o', async (options, expected) => {
    await open({}, options);
    const told: string[] = [];
    for (const reason of reasons) {
      change(free, 2, 1);
      file.log.length = 0;
      now(freeClusters(image, free * clusterSize, 2 * clusterSize, reason));
      if (discarded().includes(`discard ${free * clusterSize}+${2 * clusterSize}`)) told.push(reason);
      expect(counts(free, 2)).toEqual([0, 0]);
    }
    expect(told).toEqual(expected);
  });

  it('is queued until the caller passes it on', () => {
    change(free, 2, 1);
    file.log.length = 0;
    now(releaseClusters(image, free * clusterSize, clusterSize, 'always'));
    expect([image.discards.isEmpty, discarded()]).toEqual([false, []]);
    now(passDiscards(image));
    expect([image.discards.isEmpty, discarded()]).toEqual([true, [`discard ${free * clusterSize}+${clusterSize}`]]);
    file.log.length = 0;
    now(passDiscards(image));
    expect(file.log).toEqual([]);
  });

  it('waits for the tables where several pointed at it, only there', () => {
    change(free, 3, 1);
    for (const isOrdered of [false, true]) {
      now(releaseClusters(image, free * clusterSize, clusterSize, 'always'));
      image.l2Cache.create((free + 2) * clusterSize);
      if (isOrdered) image.discards.orderBehindTables();
      file.log.length = 0;
      now(passDiscards(image));
      expect(file.log.some((line) => line === `write ${(free + 2) * clusterSize}+${clusterSize}`)).toBe(isOrdered);
      expect(file.log.at(-1)).toBe(`discard ${free * clusterSize}+${clusterSize}`);
      change(free, 1, 1);
    }
  });

  it('and was not counted is told as a warning', () => {
    now(freeClusters(image, free * clusterSize, clusterSize, 'always'));
    expect(warnings).toEqual(['qcow2_free_clusters failed: Invalid argument']);
    expect(count(free)).toBe(0);
  });

  it('stays free when the file cannot discard it; other failures are not hidden', () => {
    file.failure = { op: 'discard', error: new BlockError('Operation not supported', { code: 'ENOTSUP' }) };
    now(discardFile(image, free * clusterSize, clusterSize));
    file.failure = { op: 'discard', error: new TypeError('a bug') };
    expect(() => now(discardFile(image, free * clusterSize, clusterSize))).toThrow('a bug');
    image.refcountCache.forget(0, mib);
    file.failure = { op: 'read', error: new TypeError('a bug') };
    expect(() => now(releaseClusters(image, free * clusterSize, clusterSize, 'never'))).toThrow('a bug');
  });

  it('is where compressed clusters do not go on', () => {
    change(free, 3, 1);
    image.freeByte = (free + 1) * clusterSize + 100;
    change(free + 2, 1, -1);
    expect(image.freeByte).toBe((free + 1) * clusterSize + 100);
    change(free + 1, 1, -1);
    expect(image.freeByte).toBe(0);
  });
});

describe('taking clusters', () => {
  it('takes the first gap that is large enough, and counts it', () => {
    change(free + 1, 1, 1);
    image.freeIndex = 0;
    expect(now(allocateClusters(image, 2 * clusterSize))).toBe((free + 2) * clusterSize);
    expect(counts(free, 5)).toEqual([0, 1, 1, 1, 0]);
    expect(now(allocateClusters(image, 1))).toBe((free + 4) * clusterSize);
    expect(counts(free + 4, 2)).toEqual([1, 0]);
    expect(image.discards.isEmpty).toBe(true);
  });

  it('goes over blocks and keeps all of them counted', () => {
    const offset = now(allocateClusters(image, 700 * clusterSize));
    expect(counts(offset / clusterSize, 700).every((value) => value === 1)).toBe(true);
    expect(count(offset / clusterSize + 700)).toBeLessThanOrEqual(1);
    const blocks = [...image.refcountTable].filter((block) => block !== 0);
    expect(blocks.length).toBeGreaterThanOrEqual(3);
    for (const block of blocks) expect(count(block / clusterSize)).toBe(1);
    expect(new Set(blocks).size).toBe(blocks.length);
  });

  it('at a place takes what is free there', () => {
    change(free + 3, 1, 1);
    expect(now(allocateClustersAt(image, free * clusterSize, 2))).toBe(2);
    expect(now(allocateClustersAt(image, (free + 2) * clusterSize, 5))).toBe(1);
    expect(now(allocateClustersAt(image, (free + 3) * clusterSize, 5))).toBe(0);
    expect(counts(free, 5)).toEqual([1, 1, 1, 1, 0]);
    expect(now(allocateClustersAt(image, 254 * clusterSize, 4))).toBe(4);
    expect(counts(254, 4)).toEqual([1, 1, 1, 1]);
  });

  it.each([
    ['anywhere', () => now(allocateClusters(image, clusterSize))],
    ['at a place', () => now(allocateClustersAt(image, free * clusterSize, 1))],
    ['for bytes', () => now(allocateBytes(image, 100))],
  ])('%s settles the entries that gave them up', (_where, take) => {
    change(free, 1, 1);
    image.freeIndex = free;
    const table = image.l2Cache.create((free + 3) * clusterSize);
    change(free, 1, -1);
    file.failure = { op: 'write', error: new BlockError('Input/output error', { code: 'EIO' }) };
    expect(failure(take).code).toBe('EIO');
    expect([count(free), image.discards.isEmpty]).toEqual([0, true]);
    image.freeIndex = free;
    take();
    expect([count(free), table.isDirty]).toEqual([1, false]);
  });

  it('writes no table when nothing was given up', () => {
    image.l2Cache.create((free + 3) * clusterSize);
    file.log.length = 0;
    now(allocateClusters(image, clusterSize));
    expect(file.log).toEqual([]);
    expect(image.l2Cache.isDirty).toBe(true);
  });
});

describe('taking bytes', () => {
  const take = (length: number): number => now(allocateBytes(image, length)) - free * clusterSize;
  beforeEach(() => {
    image.freeIndex = free;
  });

  it('fills clusters one after the other', () => {
    expect([take(200), take(200), take(112), take(100)]).toEqual([0, 200, 400, 512]);
    // three streams, then the end of the cluster
    expect(counts(free, 3)).toEqual([3, 1, 0]);
    // goes on in the next one, which is free
    expect([take(412), take(300), take(300)]).toEqual([612, 1024, 1324]);
    expect(counts(free, 5)).toEqual([3, 2, 2, 1, 0]);
    expect(image.freeByte).toBe((free + 3) * clusterSize + 88);
  });

  it('does not go on where the next cluster is taken', () => {
    expect(take(300)).toBe(0);
    change(free + 1, 1, 1);
    expect(take(212)).toBe(300);
    expect(take(300)).toBe(1024);
    change(free + 3, 1, 1);
    expect(take(300)).toBe(2048);
    expect(counts(free, 6)).toEqual([2, 1, 1, 1, 1, 0]);
  });

  it('takes a whole cluster, and begins anew', () => {
    expect(take(512)).toBe(0);
    expect(image.freeByte).toBe(0);
    expect(take(10)).toBe(512);
  });

  it('does not go on in what is counted by nobody, or as often as can be', async () => {
    expect(take(10)).toBe(0);
    const block = now(image.refcountCache.get(image.refcountTable[0] ?? 0));
    setRefcount(block.view, 16, free, 0);
    image.freeIndex = free + 1;
    expect(take(10)).toBe(512);
    setRefcount(block.view, 16, free + 1, 65535);
    expect(take(10)).toBe(1024);
    image.freeByte = 1000 * clusterSize + 5;
    expect(take(10)).toBe(1536);
  });

  it('needs blocks as others do', () => {
    image.freeIndex = 255;
    expect(now(allocateBytes(image, 400))).toBe(255 * clusterSize);
    expect(now(allocateBytes(image, 400))).toBeGreaterThan(255 * clusterSize);
    expect(count(255)).toBeGreaterThan(0);
  });
});

describe('images that lie', () => {
  it.each([
    ['compressed cluster', () => now(allocateBytes(image, 100))],
    ['refcount block', () => change(256, 1, 1)],
  ])('about the header have no %s put over it', (what, take) => {
    const block = now(image.refcountCache.get(image.refcountTable[0] ?? 0));
    setRefcount(block.view, 16, 0, 0);
    image.freeIndex = 0;
    expect(failure(take).code).toBe('EIO');
    expect(events).toEqual([`Preventing invalid allocation of ${what} at offset 0`]);
    expect(image.broken).toBeInstanceOf(BlockError);
  });
});

describe('a block', () => {
  it('that could not be written or named is forgotten, and made anew', () => {
    for (const op of ['write', 'flush'] as const) {
      image.freeIndex = 256;
      file.failure = { op, error: new BlockError('Input/output error', { code: 'EIO' }) };
      expect(failure(() => change(300, 1, 1)).code).toBe('EIO');
      expect([image.refcountTable[1], image.refcountCache.isDirty]).toEqual([0, false]);
      expect(image.metadata.find(256 * clusterSize, clusterSize, 0)).toBeUndefined();
    }
    image.freeIndex = 256;
    expect(change(300, 1, 1)).toBe(false);
    expect(image.refcountTable[1]).toBe(256 * clusterSize);
  });

  it('that the table has no room for comes with a larger table, and the old one is free', () => {
    // one cluster of table names 64 blocks of 256 clusters
    const old = image.header.refcountTableOffset / clusterSize;
    file.bytes = new Uint8Array(16 * mib);
    const far = 64 * 256;
    image.freeIndex = 256;
    let rounds = 0;
    while (!change(far + 3, 1, 1)) if (++rounds > 5) throw new Error('does not end');
    expect(count(far + 3)).toBe(1);
    expect(image.header.refcountTableClusters).toBeGreaterThan(1);
    expect(image.header.refcountTableOffset / clusterSize).toBeGreaterThan(far);
    expect(count(image.header.refcountTableOffset / clusterSize)).toBe(1);
    expect(count(old)).toBe(0);
    expect(discarded()).toContain(`discard ${old * clusterSize}+${clusterSize}`);
  });
});
