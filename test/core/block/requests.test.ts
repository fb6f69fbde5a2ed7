/* Requests of one node: who waits for whom, what is split, widened and emulated, on a driver that answers when the test says. */
import { describe, expect, it } from 'vitest';
import type { Child } from '../../../src/core/block/child.ts';
import { childRole, reqFlag } from '../../../src/core/block/driver.ts';
import { Graph } from '../../../src/core/block/graph.ts';
import type { BlockNode } from '../../../src/core/block/node.ts';
import { runTransaction } from '../../../src/core/block/transaction.ts';
import { isPending, type Maybe } from '../../../src/core/util/maybe.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { FakeNode, type FakeOptions, settled, userOf } from '../../support/fake-node.ts';

interface Made {
  readonly fake: FakeNode;
  readonly node: BlockNode;
  readonly edge: Child;
}

function make(options: FakeOptions = {}): Made {
  const fake = new FakeNode('n', options);
  const edge = userOf(fake.node).root;
  if (edge === undefined) throw new Error('no edge');
  return { fake, node: fake.node, edge };
}

const bytes = (length: number, value = 7): Uint8Array => new Uint8Array(length).fill(value);
const how = { exact: true, prealloc: 'off' } as const;

/** Collects the names of promises as they settle. */
function watch(done: string[], name: string, request: Maybe<unknown>): void {
  void Promise.resolve(request).then(
    () => done.push(name),
    () => done.push(`${name} failed`),
  );
}

async function codeOf(body: () => unknown): Promise<string> {
  try {
    await body();
    return 'none';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe('requests that are answered at once', () => {
  it('leave nothing behind', () => {
    const { node, edge } = make();
    for (const request of [edge.read(0, bytes(1)), edge.write(0, bytes(1)), edge.zero(0, 1), edge.discard(0, 1), edge.flush()])
      expect(isPending(request)).toBe(false);
    expect([node.inFlight, node.lock.busy, node.lock.isIdle]).toEqual([0, 0, true]);
    expect(isPending(edge.write(0, bytes(1), reqFlag.serialising))).toBe(false);
    expect(node.lock.isIdle).toBe(true);
  });

  it('of no bytes do not reach the driver', () => {
    const { fake, edge } = make();
    for (const request of [edge.read(5, bytes(0)), edge.write(5, bytes(0)), edge.zero(5, 0), edge.discard(5, 0)]) expect(request).toBeUndefined();
    expect(fake.log).toEqual([]);
  });
});

describe('requests in flight', () => {
  it.each(['read', 'write', 'zero', 'discard', 'flush'] as const)('are counted until they settle: %s', async (op) => {
    const { fake, node, edge } = make();
    fake.hold(op);
    const start = {
      read: () => edge.read(0, bytes(512)),
      write: () => edge.write(0, bytes(512)),
      zero: () => edge.zero(0, 512),
      discard: () => edge.discard(0, 512),
      flush: () => edge.flush(),
    };
    const request = start[op]();
    expect([node.inFlight, node.lock.isIdle]).toEqual([1, op === 'flush']);
    const idle = node.whenIdle();
    expect(isPending(idle)).toBe(true);
    await fake.releaseAll();
    await Promise.all([request, idle]);
    expect([node.inFlight, node.lock.isIdle, node.whenIdle()]).toEqual([0, true, undefined]);
  });

  it('are over when they fail, and let those behind them go on', async () => {
    const { fake, node, edge } = make();
    fake.hold('write');
    fake.failure = { op: 'write', error: new Error('broken') };
    const done: string[] = [];
    watch(done, 'first', edge.write(0, bytes(512), reqFlag.serialising));
    watch(done, 'second', edge.write(0, bytes(512), reqFlag.serialising));
    await fake.release();
    expect(done).toEqual(['first failed']);
    await fake.releaseAll();
    expect(done).toEqual(['first failed', 'second']);
    expect([node.inFlight, node.lock.isIdle]).toEqual([0, true]);
  });

  it('that wait are counted too, and fail alone', async () => {
    const { fake, node, edge } = make();
    fake.hold('write');
    const done: string[] = [];
    watch(done, 'writer', edge.write(0, bytes(512), reqFlag.serialising));
    watch(done, 'reader', edge.read(0, bytes(512)));
    expect(node.inFlight).toBe(2);
    fake.failure = { op: 'read', error: new Error('broken') };
    await fake.releaseAll();
    expect(done.sort()).toEqual(['reader failed', 'writer']);
    expect([node.inFlight, node.lock.isIdle]).toEqual([0, true]);
  });

  it('that are plain pass each other', async () => {
    const { fake, edge } = make();
    fake.hold('read', 'write', 'discard');
    void edge.read(0, bytes(512));
    void edge.write(0, bytes(512));
    void edge.discard(0, 512);
    expect(fake.waiting).toEqual(['read 0+512', 'write 0+512', 'discard 0+512']);
    await fake.releaseAll();
  });
});

describe('a serialising request', () => {
  it('waits for readers before it, and newcomers wait behind it', async () => {
    const { fake, edge } = make();
    fake.hold('read', 'write');
    const done: string[] = [];
    watch(done, 'first reader', edge.read(0, bytes(512)));
    watch(done, 'writer', edge.write(256, bytes(512), reqFlag.serialising));
    watch(done, 'second reader', edge.read(512, bytes(512)));
    watch(done, 'reader elsewhere', edge.read(768, bytes(512)));
    expect(fake.waiting).toEqual(['read 0+512', 'read 768+512']);
    await fake.release('read 0+512');
    expect(fake.waiting).toEqual(['read 768+512', 'write 256+512']);
    await fake.release('write 256+512');
    expect(fake.waiting).toEqual(['read 768+512', 'read 512+512']);
    await fake.releaseAll();
    expect(done).toEqual(['first reader', 'writer', 'reader elsewhere', 'second reader']);
  });

  it('is not starved by readers that leave no gap', async () => {
    const { fake, edge } = make();
    fake.hold('read');
    let isWritten = false;
    const readers = [0, 1, 2].map(async () => {
      while (!isWritten) await edge.read(0, bytes(512));
    });
    const writer = Promise.resolve(edge.write(0, bytes(512), reqFlag.serialising)).then(() => {
      isWritten = true;
    });
    for (let round = 0; round < 3; round++) await fake.release();
    expect(isWritten).toBe(true);
    await fake.releaseAll();
    await Promise.all([writer, ...readers]);
  });

  it('is widened to whole clusters, a plain one is not', async () => {
    const { fake, edge } = make({ limits: { clusterSize: 4096, requestAlign: 512 } });
    fake.hold('write', 'read');
    void edge.write(512, bytes(512), reqFlag.serialising);
    void edge.read(3584, bytes(512));
    void edge.read(0, bytes(512));
    void edge.read(4096, bytes(512));
    expect(fake.waiting).toEqual(['write 512+512', 'read 4096+512']);
    await fake.releaseAll();
    void edge.write(0, bytes(512));
    void edge.read(512, bytes(512));
    await fake.releaseAll();
  });

  it('does not hand its flag to the driver', async () => {
    const { fake, edge } = make({ writeFlags: 0xff });
    await edge.write(0, bytes(512), reqFlag.serialising | reqFlag.compressed);
    await edge.zero(0, 512, reqFlag.serialising | reqFlag.mayUnmap);
    expect(fake.log).toEqual([`write 0+512 flags ${reqFlag.compressed}`, `zero 0+512 flags ${reqFlag.mayUnmap}`]);
  });

  it('makes zeros and discards wait as well', async () => {
    const { fake, edge } = make();
    fake.hold('zero');
    void edge.zero(0, 512, reqFlag.serialising);
    const discard = edge.discard(0, 512);
    const zero = edge.zero(511, 512);
    expect(fake.log).toEqual(['zero 0+512']);
    await fake.releaseAll();
    await Promise.all([discard, zero]);
    expect(fake.log).toEqual(['zero 0+512', 'discard 0+512', 'zero 511+512']);
  });
});

describe('a write that is not aligned', () => {
  it('reads, changes and writes back whole blocks, alone', async () => {
    const { fake, edge } = make({ limits: { requestAlign: 512 } });
    fake.bytes.fill(1, 0, 1024);
    fake.hold('read');
    const write = edge.write(500, bytes(24));
    const other = edge.write(0, bytes(512, 3));
    const beside = edge.write(1024, bytes(512, 4));
    expect([isPending(other), isPending(beside)]).toEqual([true, false]);
    await fake.releaseAll();
    await Promise.all([write, other]);
    expect(fake.log).toEqual(['read 0+1024', 'write 1024+512', 'write 0+1024', 'write 0+512']);
    expect([fake.bytes[0], fake.bytes[511], fake.bytes[512], fake.bytes[523], fake.bytes[524]]).toEqual([3, 3, 7, 7, 1]);
  });

  it('that only ends in the middle of a block is one, too', async () => {
    const { fake, edge } = make({ limits: { requestAlign: 512 } });
    await edge.write(512, bytes(100));
    await edge.write(100, bytes(412));
    expect(fake.log).toEqual(['read 512+512', 'write 512+512', 'read 0+512', 'write 0+512']);
  });

  it('keeps two of one block apart', async () => {
    const { fake, edge } = make({ limits: { requestAlign: 512 } });
    fake.hold('read', 'write');
    const both = Promise.all([edge.write(0, bytes(10, 1)), edge.write(10, bytes(10, 2))]);
    while (fake.waiting.length > 0) await fake.release();
    await both;
    expect([...fake.bytes.subarray(0, 21)]).toEqual([...bytes(10, 1), ...bytes(10, 2), 0]);
  });
});

describe('reads', () => {
  it('past the end are zeros, and only what is there is read', async () => {
    const { fake, edge } = make({ size: 1000 });
    fake.bytes.fill(9);
    const into = bytes(600);
    await edge.read(700, into);
    expect([fake.log, into[299], into[300], into[599]]).toEqual([['read 700+300'], 9, 0, 0]);
    const beyond = bytes(10);
    await edge.read(1000, beyond);
    await edge.read(5000, beyond);
    expect([fake.log.length, ...beyond]).toEqual([1, ...bytes(10, 0)]);
    await edge.read(990, bytes(10));
    expect(fake.log.at(-1)).toBe('read 990+10');
  });

  it('that are not aligned are cut out of whole blocks', async () => {
    const { fake, edge } = make({ limits: { requestAlign: 512 } });
    for (const at of fake.bytes.keys()) fake.bytes[at] = at % 251;
    const into = new Uint8Array(700);
    await edge.read(300, into);
    expect(fake.log).toEqual(['read 0+1024']);
    expect(Buffer.compare(into, fake.bytes.subarray(300, 1000))).toBe(0);
    await edge.read(512, new Uint8Array(100));
    expect(fake.log.at(-1)).toBe('read 512+512');
  });

  it('larger than the driver takes come in pieces', async () => {
    const { fake, edge } = make({ limits: { maxTransfer: 4096 } });
    for (const at of fake.bytes.keys()) fake.bytes[at] = at % 251;
    const into = new Uint8Array(10_000);
    await edge.read(0, into);
    expect(fake.log).toEqual(['read 0+4096', 'read 4096+4096', 'read 8192+1808']);
    expect(Buffer.compare(into, fake.bytes.subarray(0, 10_000))).toBe(0);
    await edge.read(0, new Uint8Array(4096));
    expect(fake.log.length).toBe(4);
    fake.hold('read');
    fake.log.length = 0;
    const slow = edge.read(0, new Uint8Array(8192));
    await fake.release();
    await fake.releaseAll();
    await slow;
    expect(fake.log).toEqual(['read 0+4096', 'read 4096+4096']);
  });

  it('hold the whole range while its pieces are read', async () => {
    const { fake, edge } = make({ limits: { maxTransfer: 4096 } });
    fake.hold('read');
    void edge.read(0, new Uint8Array(8192));
    const write = edge.write(0, bytes(512), reqFlag.serialising);
    await fake.release();
    expect(fake.log).toEqual(['read 0+4096', 'read 4096+4096']);
    await fake.releaseAll();
    await write;
    expect(fake.log.at(-1)).toBe('write 0+512');
  });

  it('look at the size when their turn has come', async () => {
    const { fake, edge } = make({ size: 4096 });
    fake.bytes.fill(5);
    fake.hold('truncate');
    const truncate = edge.truncate(1024, how);
    const into = bytes(2048);
    const read = edge.read(512, into);
    await fake.releaseAll();
    await Promise.all([truncate, read]);
    expect(fake.log).toEqual(['truncate 1024', 'read 512+512']);
    expect([into[511], into[512], into[2047]]).toEqual([5, 0, 0]);
  });
});

describe('writes', () => {
  it('larger than the driver takes go in pieces', async () => {
    const { fake, edge } = make({ limits: { maxTransfer: 4096 } });
    const data = new Uint8Array(9000).map((_, at) => at % 251);
    await edge.write(100, data);
    expect(fake.log).toEqual(['write 100+4096', 'write 4196+4096', 'write 8292+808']);
    expect(Buffer.compare(fake.bytes.subarray(100, 9100), data)).toBe(0);
  });

  it('remember how far they came, and that there is something to flush', async () => {
    const { node, edge } = make();
    expect([node.highestWrite, node.isDirty]).toEqual([0, false]);
    await edge.write(1000, bytes(24));
    await edge.write(0, bytes(24));
    await edge.discard(8192, 512);
    expect([node.highestWrite, node.isDirty]).toEqual([1024, true]);
    await edge.zero(2000, 48);
    expect(node.highestWrite).toBe(2048);
  });

  it('are refused by a node that cannot be written', async () => {
    const { edge: readOnly } = make({ settings: { readOnly: true } });
    expect(await Promise.all([codeOf(() => readOnly.write(0, bytes(1))), codeOf(() => readOnly.zero(0, 1)), codeOf(() => readOnly.discard(0, 1))])).toEqual([
      'EPERM',
      'EPERM',
      'EPERM',
    ]);
    const { edge: cannot } = make({ lacks: ['write'] });
    expect([await codeOf(() => cannot.write(0, bytes(1))), await codeOf(() => cannot.zero(0, 1))]).toEqual(['ENOTSUP', 'ENOTSUP']);
  });
});

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
