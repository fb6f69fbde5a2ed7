import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { delayed, FaultyStorage } from '../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { type CopySettings, copyImages } from '../../src/jobs/image-copy.ts';
import { firstDifference, firstNonZero, ImageReader } from '../../src/jobs/image-reader.ts';
import { type MemoryEngine, memoryEngine } from '../support/memory-engine.ts';

const unit = 512;

/** A raw medium with runs of data at given places. */
function medium(engine: MemoryEngine, name: string, size: number, runs: readonly { at: number; length: number; byte: number }[]): Buffer {
  const storage = new MemoryStorage(name);
  storage.truncate(size);
  const content = Buffer.alloc(size);
  for (const { at, length, byte } of runs) {
    const end = Math.min(size, at + length);
    if (at >= end) continue;
    content.fill(byte, at, end);
    storage.write(at, content.subarray(at, end));
  }
  engine.media.set(name, storage);
  return content;
}

async function copy(engine: MemoryEngine, sources: readonly string[], settings: Partial<CopySettings> = {}): Promise<Buffer> {
  const readers: ImageReader[] = [];
  for (const filename of sources) readers.push(new ImageReader(await engine.engine.openBackend({ filename, format: 'raw' })));
  const target = await engine.engine.openBackend({ filename: 'target', format: 'raw', readOnly: false, discard: true });
  await copyImages({ sources: readers, target, sparse: 4096, isTargetZero: false, parallel: 4, budget: engine.engine.budget, ...settings });
  const result = Buffer.alloc(target.size());
  await target.read(0, result);
  await engine.engine.close();
  return result;
}

const wraps: readonly (readonly [string, (storage: Storage) => Storage])[] = [
  ['synchronous media', (storage) => storage],
  ['media that are always pending', (storage) => delayed(storage, 'microtask')],
];

describe.each(wraps)('copying on %s', (_, wrap) => {
  it('gives the bytes of the sources, one behind the other, whatever lay there before', async () => {
    const run = fc.record({ at: fc.integer({ min: 0, max: 400 }), length: fc.integer({ min: 1, max: 200 }), byte: fc.integer({ min: 0, max: 255 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ sectors: fc.integer({ min: 1, max: 300 }), runs: fc.array(run, { maxLength: 6 }) }), { minLength: 1, maxLength: 3 }),
        fc.constantFrom(0, 512, 4096, 12288, 65536),
        fc.boolean(),
        async (images, sparse, isTargetZero) => {
          const engine = memoryEngine(wrap);
          const contents = images.map(({ sectors, runs }, i) =>
            medium(
              engine,
              `source${i}`,
              sectors * unit,
              runs.map(({ at, length, byte }) => ({ at: at * 300, length: length * 100, byte })),
            ),
          );
          const expected = Buffer.concat(contents);
          medium(engine, 'target', expected.length, isTargetZero ? [] : [{ at: 0, length: expected.length, byte: 0xee }]);
          const result = await copy(
            engine,
            images.map((__, i) => `source${i}`),
            { sparse, isTargetZero },
          );
          expect(firstDifference(result, expected)).toBe(-1);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('pads a ragged end with zeros', async () => {
    const engine = memoryEngine(wrap);
    medium(engine, 'source', 1000, [{ at: 0, length: 1000, byte: 7 }]);
    medium(engine, 'target', 1024, [{ at: 0, length: 1024, byte: 1 }]);
    const result = await copy(engine, ['source']);
    expect(result.subarray(0, 1000).every((byte) => byte === 7)).toBe(true);
    expect(result.subarray(1000).every((byte) => byte === 0)).toBe(true);
  });

  it('does not write zeros to a target that reads as zeros', async () => {
    const engine = memoryEngine(wrap);
    medium(engine, 'source', 1024 * 1024, [
      { at: 0, length: 8192, byte: 0 },
      { at: 512 * 1024, length: 4096, byte: 3 },
    ]);
    medium(engine, 'target', 1024 * 1024, []);
    await copy(engine, ['source'], { isTargetZero: true });
    expect(engine.media.get('target')?.extents(0, 1024 * 1024)).toMatchObject({ data: false });
  });

  it('tells where reading failed', async () => {
    const broken = memoryEngine((storage, path) =>
      path === 'source'
        ? new FaultyStorage(wrap(storage), {
            fail: (op, offset) => (op === 'read' && offset >= 131072 ? new BlockError('Input/output error', { code: 'EIO' }) : undefined),
          })
        : wrap(storage),
    );
    medium(broken, 'source', 256 * 1024, [
      { at: 0, length: 4096, byte: 1 },
      { at: 131072, length: 1024, byte: 2 },
    ]);
    medium(broken, 'target', 256 * 1024, []);
    await expect(copy(broken, ['source'])).rejects.toThrow(/^error while reading at byte 131072: Input\/output error$/);
  });

  it('goes on with zeros where it may', async () => {
    const broken = memoryEngine((storage, path) =>
      path === 'source'
        ? new FaultyStorage(wrap(storage), {
            fail: (op, offset) => (op === 'read' && offset >= 131072 ? new BlockError('Input/output error', { code: 'EIO' }) : undefined),
          })
        : wrap(storage),
    );
    medium(broken, 'source', 256 * 1024, [
      { at: 0, length: 4096, byte: 1 },
      { at: 131072, length: 1024, byte: 2 },
    ]);
    medium(broken, 'target', 256 * 1024, [{ at: 0, length: 256 * 1024, byte: 9 }]);
    const failed: number[] = [];
    const result = await copy(broken, ['source'], { onReadError: (offset) => failed.push(offset) });
    expect(failed.slice(0, 2)).toEqual([131072, 131584]);
    expect(result[0]).toBe(1);
    expect(firstNonZero(result.subarray(4096))).toBe(-1);
  });
});

describe('several transfers in flight', () => {
  const size = 9 * 1024 * 1024;
  const mib2 = 2 * 1024 * 1024;

  /** Media whose source answers late and in any order; keeps count of what is in flight and of the order of writes. */
  function slow(fail?: (op: string, offset: number) => BlockError | undefined) {
    const seen = { inFlight: 0, most: 0, writes: [] as number[] };
    const engine = memoryEngine((storage, path) => {
      if (path === 'target') {
        return new FaultyStorage(storage, {
          before: (op, offset) => {
            if (op === 'write') seen.writes.push(offset);
          },
          fail: (op, offset) => fail?.(`target ${op}`, offset),
        });
      }
      return new FaultyStorage(storage, {
        before: async (op, offset) => {
          if (op !== 'read') return;
          seen.most = Math.max(seen.most, ++seen.inFlight);
          // the earlier the place, the longer it takes
          for (let turns = 8 - offset / mib2; turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
          seen.inFlight--;
        },
        fail: (op, offset) => fail?.(`source ${op}`, offset),
      });
    });
    const content = medium(engine, 'source', size, [
      { at: 0, length: 4 * mib2, byte: 1 },
      { at: 4 * mib2, length: size - 4 * mib2, byte: 2 },
    ]);
    for (let at = 0; at < size; at += 4096) content.writeUInt32LE(at, at);
    engine.media.get('source')?.write(0, content);
    medium(engine, 'target', size, []);
    return { engine, content, seen };
  }

  it.each([1, 3, 16])('at most %i, written in order', async (parallel) => {
    const { engine, content, seen } = slow();
    const result = await copy(engine, ['source'], { parallel, isTargetZero: true });
    expect(firstDifference(result, content)).toBe(-1);
    expect(seen.most).toBe(Math.min(parallel, 5));
    expect(seen.writes).toEqual([...seen.writes].sort((a, b) => a - b));
  });

  it('the first error in order is told, and nothing behind it is written', async () => {
    const { engine, seen } = slow((op, offset) =>
      (op === 'target write' && offset >= mib2) || (op === 'source read' && offset >= 2 * mib2)
        ? new BlockError('Input/output error', { code: 'EIO' })
        : undefined,
    );
    await expect(copy(engine, ['source'], { parallel: 4, isTargetZero: true })).rejects.toThrow(/^error while writing at byte 2097152: Input\/output error$/);
    expect(Math.max(...seen.writes)).toBe(mib2);
    await engine.engine.close();
  });
});

it('finds the first sector that is not zero, and the first that differs', () => {
  const a = Buffer.alloc(4096);
  expect(firstNonZero(a)).toBe(-1);
  const b = Buffer.from(a);
  b[1537] = 1;
  expect(firstNonZero(b)).toBe(1536);
  expect(firstDifference(a, b)).toBe(1536);
  expect(firstDifference(a, a)).toBe(-1);
});
