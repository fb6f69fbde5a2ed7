/* Another backing node with what the image says of it, over every driver: both change, or neither does. */
import { afterEach, describe, expect, it } from 'vitest';
import { prepareBacking } from '../../src/core/block/backing.ts';
import { drainNodes } from '../../src/core/block/drain.ts';
import type { RecordedBacking } from '../../src/core/block/driver.ts';
import type { BlockNode } from '../../src/core/block/node.ts';
import type { OptionTree } from '../../src/core/block/options.ts';
import { runTransaction } from '../../src/core/block/transaction.ts';
import { delayed } from '../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import { createImage } from '../../src/engine/create.ts';
import { driverEntries } from '../../src/engine/drivers.ts';
import { type MemoryEngine, memoryEngine } from '../support/memory-engine.ts';
import { addThrottleGroup } from '../support/throttle-group.ts';
import { makeVault, vaultSecret } from '../support/vault.ts';

const size = 1 << 20;
const file = { driver: 'file', filename: 'disk' };
const trees: Readonly<Record<string, OptionTree>> = {
  file,
  'null-co': { driver: 'null-co', size },
  'null-aio': { driver: 'null-aio', size },
  raw: { driver: 'raw', file },
  'copy-on-read': { driver: 'copy-on-read', file },
  blkdebug: { driver: 'blkdebug', image: file },
  blkverify: { driver: 'blkverify', test: file, raw: { driver: 'file', filename: 'image' } },
  quorum: { driver: 'quorum', 'vote-threshold': 1, children: [file] },
  blklogwrites: { driver: 'blklogwrites', file, log: { driver: 'file', filename: 'image' } },
  compress: { driver: 'compress', file: { driver: 'qcow2', file: { driver: 'file', filename: 'image' } } },
  throttle: { driver: 'throttle', 'throttle-group': 'g', file: { driver: 'raw', file } },
  preallocate: { driver: 'preallocate', file },
  luks: { driver: 'luks', 'key-secret': vaultSecret, file: { driver: 'file', filename: 'vault' } },
  qcow2: { driver: 'qcow2', file: { driver: 'file', filename: 'image' } },
  'copy-before-write': { driver: 'copy-before-write', file: { driver: 'raw', file }, target: { driver: 'null-co', size } },
  'snapshot-access': { driver: 'snapshot-access', file: { driver: 'copy-before-write', file: { driver: 'raw', file }, target: { driver: 'null-co', size } } },
};
const recording = ['qcow2'];

let made: MemoryEngine | undefined;
afterEach(async () => {
  await made?.engine.close();
  made = undefined;
});

/** The node, and `new` that may stand below it. */
async function nodes(driver: string, isPending: boolean, more: OptionTree = {}): Promise<{ node: BlockNode; below: BlockNode; where: MemoryEngine }> {
  const where = memoryEngine(isPending ? (storage) => delayed(storage) : {});
  made = where;
  where.media.set('disk', new MemoryStorage('disk', { size }));
  where.media.set('old', new MemoryStorage('old', { size }));
  addThrottleGroup(where.engine, 'g');
  await createImage(where.engine, 'qcow2', 'image', { size, backing_file: 'old', backing_fmt: 'raw' });
  if (driver === 'luks') await makeVault(where.engine, 'vault', { size });
  const node = await where.engine.addNode({ ...trees[driver], 'node-name': 'n', ...more });
  const below = await where.engine.addNode({ driver: 'null-co', size, 'node-name': 'new' });
  return { node, below, where };
}

async function change({ engine }: MemoryEngine, node: BlockNode, below: BlockNode | null, record?: RecordedBacking | 'none', fails = false): Promise<void> {
  await engine.graph.turn(async () => {
    using _section = await drainNodes([node]);
    const prepared = await prepareBacking(engine.graph, node, { below, record });
    try {
      runTransaction((transaction) => {
        prepared.apply(transaction);
        if (fails) throw new Error('aborted');
      });
    } finally {
      await prepared.settle();
    }
  });
}

/** What the image on the medium says. */
async function recorded({ media }: MemoryEngine): Promise<RecordedBacking | undefined> {
  const image = media.get('image');
  const bytes = new Uint8Array(image?.size() ?? 0);
  image?.read(0, bytes);
  const copy = new MemoryStorage('image', { size: bytes.length });
  copy.write(0, bytes);
  const other = memoryEngine();
  other.media.set('image', copy);
  const node = await other.engine.addNode({ ...trees['qcow2'], 'node-name': 'n', 'read-only': true, backing: null });
  const { imageBacking } = node.state;
  await other.engine.close();
  return imageBacking;
}

it('every driver is here but the one that is as file', () => {
  expect(driverEntries.map(({ name }) => name).filter((name) => !(name in trees))).toEqual(['host_device', 'host_cdrom']);
});

describe.each(recording.flatMap((driver) => [false, true].map((isPending) => [driver, isPending ? 'pending' : 'at once', isPending] as const)))(
  '%s, storage that answers %s',
  (driver, _how, isPending) => {
    it('names another one, and none, on the medium and in the graph', async () => {
      const { node, below, where } = await nodes(driver, isPending);
      await change(where, node, below, { filename: 'other', format: 'qcow2' });
      expect([node.backing?.node, node.state.imageBacking]).toEqual([below, { filename: 'other', format: 'qcow2' }]);
      expect(await recorded(where)).toEqual({ filename: 'other', format: 'qcow2' });
      await change(where, node, null, 'none');
      expect([node.backing, node.state.imageBacking, await recorded(where)]).toEqual([undefined, undefined, undefined]);
    });

    it('says what it said when the change is aborted', async () => {
      const { node, below, where } = await nodes(driver, isPending);
      const before = node.backing?.node;
      await expect(change(where, node, below, { filename: 'other', format: 'qcow2' }, true)).rejects.toThrow('aborted');
      expect([node.backing?.node, node.state.imageBacking]).toEqual([before, { filename: 'old', format: 'raw' }]);
      expect(await recorded(where)).toEqual({ filename: 'old', format: 'raw' });
    });

    it('is not asked when only the node changes', async () => {
      const { node, below, where } = await nodes(driver, isPending);
      await change(where, node, below);
      expect([node.backing?.node, await recorded(where)]).toEqual([below, { filename: 'old', format: 'raw' }]);
    });

    it('refuses a name that has no room, and a node that cannot be written', async () => {
      const { node, below, where } = await nodes(driver, isPending);
      await expect(change(where, node, below, { filename: 'x'.repeat(1024), format: 'raw' })).rejects.toThrow('Invalid argument');
      expect([node.backing?.node === below, await recorded(where)]).toEqual([false, { filename: 'old', format: 'raw' }]);
      await where.engine.close();
      const other = await nodes(driver, isPending, { 'read-only': true });
      await expect(change(other.where, other.node, other.below, 'none')).rejects.toThrow('Block node is read-only');
    });
  },
);

describe.each(Object.keys(trees).filter((name) => !recording.includes(name)))('%s', (driver) => {
  it('records none', async () => {
    const { node, below, where } = await nodes(driver, false);
    await expect(change(where, node, below, { filename: 'x', format: 'raw' })).rejects.toThrow('Operation not supported');
  });
});
