/* The filter that makes files longer than they need: what is on the medium, and that nobody above sees it. */
import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import { delayed, FaultyStorage } from '../../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../../src/core/storage/memory.ts';
import type { Storage } from '../../../src/core/storage/storage.ts';
import { BlockError } from '../../../src/core/util/errors.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { memoryEngine } from '../../support/memory-engine.ts';

const align = 4096;
const step = 65536;
let engine: Engine;
afterEach(() => engine.close());

async function open(
  wrap: (storage: Storage) => Storage = (storage) => storage,
): Promise<{ medium: MemoryStorage; backend: BlockBackend; size(): number | undefined }> {
  const made = memoryEngine(wrap);
  engine = made.engine;
  const medium = new MemoryStorage('a', { size: 1000 });
  made.media.set('a', medium);
  const node = await engine.addNode({
    driver: 'preallocate',
    'node-name': 'p',
    'prealloc-align': align,
    'prealloc-size': step,
    file: { driver: 'file', filename: 'a' },
  });
  const backend = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write | perm.resize, shared: perm.all });
  backend.insert(node);
  return { medium, backend, size: () => node.size() };
}

/** Grows it as formats do: by an edge, past the end. */
const append = (backend: BlockBackend, offset: number, length: number): unknown => backend.root?.write(offset, new Uint8Array(length).fill(7));

describe.each([
  ['at once', (storage: Storage) => storage],
  ['later', (storage: Storage) => delayed(storage)],
] as const)('preallocate, over a medium that answers %s', (_, wrap) => {
  it('makes the file longer than a write past its end needs, and cuts off the rest when it is closed', async () => {
    const { medium, backend, size } = await open(wrap);
    await append(backend, 2000, 100);
    expect([medium.size(), size()]).toEqual([69632, 2100]);
    await append(backend, 2100, 5000);
    expect([medium.size(), size()]).toEqual([69632, 7100]);
    await backend.remove();
    await engine.close();
    expect(medium.size()).toBe(7100);
    const bytes = new Uint8Array(7100);
    medium.read(0, bytes);
    expect([bytes[1999], bytes[2000], bytes[7099]]).toEqual([0, 7, 7]);
  });

  it('tells the size that it is given', async () => {
    const { medium, backend, size } = await open(wrap);
    await append(backend, 1000, 10);
    await backend.truncate(500, { exact: true, prealloc: 'off' });
    expect([medium.size(), size()]).toEqual([500, 500]);
    await backend.remove();
  });
});

it('writes all the same when the medium has no room for more', async () => {
  const { medium, backend, size } = await open(
    (storage) => new FaultyStorage(storage, { fail: (op) => (op === 'zero' ? new BlockError('No space left on device', { code: 'ENOSPC' }) : undefined) }),
  );
  await append(backend, 1000, 24);
  expect([medium.size(), size()]).toEqual([1024, 1024]);
  await backend.remove();
});

it('keeps others from writing while it may grow the file', async () => {
  const { backend } = await open();
  const file = engine.graph.find('p')?.child('file');
  expect((file?.shared ?? 0) & (perm.write | perm.resize)).toBe(0);
  await backend.remove();
});

it('refuses an alignment that is no whole number of sectors', async () => {
  await open();
  await expect(engine.addNode({ driver: 'preallocate', 'node-name': 'x', 'prealloc-align': 1000, file: { driver: 'null-co' } })).rejects.toThrow(
    'prealloc-align parameter of preallocate filter is not aligned to 512',
  );
});
