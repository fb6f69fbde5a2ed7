/*
 * What every filter driver must do: present its one filtered child unchanged, in content, size, extents and errors, over
 * media that answer at once, later, or in random order. A new filter adds one line to filter.test.ts.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../src/core/block/backend.ts';
import { childRole, reqFlag } from '../../src/core/block/driver.ts';
import { delayed, FaultyStorage } from '../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { isPending } from '../../src/core/util/maybe.ts';
import { perm } from '../../src/core/util/perm-bits.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { memoryEngine } from '../support/memory-engine.ts';
import { type Random, seeded } from '../support/random.ts';
import { addThrottleGroup } from '../support/throttle-group.ts';

const size = 512 * 1024 + 1536;

export interface FilterSubject {
  readonly driver: string;
  /** Its options beside `driver`, `node-name` and `file`. Nodes `other` (raw, the same size) can be named. */
  readonly options: Readonly<Record<string, string | number>>;
  /** Its size is that of the node below at any time; else the one that this had at the start. */
  readonly followsSize: boolean;
  /** What it needs of the node below while nobody uses it, when that is something. */
  readonly idlePerm?: number;
}

const modes: readonly [string, (random: Random) => (storage: Storage) => Storage][] = [
  ['at once', () => (storage) => storage],
  ['later', () => (storage) => delayed(storage, 'turn')],
  [
    'in random order',
    (random) => (storage) => new FaultyStorage(storage, { before: () => (random(2) === 0 ? undefined : new Promise((resolve) => setImmediate(resolve))) }),
  ],
];

export function filterSuite({ driver, options, followsSize, idlePerm = perm.none }: FilterSubject): void {
  describe(`filter ${driver}`, () => {
    let engine: Engine;
    afterEach(() => engine.close());

    async function open(wrap: (storage: Storage) => Storage): Promise<{ backend: BlockBackend; below: MemoryStorage }> {
      const made = memoryEngine((storage, path) => (path === 'below' ? wrap(storage) : storage));
      engine = made.engine;
      addThrottleGroup(engine, 'g', { 'iops-total': 1_000_000 });
      const below = new MemoryStorage('below', { size });
      made.media.set('below', below);
      made.media.set('other', new MemoryStorage('other', { size }));
      const raw = (name: string) => ({ driver: 'raw', 'node-name': name, discard: 'unmap', file: { driver: 'file', filename: name, discard: 'unmap' } });
      await engine.addNode(raw('below'));
      await engine.addNode(raw('other'));
      const node = await engine.addNode({ driver, 'node-name': 'filter', file: 'below', discard: 'unmap', ...options });
      const backend = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write, shared: perm.all });
      backend.insert(node);
      return { backend, below };
    }

    it.each(modes)('shows what is below and writes it, over media that answer %s', async (_, mode) => {
      const random = seeded(11);
      const { backend, below } = await open(mode(seeded(12)));
      const model = new Uint8Array(size);
      for (let round = 0; round < 150; round++) {
        const offset = random(size);
        const length = Math.min(size - offset, 1 + random(70000));
        switch (random(4)) {
          case 0:
            model.fill(0, offset, offset + length);
            await backend.zero(offset, length, random(2) === 0 ? reqFlag.mayUnmap : reqFlag.none);
            break;
          case 1: {
            const into = new Uint8Array(length);
            await backend.read(offset, into);
            expect(Buffer.compare(into, model.subarray(offset, offset + length))).toBe(0);
            break;
          }
          default: {
            const byte = 1 + random(255);
            model.fill(byte, offset, offset + length);
            await backend.write(offset, new Uint8Array(length).fill(byte), random(3) === 0 ? reqFlag.fua : reqFlag.none);
          }
        }
      }
      const all = new Uint8Array(size);
      below.read(0, all);
      expect(Buffer.compare(all, model)).toBe(0);
      await backend.flush();
      await backend.remove();
    });

    it('has one filtered child, named file, and its size and limits', async () => {
      const { backend } = await open((storage) => storage);
      const node = engine.graph.find('filter');
      const below = engine.graph.find('below');
      expect(node?.children.filter((child) => (child.roles & childRole.filtered) !== 0).map((child) => child.name)).toEqual(['file']);
      expect([node?.size(), node?.limits.requestAlign]).toEqual([size, below?.limits.requestAlign]);
      await backend.remove();
    });

    it('tells the extents of what is below', async () => {
      const { backend } = await open((storage) => storage);
      await backend.write(131072, new Uint8Array(65536).fill(1));
      expect(await backend.status(0, size)).toMatchObject({ length: 131072, zero: true });
      expect(await backend.status(131072, size - 131072)).toMatchObject({ length: 65536, data: true, zero: false });
      await backend.remove();
    });

    it('answers at once when the medium does', async () => {
      const { backend } = await open((storage) => storage);
      expect(isPending(backend.write(4096, new Uint8Array(100).fill(1)))).toBe(false);
      expect(isPending(backend.read(4096, new Uint8Array(100)))).toBe(false);
      expect(isPending(backend.zero(4096, 100))).toBe(false);
      expect(isPending(backend.flush())).toBe(false);
      await backend.remove();
    });

    it('passes the errors of the medium on, and goes on afterwards', async () => {
      let failing: string | undefined;
      const { backend } = await open(
        (storage) => new FaultyStorage(storage, { fail: (op) => (op === failing ? new BlockError('Input/output error', { code: 'EIO' }) : undefined) }),
      );
      await backend.write(0, new Uint8Array(512).fill(1));
      failing = 'read';
      expect(() => backend.read(0, new Uint8Array(512))).toThrow('Input/output error');
      failing = 'write';
      expect(() => backend.write(0, new Uint8Array(512))).toThrow('Input/output error');
      failing = undefined;
      const into = new Uint8Array(512);
      await backend.read(0, into);
      expect(into[511]).toBe(1);
      expect(engine.graph.find('filter')?.inFlight).toBe(0);
      await backend.remove();
    });

    it('needs no more of what is below than it says while nobody uses it', async () => {
      const { backend } = await open((storage) => storage);
      await backend.remove();
      expect(engine.graph.find('filter')?.child('file')?.perm).toBe(idlePerm);
    });

    it(followsSize ? 'follows a change of size' : 'keeps its size when the node below changes', async () => {
      const { backend } = await open((storage) => storage);
      await backend.remove();
      const below = engine.graph.find('below');
      if (below === undefined) throw new Error('below is gone');
      const owner = new BlockBackend(engine.graph, { perm: perm.resize, shared: perm.all });
      owner.insert(below);
      await owner.truncate(size + 512, { exact: false, prealloc: 'off' });
      expect(engine.graph.find('filter')?.size()).toBe(followsSize ? size + 512 : size);
      await owner.remove();
    });
  });
}
