/* Each cluster once, however many ask; on nodes that answer when the test says. */
import { describe, expect, it } from 'vitest';
import { BlockCopy } from '../../../src/core/block/block-copy.ts';
import { childRole, reqFlag } from '../../../src/core/block/driver.ts';
import { Graph } from '../../../src/core/block/graph.ts';
import { failedSide } from '../../../src/core/block/range-copy.ts';
import { runTransaction } from '../../../src/core/block/transaction.ts';
import { BlockError } from '../../../src/core/util/errors.ts';
import { isPending, type Maybe } from '../../../src/core/util/maybe.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { FakeNode, settled, userOf } from '../../support/fake-node.ts';

const cluster = 4096;

interface Made {
  readonly source: FakeNode;
  readonly target: FakeNode;
  readonly copy: BlockCopy;
}

function make(clusters = 8, options: { readonly isBelow?: boolean; readonly size?: number } = {}): Made {
  const graph = new Graph();
  const size = options.size ?? clusters * cluster;
  const source = new FakeNode('source', { size });
  const target = new FakeNode('target', { size });
  for (const at of source.bytes.keys()) source.bytes[at] = 1 + (at % 255);
  if (options.isBelow) {
    runTransaction((transaction) => graph.attach('backing', childRole.data, target.node, source.node, transaction, { perm: perm.none, shared: perm.all }));
  }
  const [from, to] = [userOf(source.node, graph).root, userOf(target.node, graph).root];
  if (from === undefined || to === undefined) throw new Error('no edges');
  return { source, target, copy: new BlockCopy(from, to, cluster) };
}

const full = new BlockError('No space left on device', { code: 'ENOSPC' });

function watch(done: string[], name: string, request: Maybe<unknown>): void {
  void Promise.resolve(request).then(
    () => done.push(name),
    () => done.push(`${name} failed`),
  );
}

describe('a copy of clusters', () => {
  it('is done at once when both sides are, and once only', () => {
    const { source, target, copy } = make();
    const progress: number[] = [];
    copy.onProgress = () => progress.push(copy.copiedBytes);
    expect(isPending(copy.copy(cluster + 1, 1))).toBe(false);
    expect(isPending(copy.copy(0, 3 * cluster))).toBe(false);
    expect(isPending(copy.copy(0, 3 * cluster))).toBe(false);
    expect(source.log).toEqual(['read 4096+4096', 'read 0+4096', 'read 8192+4096']);
    expect(target.log).toEqual(['write 4096+4096', 'write 0+4096', 'write 8192+4096']);
    expect(progress).toEqual([cluster, 2 * cluster, 3 * cluster]);
    expect([copy.copiedBytes, copy.remainingBytes]).toEqual([3 * cluster, 5 * cluster]);
    expect([copy.nextLeft(0), copy.nextLeft(3 * cluster + 5), copy.nextLeft(8 * cluster)]).toEqual([3 * cluster, 3 * cluster, undefined]);
  });

  it('counts what is under way as left, and ends with the source', async () => {
    const { source, target, copy } = make(3, { size: 2 * cluster + 100 });
    source.hold('read');
    const all = copy.copy(0, 3 * cluster);
    expect([copy.copiedBytes, copy.remainingBytes, copy.nextLeft(0)]).toEqual([0, 3 * cluster, undefined]);
    expect(source.log).toEqual(['read 0+8292']);
    await source.releaseAll();
    await all;
    expect([copy.copiedBytes, copy.remainingBytes]).toEqual([3 * cluster, 0]);
    expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
  });

  it('is waited for by all who ask for the same, and copied once', async () => {
    const { source, target, copy } = make();
    source.hold('read');
    const done: string[] = [];
    watch(done, 'first', copy.copy(0, 2 * cluster));
    watch(done, 'same', copy.copy(0, cluster));
    watch(done, 'more', copy.copy(cluster, 2 * cluster));
    expect(isPending(copy.copy(5 * cluster, 0))).toBe(false);
    expect(source.waiting).toEqual(['read 0+8192', 'read 8192+4096']);
    await source.release('read 8192+4096');
    expect(done).toEqual([]);
    await source.release('read 0+8192');
    expect(done.sort()).toEqual(['first', 'more', 'same']);
    expect(target.log.length).toBe(2);
  });

  it('that others do elsewhere is not waited for', async () => {
    const { source, copy } = make();
    source.hold('read');
    const first = copy.copy(0, cluster);
    await source.releaseAll();
    await first;
    source.hold('read');
    const second = copy.copy(4 * cluster, cluster);
    expect(isPending(copy.copy(0, cluster))).toBe(false);
    expect(isPending(copy.copy(3 * cluster, cluster))).toBe(true);
    await source.releaseAll();
    await second;
  });

  it('that fails leaves its clusters, and whoever waited copies them itself', async () => {
    const { source, target, copy } = make();
    source.hold('read');
    const done: string[] = [];
    watch(done, 'first', copy.copy(0, cluster));
    watch(done, 'second', copy.copy(0, cluster));
    watch(done, 'third', copy.copy(0, cluster));
    target.failure = { op: 'write', error: full };
    await source.release();
    expect(done).toEqual(['first failed']);
    expect([copy.copiedBytes, copy.remainingBytes, copy.nextLeft(0)]).toEqual([0, 8 * cluster, cluster]);
    await source.releaseAll();
    expect(done.sort()).toEqual(['first failed', 'second', 'third']);
    expect(source.log).toEqual(['read 0+4096', 'read 0+4096']);
    expect([copy.copiedBytes, copy.remainingBytes]).toEqual([cluster, 7 * cluster]);
  });

  it('says which side failed, at once or later', async () => {
    const { source, target, copy } = make();
    const sideOf = async (body: () => Maybe<void>): Promise<unknown> => {
      try {
        await body();
      } catch (error) {
        return failedSide(error);
      }
      return 'none';
    };
    target.failure = { op: 'write', error: new BlockError('No space left on device', { code: 'ENOSPC' }) };
    expect(await sideOf(() => copy.copy(0, cluster))).toBe('write');
    source.failure = { op: 'read', error: new BlockError('Input/output error', { code: 'EIO' }) };
    expect(await sideOf(() => copy.copy(0, cluster))).toBe('read');
    source.hold('read');
    source.failure = { op: 'read', error: new BlockError('Input/output error', { code: 'EIO' }) };
    const later = sideOf(() => copy.copy(0, cluster));
    await source.releaseAll();
    expect(await later).toBe('read');
    expect(await sideOf(() => copy.copy(0, cluster))).toBe('none');
    expect([failedSide(new Error('other')), failedSide(undefined), failedSide('text')]).toEqual([undefined, undefined, undefined]);
    target.bytes = new Uint8Array(cluster);
    expect(await sideOf(() => copy.copy(cluster, cluster))).toBe('write');
  });

  it('is serialising when readers of the target read the source through it', () => {
    expect(make().copy.range.writeFlags).toBe(reqFlag.none);
    expect(make(8, { isBelow: true }).copy.range.writeFlags).toBe(reqFlag.serialising);
  });

  it('goes in pieces of at most 1 MiB, compressed ones cluster by cluster', async () => {
    const { source, target, copy } = make(300);
    await copy.copy(0, 257 * cluster);
    expect(source.log).toEqual(['read 0+1048576', 'read 1048576+4096']);
    copy.range.compress = true;
    await copy.copy(258 * cluster, 2 * cluster);
    expect(target.log.slice(2)).toEqual([`write ${258 * cluster}+4096 flags 32`, `write ${259 * cluster}+4096 flags 32`]);
  });

  it('is discarded from the source when that is asked for, and what cannot be discarded stays', async () => {
    const { source, copy } = make();
    copy.range.discardSource = true;
    await copy.copy(0, cluster);
    source.failure = { op: 'discard', error: full };
    await copy.copy(cluster, cluster);
    source.hold('discard');
    source.failure = { op: 'discard', error: full };
    const third = copy.copy(2 * cluster, cluster);
    await source.releaseAll();
    await third;
    expect(source.log.filter((line) => line.startsWith('discard'))).toEqual(['discard 0+4096', 'discard 4096+4096', 'discard 8192+4096']);
    expect(copy.copiedBytes).toBe(3 * cluster);
  });

  it('is not needed any more for what was given up', async () => {
    const { source, copy } = make(4, { size: 3 * cluster + 10 });
    let told = 0;
    copy.onProgress = () => told++;
    copy.forget(1, 2 * cluster);
    copy.forget(3 * cluster, 10);
    copy.forget(10, 20);
    expect([copy.remainingBytes, told]).toEqual([2 * cluster, 3]);
    await copy.copy(0, copy.size);
    expect(source.log).toEqual(['read 0+4096', 'read 8192+4096']);
  });

  it('of a part that another is copying is waited for, and then done', async () => {
    const { source, target, copy } = make();
    source.hold('read');
    const done: string[] = [];
    watch(done, 'part', copy.copy(cluster, cluster));
    watch(done, 'whole', copy.copy(0, 4 * cluster));
    // the whole one begins with what nobody copies
    expect(source.waiting).toEqual(['read 4096+4096', 'read 0+4096']);
    await source.release('read 0+4096');
    expect(source.waiting).toEqual(['read 4096+4096', 'read 8192+8192']);
    await source.release('read 8192+8192');
    await settled();
    expect(done).toEqual([]);
    await source.releaseAll();
    expect(done.sort()).toEqual(['part', 'whole']);
    expect(Buffer.compare(target.bytes.subarray(0, 4 * cluster), source.bytes.subarray(0, 4 * cluster))).toBe(0);
  });
});
