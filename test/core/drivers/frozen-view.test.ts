import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import { reqFlag } from '../../../src/core/block/driver.ts';
import { CopyBeforeWriteState } from '../../../src/core/drivers/copy-before-write.ts';
import { delayed, FaultyStorage } from '../../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../../src/core/storage/memory.ts';
import type { Storage } from '../../../src/core/storage/storage.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { createImage } from '../../../src/engine/create.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { memoryEngine } from '../../support/memory-engine.ts';
import { type Random, seeded } from '../../support/random.ts';

const size = 1024 * 1024 + 5120;

let engine: Engine;
afterEach(() => engine.close());

function user(name: string, writable: boolean): BlockBackend {
  const node = engine.graph.find(name);
  const backend = new BlockBackend(engine.graph, { perm: writable ? perm.consistentRead | perm.write : perm.consistentRead, shared: perm.all });
  if (node !== undefined) backend.insert(node);
  return backend;
}

/** A source with random content, a filter above it that saves to a raw target, and the frozen view. */
async function fleecing(
  random: Random,
  wrap: (storage: Storage, path: string) => Storage,
  filter: Record<string, string | number> = {},
  kind: 'snapshot-access' | 'overlay' = 'snapshot-access',
): Promise<{ guest: BlockBackend; view: BlockBackend; frozen: Uint8Array }> {
  const made = memoryEngine(wrap);
  engine = made.engine;
  const frozen = new Uint8Array(size);
  for (let at = 0; at < size; at += 4096) if (random(3) > 0) frozen.fill(1 + random(255), at, Math.min(at + 4096, size));
  const medium = new MemoryStorage('source', { size });
  medium.write(0, frozen);
  made.media.set('source', medium);
  await createImage(engine, 'qcow2', 'target', { size });
  await engine.addNode({ driver: 'raw', 'node-name': 'source', discard: 'unmap', file: { driver: 'file', filename: 'source' } });
  await engine.addNode({
    driver: 'qcow2',
    'node-name': 'target',
    file: { driver: 'file', filename: 'target' },
    ...(kind === 'overlay' ? { backing: 'source' } : {}),
  });
  await engine.addNode({ driver: 'copy-before-write', 'node-name': 'cbw', file: 'source', target: 'target', discard: 'unmap', ...filter });
  if (kind === 'snapshot-access') await engine.addNode({ driver: 'snapshot-access', 'node-name': 'view', file: 'cbw' });
  return { guest: user('cbw', true), view: user(kind === 'overlay' ? 'target' : 'view', false), frozen };
}

async function guestOperation(guest: BlockBackend, random: Random): Promise<void> {
  const offset = random(size);
  const length = Math.min(size - offset, 1 + random(random(4) === 0 ? 300000 : 9000));
  const kind = random(6);
  if (kind === 0) await guest.zero(offset, length, 0);
  else if (kind === 1) await guest.discard(offset, length);
  else await guest.write(offset, new Uint8Array(length).fill(random(256)));
}

async function readAndCompare(view: BlockBackend, frozen: Uint8Array, random: Random): Promise<void> {
  const offset = random(size);
  const into = new Uint8Array(Math.min(size - offset, 1 + random(200000)));
  await view.read(offset, into);
  expect(Buffer.compare(into, frozen.subarray(offset, offset + into.length)), `read of ${into.length} at ${offset}`).toBe(0);
  const status = await view.status(offset, into.length);
  if (status.zero) expect(Buffer.from(frozen.subarray(offset, offset + status.length)).every((byte) => byte === 0)).toBe(true);
}

const modes: readonly [string, (random: Random) => (storage: Storage) => Storage][] = [
  ['synchronous', () => (storage) => storage],
  ['delayed', () => (storage) => delayed(storage, 'turn')],
  [
    'randomly delayed',
    (random) => (storage) =>
      new FaultyStorage(storage, {
        before: () => {
          const turns = random(4);
          return turns === 0 ? undefined : later(turns);
        },
      }),
  ],
];

async function later(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}

describe('the frozen view of copy-before-write', () => {
  const kinds = ['snapshot-access', 'overlay'] as const;
  const runs = modes.flatMap(([name, mode]) => [1, 2, 3, 4, 5, 6].flatMap((seed) => kinds.map((kind) => [kind, name, seed, mode] as const)));
  it.each(runs)('keeps the view by %s frozen over %s media, seed %i', async (kind, _, seed, mode) => {
    const random = seeded(seed);
    const { guest, view, frozen } = await fleecing(random, mode(seeded(seed + 1000)), {}, kind);
    const writers = [0, 1, 2].map(async () => {
      for (let i = 0; i < 60; i++) await guestOperation(guest, random);
    });
    const readers = [0, 1, 2, 3].map(async () => {
      for (let i = 0; i < 40; i++) await readAndCompare(view, frozen, random);
    });
    await Promise.all([...writers, ...readers]);
    const all = new Uint8Array(size);
    await view.read(0, all);
    expect(Buffer.compare(all, frozen)).toBe(0);
    // the guest did write: the view is not frozen because nothing happened
    await guest.read(0, all);
    expect(Buffer.compare(all, frozen)).not.toBe(0);
    await view.remove();
    await guest.remove();
  });

  it('makes every write wait for a read of old data, also the second to one cluster', async () => {
    let hold: Promise<void> | undefined;
    let release = (): void => {};
    const wrap = (storage: Storage, path: string): Storage =>
      path === 'source' ? new FaultyStorage(storage, { before: (op, offset) => (op === 'read' && offset === 70000 ? hold : undefined) }) : storage;
    const { guest, view, frozen } = await fleecing(seeded(4), wrap);
    hold = new Promise<void>((resolve) => {
      release = resolve;
    });
    const into = new Uint8Array(100);
    const reading = Promise.resolve(view.read(70000, into));
    const done: string[] = [];
    const writes = ['first', 'second'].map((name) =>
      Promise.resolve(guest.write(70000, new Uint8Array(100).fill(99))).then(() => {
        done.push(name);
      }),
    );
    await later(10);
    expect(done).toEqual([]);
    release();
    await Promise.all([reading, ...writes]);
    expect(Buffer.compare(into, frozen.subarray(70000, 70100))).toBe(0);
    await view.remove();
    await guest.remove();
  });

  it.each([
    ['overlay', reqFlag.serialising],
    ['snapshot-access', reqFlag.none],
  ] as const)('writes to the target of a view by %s so that its readers see all or nothing', async (kind, flags) => {
    const { guest, view } = await fleecing(seeded(4), (storage) => storage, {}, kind);
    const { state } = engine.graph.find('cbw') ?? {};
    expect(state instanceof CopyBeforeWriteState ? state.copy.range.writeFlags : undefined).toBe(flags);
    await view.remove();
    await guest.remove();
  });

  it('does not let the guest wait longer than cbw-timeout', async () => {
    let isSlow = false;
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow = (storage: Storage, path: string): Storage =>
      path === 'target' ? new FaultyStorage(storage, { before: (op) => (op === 'write' && isSlow ? gate : undefined) }) : storage;
    const { guest, view } = await fleecing(seeded(2), slow, { 'cbw-timeout': 1 });
    isSlow = true;
    await expect(guest.write(65536, new Uint8Array(100).fill(9))).rejects.toThrow('Connection timed out');
    release();
    await view.remove();
    await guest.remove();
  });

  it('asks for what its parents need and shares no writing of its file', async () => {
    const { guest, view } = await fleecing(seeded(3), (storage) => storage);
    const node = engine.graph.find('cbw');
    expect(node?.children.map((child) => [child.name, child.perm, child.shared])).toEqual([
      ['file', perm.consistentRead | perm.write, perm.consistentRead | perm.writeUnchanged],
      ['target', perm.write, perm.all & ~perm.resize],
    ]);
    await guest.remove();
    expect(node?.child('file')?.perm).toBe(perm.consistentRead);
    await view.remove();
  });

  it.each([
    [{ 'min-cluster-size': 100000 }, 'Cannot create block-copy-state: min-cluster-size needs to be a power of 2'],
    [{ 'bitmap.name': 'b', 'bitmap.node': 'source' }, "Dirty bitmap 'b' not found"],
    [{ 'on-cbw-error': 'ignore' }, 'invalid parameter value: ignore'],
  ])('refuses %o', async (options, message) => {
    const made = memoryEngine();
    engine = made.engine;
    await engine.addNode({ driver: 'null-co', 'node-name': 'source', size: 1048576 });
    await engine.addNode({ driver: 'null-co', 'node-name': 'target', size: 1048576 });
    const flat: Record<string, string | number | { name: string; node: string }> =
      'bitmap.name' in options ? { bitmap: { name: 'b', node: 'source' } } : options;
    await expect(engine.addNode({ driver: 'copy-before-write', 'node-name': 'cbw', file: 'source', target: 'target', ...flat })).rejects.toThrow(message);
    expect(engine.graph.find('cbw')).toBeUndefined();
    expect(engine.graph.find('source')?.parents).toEqual([]);
  });
});
