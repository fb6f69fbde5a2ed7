/* The races that copy-before-write must win, one by one, with media whose requests are held by hand. */
import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import { FaultyStorage, type StorageOp } from '../../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../../src/core/storage/memory.ts';
import { BlockError } from '../../../src/core/util/errors.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { createImage } from '../../../src/engine/create.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { memoryEngine } from '../../support/memory-engine.ts';

const cluster = 65536;
let engine: Engine;
afterEach(() => engine.close());

interface Fleece {
  readonly guest: BlockBackend;
  readonly reader: BlockBackend;
  /** Holds the next request of its kind to the source's file until it is called. */
  hold(op?: StorageOp): () => void;
  failTarget(error: BlockError | undefined): void;
}

async function fleece(view: 'target' | 'snapshot-access', options: Record<string, string> = {}): Promise<Fleece> {
  let held: { op: StorageOp; promise: Promise<void>; isUsed: boolean } | undefined;
  let failure: BlockError | undefined;
  const made = memoryEngine((storage, path) =>
    path === 'source'
      ? new FaultyStorage(storage, {
          before: (op) => {
            if (op !== held?.op || held.isUsed) return undefined;
            held.isUsed = true;
            return held.promise;
          },
        })
      : new FaultyStorage(storage, { fail: (op) => (op === 'write' || op === 'zero' ? failure : undefined) }),
  );
  engine = made.engine;
  const source = new MemoryStorage('source');
  source.write(0, new Uint8Array(4 * cluster).fill(1));
  made.media.set('source', source);
  await createImage(engine, 'qcow2', 'target', { size: 4 * cluster });
  await engine.addNode({ driver: 'raw', 'node-name': 'src', file: { driver: 'file', filename: 'source' } });
  const target = await engine.addNode({
    driver: 'qcow2',
    'node-name': 'tgt',
    file: { driver: 'file', filename: 'target' },
    ...(view === 'target' ? { backing: 'src' } : {}),
  });
  const filter = await engine.addNode({ driver: 'copy-before-write', 'node-name': 'cbw', file: 'src', target: 'tgt', ...options });
  const shown = view === 'target' ? target : await engine.addNode({ driver: 'snapshot-access', 'node-name': 'acc', file: 'cbw' });
  const guest = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write, shared: perm.all & ~perm.write });
  guest.insert(filter);
  const reader = new BlockBackend(engine.graph, { perm: perm.consistentRead, shared: perm.all });
  reader.insert(shown);
  return {
    guest,
    reader,
    hold: (op = 'read') => {
      let release: () => void = () => {};
      held = { op, promise: new Promise((resolve) => (release = resolve)), isUsed: false };
      return release;
    },
    failTarget: (error) => {
      failure = error;
    },
  };
}

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};
const bytes = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

describe.each(['target', 'snapshot-access'] as const)('a reader of %s', (view) => {
  it('that is in the middle of reading old data makes the guest’s write wait', async () => {
    const { guest, reader, hold } = await fleece(view);
    const into = new Uint8Array(4096);
    const release = hold();
    const reading = Promise.resolve(reader.read(0, into));
    let isWritten = false;
    const writing = Promise.resolve(guest.write(0, bytes(4096, 9))).then(() => {
      isWritten = true;
    });
    await turns(30);
    expect(isWritten).toBe(false);
    release();
    await Promise.all([reading, writing]);
    expect(Buffer.compare(into, bytes(4096, 1))).toBe(0);
    await guest.remove();
    await reader.remove();
  });

  it('sees the old data after the write, in the whole cluster', async () => {
    const { guest, reader } = await fleece(view);
    await guest.write(100, bytes(10, 9));
    await guest.zero(2 * cluster, 512);
    const into = new Uint8Array(4 * cluster);
    await reader.read(0, into);
    expect(Buffer.compare(into, bytes(4 * cluster, 1))).toBe(0);
    const now = new Uint8Array(12);
    await guest.read(99, now);
    expect([...now]).toEqual([1, ...bytes(10, 9), 1]);
    await guest.remove();
    await reader.remove();
  });
});

describe.each(['target', 'snapshot-access'] as const)('the extents of %s', (view) => {
  it('are those of the old data also when the disk below changes while it is asked', async () => {
    const { guest, reader, hold } = await fleece(view);
    const release = hold('extents');
    const asking = Promise.resolve(reader.status(0, 2 * cluster));
    const zeroing = Promise.resolve(guest.zero(0, cluster));
    await turns(30);
    release();
    const status = await asking;
    await zeroing;
    expect([status.data, status.zero, status.allocated]).toEqual([true, false, true]);
    const now = await guest.status(0, cluster);
    expect([now.zero, now.length]).toEqual([true, cluster]);
    await guest.remove();
    await reader.remove();
  });
});

describe('a copy that fails', () => {
  const full = new BlockError('No space left on device', { code: 'ENOSPC' });

  it('fails the guest’s write by default, and the view stays frozen', async () => {
    const { guest, reader, failTarget } = await fleece('target');
    failTarget(full);
    await expect(Promise.resolve().then(() => guest.write(0, bytes(512, 9)))).rejects.toThrow('No space left on device');
    failTarget(undefined);
    await guest.write(0, bytes(512, 9));
    const into = new Uint8Array(512);
    await reader.read(0, into);
    expect(Buffer.compare(into, bytes(512, 1))).toBe(0);
    await guest.remove();
    await reader.remove();
  });

  it('lets the guest go on and breaks the view with break-snapshot', async () => {
    const { guest, reader, failTarget } = await fleece('snapshot-access', { 'on-cbw-error': 'break-snapshot' });
    failTarget(full);
    await guest.write(0, bytes(512, 9));
    failTarget(undefined);
    await expect(Promise.resolve().then(() => reader.read(0, new Uint8Array(512)))).rejects.toThrow(BlockError);
    const now = new Uint8Array(1);
    await guest.read(0, now);
    expect([...now]).toEqual([9]);
    await guest.remove();
    await reader.remove();
  });
});

describe('a disk that is resized through its filter', () => {
  it('shows in the view what was saved, and errors instead of zeros for what was cut off', async () => {
    const { guest, reader } = await fleece('snapshot-access');
    await guest.write(3 * cluster, bytes(cluster, 9));
    guest.setPerm(perm.consistentRead | perm.write | perm.resize, perm.all);
    await guest.truncate(cluster, { prealloc: 'off', exact: true });
    expect(guest.size()).toBe(cluster);
    const into = new Uint8Array(cluster);
    await reader.read(0, into);
    expect(Buffer.compare(into, bytes(cluster, 1))).toBe(0);
    await reader.read(3 * cluster, into.fill(0));
    expect(Buffer.compare(into, bytes(cluster, 1))).toBe(0);
    await expect(async () => reader.read(cluster, into)).rejects.toThrow('Input/output error');
  });

  it('keeps its size above the filter when it grows below it', async () => {
    const { guest } = await fleece('snapshot-access');
    await engine.graph.findDeviceOrNode('src')?.state.truncate?.(8 * cluster, { prealloc: 'off', exact: true });
    expect(guest.size()).toBe(4 * cluster);
  });
});
