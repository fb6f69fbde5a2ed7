/* Exports that show dirty bitmaps and the depth of allocation: what is found, what is refused, and what clients are told. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { DirtyBitmap } from '../../src/core/block/dirty-bitmap.ts';
import { drainNodes } from '../../src/core/block/drain.ts';
import type { BlockNode } from '../../src/core/block/node.ts';
import { eventLoop } from '../../src/core/util/clock.ts';
import { createImage } from '../../src/engine/create.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { addDeviceExport, addExport } from '../../src/engine/ops/exports.ts';
import { memoryEngine } from '../support/memory-engine.ts';
import { cmd, RawClient } from '../support/nbd-client.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

const mib = 1024 * 1024;
let folder: TempFolder;
let engine: Engine;
let top: BlockNode;
let enabled: DirtyBitmap;
let below: DirtyBitmap;

beforeEach(async () => {
  folder = tempFolder('export-bitmaps');
  ({ engine } = memoryEngine());
  await createImage(engine, 'qcow2', 'base', { size: 8 * mib });
  await createImage(engine, 'qcow2', 'top', { size: 8 * mib });
  top = await engine.addNode({
    driver: 'qcow2',
    'node-name': 'top',
    file: { driver: 'file', filename: 'top' },
    backing: { driver: 'qcow2', 'node-name': 'base', file: { driver: 'file', filename: 'base' } },
  });
  const base = engine.graph.find('base');
  if (base === undefined) throw new Error('no base');
  enabled = top.dirtyBitmaps.add({ name: 'on', granularity: 65536 });
  top.dirtyBitmaps.add({ name: 'off', granularity: 65536, isEnabled: false });
  below = base.dirtyBitmaps.add({ name: 'below', granularity: 4096, isEnabled: false });
  below.set(mib, 4096);
  await engine.exports.startServer({ type: 'unix', path: folder.file('s') });
});
afterEach(async () => {
  await engine.close();
  folder[Symbol.dispose]();
});

const add = (bitmaps: Parameters<typeof addExport>[1]['bitmaps'], rest: object = {}): Promise<unknown> =>
  addExport(engine, { type: 'nbd', id: 'e', 'node-name': 'top', name: 'e', bitmaps, ...rest });

it.each([
  [['nope'], "Bitmap 'nope' is not found"],
  [['on'], "Enabled bitmap 'on' incompatible with readonly export"],
  [['off', { node: 'zz', name: 'on' }], "Node 'zz' not found"],
  [[{ node: 'top', name: 'below' }], "Dirty bitmap 'below' not found"],
] as const)('%j is refused', async (bitmaps, message) => {
  await expect(add(bitmaps)).rejects.toThrow(message);
  expect([engine.exports.list().length, [...top.dirtyBitmaps].some(({ isBusy }) => isBusy)]).toEqual([0, false]);
});

it('an inconsistent one is refused', async () => {
  below.isInconsistent = true;
  await expect(add(['below'])).rejects.toThrow("Bitmap 'below' is inconsistent and cannot be used");
});

it('bitmaps are busy while they are shown, and free afterwards', async () => {
  await add([{ node: 'top', name: 'on' }, 'below']);
  expect([enabled.isBusy, below.isBusy]).toEqual([true, true]);
  const taken = "Bitmap 'below' is currently in use by another operation and cannot be used";
  await expect(addDeviceExport(engine, { device: 'top', name: 'f', writable: false, bitmap: 'below' })).rejects.toThrow(taken);
  await engine.exports.remove('e');
  expect([enabled.isBusy, below.isBusy]).toEqual([false, false]);
  await addDeviceExport(engine, { device: 'top', name: 'f', writable: true, bitmap: 'on' });
  expect(enabled.isBusy).toBe(true);
});

it('clients are told what is dirty, as it is when they ask, and which layer has the data', async () => {
  await add(['on', 'below'], { writable: true, 'allocation-depth': true });
  const client = await RawClient.connect(folder.file('s'));
  await client.go('e', { structured: true, contexts: ['qemu:dirty-bitmap:below', 'qemu:dirty-bitmap:on', 'qemu:allocation-depth', 'qemu:'] });
  client.request(cmd.write, 2 * mib + 5, 100, { payload: Buffer.alloc(100, 1) });
  expect((await client.chunk()).error).toBe(0);
  client.request(cmd.status, 0, 8 * mib);
  const told: [number, number[]][] = [];
  for (let isLast = false; !isLast; ) {
    const { data, flags } = await client.chunk();
    const words = Array.from({ length: data.length / 4 }, (_, index) => data.readUInt32BE(4 * index));
    told.push([words[0] ?? -1, words.slice(1)]);
    isLast = flags === 1;
  }
  expect(told).toEqual([
    [1, [2 * mib, 0, 65536, 1, 6 * mib - 65536, 0]],
    [2, [2 * mib, 0, 65536, 1, 6 * mib - 65536, 0]],
    [3, [mib, 0, 4096, 1, 7 * mib - 4096, 0]],
  ]);
  client.close();
});

it.each(['hard removal', 'stop of the server'] as const)('requests that a drained section holds end in order at a %s', async (how) => {
  await add([], { writable: true });
  const client = await RawClient.connect(folder.file('s'));
  await client.go('e', { structured: true });
  client.request(cmd.cache, 0, 0);
  await client.chunk();
  const section = await drainNodes([top]);
  for (let cookie = 0; cookie < 70; cookie++) client.request(cmd.write, cookie * 65536, 512, { cookie, payload: Buffer.alloc(512, 9) });
  for (let turn = 0; turn < 30; turn++) await eventLoop.nextTurn();
  let isOver = false;
  const ended = (how === 'hard removal' ? engine.exports.remove('e', 'hard') : engine.exports.stopServer()).then(() => {
    isOver = true;
  });
  await client.closed();
  for (let turn = 0; turn < 10; turn++) await eventLoop.nextTurn();
  expect(isOver).toBe(false);
  section[Symbol.dispose]();
  await ended;
  expect(engine.exports.list()).toEqual([]);
});
