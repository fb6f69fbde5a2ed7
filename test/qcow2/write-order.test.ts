/* Changes in place: the medium moves before the model, and what is unknown after a failure is put right before anything builds on it. */
import { afterEach, describe, expect, it } from 'vitest';
import { type BlockBackend, resizerPerms } from '../../src/core/block/backend.ts';
import { type CreateValues, reqFlag } from '../../src/core/block/driver.ts';
import type { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { getU32, getU64 } from '../../src/core/util/bytes.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { memoryEngine } from '../support/memory-engine.ts';
import { bytesOf, checkMedium, filled, newMedium, path } from './image-support.ts';

interface Write {
  readonly offset: number;
  readonly length: number;
}

let engine: Engine;
let medium: MemoryStorage;
let writes: Write[];
/** Picks the write that fails; `isLate`: after it was carried out. */
let failing: ((write: Write) => boolean) | undefined;
let isLate = false;
afterEach(() => engine.close().catch(() => {}));

function wrapped(inner: Storage): Storage {
  return new Proxy(inner, {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key, target);
      if (key !== 'write') return typeof value === 'function' ? value.bind(target) : value;
      return (offset: number, from: Uint8Array) => {
        const write = { offset, length: from.length };
        const isDue = failing?.(write) === true;
        if (isDue && !isLate) throw new BlockError('Input/output error', { code: 'EIO' });
        writes.push(write);
        const result = target.write(offset, from);
        if (isDue) throw new BlockError('Input/output error', { code: 'EIO' });
        return result;
      };
    },
  });
}

async function disk(values: CreateValues): Promise<BlockBackend> {
  medium = await newMedium(values);
  writes = [];
  failing = undefined;
  isLate = false;
  const made = memoryEngine((storage, name) => (name === path ? wrapped(storage) : storage));
  made.media.set(path, medium);
  engine = made.engine;
  return engine.openBackend({ filename: path, format: 'qcow2', readOnly: false, discard: true, perms: resizerPerms });
}

const grow = (backend: BlockBackend, size: number): Promise<void> => backend.truncate(size, { exact: true, prealloc: 'off' });
const header = (): { size: number; l1Size: number; l1Offset: number } => {
  const bytes = bytesOf(medium);
  return { size: getU64(bytes, 24), l1Size: getU32(bytes, 36), l1Offset: getU64(bytes, 40) };
};

describe.each([false, true])('a header that could not be written (carried out all the same: %s)', (late) => {
  it('is put back by the next flush', async () => {
    const backend = await disk({ size: 1 << 20, cluster_size: 512 });
    const before = header();
    isLate = late;
    failing = ({ offset }) => offset === 36;
    await expect(grow(backend, 8 << 20)).rejects.toThrow('Failed to grow the L1 table: Input/output error');
    expect(header().l1Offset === before.l1Offset).toBe(!late);
    failing = undefined;
    await backend.flush();
    expect(header()).toEqual(before);
  });

  it('is put back before a cluster is taken', async () => {
    const backend = await disk({ size: 1 << 20, cluster_size: 512 });
    isLate = late;
    failing = ({ offset }) => offset === 36;
    await expect(grow(backend, 8 << 20)).rejects.toThrow('Input/output error');
    failing = undefined;
    writes = [];
    await backend.write(0, filled(512, 1));
    expect(writes[0]).toEqual({ offset: 36, length: 12 });
    await engine.close();
    const found = await checkMedium(medium);
    expect(found.corruptions).toBe(0);
  });

  it('stays unknown while putting it back fails: nothing is told to be flushed', async () => {
    const backend = await disk({ size: 1 << 20, cluster_size: 512 });
    isLate = late;
    failing = ({ offset }) => offset === 36;
    await expect(grow(backend, 8 << 20)).rejects.toThrow('Input/output error');
    expect(() => backend.flush()).toThrow('Input/output error');
    expect(() => backend.write(0, filled(512, 1))).toThrow('Input/output error');
    failing = undefined;
    await backend.flush();
    await backend.write(0, filled(512, 1));
  });

  it('leaves the size as it was', async () => {
    const backend = await disk({ size: 1 << 20 });
    isLate = late;
    failing = ({ offset }) => offset === 24;
    await expect(grow(backend, 2 << 20)).rejects.toThrow('Input/output error');
    expect(backend.size()).toBe(1 << 20);
    failing = undefined;
    await backend.flush();
    expect(header().size).toBe(1 << 20);
    await grow(backend, 2 << 20);
    expect(header().size).toBe(2 << 20);
  });
});

describe.each([false, true])('an L1 entry that could not be written (carried out all the same: %s)', (late) => {
  it('names no table for anybody afterwards', async () => {
    const backend = await disk({ size: 1 << 20, cluster_size: 512 });
    const { l1Offset } = header();
    isLate = late;
    failing = ({ offset, length }) => offset === l1Offset && length === 8;
    expect(() => backend.write(0, filled(512, 1))).toThrow('Input/output error');
    failing = undefined;
    await backend.flush();
    expect(getU64(bytesOf(medium), l1Offset)).toBe(0);
    await backend.write(0, filled(512, 2));
    await engine.close();
    expect(await checkMedium(medium)).toMatchObject({ corruptions: 0, leaks: 1 });
  });
});

describe('a write whose clusters were taken', () => {
  it('gives them back when the map cannot be changed', async () => {
    const backend = await disk({ size: 1 << 20, cluster_size: 4096, lazy_refcounts: true });
    // the dirty bit comes before the first change of the map
    failing = ({ offset, length }) => offset === 72 && length === 8;
    expect(() => backend.write(0, filled(4096, 1))).toThrow('Input/output error');
    failing = undefined;
    await backend.write(0, filled(4096, 2));
    await engine.close();
    expect(await checkMedium(medium)).toMatchObject({ corruptions: 0, leaks: 0, messages: [] });
  });

  it('does not overwrite what a former entry still names on the medium', async () => {
    const backend = await disk({ size: 1 << 20, cluster_size: 4096 });
    await backend.write(0, filled(4096, 1), reqFlag.compressed);
    const stream = writes.find(({ length }) => length > 8 && length < 100);
    await backend.flush();
    const bytes = bytesOf(medium);
    // without the flag above it
    const table = getU64(bytes, getU64(bytes, 40)) - 2 ** 63;
    // the first cluster moves, and gives its old place to the next stream
    await backend.write(0, filled(4096, 2));
    writes = [];
    await backend.write(8 * 4096, filled(4096, 3), reqFlag.compressed);
    const reused = writes.findIndex(({ offset }) => offset === stream?.offset);
    const updated = writes.findIndex(({ offset }) => offset === table);
    expect(reused).toBeGreaterThanOrEqual(0);
    expect(updated).toBeGreaterThanOrEqual(0);
    expect(updated).toBeLessThan(reused);
  });
});
