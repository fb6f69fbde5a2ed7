/* Requests side by side: who waits for whom, and that nobody waits when nothing is pending. */
import { afterEach, describe, expect, it } from 'vitest';
import type { BlockBackend } from '../../src/core/block/backend.ts';
import { FaultyStorage } from '../../src/core/storage/faulty.ts';
import type { MemoryStorage } from '../../src/core/storage/memory.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { isPending, type Maybe } from '../../src/core/util/maybe.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { checkMedium, type DiskOptions, filled, newDisk } from './image-support.ts';

const cluster = 65536;
const values = { size: 4 * 1024 * 1024 };
let engine: Engine;
let medium: MemoryStorage;
afterEach(() => engine.close());

async function disk(options: Partial<DiskOptions> = {}): Promise<BlockBackend> {
  const made = await newDisk({ values, ...options });
  engine = made.engine;
  medium = made.medium;
  return made.backend;
}

/** Holds back requests that `isHeld` picks until `release`. */
class Gate {
  isHeld: (op: string, offset: number, length: number) => boolean = () => false;
  #waiting: (() => void)[] = [];

  before(op: string, offset: number, length: number): Maybe<void> {
    if (!this.isHeld(op, offset, length)) return;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  get held(): number {
    return this.#waiting.length;
  }

  release(): void {
    this.isHeld = () => false;
    for (const go of this.#waiting.splice(0)) go();
  }
}

function gated(): { gate: Gate; wrap: NonNullable<DiskOptions['wrap']> } {
  const gate = new Gate();
  return { gate, wrap: (storage) => new FaultyStorage(storage, { before: (op, offset, length) => gate.before(op, offset, length) }) };
}

const turns = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
};

describe('on a storage that answers at once', () => {
  it('reads, writes in place and allocates without a promise', async () => {
    const backend = await disk();
    expect(isPending(backend.write(0, filled(cluster, 1)))).toBe(false);
    expect(isPending(backend.write(5 * cluster + 100, filled(3 * cluster, 2)))).toBe(false);
    expect(isPending(backend.write(10, filled(100, 3)))).toBe(false);
    expect(isPending(backend.read(0, new Uint8Array(9 * cluster)))).toBe(false);
    expect(isPending(backend.zero(cluster, 2 * cluster))).toBe(false);
    expect(isPending(backend.discard(0, cluster))).toBe(false);
    expect(isPending(backend.flush())).toBe(false);
  });

  it('sends a contiguous request down as one', async () => {
    const calls: string[] = [];
    const backend = await disk({
      wrap: (storage) =>
        new FaultyStorage(storage, { before: (op, offset, length) => void (op === 'read' || op === 'write' ? calls.push(`${op} ${offset} ${length}`) : 0) }),
    });
    await backend.write(0, filled(8 * cluster, 1));
    calls.length = 0;
    await backend.write(cluster / 2, filled(4 * cluster, 2));
    await backend.read(0, new Uint8Array(8 * cluster));
    expect(calls).toEqual([`write ${5 * cluster + cluster / 2} ${4 * cluster}`, `read ${5 * cluster} ${8 * cluster}`]);
    calls.length = 0;
    // what must be copied around the data goes along in the same write
    await backend.write(20 * cluster + 4096, filled(4096, 3));
    expect(calls).toEqual([`write ${13 * cluster} ${cluster}`]);
  });
});

describe('a write that has taken clusters', () => {
  it('makes an overlapping write wait, and another one not', async () => {
    const { gate, wrap } = gated();
    const backend = await disk({ wrap });
    await backend.write(63 * cluster, filled(512, 9));
    gate.isHeld = (op, _offset, length) => op === 'write' && length === cluster;
    const order: string[] = [];
    const first = Promise.resolve(backend.write(0, filled(4096, 1))).then(() => order.push('first'));
    await turns();
    expect(gate.held).toBe(1);
    const second = Promise.resolve(backend.write(4096, filled(4096, 2))).then(() => order.push('second'));
    gate.isHeld = () => false;
    const other = Promise.resolve(backend.write(8 * cluster, filled(4096, 3))).then(() => order.push('other'));
    await other;
    await turns();
    expect(order).toEqual(['other']);
    gate.release();
    await Promise.all([first, second]);
    expect(order).toEqual(['other', 'first', 'second']);
    const found = new Uint8Array(8192);
    await backend.read(0, found);
    expect(found).toEqual(Uint8Array.from([...filled(4096, 1), ...filled(4096, 2)]));
  });

  it('gives them back when the data cannot be written', async () => {
    let isFailing = false;
    const backend = await disk({
      wrap: (storage) =>
        new FaultyStorage(storage, {
          fail: (op, _offset, length) =>
            isFailing && op === 'write' && length === 3 * cluster ? new BlockError('No space left on device', { code: 'ENOSPC' }) : undefined,
        }),
    });
    await backend.write(0, filled(cluster, 1));
    isFailing = true;
    expect(() => backend.write(cluster, filled(3 * cluster, 2))).toThrow('No space left on device');
    isFailing = false;
    const found = new Uint8Array(3 * cluster);
    await backend.read(cluster, found);
    expect(found.every((byte) => byte === 0)).toBe(true);
    await engine.close();
    expect(await checkMedium(medium)).toMatchObject({ corruptions: 0, leaks: 0, messages: [] });
  });
});

describe('a cluster is not given away under', () => {
  it.each(['read', 'write'] as const)('a %s in flight', async (kind) => {
    const { gate, wrap } = gated();
    const backend = await disk({ wrap });
    await backend.write(0, filled(2 * cluster, 1));
    await backend.flush();
    gate.isHeld = (op, offset) => op === kind && offset === 5 * cluster;
    const buffer = filled(cluster, kind === 'read' ? 0 : 5);
    const request = Promise.resolve(kind === 'read' ? backend.read(0, buffer) : backend.write(0, buffer));
    await turns();
    expect(gate.held).toBe(1);
    let isDiscarded = false;
    const discard = Promise.resolve(backend.discard(0, cluster)).then(() => {
      isDiscarded = true;
    });
    await turns();
    expect(isDiscarded).toBe(false);
    // a write elsewhere takes a free cluster: were the first one free, it would be taken
    await backend.write(10 * cluster, filled(4096, 7));
    gate.release();
    await Promise.all([request, discard]);
    if (kind === 'read') expect(buffer).toEqual(filled(cluster, 1));
    const found = new Uint8Array(cluster);
    await backend.read(0, found);
    expect(found).toEqual(new Uint8Array(cluster));
    await backend.read(10 * cluster, found.subarray(0, 4096));
    expect(found.subarray(0, 4096)).toEqual(filled(4096, 7));
  });
});

it('marks the image corrupt before metadata is overwritten, and refuses what follows', async () => {
  const backend = await disk();
  await backend.write(0, filled(cluster, 1));
  await backend.flush();
  const events: unknown[] = [];
  engine.events.listen(({ name, data }) => void (name === 'BLOCK_IMAGE_CORRUPTED' && events.push(data)));
  // the L2 entry of cluster 0 points at the refcount block now
  await engine.close();
  const entry = Uint8Array.from([0x80, 0, 0, 0, 0, 2, 0, 0]);
  medium.write(0x40000, entry);
  const again = await (await import('./image-support.ts')).openMedium(medium);
  engine = again.engine;
  engine.events.listen(({ name, data }) => void (name === 'BLOCK_IMAGE_CORRUPTED' && events.push(data)));
  expect(() => again.backend.write(0, filled(512, 2))).toThrow('Input/output error');
  expect(events).toMatchObject([{ msg: 'Preventing invalid write on metadata (overlaps with refcount block)', fatal: true }]);
  expect(() => again.backend.read(0, new Uint8Array(512))).toThrow('No medium found');
  const mark = new Uint8Array(8);
  medium.read(72, mark);
  expect(mark[7]).toBe(2);
});
