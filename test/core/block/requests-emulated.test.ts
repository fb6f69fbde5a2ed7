/* Requests of one node that a driver does not carry out by itself: stable storage, zeros, flushes, sizes; and who observes them. */
import { describe, expect, it } from 'vitest';
import { childRole, reqFlag } from '../../../src/core/block/driver.ts';
import { Graph } from '../../../src/core/block/graph.ts';
import { runTransaction } from '../../../src/core/block/transaction.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { FakeNode, settled, userOf } from '../../support/fake-node.ts';
import { bytes, codeOf, how, make, watch } from '../../support/requests.ts';

describe('a write that must be on stable storage (fua)', () => {
  it.each([false, true])('is flushed behind, when the driver has no such thing (pending: %s)', async (isSlow) => {
    const { fake, edge } = make();
    if (isSlow) fake.hold('write', 'flush', 'zero');
    const write = Promise.resolve(edge.write(0, bytes(512), reqFlag.fua));
    let isOver = false;
    void write.then(() => {
      isOver = true;
    });
    if (isSlow) {
      expect(fake.log).toEqual(['write 0+512']);
      await fake.release('write 0+512');
      expect([fake.waiting, isOver]).toEqual([['flush'], false]);
    }
    await fake.releaseAll();
    await write;
    await edge.zero(512, 512, reqFlag.fua);
    expect(fake.log).toEqual(['write 0+512', 'flush', 'zero 512+512', 'flush']);
  });

  it('is flushed behind when it had to wait first', async () => {
    const { fake, edge } = make();
    fake.hold('write');
    const first = edge.write(0, bytes(512), reqFlag.serialising);
    const second = edge.write(0, bytes(512), reqFlag.fua);
    await fake.releaseAll();
    await Promise.all([first, second]);
    expect(fake.log).toEqual(['write 0+512', 'write 0+512', 'flush']);
  });

  it('is left to a driver that has it', async () => {
    const { fake, edge } = make({ writeFlags: reqFlag.fua });
    await edge.write(0, bytes(512), reqFlag.fua);
    await edge.zero(0, 512, reqFlag.fua);
    expect(fake.log).toEqual(['write 0+512 flags 1', 'zero 0+512 flags 1']);
  });

  it('fails when its flush fails, and is not flushed when it fails itself', async () => {
    const { fake, edge } = make();
    fake.failure = { op: 'flush', error: new Error('no flush') };
    expect(() => edge.write(0, bytes(512), reqFlag.fua)).toThrow('no flush');
    fake.log.length = 0;
    fake.failure = { op: 'write', error: new Error('no write') };
    expect(() => edge.write(0, bytes(512), reqFlag.fua)).toThrow('no write');
    expect(fake.log).toEqual(['write 0+512']);
  });
});

describe('zeros', () => {
  it('are written where the driver has no other way', async () => {
    const { fake, edge } = make({ lacks: ['zero'], size: 300_000 });
    fake.bytes.fill(1);
    await edge.zero(100, 150_000);
    expect(fake.log).toEqual(['write 100+65536', 'write 65636+65536', 'write 131172+18928']);
    expect([fake.bytes[99], fake.bytes[100], fake.bytes[150_099], fake.bytes[150_100]]).toEqual([1, 0, 0, 1]);
    expect(await codeOf(() => edge.zero(0, 512, reqFlag.noFallback))).toBe('ENOTSUP');
  });

  it('are split where the driver is good at it', async () => {
    const { fake, edge } = make({ limits: { zeroAlign: 4096 }, size: 10_000 });
    await edge.zero(1000, 8000);
    expect(fake.log).toEqual(['zero 1000+3096', 'zero 4096+4096', 'zero 8192+808']);
    fake.log.length = 0;
    await edge.zero(4096, 5904);
    await edge.zero(10, 20);
    expect(fake.log).toEqual(['zero 4096+5904', 'zero 10+20']);
  });

  it('give space back only where the node passes discards on', async () => {
    const { fake: keeps, edge: keeping } = make({ settings: { discard: false } });
    await keeping.zero(0, 512, reqFlag.mayUnmap);
    expect(keeps.log).toEqual(['zero 0+512']);
    const { fake: gives, edge: giving } = make();
    await giving.zero(0, 512, reqFlag.mayUnmap);
    expect(gives.log).toEqual([`zero 0+512 flags ${reqFlag.mayUnmap}`]);
  });

  it('that a guest writes are zero writes with detect-zeroes, and unmap where asked for', async () => {
    const { fake, edge } = make({ settings: { detectZeroes: 'unmap' } });
    await edge.write(0, new Uint8Array(512));
    await edge.write(0, bytes(512));
    const { fake: on, edge: onEdge } = make({ settings: { detectZeroes: 'on' } });
    await onEdge.write(0, new Uint8Array(512));
    const { fake: kept, edge: keptEdge } = make({ settings: { detectZeroes: 'unmap', discard: false } });
    await keptEdge.write(0, new Uint8Array(512));
    expect([fake.log, on.log, kept.log]).toEqual([[`zero 0+512 flags ${reqFlag.mayUnmap}`, 'write 0+512'], ['zero 0+512'], ['zero 0+512']]);
  });

  it('follow the settings that the node has now', async () => {
    const { fake, node, edge } = make();
    await edge.write(0, new Uint8Array(512));
    node.settings = { ...node.settings, detectZeroes: 'on' };
    await edge.write(0, new Uint8Array(512));
    node.settings = { ...node.settings, detectZeroes: 'off' };
    await edge.write(0, new Uint8Array(512));
    expect(fake.log).toEqual(['write 0+512', 'zero 0+512', 'write 0+512']);
  });
});

describe('a flush', () => {
  it('goes down to all children that may hold something, one after the other', async () => {
    const graph = new Graph();
    const top = new FakeNode('top');
    const [first, second, readOnly] = [new FakeNode('first'), new FakeNode('second'), new FakeNode('third', { settings: { readOnly: true } })];
    for (const below of [readOnly, first, second]) {
      runTransaction((transaction) => graph.attach('file', childRole.data, top.node, below.node, transaction, { perm: perm.none, shared: perm.all }));
    }
    first.hold('flush');
    const flush = userOf(top.node, graph).flush();
    expect([top.log, first.log, second.log]).toEqual([['flush'], ['flush'], []]);
    await first.releaseAll();
    await flush;
    expect([second.log, readOnly.log]).toEqual([['flush'], []]);
    second.failure = { op: 'flush', error: new Error('no flush') };
    expect(() => top.node.parents[0]?.flush()).toThrow('no flush');
  });

  it('of a node that is read-only or closed is nothing', async () => {
    const { fake, edge } = make({ settings: { readOnly: true } });
    await edge.flush();
    expect(fake.log).toEqual([]);
    const { node, edge: closed } = make();
    node.setState(undefined);
    await closed.flush();
  });
});

describe('a new size', () => {
  it.each([
    [512, 'read 512+512'],
    [4096, 'write 8192+512'],
  ])('of %i waits for what is in flight behind the smaller of both', async (size, blocking) => {
    const { fake, edge } = make({ size: 2048 });
    fake.hold('read', 'write');
    const before = edge.read(0, bytes(512));
    const behind = size === 512 ? edge.read(512, bytes(512)) : edge.write(8192, new Uint8Array(512));
    const truncate = edge.truncate(size, how);
    await settled();
    expect(fake.waiting).toEqual(['read 0+512', blocking]);
    fake.bytes = new Uint8Array(16_384);
    await fake.release(blocking);
    await truncate;
    expect([fake.bytes.length, fake.waiting]).toEqual([size, ['read 0+512']]);
    await fake.releaseAll();
    await Promise.all([before, behind]);
  });

  it('is there before whoever waits goes on, and is told last', async () => {
    const { fake, node, edge } = make({ size: 2048 });
    const seen: string[] = [];
    node.observe({ changed: () => {}, resized: (size) => seen.push(`observer ${size}`) });
    const graph = new Graph();
    const user = userOf(node, graph);
    user.sizeChanged = () => seen.push(`parent ${node.size()}, busy ${node.lock.busy}`);
    fake.hold('truncate');
    const truncate = edge.truncate(1024, how);
    const read = Promise.resolve(edge.read(1023, bytes(24))).then(() => seen.push('read'));
    await settled();
    expect([fake.log, seen]).toEqual([['truncate 1024'], []]);
    await fake.releaseAll();
    await Promise.all([truncate, read]);
    expect(fake.log).toEqual(['truncate 1024', 'read 1023+1']);
    expect(seen[0]).toBe('observer 1024');
    expect(seen).toContain('parent 1024, busy 0');
    expect(node.isDirty).toBe(true);
  });

  it('is refused where it cannot be', async () => {
    const { edge: readOnly } = make({ settings: { readOnly: true } });
    await expect(readOnly.truncate(0, how)).rejects.toMatchObject({ message: 'Image is read-only', code: 'EACCES' });
    const { edge } = make();
    await expect(edge.truncate(-1, how)).rejects.toMatchObject({ message: 'Image size cannot be negative', code: 'EINVAL' });
    await edge.truncate(0, how);
    expect(edge.size()).toBe(0);
    const { node, edge: cannot } = make({ lacks: ['truncate'] });
    await expect(cannot.truncate(0, how)).rejects.toMatchObject({ message: 'Image format driver does not support resize', code: 'ENOTSUP' });
    expect([node.isDirty, node.lock.isIdle, node.inFlight]).toEqual([false, true, 0]);
  });

  it('goes through a filter to what it filters', async () => {
    const graph = new Graph();
    const filter = new FakeNode('filter', { lacks: ['truncate'] });
    const below = new FakeNode('below');
    runTransaction((transaction) => graph.attach('file', childRole.filtered, filter.node, below.node, transaction, { perm: perm.none, shared: perm.all }));
    await userOf(filter.node, graph).truncate(512, how);
    expect(below.log).toEqual(['truncate 512']);
  });

  it('that fails lets everybody go on and is told to nobody', async () => {
    const { fake, node, edge } = make({ size: 2048 });
    const told: number[] = [];
    node.observe({ changed: () => {}, resized: (size) => told.push(size) });
    fake.failure = { op: 'truncate', error: new Error('no') };
    fake.hold('truncate');
    const truncate = edge.truncate(1024, how);
    const read = edge.read(1024, bytes(512));
    const failed = expect(truncate).rejects.toThrow('no');
    await fake.releaseAll();
    await failed;
    await read;
    expect([told, node.lock.isIdle, node.inFlight]).toEqual([[], true, 0]);
  });
});

describe('observers', () => {
  it('hear of changes and of nothing else, until they leave', async () => {
    const { node, edge } = make();
    const heard: string[] = [];
    const watching = node.observe({
      changed: (kind, offset, length) => heard.push(`${kind} ${offset}+${length}`),
      resized: (size) => heard.push(`size ${size}`),
    });
    const second = node.observe({ changed: () => heard.push('second'), resized: () => {} });
    await edge.read(0, bytes(1));
    await edge.flush();
    await edge.write(1, bytes(2));
    second[Symbol.dispose]();
    second[Symbol.dispose]();
    await edge.zero(3, 4);
    await edge.discard(5, 6);
    await edge.truncate(100, how);
    watching[Symbol.dispose]();
    await edge.write(0, bytes(1));
    expect(heard).toEqual(['write 1+2', 'second', 'zero 3+4', 'discard 5+6', 'size 100']);
    expect(node.watchesWrites).toBe(false);
  });
});

describe('locks of nodes above each other', () => {
  it('are taken downwards: a copy into the target passes below its readers', async () => {
    // source below target, as in fleecing: a reader of the target reads the source, the copy reads the source and writes the target
    const graph = new Graph();
    const source = new FakeNode('source');
    const target = new FakeNode('target');
    const below = runTransaction((transaction) =>
      graph.attach('backing', childRole.data, target.node, source.node, transaction, { perm: perm.none, shared: perm.all }),
    );
    target.node.state.read = (offset, into) => below.read(offset, into);
    const view = userOf(target.node, graph);
    source.hold('read');
    const done: string[] = [];
    watch(done, 'view 1', view.read(0, bytes(512)));
    const copy = (async () => {
      const data = bytes(512);
      await below.read(0, data);
      await view.root?.write(0, data, reqFlag.serialising);
    })();
    watch(done, 'copy', copy);
    await source.release();
    watch(done, 'view 2', view.read(0, bytes(512)));
    await source.releaseAll();
    await copy;
    await settled();
    expect(done.sort()).toEqual(['copy', 'view 1', 'view 2']);
  });
});
