/* Image locks as bytes of a file, seen by another descriptor: what is taken, tested, kept while undecided, and given back. */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ImageLock } from '../../../src/core/storage/image-lock.ts';
import { loadSyscalls } from '../../../src/core/storage/syscalls.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { type TempFolder, tempFolder } from '../../support/tmp.ts';

const calls = loadSyscalls();

describe.skipIf(calls === undefined)('image locks', () => {
  if (calls === undefined) return;
  let folder: TempFolder;
  let ours: number;
  let others: number;
  let lock: ImageLock;

  beforeEach(() => {
    folder = tempFolder('lock');
    writeFileSync(folder.file('f'), 'x');
    ours = openSync(folder.file('f'), 'r+');
    others = openSync(folder.file('f'), 'r+');
    lock = new ImageLock(calls, ours, 'f');
  });
  afterEach(() => {
    closeSync(ours);
    closeSync(others);
    folder[Symbol.dispose]();
  });

  /** The bytes that we hold, as another open file sees them. */
  const bytes = (): number[] => [100, 101, 102, 103, 200, 201, 202, 203].filter((byte) => calls.isLockedByOther(others, byte));

  it('are a byte for each permission held and for each not shared', () => {
    lock.set(perm.consistentRead | perm.resize, perm.write).commit();
    expect(bytes()).toEqual([100, 103, 201]);
    lock.set(perm.write | perm.writeUnchanged, perm.all).commit();
    expect(bytes()).toEqual([101, 102, 200, 201, 202, 203]);
    lock.set(0, 0).commit();
    expect(bytes()).toEqual([]);
  });

  it('keep the old ones until the change is decided', () => {
    lock.set(perm.write, 0).commit();
    const change = lock.set(perm.resize, 0);
    expect(bytes()).toEqual([101, 103]);
    change.abort();
    expect(bytes()).toEqual([101]);
  });

  it.each([
    ['in order', [0, 1]],
    ['in reverse', [1, 0]],
  ])('of two changes committed %s the later one counts, and nothing is dropped between', (_, order) => {
    const changes = [lock.set(perm.write, 0), lock.set(perm.write | perm.resize, perm.write)];
    changes[order[0] ?? 0]?.commit();
    expect(bytes()).toEqual([101, 103, 201]);
    changes[order[1] ?? 0]?.commit();
    expect(bytes()).toEqual([101, 103, 201]);
    lock.set(0, 0).commit();
    expect(bytes()).toEqual([]);
  });

  it('a change that is given up takes nothing from another', () => {
    const first = lock.set(perm.write, perm.write);
    const second = lock.set(perm.write | perm.resize, perm.write);
    first.abort();
    expect(bytes()).toEqual([101, 103, 201]);
    second.abort();
    expect(bytes()).toEqual([]);
  });

  it.each([
    ['held by us and not shared by others', perm.resize, 0, 0, perm.resize, 'Failed to get "resize" lock'],
    ['not shared by us and held by others', 0, perm.resize, perm.resize, 0, 'Failed to get shared "resize" lock'],
    ['held by us and not shared by others (write)', perm.write, 0, perm.consistentRead, perm.write, 'Failed to get "write" lock'],
  ])('%s: refused, and what was there stays', (_, held, unshared, theirs, theirUnshared, message) => {
    const other = new ImageLock(calls, others, 'f');
    other.set(theirs, theirUnshared).commit();
    lock.set(perm.consistentRead, 0).commit();
    expect(() => lock.set(held, unshared)).toThrow(message);
    expect(bytes()).toEqual([100]);
    other.set(0, 0).commit();
    lock.set(held, unshared).commit();
  });
});
