/* Requests of one node: who waits for whom, what is split, widened and emulated, on a driver that answers when the test says. */
import { describe, expect, it } from 'vitest';
import { reqFlag } from '../../../src/core/block/driver.ts';
import { isPending } from '../../../src/core/util/maybe.ts';
import { bytes, codeOf, how, make, watch } from '../../support/requests.ts';

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
