/* The filter that logs writes: what is in the log after failures, and logs that it does not go on with. */
import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend, writerPerms } from '../../../src/core/block/backend.ts';
import { delayed, FaultyStorage } from '../../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../../src/core/storage/memory.ts';
import { BlockError } from '../../../src/core/util/errors.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { memoryEngine } from '../../support/memory-engine.ts';

const sector = 512;
let engine: Engine;
afterEach(() => engine.close());

interface Opened {
  readonly log: MemoryStorage;
  open(more?: Readonly<Record<string, number | boolean>>): Promise<BlockBackend>;
}

/** `fails` says of a write at this offset of the log whether it fails. */
function prepare({ isSlow = false, fails = (_: number): boolean => false } = {}): Opened {
  const made = memoryEngine((storage, path) => {
    const fail = (op: string, offset: number): BlockError | undefined =>
      path === 'log' && op === 'write' && fails(offset) ? new BlockError('No space left on device', { code: 'ENOSPC' }) : undefined;
    return new FaultyStorage(isSlow ? delayed(storage) : storage, { fail });
  });
  engine = made.engine;
  const log = new MemoryStorage('log', { size: 0 });
  made.media.set('disk', new MemoryStorage('disk', { size: 1 << 20 }));
  made.media.set('log', log);
  return {
    log,
    open: async (more = {}) => {
      const below = { driver: 'file', discard: 'unmap', filename: 'disk' };
      const node = await engine.addNode({
        driver: 'blklogwrites',
        'node-name': 'b',
        discard: 'unmap',
        file: below,
        log: { driver: 'file', filename: 'log' },
        ...more,
      });
      const backend = new BlockBackend(engine.graph, writerPerms);
      backend.insert(node);
      return backend;
    },
  };
}

/** Entries that the superblock counts: sector, number of sectors, flags, first byte behind it. */
function entriesOf(log: MemoryStorage): number[][] {
  const bytes = Buffer.alloc(log.size());
  log.read(0, bytes);
  const entries: number[][] = [];
  let at = sector;
  for (let left = Number(bytes.readBigUInt64LE(16)); left > 0; left--) {
    const [first, count, flags] = [0, 8, 16].map((field) => Number(bytes.readBigUInt64LE(at + field)));
    const held = flags === 4 ? 0 : (count ?? 0);
    entries.push([first ?? 0, count ?? 0, flags ?? 0, held === 0 ? 0 : bytes.readUInt8(at + sector)]);
    at += sector * (1 + held);
  }
  return entries;
}

const filled = (byte: number, sectors = 1): Uint8Array => new Uint8Array(sectors * sector).fill(byte);

describe.each([false, true])('blklogwrites over media that are slow: %s', (isSlow) => {
  it('logs each of many writes whole, and the flush behind all of them', async () => {
    const { log, open } = prepare({ isSlow });
    const backend = await open();
    await Promise.all(Array.from({ length: 20 }, async (_, index) => backend.write(index * 2 * sector, filled(index + 1, 2))));
    await backend.flush();
    await backend.flush();
    const entries = entriesOf(log);
    expect(entries.slice(0, -1).sort(([a = 0], [b = 0]) => a - b)).toEqual(Array.from({ length: 20 }, (_, index) => [index * 2, 2, 0, index + 1]));
    expect(entries.at(-1)).toEqual([0, 0, 1, 0]);
    await backend.remove();
  });

  it('has no hole where an entry could not be written', async () => {
    let left = 1;
    const { log, open } = prepare({ isSlow, fails: (offset) => offset >= 2 * sector && left-- > 0 });
    const backend = await open();
    await expect((async () => backend.write(0, filled(1, 3)))()).rejects.toThrow('No space left on device');
    await backend.write(4 * sector, filled(2));
    await backend.flush();
    expect(entriesOf(log)).toEqual([
      [4, 1, 0, 2],
      [0, 0, 1, 0],
    ]);
    await backend.remove();
  });

  it('discards whole sectors only', async () => {
    const { log, open } = prepare({ isSlow });
    const backend = await open();
    await backend.discard(100, 2000);
    await backend.discard(100, 300);
    await backend.flush();
    expect(entriesOf(log)).toEqual([
      [1, 3, 4, 0],
      [0, 0, 1, 0],
    ]);
    await backend.remove();
  });
});

it('counts the entries after as many as the interval says', async () => {
  const { log, open } = prepare();
  const backend = await open({ 'log-super-update-interval': 2 });
  for (const index of [0, 1, 2]) await backend.write(index * sector, filled(index + 1));
  expect(entriesOf(log)).toEqual([
    [0, 1, 0, 1],
    [1, 1, 0, 2],
  ]);
  await backend.remove();
});

describe('a log that is there', () => {
  /** A superblock and one entry. */
  function write(log: MemoryStorage, entries: bigint, sectors: bigint): void {
    const bytes = Buffer.alloc(3 * sector);
    bytes.write('rhswfsj', 0);
    bytes.writeBigUInt64LE(1n, 8);
    bytes.writeBigUInt64LE(entries, 16);
    bytes.writeUInt32LE(sector, 24);
    bytes.writeBigUInt64LE(sectors, sector + 8);
    log.truncate(bytes.length);
    log.write(0, bytes);
  }

  it('goes on behind what it counts, at once where the file ends before', async () => {
    const { log, open } = prepare();
    write(log, 1_000_000_000_000n, 1n);
    const backend = await open({ 'log-append': true });
    await backend.write(0, filled(9));
    expect(log.size()).toBe(1_000_000_000_004 * sector);
    await backend.remove();
  });

  it.each([
    ['the superblock', 2n ** 64n - 1n, 1n],
    ['log entry 0', 1n, 2n ** 64n - 1n],
  ])('is refused where a number of sectors in %s cannot be', async (where, entries, sectors) => {
    const { log, open } = prepare();
    write(log, entries, sectors);
    await expect(open({ 'log-append': true })).rejects.toThrow(`Invalid number of sectors in ${where}`);
  });
});
