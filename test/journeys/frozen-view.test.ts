/*
 * What a fleecing reader sees never changes, whatever the guest does: seeded workloads (unaligned, overlapping, discards,
 * zero writes), raw and qcow2 sources, several readers at once, by sync=none and by filters, over media that answer at
 * once, late, or in random order.
 */
import { describe, expect, it } from 'vitest';
import { BlockBackend } from '../../src/core/block/backend.ts';
import type { BlockNode } from '../../src/core/block/node.ts';
import { FaultyStorage } from '../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { perm } from '../../src/core/util/perm-bits.ts';
import { createImage } from '../../src/engine/create.ts';
import { Engine } from '../../src/engine/engine.ts';
import { startBackup } from '../../src/engine/ops/backup.ts';
import { Machine } from '../../src/machine/machine.ts';
import { Random } from '../../src/machine/workload.ts';

const size = 4 * 1024 * 1024 + 512 * 3;
type Pace = 'at once' | 'late' | 'in random order';

function paced(storage: Storage, pace: Pace, random: Random): Storage {
  if (pace === 'at once') return storage;
  return new FaultyStorage(storage, {
    before: (op) => {
      if (op === 'flush') return undefined;
      if (pace === 'late') return new Promise((resolve) => setImmediate(resolve));
      const turns = random.below(4);
      return turns === 0 ? undefined : waitTurns(turns);
    },
  });
}

async function waitTurns(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}

interface Setting {
  readonly seed: number;
  readonly format: 'raw' | 'qcow2';
  readonly way: 'backup' | 'filters';
  readonly pace: Pace;
}

async function prepare({ seed, format, pace }: Setting): Promise<{ engine: Engine; machine: Machine; source: BlockNode }> {
  const random = new Random(seed);
  const media = new Map<string, MemoryStorage>();
  let isPaced = false;
  const engine = new Engine({
    openStorage: async (path, how) => {
      let medium = media.get(path);
      if (medium === undefined) {
        if (how.create === 'never') throw new BlockError('No such file or directory', { code: 'ENOENT' });
        medium = new MemoryStorage(path);
        media.set(path, medium);
      }
      return isPaced ? paced(medium, pace, random) : medium;
    },
  });
  await createImage(engine, format, 'source', { size });
  await createImage(engine, 'qcow2', 'target', { size });
  isPaced = true;
  const node = await engine.opener.openImage({ filename: 'source', format, options: { 'node-name': 'source', discard: 'unmap' } });
  const machine = new Machine(engine);
  engine.machine = machine;
  await machine.addDisk('disk', node);
  return { engine, machine, source: node };
}

async function readAll(backend: BlockBackend, random: Random): Promise<Uint8Array> {
  const all = new Uint8Array(backend.size());
  for (let at = 0; at < all.length; ) {
    const length = Math.min(all.length - at, 1 + random.below(300_000));
    await backend.read(at, all.subarray(at, at + length));
    at += length;
  }
  return all;
}

async function freeze(engine: Engine, way: Setting['way']): Promise<BlockNode> {
  const backing = way === 'backup' ? { backing: 'source' } : {};
  const target = await engine.addNode({ driver: 'qcow2', 'node-name': 'target', file: { driver: 'file', filename: 'target' }, ...backing });
  if (way === 'backup') {
    await startBackup(engine, { 'job-id': 'fleece', device: 'disk', target: 'target', sync: 'none' });
    return target;
  }
  const filter = await engine.addNode({ driver: 'copy-before-write', 'node-name': 'cbw', file: 'source', target: 'target', discard: 'unmap' });
  await engine.machine?.findDrive('disk')?.setNode(filter);
  return engine.addNode({ driver: 'snapshot-access', 'node-name': 'view', file: 'cbw' });
}

async function check(setting: Setting): Promise<void> {
  const { engine, machine } = await prepare(setting);
  try {
    const random = new Random(setting.seed * 31);
    const disk = machine.guestDisk('disk');
    // some contents first, holes included
    for (let index = 0; index < 24; index++) {
      const length = 512 * (1 + random.below(600));
      await disk.write(512 * random.below(Math.floor((size - length) / 512)), new Uint8Array(length).fill(1 + random.below(255)));
    }
    // the guest is writing while the state is frozen
    machine.run('disk', { kind: 'mixed', seed: setting.seed, blockSize: setting.seed % 3 === 0 ? 1024 * 1024 : 131072, depth: 1 + (setting.seed % 4) });
    await waitTurns(random.below(20));
    await machine.stop();
    const view = await freeze(engine, setting.way);
    const instant = await readAll(disk.backend, random);
    machine.cont();
    const readers = await Promise.all(
      Array.from({ length: 4 }, async (_, index) => {
        const backend = new BlockBackend(engine.graph, { perm: perm.consistentRead, shared: perm.all });
        backend.insert(view);
        const differing: number[] = [];
        for (let round = 0; round < 3; round++) {
          const seen = await readAll(backend, new Random(setting.seed + index * 7 + round));
          if (Buffer.compare(seen, instant) !== 0) differing.push(round);
          await waitTurns(1);
        }
        await backend.remove();
        return differing;
      }),
    );
    expect(readers).toEqual([[], [], [], []]);
    const written = machine.workloads[0]?.bytesWritten ?? 0;
    expect(written).toBeGreaterThan(0);
    await machine.stopGuest();
    expect(Buffer.compare(await readAll(disk.backend, random), instant)).not.toBe(0);
  } finally {
    await engine.close();
  }
}

describe.each(['raw', 'qcow2'] as const)('the view of a %s disk stays frozen', (format) => {
  describe.each(['backup', 'filters'] as const)('by %s', (way) => {
    it.each([
      ['at once', 1],
      ['at once', 2],
      ['late', 3],
      ['late', 4],
      ['in random order', 5],
      ['in random order', 6],
      ['in random order', 7],
      ['in random order', 8],
      ['in random order', 9],
      ['in random order', 10],
    ] as const)('over media that answer %s, seed %i', (pace, seed) => check({ seed, format, way, pace }));
  });
});
