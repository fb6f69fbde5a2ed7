/* Reading that keeps: a guest's write is never undone by it, and a copy that fails is told to the reader. */
import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import { nodeStatus } from '../../../src/core/block/block-status.ts';
import { delayed, FaultyStorage } from '../../../src/core/storage/faulty.ts';
import type { Storage } from '../../../src/core/storage/storage.ts';
import { BlockError } from '../../../src/core/util/errors.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { createImage } from '../../../src/engine/create.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { memoryEngine } from '../../support/memory-engine.ts';
import { seeded } from '../../support/random.ts';

const cluster = 4096;
const size = 64 * cluster;
let engine: Engine;
afterEach(() => engine.close());

async function open(wrap: (storage: Storage, path: string) => Storage = (storage) => storage): Promise<BlockBackend> {
  let wraps = false;
  const made = memoryEngine((storage, path) => (wraps ? wrap(storage, path) : storage));
  engine = made.engine;
  await createImage(engine, 'raw', 'base', { size });
  const base = made.media.get('base');
  for (let at = 0; at < size; at += cluster) base?.write(at, new Uint8Array(cluster).fill(at / cluster < 48 ? 200 : 0));
  await createImage(engine, 'qcow2', 'top', { size, cluster_size: cluster, backing_file: 'base', backing_fmt: 'raw' });
  wraps = true;
  const node = await engine.addNode({
    driver: 'copy-on-read',
    'node-name': 'cor',
    file: { driver: 'qcow2', 'node-name': 'top', file: { driver: 'file', filename: 'top' } },
  });
  const backend = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write, shared: perm.all });
  backend.insert(node);
  return backend;
}

async function read(backend: BlockBackend, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  await backend.read(offset, bytes);
  return bytes;
}

/** Clusters that the image has itself. */
async function held(): Promise<number[]> {
  const node = engine.graph.find('top');
  const found: number[] = [];
  for (let at = 0; node !== undefined && at < size; at += cluster) if ((await nodeStatus(node, at, cluster, false)).allocated) found.push(at / cluster);
  return found;
}

describe('copy-on-read', () => {
  it('keeps whole clusters of what was read, and of that only', async () => {
    const backend = await open();
    expect(await read(backend, 3 * cluster + 100, cluster)).toEqual(new Uint8Array(cluster).fill(200));
    expect(await read(backend, 60 * cluster, 10)).toEqual(new Uint8Array(10));
    expect(await held()).toEqual([3, 4, 60]);
    await backend.remove();
  });

  it('leaves what a guest writes meanwhile, in any order of requests', async () => {
    const random = seeded(5);
    const backend = await open(
      (storage) => new FaultyStorage(storage, { before: () => (random(3) === 0 ? undefined : new Promise((resolve) => setImmediate(resolve))) }),
    );
    const model = new Uint8Array(size).fill(200, 0, 48 * cluster);
    for (let round = 1; round <= 40; round++) {
      const pending: Promise<unknown>[] = [];
      const at = random(62) * cluster;
      // writes that do not meet each other, under reads that meet all of them
      for (let part = 0; part < 4; part++) {
        const from = at + part * (cluster / 2);
        const bytes = new Uint8Array(cluster / 2).fill(round);
        if (random(2) === 0) pending.push(Promise.resolve(read(backend, at, 2 * cluster)));
        pending.push(Promise.resolve(backend.write(from, bytes)));
        model.set(bytes, from);
      }
      await Promise.all(pending);
      expect(Buffer.from(await read(backend, at, 2 * cluster)).equals(model.subarray(at, at + 2 * cluster)), `round ${round}`).toBe(true);
    }
    expect(Buffer.from(await read(backend, 0, size)).equals(model)).toBe(true);
    expect((await held()).length).toBe(64);
    await backend.remove();
  });

  it('fails when the image has no room, and tries again', async () => {
    const full = new BlockError('No space left on device', { code: 'ENOSPC' });
    let isFull = false;
    const fail = (kind: string): BlockError | undefined => (isFull && (kind === 'write' || kind === 'zero') ? full : undefined);
    const backend = await open((storage, path) => (path === 'top' ? new FaultyStorage(delayed(storage), { fail }) : storage));
    isFull = true;
    await expect(read(backend, 0, 3 * cluster)).rejects.toThrow('No space left on device');
    isFull = false;
    expect(await held()).toEqual([]);
    expect(await read(backend, 0, 3 * cluster)).toEqual(new Uint8Array(3 * cluster).fill(200));
    expect((await held()).length).toBe(3);
    await backend.remove();
  });

  it('reads an image in as many pieces as it has clusters', async () => {
    const small = 512;
    const many = 32768;
    const made = memoryEngine();
    engine = made.engine;
    await createImage(engine, 'qcow2', 'top', { size: many * small, cluster_size: small });
    const node = await engine.addNode({ driver: 'copy-on-read', 'node-name': 'cor', file: { driver: 'qcow2', file: { driver: 'file', filename: 'top' } } });
    const backend = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write, shared: perm.all });
    backend.insert(node);
    // from the last cluster to the first: no two of them lie side by side
    for (let at = many - 1; at >= 0; at--) await backend.write(at * small, new Uint8Array(small).fill(1 + (at % 250)));
    const bytes = await read(backend, 0, many * small);
    expect(bytes.every((byte, at) => byte === 1 + (Math.floor(at / small) % 250))).toBe(true);
    await backend.remove();
  });

  it('keeps the order of layers down to its bottom', async () => {
    await open();
    await engine.addNode({ driver: 'null-co', 'node-name': 'other', size });
    await expect(engine.addNode({ driver: 'copy-on-read', file: 'top', bottom: 'nope' })).rejects.toThrow("Bottom node 'nope' not found");
    await expect(engine.addNode({ driver: 'copy-on-read', file: 'top', bottom: 'cor' })).rejects.toThrow("Bottom node 'cor' is a filter");
    await expect(engine.addNode({ driver: 'copy-on-read', file: 'top', bottom: 'other' })).rejects.toMatchObject({ code: 'EINVAL' });
  });
});
