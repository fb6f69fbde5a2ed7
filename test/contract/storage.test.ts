/* The contract of Storage, over every implementation: media in memory, local files with and without the extra system calls, delayed. */
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { delayed, FaultyStorage } from '../../src/core/storage/faulty.ts';
import { localStorage } from '../../src/core/storage/local-open.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { loadSyscalls, withoutSyscalls } from '../../src/core/storage/syscalls.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

const how = { readOnly: false, create: 'keep', direct: false, noFlush: false, locking: 'off' } as const;

interface Kind {
  readonly name: string;
  make(folder: TempFolder): Promise<Storage>;
  readonly hides?: boolean;
}

const kinds: readonly Kind[] = [
  { name: 'memory', make: async () => new MemoryStorage() },
  { name: 'a local file, synchronous', make: (folder) => localStorage({ syncLimit: Number.POSITIVE_INFINITY })(folder.file('f'), how) },
  { name: 'a local file, pooled', make: (folder) => localStorage({ syncLimit: 0 })(folder.file('f'), how) },
  { name: 'a local file without the extra system calls', make: (folder) => localStorage()(folder.file('f'), how), hides: true },
  { name: 'a delayed medium', make: async () => delayed(new MemoryStorage(), 'microtask') },
];

describe.each(kinds)('$name', (kind) => {
  let folder: TempFolder;
  let storage: Storage;
  let hidden: Disposable | undefined;

  beforeEach(async () => {
    loadSyscalls();
    if (kind.hides) hidden = withoutSyscalls();
    folder = tempFolder('storage');
    storage = await kind.make(folder);
  });
  afterEach(async () => {
    await storage[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
    hidden?.[Symbol.dispose]();
    hidden = undefined;
  });

  it('is empty at first and reads zeros past its end', async () => {
    expect(await storage.size()).toBe(0);
    const into = new Uint8Array(5000).fill(9);
    await storage.read(100, into);
    expect(into.every((byte) => byte === 0)).toBe(true);
  });

  it('behaves as a growing array of bytes', async () => {
    const range = fc.record({ offset: fc.integer({ min: 0, max: 200_000 }), length: fc.integer({ min: 1, max: 90_000 }) });
    const step = fc.oneof(
      fc.record({ op: fc.constant('write' as const), at: range, byte: fc.integer({ min: 1, max: 255 }) }),
      fc.record({ op: fc.constantFrom('zero' as const, 'unmap' as const, 'discard' as const, 'read' as const), at: range }),
      fc.record({ op: fc.constant('truncate' as const), at: range }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        await storage.truncate(0);
        let model = new Uint8Array(0);
        const grow = (size: number): void => {
          if (size <= model.length) return;
          const larger = new Uint8Array(size);
          larger.set(model);
          model = larger;
        };
        for (const { op, at, ...rest } of steps) {
          const end = at.offset + at.length;
          if (op === 'write') {
            const data = new Uint8Array(at.length).fill('byte' in rest ? rest.byte : 1);
            await storage.write(at.offset, data);
            grow(end);
            model.set(data, at.offset);
          } else if (op === 'zero' || op === 'unmap') {
            await storage.zero(at.offset, at.length, op === 'unmap');
            grow(end);
            model.fill(0, at.offset, end);
          } else if (op === 'discard') {
            // what a discard leaves is the medium's choice: made known by zeros here
            await storage.discard(at.offset, at.length);
            const inside = Math.min(end, model.length);
            if (inside > at.offset) {
              await storage.write(at.offset, new Uint8Array(inside - at.offset));
              model.fill(0, at.offset, inside);
            }
          } else if (op === 'truncate') {
            await storage.truncate(at.offset);
            const cut = new Uint8Array(at.offset);
            cut.set(model.subarray(0, at.offset));
            model = cut;
          }
          const into = new Uint8Array(at.length + 10);
          await storage.read(at.offset, into);
          const expected = new Uint8Array(into.length);
          expected.set(model.subarray(at.offset, at.offset + into.length));
          expect(Buffer.compare(into, expected)).toBe(0);
          expect(await storage.size()).toBe(model.length);
        }
      }),
      { numRuns: 30, seed: 20131103 },
    );
  });

  const impossible = [-1, -512, 0.5, 4096.25, Number.NaN, 2 ** 53, 2 ** 53 + 2, 2 ** 63, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  const bytes = new Uint8Array(16).fill(5);
  const last = Number.MAX_SAFE_INTEGER;
  it.each([
    ...impossible.flatMap((value) => [
      ['reads at', value, (s: Storage) => s.read(value, new Uint8Array(16))] as const,
      ['writes at', value, (s: Storage) => s.write(value, bytes)] as const,
      ['zeros at', value, (s: Storage) => s.zero(value, 16, true)] as const,
      ['zeros of length', value, (s: Storage) => s.zero(0, value, false)] as const,
      ['discards at', value, (s: Storage) => s.discard(value, 16)] as const,
      ['discards of length', value, (s: Storage) => s.discard(0, value)] as const,
      ['extents at', value, (s: Storage) => s.extents(value, 16)] as const,
      ['extents of length', value, (s: Storage) => s.extents(0, value)] as const,
      ['a truncate to', value, (s: Storage) => s.truncate(value)] as const,
    ]),
    ['writes that end beyond', last, (s: Storage) => s.write(last - 3, bytes)] as const,
    ['reads that end beyond', last, (s: Storage) => s.read(last - 3, new Uint8Array(16))] as const,
    ['zeros that end beyond', last, (s: Storage) => s.zero(last, 1, true)] as const,
  ])('refuses %s %d and changes nothing', async (_, value, request) => {
    await storage.write(0, new Uint8Array(4096).fill(7));
    const failure = await (async () => request(storage))().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(BlockError);
    const isTooLarge = value >= last;
    expect(failure).toMatchObject(
      isTooLarge
        ? { code: 'EFBIG', message: expect.stringMatching(/File too large$/) }
        : { code: 'EINVAL', message: expect.stringMatching(/Invalid argument$/) },
    );
    const after = new Uint8Array(4096);
    await storage.read(0, after);
    expect(after.every((byte) => byte === 7)).toBe(true);
    expect(await storage.size()).toBe(4096);
  });

  it.each(['off', 'falloc', 'full'] as const)('grows to an exact size that reads as zeros, filled as %s, and keeps what was there', async (prealloc) => {
    await storage.write(0, new Uint8Array(3000).fill(3));
    await storage.truncate(200_000, prealloc);
    expect(await storage.size()).toBe(200_000);
    const all = new Uint8Array(200_000);
    await storage.read(0, all);
    expect(all.subarray(0, 3000).every((byte) => byte === 3)).toBe(true);
    expect(all.subarray(3000).every((byte) => byte === 0)).toBe(true);
  });

  it('zeros past the end lengthen the medium, and take no space where they may be a hole', async () => {
    await storage.write(0, new Uint8Array(4096).fill(1));
    await storage.zero(1024 * 1024 - 8192, 8192, true);
    expect(await storage.size()).toBe(1024 * 1024);
    // a file without the extra calls has no holes but what nobody wrote
    if (kind.hides !== true) expect(await storage.allocatedSize()).toBeLessThanOrEqual(65536);
    await storage.zero(2048, 1024 * 1024, true);
    expect(await storage.size()).toBe(1024 * 1024 + 2048);
    const head = new Uint8Array(4096);
    await storage.read(0, head);
    expect(head.indexOf(0)).toBe(2048);
    expect(head.lastIndexOf(1)).toBe(2047);
  });

  it('no request makes the medium shorter', async () => {
    await storage.truncate(512 * 1024);
    await storage.zero(0, 1000, true);
    await storage.zero(5000, 1000, false);
    await storage.discard(0, 10_000_000);
    await storage.write(10, new Uint8Array(10));
    expect(await storage.size()).toBe(512 * 1024);
  });

  it('tells extents that cover the medium and never call written bytes a hole', async () => {
    await storage.truncate(1024 * 1024);
    await storage.write(300_000, new Uint8Array(70_000).fill(1));
    for (let at = 0; at < 1024 * 1024; ) {
      const extent = await storage.extents(at, 1024 * 1024 - at);
      expect(extent.length).toBeGreaterThan(0);
      if (!extent.data) expect(at + extent.length <= 300_000 || at >= 370_000).toBe(true);
      at += extent.length;
    }
  });
});

describe('a faulty medium', () => {
  it('fails the request it is told to, and logs what reached the medium', async () => {
    const storage = new FaultyStorage(
      new MemoryStorage(),
      { fail: (op, offset) => (op === 'write' && offset === 512 ? new BlockError('No space left on device', { code: 'ENOSPC' }) : undefined) },
      { log: true },
    );
    await storage.write(0, new Uint8Array(1));
    expect(() => storage.write(512, new Uint8Array(1))).toThrow('No space left on device');
    await storage.flush();
    expect(storage.log?.map((change) => change.op)).toEqual(['write', 'flush']);
  });
});

describe('opening', () => {
  it.each([
    ['nosuch', 'No such file or directory', 'ENOENT'],
    ['.', 'Is a directory', 'EISDIR'],
  ])('%s fails with the words of the C library', async (name, message, code) => {
    using folder = tempFolder('storage');
    const failure = await localStorage()(folder.file(name), { ...how, create: 'never' }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(BlockError);
    expect(failure).toMatchObject({ message, code });
  });
});
