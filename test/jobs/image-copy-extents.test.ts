/* Which requests a copy of images sends to its target, what it tells on the way, and how it reads its sources. */
import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../src/core/block/backend.ts';
import { delayed, FaultyStorage, type LoggedChange } from '../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { perm } from '../../src/core/util/perm-bits.ts';
import { createImage } from '../../src/engine/create.ts';
import { type CopySettings, copyImages, isValidSparse } from '../../src/jobs/image-copy.ts';
import { firstDifference, firstNonZero, ImageReader, isZeroRange } from '../../src/jobs/image-reader.ts';
import { type MemoryEngine, memoryEngine } from '../support/memory-engine.ts';

const kib = 1024;
const cluster = 64 * kib;

let made: MemoryEngine;
afterEach(() => made.engine.close());

/** Changes of the target. */
let changes: readonly LoggedChange[];

function begin(wrap: (storage: Storage) => Storage = (storage) => storage): void {
  changes = [];
  made = memoryEngine((storage, path) => {
    if (path !== 'target') return wrap(storage);
    const logged = new FaultyStorage(wrap(storage), {}, { log: true });
    changes = logged.log ?? [];
    return logged;
  });
}

type Run = readonly [at: number, length: number];

/** A raw medium that holds sevens in the `runs`. */
function medium(name: string, size: number, runs: readonly Run[]): void {
  const storage = new MemoryStorage(name, { size });
  for (const [at, length] of runs) storage.write(at, new Uint8Array(length).fill(7));
  made.media.set(name, storage);
}

async function reader(filename: string, format = 'raw'): Promise<ImageReader> {
  return new ImageReader(await made.engine.openBackend({ filename, format }));
}

/** Copies to a new target, and tells its changes as `write OFFSET+LENGTH`, in KiB. */
async function copy(sources: readonly ImageReader[], given: Partial<CopySettings> = {}): Promise<string[]> {
  const size = sources.reduce((sum, source) => sum + source.size, 0);
  made.media.set('target', new MemoryStorage('target', { size }));
  const target = await made.engine.openBackend({ filename: 'target', format: 'raw', readOnly: false, discard: true });
  await copyImages({ sources, target, sparse: 4 * kib, isTargetZero: false, budget: made.engine.budget, ...given });
  await target.remove();
  return changes.flatMap((change) => {
    if (change.op === 'write') return `write ${change.offset / kib}+${change.data.length / kib}`;
    return change.op === 'zero' || change.op === 'discard' ? `zero ${change.offset / kib}+${change.length / kib}` : [];
  });
}

const wraps: readonly (readonly [string, (storage: Storage) => Storage])[] = [
  ['synchronous media', (storage) => storage],
  ['media that are always pending', (storage) => delayed(storage, 'microtask')],
];

describe.each(wraps)('the target of a copy on %s', (_, wrap) => {
  it('gets data as data and holes as zeros, or nothing where it has zeros already', async () => {
    for (const [isTargetZero, zeros] of [
      [false, ['zero 64+192']],
      [true, []],
    ] as const) {
      begin(wrap);
      medium('source', 4 * cluster, [[0, cluster]]);
      expect(await copy([await reader('source')], { isTargetZero })).toEqual(['write 0+64', ...zeros]);
    }
  });

  it('gets everything as data when nothing is to be sparse', async () => {
    begin(wrap);
    medium('source', 4 * cluster, [[0, cluster]]);
    expect(await copy([await reader('source')], { sparse: 0, isTargetZero: true })).toEqual(['write 0+64', 'write 64+192']);
  });

  it('does not get long runs of zeros that were data', async () => {
    for (const [isTargetZero, zeros] of [
      [false, ['zero 16+16']],
      [true, []],
    ] as const) {
      begin(wrap);
      medium('source', cluster, [
        [0, 16 * kib],
        [32 * kib, 32 * kib],
      ]);
      made.media.get('source')?.write(16 * kib, new Uint8Array(16 * kib));
      expect(await copy([await reader('source')], { isTargetZero })).toEqual(['write 0+16', ...zeros, 'write 32+32']);
    }
  });

  it('gets short runs of zeros with the data around them, but at the end of a piece', async () => {
    begin(wrap);
    medium('source', cluster, [[0, cluster]]);
    const zeros = new Uint8Array(8 * kib);
    made.media.get('source')?.write(16 * kib, zeros);
    made.media.get('source')?.write(56 * kib, zeros);
    // 12 KiB is no power of two: zeros are looked for in units of 8 KiB
    expect(await copy([await reader('source')], { sparse: 12 * kib, isTargetZero: true })).toEqual(['write 0+16', 'write 16+40']);
  });

  it('is not touched where its own backing file says the same', async () => {
    begin(wrap);
    medium('low', 2 * cluster, [[0, 2 * cluster]]);
    await createImage(made.engine, 'qcow2', 'overlay', { size: 4 * cluster, backing_file: 'low', backing_fmt: 'raw' });
    const writer = await made.engine.openBackend({ filename: 'overlay', format: 'qcow2', readOnly: false });
    await writer.write(0, new Uint8Array(32 * kib).fill(9));
    await writer.write(32 * kib, new Uint8Array(32 * kib));
    await writer.write(2 * cluster, new Uint8Array(cluster).fill(9));
    await writer.remove();
    const settings = { targetBackingSize: 2 * cluster, isTargetZero: true };
    // zeros hide what lies below; past the backing file the rest is zero by itself
    expect(await copy([await reader('overlay', 'qcow2')], settings)).toEqual(['write 0+32', 'zero 32+32', 'write 128+64']);
  });

  it('is filled from several sources, each behind the one before', async () => {
    begin(wrap);
    medium('one', 2 * cluster, [[0, cluster]]);
    medium('two', 2 * cluster, [[cluster, cluster]]);
    expect(await copy([await reader('one'), await reader('two')], { isTargetZero: true })).toEqual(['write 0+64', 'write 192+64']);
  });
});

describe.each(wraps)('a copy on %s tells', (_, wrap) => {
  it('how many bytes of data it has read, of how many', async () => {
    for (const [sparse, expected] of [
      [4 * kib, [1, 2].map((count) => [count * cluster, 2 * cluster])],
      [0, [1, 2, 3, 4].map((count) => [count * cluster, 4 * cluster])],
    ] as const) {
      begin(wrap);
      medium('one', 2 * cluster, [[0, cluster]]);
      medium('two', 2 * cluster, [[cluster, cluster]]);
      const told: number[][] = [];
      await copy([await reader('one'), await reader('two')], { sparse, onProgress: (done, total) => told.push([done, total]) });
      expect(told).toEqual(expected);
    }
  });

  it('where it could not learn the state of its source', async () => {
    made = memoryEngine((storage, path) =>
      path === 'source'
        ? new FaultyStorage(wrap(storage), {
            fail: (op, offset) => (op === 'extents' && offset >= cluster ? new BlockError('Input/output error', { code: 'EIO' }) : undefined),
          })
        : storage,
    );
    medium('source', 2 * cluster, [[0, cluster]]);
    await expect(copy([await reader('source')])).rejects.toThrow(/^error while reading block status at offset 65536: Input\/output error$/);
  });

  it('what it moved to whoever keeps its rate, and rests as long as that says', async () => {
    begin(wrap);
    medium('source', 3 * cluster, [
      [0, cluster],
      [2 * cluster, cluster],
    ]);
    const log: string[] = [];
    const rate = {
      delayFor: (bytes: number): number => {
        log.push(`moved ${bytes}`);
        return 5;
      },
      sleep: async (ms: number): Promise<void> => void log.push(`slept ${ms}`),
    };
    await copy([await reader('source')], { rate, isTargetZero: true });
    expect(log).toEqual([1, 2].flatMap(() => [`moved ${cluster}`, 'moved 0', 'slept 5']));
  });
});

describe('the size of runs that count as zeros', () => {
  it('is whole sectors, up to 16 MiB', () => {
    const most = 16 * kib * kib;
    expect([0, 512, 4096, most].map(isValidSparse)).toEqual([true, true, true, true]);
    expect([1, 513, 4095, most + 512].map(isValidSparse)).toEqual([false, false, false, false]);
  });
});

describe('a source', () => {
  it('reads as whole sectors: zeros follow its last byte', async () => {
    begin();
    medium('ragged', 1000, [[0, 1000]]);
    const source = await reader('ragged');
    expect(source.size).toBe(1024);
    const into = new Uint8Array(600).fill(1);
    await source.read(512, into);
    expect([into.indexOf(0), into.lastIndexOf(7), into.subarray(488).every((byte) => byte === 0)]).toEqual([488, 487, true]);
    await source.read(1000, into.fill(1));
    expect(into.every((byte) => byte === 0)).toBe(true);
    await source.read(2000, into.fill(1));
    expect(into.every((byte) => byte === 0)).toBe(true);
    await source.read(0, into);
    expect(into.every((byte) => byte === 7)).toBe(true);
  });

  it('is all data up to the end of its last sector', async () => {
    begin();
    medium('ragged', 1000, [[0, 1000]]);
    const source = await reader('ragged');
    expect(await source.status(0, 1024)).toMatchObject({ length: 1024, data: true });
    expect(await source.status(512, 512)).toMatchObject({ length: 512 });
    expect(await source.status(512, 100)).toMatchObject({ length: 100 });
  });

  it('must have a medium', async () => {
    begin();
    const empty = new BlockBackend(made.engine.graph, { perm: perm.consistentRead, shared: perm.all });
    expect(() => new ImageReader(empty)).toThrow('No medium found');
  });
});

describe('the search in what was read', () => {
  const with1At = (length: number, at: number): Buffer => {
    const buffer = Buffer.alloc(length);
    buffer[at] = 1;
    return buffer;
  };

  it('finds every byte that is not zero', () => {
    for (const length of [1, 2, 3, 512, 1025]) {
      const zeros = Buffer.alloc(length);
      expect(isZeroRange(zeros, 0, length)).toBe(true);
      for (const at of [0, 1, length >> 1, length - 2, length - 1].filter((place) => place >= 0 && place < length)) {
        expect(isZeroRange(with1At(length, at), 0, length)).toBe(false);
        expect(firstNonZero(with1At(length, at))).toBe(at - (at % 512));
      }
    }
    expect(firstNonZero(Buffer.alloc(0))).toBe(-1);
    // only the range counts
    const ends = Buffer.from([1, 0, 0, 0, 1]);
    expect([isZeroRange(ends, 1, 4), isZeroRange(ends, 0, 4), isZeroRange(ends, 1, 5), isZeroRange(ends, 1, 2)]).toEqual([true, false, false, true]);
    expect(isZeroRange(Buffer.from([0, 0, 1, 1, 0]), 1, 5)).toBe(false);
  });

  it('finds the first sector that differs', () => {
    const zeros = Buffer.alloc(1536);
    for (const at of [0, 511, 512, 1023, 1535]) expect(firstDifference(zeros, with1At(1536, at))).toBe(at - (at % 512));
    expect(firstDifference(zeros, Buffer.alloc(1536))).toBe(-1);
  });
});
