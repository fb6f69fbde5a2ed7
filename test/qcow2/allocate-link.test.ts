/* What the map says after a write: plans that are linked, and entries with subclusters. */
import { beforeEach, describe, expect, it } from 'vitest';
import { abandonPlan, markDirtyBit, sliceForUpdate, type WritePlan } from '../../src/qcow2/allocate.ts';
import { compressedEntry, writeEntry, writeEntryWords, writeSubclusters } from '../../src/qcow2/l2-entry.ts';
import { count, entry, failure, file, image, ioError, link, open, plan, slice, taken, written } from './allocate-support.ts';
import { now } from './bare-image.ts';

describe('linking', () => {
  const bit = (): bigint => image.header.incompatible & 1n;

  it('sets the dirty bit once where refcounts may lag, and only there', async () => {
    for (const lazyRefcounts of [false, true]) {
      await open({ cluster_size: 4096, lazy_refcounts: true }, { lazyRefcounts });
      written(0, 4096);
      expect([bit() === 1n, file.bytes[79]]).toEqual([lazyRefcounts, lazyRefcounts ? 1 : 0]);
      expect(image.l2Cache.dependency === image.refcountCache).toBe(!lazyRefcounts);
      file.log.length = 0;
      now(markDirtyBit(image));
      expect(file.log).toEqual([]);
    }
  });

  it('gives the clusters back when it fails before the map changes', async () => {
    await open({ cluster_size: 4096 }, { lazyRefcounts: true });
    const planned = plan(0, 4096);
    file.failure = { op: 'write', error: ioError() };
    expect(failure(() => link(planned)).code).toBe('EIO');
    expect([count(planned.hostCluster), entry(0).offset, image.discards.isEmpty]).toEqual([0, 0, true]);
  });

  it('orders the map behind the data where no flush of refcounts stands between', async () => {
    const flushes = async (isLazy: boolean, prepare: () => WritePlan, hasCopied: boolean): Promise<boolean> => {
      await open({ cluster_size: 4096 }, { lazyRefcounts: isLazy });
      const planned = prepare();
      now(image.refcountCache.flush());
      now(image.l2Cache.flush());
      expect(image.writeData(planned.host, planned.guest, new Uint8Array(512))).toBeUndefined();
      link(planned, hasCopied);
      // the refcounts are there already
      file.log.length = 0;
      now(image.l2Cache.write());
      const table = file.log.findIndex((line) => line.startsWith(`write ${image.l2TableOf(0)}`));
      return file.log.slice(0, table).includes('flush');
    };
    const inPlace = (): WritePlan => {
      const { hostCluster } = written(0, 4096);
      writeEntry(image.geometry, slice(), 0, hostCluster, { isCopied: true, isZero: true });
      return plan(0, 512);
    };
    expect(await flushes(false, inPlace, false)).toBe(true);
    expect(await flushes(false, () => plan(0, 4096), true)).toBe(true);
    expect(await flushes(false, () => plan(0, 4096), false)).toBe(true);
  });

  it('abandoned gives back what was taken, nothing else', async () => {
    await open({ cluster_size: 4096 });
    const first = written(0, 4096);
    now(abandonPlan(image, plan(0, 4096)));
    expect(count(first.hostCluster)).toBe(1);
    const second = plan(4096, 8192);
    now(abandonPlan(image, second));
    expect([count(second.hostCluster), count(second.hostCluster + 4096), image.discards.isEmpty]).toEqual([0, 0, true]);
  });

  it('finds its slice after the order is set, even when that dropped it', async () => {
    await open({ cluster_size: 4096 });
    written(0, 4096);
    now(image.l2Cache.flush());
    let calls = 0;
    const found = now(
      sliceForUpdate(image, 0, function* () {
        calls++;
        if (calls === 1) image.l2Cache.forget(image.l2TableOf(0), 4096);
        yield* [];
      }),
    );
    expect([calls, found.offset, image.l2Cache.peek(found.offset)]).toEqual([2, image.l2TableOf(0), found]);
  });
});

describe('extended entries', () => {
  const sub = 512;
  beforeEach(() => open({ cluster_size: 16384, extended_l2: true }));
  const bits = (index: number): [string, string] => [entry(index).allocated.toString(16), entry(index).zeros.toString(16)];

  it('are written by subclusters', () => {
    const first = plan(700, 100);
    expect(first).toMatchObject({ isNew: true, needsLink: true, clusters: 1, copyFrom: sub, copyTo: 2 * sub, host: first.hostCluster + 700 });
    link(first, true);
    expect(bits(0)).toEqual(['2', '0']);
    expect(plan(700, 100)).toMatchObject({ isNew: false, needsLink: false, copyFrom: 700, copyTo: 800 });
    const beside = plan(2000, 100);
    expect(beside).toMatchObject({ isNew: false, needsLink: true, copyFrom: 3 * sub, copyTo: 5 * sub, hostCluster: first.hostCluster });
    link(beside, true);
    expect(bits(0)).toEqual(['1a', '0']);
    expect(plan(700, 1400)).toMatchObject({ needsLink: true, copyFrom: 700, copyTo: 2100 });
    expect(plan(1600, 500)).toMatchObject({ needsLink: false, copyFrom: 1600, copyTo: 2100 });
    expect(plan(100, 700)).toMatchObject({ needsLink: true, copyFrom: 0, copyTo: 800 });
  });

  it('of several clusters are written from the first subcluster to the last', () => {
    const planned = plan(16384 - 700, 1400);
    expect(planned).toMatchObject({ clusters: 2, copyFrom: 16384 - 2 * sub, copyTo: 16384 + 2 * sub });
    link(planned, true);
    expect([bits(0), bits(1)]).toEqual([
      ['c0000000', '0'],
      ['3', '0'],
    ]);
    expect(plan(16384 - 700, 1400)).toMatchObject({ isNew: false, needsLink: false });
    written(0, 2 * 16384);
    const { hostCluster } = planned;
    written(2 * 16384, 16384, hostCluster + 2 * 16384);
    expect(plan(100, 3 * 16384 - 200)).toMatchObject({ isNew: false, needsLink: false, clusters: 3 });
    writeSubclusters(image.geometry, slice(), 1, 0xfffffffe, 0);
    expect(plan(100, 3 * 16384 - 200).needsLink).toBe(true);
    expect(plan(100, 16384).needsLink).toBe(true);
    writeSubclusters(image.geometry, slice(), 1, 0x7fffffff, 0x80000000);
    expect(plan(100, 3 * 16384 - 200).needsLink).toBe(true);
    expect(plan(100, 16384).needsLink).toBe(false);
  });

  it('lose their zeros where they are written', () => {
    const { hostCluster } = written(0, 512);
    writeSubclusters(image.geometry, slice(), 0, 0x1, 0xff0);
    const planned = plan(4 * sub + 10, 600);
    expect(planned).toMatchObject({ isNew: false, needsLink: true, copyFrom: 4 * sub, copyTo: 6 * sub });
    link(planned, true);
    expect([...bits(0), entry(0).offset]).toEqual(['31', 'fc0', hostCluster]);
  });

  it('that move take along what they hold', () => {
    const at = taken(2);
    const shared = (allocated: number): void => {
      writeEntry(image.geometry, slice(), 0, at, {});
      writeSubclusters(image.geometry, slice(), 0, allocated, 0);
    };
    shared(0x38);
    expect(plan(0, 100)).toMatchObject({ isNew: true, copyFrom: 0, copyTo: 6 * sub });
    expect(plan(20 * sub, 100)).toMatchObject({ isNew: true, copyFrom: 3 * sub, copyTo: 21 * sub });
    expect(plan(4 * sub, 100)).toMatchObject({ isNew: true, copyFrom: 3 * sub, copyTo: 6 * sub });
    shared(0);
    expect(plan(4 * sub, 100)).toMatchObject({ isNew: true, copyFrom: 4 * sub, copyTo: 5 * sub });
    shared(0x80000001);
    const moved = plan(4 * sub, 100);
    expect(moved).toMatchObject({ isNew: true, copyFrom: 0, copyTo: 16384 });
    link(moved, true);
    expect([...bits(0), count(at)]).toEqual(['ffffffff', '0', 1]);
  });

  it('of compressed clusters are written whole', () => {
    const at = taken(1);
    const { hi, lo } = compressedEntry(image.geometry, at, 100);
    writeEntryWords(image.geometry, slice(), 0, hi, lo);
    writeSubclusters(image.geometry, slice(), 0, 0, 0x10);
    const moved = plan(4 * sub, 100);
    expect(moved).toMatchObject({ isNew: true, copyFrom: 0, copyTo: 16384 });
    link(moved, true);
    expect(bits(0)).toEqual(['ffffffff', '0']);
  });

  it('of clusters that are only there for later say what they said', () => {
    const planned = plan(0, 16384);
    link(planned, false, true);
    expect([...bits(0), entry(0).offset]).toEqual(['0', '0', planned.hostCluster]);
  });
});
