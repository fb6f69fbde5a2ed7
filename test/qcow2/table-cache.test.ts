import { describe, expect, it } from 'vitest';
import { run } from '../../src/qcow2/steps.ts';
import { TableCache } from '../../src/qcow2/table-cache.ts';
import { changed, type Medium, made, now, size } from './table-cache-support.ts';

describe('a table', () => {
  it('is there once it is loaded', () => {
    const { medium, cache } = made();
    expect(cache.load(32)).toBeUndefined();
    const table = cache.peek(32);
    expect(table?.offset).toBe(32);
    expect([...(table?.bytes ?? [])]).toEqual(new Array(size).fill(2));
    expect(table?.view.getUint8(3)).toBe(2);
    expect(cache.load(32)).toBeUndefined();
    expect(cache.peek(32)).toBe(table);
    expect(medium.take()).toEqual(['read 32']);
  });
});

describe('a full cache', () => {
  const filled = (capacity: number): { medium: Medium; cache: TableCache } => {
    const full = made(capacity);
    for (let index = 0; index < capacity; index++) void full.cache.load(index * size);
    full.medium.take();
    return full;
  };
  const kept = (cache: TableCache): number[] => [0, 16, 32, 48, 64].filter((at) => cache.peek(at) !== undefined);

  it('takes what is loaded for one that was loaded before', () => {
    const { cache } = filled(3);
    void cache.load(48);
    expect(kept(cache)).toEqual([16, 32, 48]);
  });

  it('has everything while there is room', () => {
    expect(kept(filled(3).cache)).toEqual([0, 16, 32]);
  });

  it('keeps what was just loaded for somebody who has not looked yet', () => {
    const { cache } = filled(2);
    void cache.load(32);
    cache.peek(16);
    void cache.load(48);
    expect(kept(cache)).toEqual([32, 48]);
  });

  it('grows rather than lose changes', () => {
    const { medium, cache } = made(2);
    medium.fail = () => true;
    cache.create(0);
    cache.create(16);
    cache.create(32);
    expect(kept(cache)).toEqual([0, 16, 32]);
    medium.fail = () => false;
    now(cache.write());
    expect(medium.take()).toEqual(['write 0', 'write 16', 'write 32']);
  });

  it('gives up what is unchanged, and writes nothing for that', () => {
    const { medium, cache } = filled(3);
    cache.create(16);
    medium.fail = (call) => call.startsWith('write');
    now(cache.makeRoom());
    expect(kept(cache).length).toBe(2);
    expect(cache.peek(16)).toBeDefined();
    now(cache.makeRoom());
    expect(kept(cache).length).toBe(2);
  });

  it('has room for two at least', () => {
    expect(made(0).cache.capacity).toBe(2);
    expect(made(5).cache.capacity).toBe(5);
  });

  it('drops what was not looked at for longest', () => {
    const { medium, cache } = made(3);
    for (const at of [0, 16, 32]) now(cache.get(at));
    // all were looked at once: the first pass takes that away, the second one drops the oldest
    now(cache.get(48));
    expect(cache.peek(0)).toBeUndefined();
    cache.peek(16);
    now(cache.get(64));
    medium.take();
    expect(cache.peek(16)).toBeDefined();
    expect(cache.peek(32)).toBeUndefined();
    expect(medium.take()).toEqual([]);
  });

  it('keeps changed tables, and writes all of them when there is nothing else', () => {
    const { medium, cache } = made(2);
    changed(cache, 0, 8);
    now(cache.get(16));
    now(cache.get(32));
    expect(cache.peek(0)).toBeDefined();
    changed(cache, 32, 9);
    medium.take();
    now(cache.get(48));
    expect(medium.take()).toEqual(['write 0', 'write 32', 'read 48']);
    expect(cache.isDirty).toBe(false);
  });
});

describe('a cached table', () => {
  it('is read once, and found from then on', () => {
    const { medium, cache } = made();
    expect(cache.peek(32)).toBeUndefined();
    const table = now(cache.get(32));
    expect(table.offset).toBe(32);
    expect([...table.bytes]).toEqual(new Array(size).fill(2));
    expect(table.view.getUint8(3)).toBe(2);
    expect(now(cache.get(32))).toBe(table);
    expect(cache.peek(32)).toBe(table);
    expect(medium.take()).toEqual(['read 32']);
  });

  it('is read once for all who ask while it is on its way', async () => {
    const { medium, cache } = made();
    medium.isPending = true;
    const first = cache.load(16);
    expect(cache.load(16)).toBe(first);
    expect(cache.peek(16)).toBeUndefined();
    await first;
    expect(cache.load(16)).toBeUndefined();
    expect(medium.take()).toEqual(['read 16']);
  });

  it('is waited for by those who need it at once', async () => {
    const { medium, cache } = made();
    medium.isPending = true;
    const table = await run(cache.get(48));
    expect(table.bytes[0]).toBe(3);
    expect(cache.peek(48)).toBe(table);
  });

  it('that is made anew is written instead of the old one', () => {
    const { medium, cache } = made();
    changed(cache, 16, 9);
    cache.create(16);
    medium.take();
    now(cache.write());
    expect(medium.take()).toEqual(['write 16']);
    expect(medium.bytes[16]).toBe(0);
  });

  it('can be asked for again after it could not be read', async () => {
    const { medium, cache } = made();
    medium.isPending = true;
    medium.fail = () => true;
    await expect(cache.load(16)).rejects.toThrow('Input/output error');
    medium.fail = () => false;
    await cache.load(16);
    expect(cache.peek(16)?.bytes[0]).toBe(1);
    medium.isPending = false;
    medium.fail = () => true;
    expect(() => cache.load(48)).toThrow('Input/output error');
    expect(cache.peek(48)).toBeUndefined();
  });

  it('that was made anew while it was read stays the new one', async () => {
    const { medium, cache } = made();
    medium.isPending = true;
    const loading = cache.load(16);
    const fresh = cache.create(16);
    await loading;
    expect(cache.peek(16)).toBe(fresh);
    expect([...fresh.bytes]).toEqual(new Array(size).fill(0));
    expect(cache.isDirty).toBe(true);
  });

  it('that was given up while it was read is not there', async () => {
    const { medium, cache } = made();
    medium.isPending = true;
    const loading = cache.load(16);
    cache.forget(16, size);
    await loading;
    expect(cache.peek(16)).toBeUndefined();
  });

  it('that is forgotten is never written', () => {
    const { medium, cache } = made();
    changed(cache, 0, 9);
    changed(cache, 16, 9);
    changed(cache, 32, 9);
    medium.take();
    cache.forget(0, 2 * size);
    expect(cache.peek(0)).toBeUndefined();
    now(cache.write());
    expect(medium.take()).toEqual(['write 32']);
    expect(cache.isDirty).toBe(false);
  });
});

describe('writing back', () => {
  it('is in order of place, once, and flushes only when asked', () => {
    const { medium, cache } = made();
    changed(cache, 48, 1);
    changed(cache, 16, 2);
    changed(cache, 16, 3);
    medium.take();
    now(cache.write());
    expect(medium.take()).toEqual(['write 16', 'write 48']);
    expect(medium.bytes[16]).toBe(3);
    now(cache.write());
    expect(medium.take()).toEqual([]);
    now(cache.flush());
    expect(medium.take()).toEqual(['flush']);
  });

  it('leaves out what is given up meanwhile', async () => {
    const { medium, cache } = made();
    for (const at of [16, 32, 48]) changed(cache, at, 9);
    medium.isPending = true;
    medium.take();
    const writing = run(cache.write());
    cache.forget(32, size);
    await writing;
    expect(medium.take()).toEqual(['write 16', 'write 48']);
    expect(cache.isDirty).toBe(false);
  });

  it('is over when the medium says so', async () => {
    const { medium, cache } = made();
    changed(cache, 16, 9);
    medium.isPending = true;
    medium.fail = () => true;
    const writing = run(cache.write());
    expect(cache.isDirty).toBe(true);
    await expect(writing).rejects.toThrow('Input/output error');
    expect(cache.isDirty).toBe(true);
  });

  it('asks for nothing where nothing is changed, whatever the order', () => {
    const { medium, cache } = made();
    const other = new TableCache(medium, size, 4);
    changed(other, 32, 7);
    cache.dependOnData();
    other.dependOnData();
    medium.take();
    now(cache.dependOn(other));
    now(cache.write());
    expect(medium.take()).toEqual([]);
    changed(cache, 16, 5);
    medium.take();
    now(cache.write());
    // the data's flush stands before the other one's table as well
    expect(medium.take()).toEqual(['flush', 'write 32', 'flush', 'write 16']);
  });

  it('keeps what could not be written', () => {
    const { medium, cache } = made();
    changed(cache, 16, 5);
    changed(cache, 32, 6);
    medium.take();
    medium.fail = (call) => call === 'write 32';
    expect(() => now(cache.write())).toThrow('Input/output error');
    expect(cache.isDirty).toBe(true);
    medium.fail = () => false;
    medium.take();
    now(cache.write());
    expect(medium.take()).toEqual(['write 32']);
    expect(cache.isDirty).toBe(false);
  });

  it('does not happen over other metadata', () => {
    const { medium, cache } = made();
    changed(cache, 16, 5);
    medium.refuse = 16;
    medium.take();
    expect(() => now(cache.write())).toThrow('overlaps');
    expect(medium.take()).toEqual([]);
  });

  it('comes after the data it names', () => {
    const { medium, cache } = made();
    changed(cache, 16, 5);
    cache.dependOnData();
    medium.take();
    medium.fail = (call) => call === 'flush';
    expect(() => now(cache.write())).toThrow('Input/output error');
    expect(medium.take()).toEqual(['flush']);
    medium.fail = () => false;
    // the failure has not made it forget
    now(cache.write());
    expect(medium.take()).toEqual(['flush', 'write 16']);
    changed(cache, 16, 6);
    now(cache.write());
    expect(medium.take()).toEqual(['write 16']);
  });

  it('comes after what it depends on is durable, once', () => {
    const { medium, cache } = made();
    const other = new TableCache(medium, size, 4);
    changed(other, 32, 7);
    changed(cache, 16, 5);
    now(cache.dependOn(other));
    expect(cache.dependency).toBe(other);
    medium.take();
    now(cache.write());
    expect(medium.take()).toEqual(['write 32', 'flush', 'write 16']);
    expect(cache.dependency).toBeUndefined();
    changed(cache, 16, 6);
    changed(other, 32, 8);
    now(cache.write());
    expect(medium.take()).toEqual(['write 16']);
  });

  it('keeps the dependency when that could not be written', () => {
    const { medium, cache } = made();
    const other = new TableCache(medium, size, 4);
    changed(other, 32, 7);
    changed(cache, 16, 5);
    now(cache.dependOn(other));
    medium.take();
    medium.fail = (call) => call === 'write 32';
    expect(() => now(cache.write())).toThrow('Input/output error');
    expect(medium.take()).toEqual(['write 32']);
    expect(cache.dependency).toBe(other);
  });

  it('cuts circles by writing one side first', () => {
    const { medium, cache } = made();
    const other = new TableCache(medium, size, 4);
    changed(other, 32, 7);
    changed(cache, 16, 5);
    now(cache.dependOn(other));
    medium.take();
    now(other.dependOn(cache));
    expect(medium.take()).toEqual(['write 32', 'flush']);
    expect(cache.dependency).toBeUndefined();
    expect(other.dependency).toBe(cache);
  });

  it('settles one dependency before it takes another', () => {
    const { medium, cache } = made();
    const one = new TableCache(medium, size, 4);
    const two = new TableCache(medium, size, 4);
    changed(one, 32, 7);
    now(cache.dependOn(one));
    medium.take();
    now(cache.dependOn(one));
    expect(medium.take()).toEqual([]);
    now(cache.dependOn(two));
    expect(medium.take()).toEqual(['write 32', 'flush']);
    expect(cache.dependency).toBe(two);
  });
});
