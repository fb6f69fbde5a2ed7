import { afterEach, describe, expect, it } from 'vitest';
import { FaultyStorage } from '../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { perm } from '../../src/core/util/perm-bits.ts';
import { Machine } from '../../src/machine/machine.ts';
import { type Workload, workloadKinds } from '../../src/machine/workload.ts';
import { type MemoryEngine, memoryEngine } from '../support/memory-engine.ts';

const size = 1024 * 1024;
let made: MemoryEngine | undefined;
afterEach(async () => {
  await made?.engine.close();
  made = undefined;
});

async function machineWith(
  options: { readonly wrap?: (storage: Storage) => Storage; readonly readOnly?: boolean } = {},
): Promise<MemoryEngine & { readonly machine: Machine }> {
  const { wrap } = options;
  const result = memoryEngine(wrap === undefined ? {} : { wrap });
  made = result;
  const { engine, media } = result;
  media.set('disk', new MemoryStorage('disk', { size }));
  const machine = new Machine(engine);
  engine.machine = machine;
  const file = { driver: 'file', filename: 'disk', discard: 'unmap' };
  const node = await engine.opener.openNode({ driver: 'raw', 'node-name': 'node', discard: 'unmap', 'read-only': options.readOnly ?? false, file });
  await machine.addDisk('hd0', node);
  return { ...result, machine };
}

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

describe('a disk of the machine', () => {
  it('asks to read and write, and lets others read and resize', async () => {
    const { engine, machine } = await machineWith();
    const [edge] = engine.graph.find('node')?.parents ?? [];
    expect([edge?.name, edge?.perm, edge?.shared]).toEqual(['root', perm.consistentRead | perm.write, perm.consistentRead | perm.writeUnchanged | perm.resize]);
    expect(edge?.parent.describe()).toBe("block device 'hd0'");
    const device = machine.findDevice('hd0');
    expect(device?.qomPath).toMatch(/^\/machine\/peripheral\/hd0/);
    expect(machine.findDevice(device?.qomPath ?? '')).toBe(machine.findDrive('hd0'));
  });

  it('only reads when its medium is read-only', async () => {
    const { engine, machine } = await machineWith({ readOnly: true });
    expect(engine.graph.find('node')?.parents[0]?.perm).toBe(perm.consistentRead);
    expect(() => machine.guestDisk('hd0').write(0, new Uint8Array(512))).toThrow('Operation not permitted');
    expect(() => machine.run('hd0', { kind: 'mixed', seed: 1 })).toThrow("Disk 'hd0' is read-only");
    await machine.guestDisk('hd0').read(0, new Uint8Array(512));
  });

  it('has a name of its own among nodes and drives', async () => {
    const { engine, machine } = await machineWith();
    await expect(engine.addNode({ driver: 'null-co', 'node-name': 'hd0' })).rejects.toThrow('node-name=hd0 is conflicting with a device id');
    const second = await engine.opener.openNode({ driver: 'null-co', 'node-name': 'other' });
    await expect(machine.addDisk('hd0', second)).rejects.toThrow("Duplicate ID 'hd0' for drive");
    expect(engine.graph.find('other')).toBeUndefined();
    const third = await engine.opener.openNode({ driver: 'null-co', 'node-name': 'third' });
    await expect(machine.addDisk('third', third)).rejects.toThrow("Device name 'third' conflicts with an existing node name");
    expect(engine.graph.find('third')).toBeUndefined();
    expect(engine.graph.findDeviceOrNode('hd0')?.name).toBe('node');
  });

  it('moves to another node between two requests', async () => {
    const gates: (() => void)[] = [];
    let isHeld = false;
    const wrap = (storage: Storage): Storage =>
      new FaultyStorage(storage, { before: (op) => (isHeld && op === 'write' ? new Promise<void>((resolve) => gates.push(resolve)) : undefined) });
    const { engine, machine } = await machineWith({ wrap });
    const disk = machine.guestDisk('hd0');
    await engine.addNode({ driver: 'raw', 'node-name': 'filter', file: 'node' });
    const filter = engine.graph.find('filter');
    if (filter === undefined) throw new Error('no filter');
    isHeld = true;
    const writing = Promise.resolve(disk.write(0, new Uint8Array(512).fill(1)));
    const moving = disk.setNode(filter);
    await turns(3);
    expect(disk.node?.name).toBe('node');
    let isSecondDone = false;
    const second = Promise.resolve(disk.write(512, new Uint8Array(512).fill(2))).then(() => {
      isSecondDone = true;
    });
    await turns(3);
    expect([gates.length, isSecondDone]).toEqual([1, false]);
    isHeld = false;
    gates.shift()?.();
    await Promise.all([writing, moving, second]);
    expect(disk.node?.name).toBe('filter');
    const bytes = new Uint8Array(1024);
    await disk.read(0, bytes);
    expect([bytes[0], bytes[1023]]).toEqual([1, 2]);
  });

  it('stays where it is when the other node cannot be written', async () => {
    const { engine, machine } = await machineWith();
    const other = await engine.addNode({ driver: 'null-co', 'node-name': 'ro', size, 'read-only': true });
    await expect(machine.guestDisk('hd0').setNode(other)).rejects.toThrow('Block node is read-only');
    expect(machine.guestDisk('hd0').node?.name).toBe('node');
    await machine.guestDisk('hd0').write(0, new Uint8Array(512));
  });

  it('goes on without a medium when its drive is deleted, and its name is free', async () => {
    const { engine, machine } = await machineWith();
    await machine.guestDisk('hd0').deleteDrive();
    expect(machine.findDrive('hd0')).toBeUndefined();
    expect(machine.findDevice('hd0')).toBeDefined();
    expect(engine.graph.find('node')).toBeUndefined();
    expect(() => machine.guestDisk('hd0').read(0, new Uint8Array(512))).toThrow('No medium found');
    await engine.addNode({ driver: 'null-co', 'node-name': 'hd0' });
  });
});

describe('the run state', () => {
  it('stops the guest between two requests and lets it go on', async () => {
    const { machine, log } = await machineWith();
    const workload = machine.run('hd0', { kind: 'random-write', seed: 1 });
    await turns(5);
    await machine.stop();
    const { requests } = workload;
    expect([machine.runState, requests > 0]).toEqual(['paused', true]);
    await turns(5);
    expect(workload.requests).toBe(requests);
    machine.cont();
    await turns(5);
    expect(workload.requests).toBeGreaterThan(requests);
    await machine.stop();
    await machine.stop();
    machine.cont();
    machine.cont();
    expect(log.map((entry) => entry.split(' ')[0])).toEqual(['STOP', 'RESUME', 'STOP', 'RESUME']);
  });

  it('holds a workload that is started while the machine stands', async () => {
    const { machine } = await machineWith();
    await machine.stop();
    const workload = machine.run('hd0', { kind: 'sequential-write', seed: 1 });
    await turns(5);
    expect(workload.requests).toBe(0);
    await machine.stopGuest();
    expect(machine.workloads).toEqual([]);
  });
});

describe('a workload', () => {
  /** What a workload did to the disk, as one text a request. */
  async function history(kind: Workload['kind'], seed: number, requests = 60): Promise<string[]> {
    const seen: string[] = [];
    const wrap = (storage: Storage): Storage =>
      new FaultyStorage(storage, {
        before: (op, offset, length) => {
          if (op !== 'extents' && op !== 'flush') seen.push(`${op} ${offset} ${length}`);
        },
      });
    const { machine } = await machineWith({ wrap });
    seen.length = 0;
    await machine.run('hd0', { kind, seed, requests, blockSize: 131072 }).finished;
    await made?.engine.close();
    made = undefined;
    return seen;
  }

  it.each(workloadKinds)('of kind %s does the same for the same seed', async (kind) => {
    const first = await history(kind, 7);
    expect(first.length).toBeGreaterThan(20);
    expect(await history(kind, 7)).toEqual(first);
    if (kind !== 'sequential-write') expect(await history(kind, 8)).not.toEqual(first);
  });

  it('of mixed requests writes, zeroes, discards and reads, aligned and not', async () => {
    const seen = await history('mixed', 3, 300);
    expect(new Set(seen.map((entry) => entry.split(' ')[0]))).toEqual(new Set(['write', 'zero', 'discard', 'read']));
    const offsets = seen.map((entry) => Number(entry.split(' ')[1]) % 4096);
    expect(offsets.some((rest) => rest !== 0) && offsets.some((rest) => rest === 0)).toBe(true);
  });

  it('counts failed requests and goes on, as a guest would', async () => {
    let isBroken = false;
    const wrap = (storage: Storage): Storage =>
      new FaultyStorage(storage, { fail: (op) => (isBroken && op === 'write' ? new BlockError('Input/output error', { code: 'EIO' }) : undefined) });
    const { machine } = await machineWith({ wrap });
    isBroken = true;
    const workload = machine.run('hd0', { kind: 'random-write', seed: 1, requests: 10 });
    await workload.finished;
    expect([workload.requests, workload.errors]).toEqual([10, 10]);
  });

  it('ends when its disk loses the medium', async () => {
    const { machine } = await machineWith();
    const workload = machine.run('hd0', { kind: 'random-write', seed: 1 });
    await turns(2);
    await machine.guestDisk('hd0').deleteDrive();
    await workload.finished;
    expect(machine.workloads).toEqual([]);
  });

  it('lets everyone else have turns', async () => {
    const { machine } = await machineWith();
    const workload = machine.run('hd0', { kind: 'random-write', seed: 1, depth: 4 });
    // a guest that never let go would keep these from coming
    await turns(20);
    expect(workload.requests).toBeGreaterThan(4);
    await machine.stopGuest();
  });
});
