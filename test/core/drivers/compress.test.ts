/* The filter that writes compressed clusters: whole ones, whatever the request, over media that answer at once or later. */
import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend, writerPerms } from '../../../src/core/block/backend.ts';
import type { OptionTree } from '../../../src/core/block/options.ts';
import { delayed } from '../../../src/core/storage/faulty.ts';
import type { Storage } from '../../../src/core/storage/storage.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { createImage } from '../../../src/engine/create.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { memoryEngine } from '../../support/memory-engine.ts';

let engine: Engine;
afterEach(() => engine.close());

const image: OptionTree = { driver: 'qcow2', 'node-name': 'image', file: { driver: 'file', filename: 'q' } };

async function open(wrap: (storage: Storage) => Storage, clusterSize: number, size: number): Promise<BlockBackend> {
  engine = memoryEngine(wrap).engine;
  await createImage(engine, 'qcow2', 'q', { size, cluster_size: clusterSize });
  const node = await engine.addNode({ driver: 'compress', 'node-name': 'small', file: image });
  const backend = new BlockBackend(engine.graph, writerPerms);
  backend.insert(node);
  return backend;
}

describe.each([
  ['at once', (storage: Storage) => storage],
  ['later', (storage: Storage) => delayed(storage)],
] as const)('compress, over a medium that answers %s', (_, wrap) => {
  it.each([4096, 65536, 2 * 1024 * 1024])('writes whole clusters of %i bytes, also where less is asked for', async (clusterSize) => {
    const size = 3 * clusterSize;
    const backend = await open(wrap, clusterSize, size);
    const model = new Uint8Array(size);
    model.fill(7, 1000, 1000 + clusterSize + 100);
    await backend.write(1000, model.slice(1000, 1000 + clusterSize + 100));
    const into = new Uint8Array(size);
    await backend.read(0, into);
    expect(Buffer.compare(into, model)).toBe(0);
    for (const at of [0, clusterSize]) expect(await backend.status(at, size - at)).toMatchObject({ length: clusterSize, compressed: true });
    expect(await backend.status(2 * clusterSize, clusterSize)).toMatchObject({ zero: true });
    await backend.remove();
  });

  it('writes a cluster once, and says of each request whether that was it', async () => {
    const backend = await open(wrap, 65536, 65536);
    const writes = Array.from({ length: 4 }, async (_, index) => backend.write(index * 4096, new Uint8Array(4096).fill(index + 1)));
    const ends = await Promise.allSettled(writes);
    expect(ends.map((end) => (end.status === 'rejected' ? String(end.reason.message) : end.status))).toEqual([
      'fulfilled',
      ...Array<string>(3).fill('Input/output error'),
    ]);
    const into = new Uint8Array(65536);
    await backend.read(0, into);
    expect(into.every((byte, at) => byte === (at < 4096 ? 1 : 0))).toBe(true);
    await backend.remove();
  });
});

it('refuses what stores nothing compressed', async () => {
  engine = memoryEngine().engine;
  await expect(engine.addNode({ driver: 'compress', 'node-name': 'c', file: { driver: 'null-co', size: 65536 } })).rejects.toThrow(
    'Compression is not supported for underlying format: null-co',
  );
  expect([...engine.graph.nodes]).toEqual([]);
});

it('has no writers that may not make it longer when its end is in the middle of a cluster', async () => {
  engine = memoryEngine().engine;
  await createImage(engine, 'qcow2', 'q', { size: 100 * 1024 });
  const node = await engine.addNode({ driver: 'compress', 'node-name': 'small', file: image });
  const writer = new BlockBackend(engine.graph, { perm: perm.write, shared: perm.all });
  expect(() => writer.insert(node)).toThrow("Cannot get 'write' permission without 'resize': Image size is not a multiple of request alignment");
  expect(node.parents).toEqual([]);
});
