/* Where a write goes: plans on an image by itself, entry by entry. */
import { beforeEach, describe, expect, it } from 'vitest';
import { BlockError } from '../../src/core/util/errors.ts';
import { freeEntry } from '../../src/qcow2/allocate.ts';
import { compressedEntry, newEntry, writeEntry, writeEntryWords } from '../../src/qcow2/l2-entry.ts';
import { refcountOf, setRefcount } from '../../src/qcow2/refcount-blocks.ts';
import { changeRefcounts } from '../../src/qcow2/refcounts.ts';
import { count, entry, events, failure, file, image, ioError, link, open, plan, slice, taken, written } from './allocate-support.ts';
import { now } from './bare-image.ts';

describe('a plan', () => {
  beforeEach(() => open({ cluster_size: 512 }));

  it('for clusters that are not there takes them, and is whole clusters', () => {
    const planned = plan(100, 1000);
    expect(planned).toEqual({
      guest: 100,
      length: 1000,
      host: planned.hostCluster + 100,
      firstCluster: 0,
      hostCluster: planned.hostCluster,
      clusters: 3,
      isNew: true,
      needsLink: true,
      copyFrom: 0,
      copyTo: 1536,
    });
    expect([0, 512, 1024].map((at) => count(planned.hostCluster + at))).toEqual([1, 1, 1]);
    expect(entry(0).offset).toBe(0);
    link(planned);
    expect([0, 1, 2, 3].map((index) => entry(index).offset)).toEqual([0, 512, 1024].map((at) => planned.hostCluster + at).concat(0));
    expect([entry(0).isCopied, entry(2).isCopied, entry(3).isCopied]).toEqual([true, true, false]);
  });

  it('ends where its table ends', () => {
    expect(plan(63 * 512, 2048)).toMatchObject({ clusters: 1, length: 512, firstCluster: 63 * 512 });
    expect(plan(63 * 512 + 500, 13)).toMatchObject({ clusters: 1, length: 12 });
  });

  it('for clusters that are there goes in place, as far as they lie side by side', () => {
    const first = written(0, 1536);
    expect(plan(600, 100)).toMatchObject({ isNew: false, needsLink: false, clusters: 1, host: first.hostCluster + 600, copyFrom: 600, copyTo: 700 });
    expect(plan(0, 1536)).toMatchObject({ isNew: false, clusters: 3, length: 1536 });
    taken(1);
    now(changeRefcounts(image, first.hostCluster + 1536, 512, 1, 'never'));
    const second = written(1536, 512);
    expect(second.hostCluster).not.toBe(first.hostCluster + 1536);
    expect(plan(512, 5000)).toMatchObject({ isNew: false, clusters: 2, length: 1024, hostCluster: first.hostCluster + 512 });
    expect(plan(1536, 5000)).toMatchObject({ isNew: false, clusters: 1, length: 512, hostCluster: second.hostCluster });
  });

  it('for new clusters ends where one is there', () => {
    written(5 * 512, 512);
    expect(plan(3 * 512 + 10, 2048)).toMatchObject({ isNew: true, clusters: 2, length: 1014, copyFrom: 3 * 512, copyTo: 5 * 512 });
  });

  it('goes on where the part before ended, if that is free and a cluster begins there', () => {
    const first = written(0, 512);
    const wanted = first.hostCluster + 40 * 512;
    expect(plan(10 * 512, 1024, wanted).hostCluster).toBe(wanted);
    // taken now: elsewhere
    const other = plan(20 * 512, 1024, wanted);
    expect([other.hostCluster === wanted, other.clusters]).toEqual([false, 2]);
    expect(plan(30 * 512 + 1, 100, first.hostCluster + 50 * 512).hostCluster).not.toBe(first.hostCluster + 50 * 512);
    now(changeRefcounts(image, wanted + 12 * 512, 512, 1, 'never'));
    expect(plan(40 * 512, 2048, wanted + 10 * 512)).toMatchObject({ hostCluster: wanted + 10 * 512, clusters: 2, length: 1024 });
  });

  it('writes clusters whole that read as zeros, and only those', () => {
    const { hostCluster } = written(0, 4 * 512);
    const zero = (index: number): void => writeEntry(image.geometry, slice(), index, hostCluster + index * 512, { isCopied: true, isZero: true });
    zero(1);
    expect(plan(600, 100)).toMatchObject({ isNew: false, needsLink: true, copyFrom: 512, copyTo: 1024, host: hostCluster + 600 });
    expect(plan(100, 800)).toMatchObject({ isNew: false, needsLink: true, copyFrom: 100, copyTo: 1024 });
    expect(plan(600, 500)).toMatchObject({ needsLink: true, copyFrom: 512, copyTo: 1100 });
    expect(plan(100, 1100)).toMatchObject({ clusters: 3, needsLink: true, copyFrom: 100, copyTo: 1200 });
    expect(plan(1100, 100)).toMatchObject({ needsLink: false, copyFrom: 1100, copyTo: 1200 });
    link(plan(600, 100), true);
    expect([entry(1).lo & 1, entry(1).offset, count(hostCluster + 512)]).toEqual([0, hostCluster + 512, 1]);
  });

  it('leaves clusters that a snapshot shares', () => {
    const { hostCluster } = written(0, 512);
    now(changeRefcounts(image, hostCluster, 512, 1, 'never'));
    writeEntry(image.geometry, slice(), 0, hostCluster, {});
    const moved = plan(10, 10);
    expect(moved).toMatchObject({ isNew: true, copyFrom: 0, copyTo: 512 });
    link(moved, true);
    expect([entry(0).offset, count(hostCluster), count(moved.hostCluster)]).toEqual([moved.hostCluster, 1, 1]);
    expect(image.discards.isEmpty).toBe(true);
  });

  it('never puts anything over the header', () => {
    for (const [what, before] of [
      ['L2 table', () => {}],
      ['data cluster', () => void slice()],
    ] as const) {
      image.broken = undefined;
      events.length = 0;
      before();
      const block = now(image.refcountCache.get(image.refcountTable[0] ?? 0));
      setRefcount(block.view, 16, 0, 0);
      image.freeIndex = 0;
      expect(failure(() => plan(0, 512)).code).toBe('EIO');
      setRefcount(block.view, 16, 0, 1);
      expect(events).toEqual([`Preventing invalid allocation of ${what} at offset 0`]);
    }
  });
});

describe('entries that lie', () => {
  beforeEach(() => open({ cluster_size: 4096 }));

  it.each([
    ['Data', 0],
    ['Preallocated zero', 1],
  ])('about their place (%s) end the image', (what, zero) => {
    writeEntryWords(image.geometry, slice(), 3, 0x80000000, 0x10200 | zero);
    expect(failure(() => plan(3 * 4096 + 16, 10)).code).toBe('EIO');
    expect(events).toEqual([`${what} cluster offset 0x10200 unaligned (guest offset: 0x3010)`]);
    expect(image.broken).toBeInstanceOf(BlockError);
  });

  it('are not followed when they are given back', () => {
    const old = newEntry();
    old.offset = 0x10200;
    now(freeEntry(image, old, 'always'));
    expect(events).toEqual(['Cannot free unaligned cluster 0x10200']);
    expect([image.broken, image.discards.isEmpty]).toEqual([undefined, true]);
  });
});

describe('an entry that is given back', () => {
  beforeEach(() => open({ cluster_size: 4096 }));

  it('frees its cluster, as far as it has one', () => {
    const { hostCluster } = written(0, 4096);
    const old = entry(0);
    now(freeEntry(image, newEntry(), 'always'));
    expect([count(hostCluster), image.discards.isEmpty]).toEqual([1, true]);
    now(freeEntry(image, old, 'always'));
    expect(count(hostCluster)).toBe(0);
    expect(image.discards.needsOrder).toBe(false);
    expect(image.discards.drain()).toEqual([{ offset: hostCluster, length: 4096 }]);
  });

  it('frees what its stream touches, behind the tables', () => {
    const at = taken(1);
    now(changeRefcounts(image, at + 4096, 4096, 1, 'never'));
    const old = newEntry();
    Object.assign(old, compressedEntry(image.geometry, at + 4000, 200), { isCompressed: true });
    now(freeEntry(image, old, 'always'));
    expect([count(at), count(at + 4096)]).toEqual([0, 0]);
    expect(image.discards.needsOrder).toBe(true);
    expect(image.discards.drain()).toEqual([{ offset: at, length: 8192 }]);
  });

  it('by a plan moves a compressed cluster whole', () => {
    const at = taken(1);
    const { hi, lo } = compressedEntry(image.geometry, at, 100);
    writeEntryWords(image.geometry, slice(), 2, hi, lo);
    const moved = plan(2 * 4096 + 100, 10);
    expect(moved).toMatchObject({ isNew: true, copyFrom: 8192, copyTo: 12288 });
    link(moved, true);
    expect([count(at), entry(2).isCompressed, entry(2).offset]).toEqual([0, false, moved.hostCluster]);
  });
});

describe('a table', () => {
  beforeEach(() => open({ cluster_size: 4096 }));
  const tableOf = (): number => image.l2TableOf(0);

  it('is made once, durable before it is named', () => {
    file.log.length = 0;
    slice();
    const table = tableOf();
    const changes = file.log.filter((line) => line.startsWith('write') || line === 'flush');
    const named = changes.indexOf(`write ${image.header.l1Offset}+8`);
    const made = changes.indexOf(`write ${table}+4096`);
    expect(made).toBeGreaterThanOrEqual(0);
    expect(changes.slice(made, named)).toContain('flush');
    // what counts it comes first
    expect(changes.slice(0, made).some((line) => line.startsWith('write'))).toBe(true);
    expect([count(table), image.isL2Copied(0)]).toEqual([1, true]);
    file.log.length = 0;
    slice();
    expect(file.log).toEqual([]);
  });

  it('that is shared is copied, and one reference taken off it', () => {
    const { hostCluster } = written(4096, 4096);
    const shared = tableOf();
    now(image.l2Cache.flush());
    now(changeRefcounts(image, shared, 4096, 1, 'never'));
    now(image.updateL1Words(0, 0, shared));
    expect(entry(1).offset).toBe(hostCluster);
    expect(tableOf()).not.toBe(shared);
    expect([count(shared), count(tableOf()), image.isL2Copied(0)]).toEqual([1, 1, true]);
  });

  it('that nothing shares any more is given back with the copy', () => {
    slice();
    const old = tableOf();
    now(image.updateL1Words(0, 0, old));
    file.log.length = 0;
    slice();
    expect([count(old), count(tableOf())]).toEqual([0, 1]);
    expect(file.log.filter((line) => line.startsWith('discard'))).toEqual([`discard ${old}+4096`]);
  });

  it.each(['write', 'flush'] as const)('that could not be made (%s) is given back', (op) => {
    file.failure = { op, error: ioError() };
    const free = now(refcountOf(image, 5));
    expect(failure(() => slice()).code).toBe('EIO');
    expect([tableOf(), now(refcountOf(image, 5)), image.l2Cache.isDirty]).toEqual([0, free, false]);
    slice();
    expect(count(tableOf())).toBe(1);
  });

  it('that could not be named stays taken: nobody knows what the medium says', () => {
    const before = image.updateL1Entry.bind(image);
    let unknown = 0;
    image.updateL1Entry = function* (_index, offset) {
      unknown = offset;
      yield* [];
      throw ioError();
    };
    expect(failure(() => slice()).code).toBe('EIO');
    image.updateL1Entry = before;
    expect([tableOf(), count(unknown), image.metadata.find(unknown, 4096, 0)]).toEqual([0, 1, undefined]);
    slice();
    expect(tableOf()).not.toBe(unknown);
  });

  it('outside the image, or where none can be, is an error', () => {
    expect(failure(() => slice(2 ** 40))).toMatchObject({ message: 'Input/output error', code: 'EIO' });
    const last = image.l1Entries * 512 * 4096;
    expect(failure(() => slice(last)).code).toBe('EIO');
    slice(last - 1);
    now(image.updateL1Words(0, 0x80000000, 0x10200));
    expect(failure(() => slice()).code).toBe('EIO');
    expect(events[0]).toContain('0x10200 unaligned');
  });
});
