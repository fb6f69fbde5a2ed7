import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import { drainNodes } from '../../../src/core/block/drain.ts';
import { reqFlag } from '../../../src/core/block/driver.ts';
import { delayed, FaultyStorage } from '../../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../../src/core/storage/memory.ts';
import type { Storage } from '../../../src/core/storage/storage.ts';
import { isPending } from '../../../src/core/util/maybe.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { memoryEngine } from '../../support/memory-engine.ts';
import { make } from '../../support/requests.ts';

let engine: Engine;
afterEach(() => engine.close());

async function disk(size: number, wrap?: (storage: Storage) => Storage, options: Record<string, string | boolean> = {}, align = 1): Promise<BlockBackend> {
  const made = memoryEngine(wrap);
  engine = made.engine;
  made.media.set('disk', new MemoryStorage('disk', { size, align }));
  const node = await engine.addNode({ driver: 'raw', 'node-name': 'disk', file: { driver: 'file', filename: 'disk', discard: 'unmap' }, ...options });
  const backend = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write | perm.resize, shared: perm.all });
  backend.insert(node);
  return backend;
}

const filled = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);

describe('the request path', () => {
  it('completes without a promise when the medium does', async () => {
    const backend = await disk(65536);
    expect(isPending(backend.write(100, filled(50, 7)))).toBe(false);
    const into = new Uint8Array(52);
    expect(isPending(backend.read(99, into))).toBe(false);
    expect([...into]).toEqual([0, ...filled(50, 7), 0]);
    expect(backend.node?.inFlight).toBe(0);
    await backend.remove();
  });

  it('refuses ranges outside the disk', async () => {
    const backend = await disk(4096);
    expect(() => backend.read(4000, new Uint8Array(97))).toThrow('Input/output error');
    expect(() => backend.write(-1, new Uint8Array(1))).toThrow('Input/output error');
    expect(() => backend.zero(Number.NaN, 1)).toThrow('Input/output error');
    await backend.remove();
  });

  it.each([1, 512, 4096])('reads back misaligned writes on a medium with alignment %i', async (align) => {
    const backend = await disk(65536, align === 1 ? undefined : (storage) => delayed(storage, 'microtask'), {}, align);
    const model = new Uint8Array(65536);
    let seed = 12345;
    const random = (below: number): number => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return seed % below;
    };
    for (let round = 0; round < 200; round++) {
      const offset = random(65000);
      const length = 1 + random(Math.min(9000, 65536 - offset));
      const data = filled(length, 1 + (round % 255));
      model.set(data, offset);
      await backend.write(offset, data);
    }
    const all = new Uint8Array(65536);
    await backend.read(0, all);
    expect(Buffer.compare(all, model)).toBe(0);
    await backend.remove();
  });

  it('makes a plain request wait for an overlapping serialising one, and the other way round', async () => {
    const order: string[] = [];
    const gates: (() => void)[] = [];
    const backend = await disk(
      65536,
      (storage) =>
        new FaultyStorage(storage, { before: (op) => (op === 'read' || op === 'write' ? new Promise<void>((resolve) => gates.push(resolve)) : undefined) }),
    );
    const root = backend.root;
    const first = Promise.resolve(root?.write(0, filled(4096, 1), reqFlag.serialising)).then(() => order.push('serialising'));
    const read = new Uint8Array(10);
    const second = Promise.resolve(root?.read(100, read)).then(() => order.push('read'));
    expect(gates.length).toBe(1);
    gates.shift()?.();
    await first;
    await new Promise((resolve) => setImmediate(resolve));
    gates.shift()?.();
    await second;
    expect(order).toEqual(['serialising', 'read']);
    expect([...read]).toEqual([...filled(10, 1)]);
    await backend.remove();
  });

  it('turns written zeros into a zero write with detect-zeroes', async () => {
    let zeros = 0;
    const backend = await disk(65536, (storage) => new FaultyStorage(storage, { before: (op) => void (op === 'zero' && zeros++) }), { 'detect-zeroes': 'on' });
    await backend.write(0, filled(4096, 0));
    expect(zeros).toBe(1);
    await backend.write(0, filled(4096, 1));
    expect(zeros).toBe(1);
    await backend.remove();
  });

  it('drops discards unless the node passes them on', async () => {
    let discards = 0;
    const count = (storage: Storage): Storage => new FaultyStorage(storage, { before: (op) => void (op === 'discard' && discards++) });
    const ignoring = await disk(65536, count);
    await ignoring.discard(0, 4096);
    expect(discards).toBe(0);
    await ignoring.remove();
    await engine.close();
    const passing = await disk(65536, count, { discard: 'unmap' });
    await passing.discard(0, 4096);
    expect(discards).toBe(1);
    await passing.remove();
  });
});

describe('a drained section', () => {
  it('waits for what is in flight, queues new requests, and lets them go at its end', async () => {
    const gates: (() => void)[] = [];
    const backend = await disk(
      65536,
      (storage) =>
        new FaultyStorage(storage, { before: (op) => (op === 'read' || op === 'write' ? new Promise<void>((resolve) => gates.push(resolve)) : undefined) }),
    );
    const node = backend.node;
    if (node === undefined) throw new Error('no node');
    let isDone = false;
    const write = Promise.resolve(backend.write(0, filled(512, 1))).then(() => {
      isDone = true;
    });
    const draining = drainNodes([node]);
    let isDrained = false;
    void draining.then(() => {
      isDrained = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect([isDone, isDrained]).toEqual([false, false]);
    gates.shift()?.();
    const section = await draining;
    await write;
    const queued = backend.read(0, new Uint8Array(1));
    expect(isPending(queued)).toBe(true);
    expect(gates.length).toBe(0);
    section[Symbol.dispose]();
    await new Promise((resolve) => setImmediate(resolve));
    gates.shift()?.();
    await queued;
    await backend.remove();
  });
});

describe('a driver that takes whole blocks only', () => {
  const align = 512;
  const patterned = (length: number): Uint8Array => Uint8Array.from({ length }, (_, at) => 1 + (at % 251));

  it.each([
    [700, 100],
    [700, 2000],
    [512, 700],
    [1000, 24],
    [1, 65535],
  ])('gives any bytes of them: %i+%i', async (offset, length) => {
    const { fake, edge } = make({ limits: { requestAlign: align } });
    fake.bytes = patterned(65536);
    const into = new Uint8Array(length);
    await edge.read(offset, into);
    expect(Buffer.compare(into, patterned(65536).subarray(offset, offset + length))).toBe(0);
    for (const text of fake.log) expect(text).toMatch(/^read \d+\+\d+$/);
    const [at = -1, run = -1] = (fake.log[0] ?? '').slice('read '.length).split('+').map(Number);
    expect([at % align, run % align]).toEqual([0, 0]);
  });

  it.each([
    [700, 100],
    [700, 2000],
    [512, 700],
    [65000, 536],
  ])('keeps what lies beside what is written: %i+%i', async (offset, length) => {
    const { fake, edge } = make({ limits: { requestAlign: align } });
    fake.bytes = patterned(65536);
    const expected = patterned(65536).fill(0xff, offset, offset + length);
    await edge.write(offset, new Uint8Array(length).fill(0xff));
    expect(Buffer.compare(fake.bytes, expected)).toBe(0);
  });
});
