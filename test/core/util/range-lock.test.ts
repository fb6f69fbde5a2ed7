import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isPending, type Maybe } from '../../../src/core/util/maybe.ts';
import { type RangeHold, RangeLock, type RangeMode } from '../../../src/core/util/range-lock.ts';

/** Lets everything run that was granted. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function now(result: Maybe<RangeHold>): RangeHold {
  if (isPending(result)) throw new Error('the range was not free');
  return result;
}

/** Notes the moment a hold is granted. */
function later(result: Maybe<RangeHold>, name: string, granted: string[]): Promise<RangeHold> {
  if (!isPending(result)) throw new Error(`${name} did not wait`);
  return result.then((hold) => {
    granted.push(name);
    return hold;
  });
}

describe('range lock', () => {
  it('grants what is free at once, and says whose range and mode it is', () => {
    const lock = new RangeLock();
    const owner = {};
    expect(now(lock.acquire(10, 20, 'exclusive', owner))).toMatchObject({ start: 10, end: 20, mode: 'exclusive', owner });
    expect(now(lock.acquire(20, 30, 'exclusive'))).toMatchObject({ start: 20, end: 30, owner: undefined });
    expect(now(lock.acquire(0, 10, 'shared'))).toMatchObject({ start: 0, end: 10, mode: 'shared' });
  });

  it('shares a range among readers and keeps a writer out until the last one is gone', async () => {
    const lock = new RangeLock();
    const granted: string[] = [];
    const first = now(lock.acquire(0, 10, 'shared'));
    const second = now(lock.acquire(5, 15, 'shared'));
    expect(lock.isFree(9, 11, 'shared')).toBe(true);
    expect(lock.isFree(9, 11, 'exclusive')).toBe(false);
    void later(lock.acquire(0, 15, 'exclusive'), 'writer', granted);
    lock.release(first);
    await settle();
    expect(granted).toEqual([]);
    lock.release(second);
    await settle();
    expect(granted).toEqual(['writer']);
  });

  it('meets at common bytes only: neighbours and empty ranges are free', () => {
    const lock = new RangeLock();
    lock.hold(10, 20, 'exclusive');
    expect([lock.isFree(0, 10, 'exclusive'), lock.isFree(0, 11, 'exclusive')]).toEqual([true, false]);
    expect([lock.isFree(20, 30, 'shared'), lock.isFree(19, 30, 'shared')]).toEqual([true, false]);
    expect([lock.isFree(12, 13, 'shared'), lock.isFree(0, 100, 'shared')]).toEqual([false, false]);
    expect(lock.isFree(15, 15, 'exclusive')).toBe(true);
    expect(isPending(lock.acquire(15, 15, 'exclusive'))).toBe(false);
    const empty = new RangeLock();
    empty.hold(15, 15, 'exclusive');
    expect(empty.isFree(0, 100, 'exclusive')).toBe(true);
  });

  it('counts exclusive holds and all that waits as busy, and nothing else', async () => {
    const lock = new RangeLock();
    expect([lock.busy, lock.isIdle]).toEqual([0, true]);
    const shared = now(lock.acquire(0, 10, 'shared'));
    expect([lock.busy, lock.isIdle]).toEqual([0, false]);
    const writer = lock.acquire(0, 10, 'exclusive');
    expect(lock.busy).toBe(1);
    const reader = lock.acquire(0, 10, 'shared');
    expect(lock.busy).toBe(2);
    lock.release(shared);
    // granted by the release itself: the writer holds, the reader waits
    expect(lock.busy).toBe(2);
    lock.release(await writer);
    expect(lock.busy).toBe(0);
    lock.release(await reader);
    expect([lock.busy, lock.isIdle]).toEqual([0, true]);
    lock.hold(0, 1, 'exclusive');
    expect([lock.busy, lock.isIdle]).toEqual([1, false]);
  });

  it('lets a newcomer wait behind a waiting conflict, and pass a waiting one that is elsewhere', async () => {
    const lock = new RangeLock();
    const granted: string[] = [];
    const reader = now(lock.acquire(0, 10, 'shared'));
    const writer = later(lock.acquire(5, 20, 'exclusive'), 'writer', granted);
    // nobody holds [10, 20), but the writer was first
    expect(lock.isFree(15, 16, 'shared')).toBe(false);
    const second = later(lock.acquire(15, 16, 'shared'), 'reader', granted);
    expect(lock.isFree(0, 5, 'shared')).toBe(true);
    expect(lock.isFree(20, 30, 'exclusive')).toBe(true);
    lock.release(reader);
    await settle();
    expect(granted).toEqual(['writer']);
    lock.release(await writer);
    await settle();
    expect(granted).toEqual(['writer', 'reader']);
    lock.release(await second);
    expect(lock.isIdle).toBe(true);
  });

  it('never starves a writer: readers that keep coming are served after it', async () => {
    const lock = new RangeLock();
    const granted: string[] = [];
    let held = [now(lock.acquire(0, 8, 'shared')), now(lock.acquire(0, 8, 'shared'))];
    const writer = later(lock.acquire(0, 8, 'exclusive'), 'writer', granted);
    const readers = [1, 2, 3].map((index) => later(lock.acquire(0, 8, 'shared'), `reader ${index}`, granted));
    for (const hold of held) lock.release(hold);
    await settle();
    expect(granted).toEqual(['writer']);
    lock.release(await writer);
    held = await Promise.all(readers);
    expect(granted).toEqual(['writer', 'reader 1', 'reader 2', 'reader 3']);
  });

  it('grants in release: nobody slips in between', () => {
    const lock = new RangeLock();
    const holder = now(lock.acquire(0, 10, 'exclusive'));
    expect(isPending(lock.acquire(0, 10, 'exclusive'))).toBe(true);
    lock.release(holder);
    expect(lock.isFree(0, 10, 'shared')).toBe(false);
  });

  it('is all or nothing: one that waits holds no part of its range', async () => {
    const lock = new RangeLock();
    const left = now(lock.acquire(0, 10, 'exclusive'));
    const right = now(lock.acquire(20, 30, 'exclusive'));
    const granted: string[] = [];
    void later(lock.acquire(0, 30, 'exclusive'), 'all', granted);
    lock.release(left);
    await settle();
    expect(granted).toEqual([]);
    lock.release(right);
    await settle();
    expect(granted).toEqual(['all']);
  });

  it('grants several waiting ones at one release when they do not meet', async () => {
    const lock = new RangeLock();
    const all = now(lock.acquire(0, 100, 'exclusive'));
    const granted: string[] = [];
    void later(lock.acquire(0, 50, 'exclusive'), 'first', granted);
    void later(lock.acquire(40, 60, 'exclusive'), 'between', granted);
    void later(lock.acquire(50, 100, 'exclusive'), 'behind it', granted);
    void later(lock.acquire(10, 20, 'shared'), 'inside the first', granted);
    void later(lock.acquire(60, 70, 'shared'), 'inside the third', granted);
    lock.release(all);
    await settle();
    expect(granted).toEqual(['first']);
  });

  it('lets an owner enter its range again, past those that wait for it', async () => {
    const lock = new RangeLock();
    const owner = {};
    const granted: string[] = [];
    const outer = now(lock.acquire(0, 100, 'exclusive', owner));
    const other = later(lock.acquire(50, 60, 'exclusive', {}), 'other', granted);
    expect(lock.isFree(50, 60, 'exclusive', owner)).toBe(true);
    expect(lock.isFree(50, 60, 'shared', owner)).toBe(true);
    expect(lock.isFree(50, 60, 'shared')).toBe(false);
    const inner = now(lock.acquire(50, 60, 'exclusive', owner));
    // outside its own range too: the one that waits may be waiting for the owner
    const stranger = now(lock.acquire(100, 110, 'shared'));
    void later(lock.acquire(90, 110, 'exclusive'), 'third', granted);
    expect(isPending(lock.acquire(105, 106, 'shared', owner))).toBe(false);
    // but never past a holder
    expect(lock.isFree(105, 106, 'exclusive', owner)).toBe(false);
    lock.release(outer);
    await settle();
    expect(granted).toEqual([]);
    lock.release(inner);
    await settle();
    expect(granted).toEqual(['other']);
    lock.release(stranger);
    lock.release(await other);
  });

  it('tells owners from requests without one, and one owner from another', () => {
    const lock = new RangeLock();
    lock.hold(0, 10, 'exclusive');
    expect(lock.isFree(0, 10, 'shared', undefined)).toBe(false);
    expect(lock.isFree(0, 10, 'shared', {})).toBe(false);
  });

  it('grants an earlier request of an owner once the owner holds a range', async () => {
    const lock = new RangeLock();
    const owner = {};
    const granted: string[] = [];
    const x = now(lock.acquire(0, 10, 'exclusive'));
    const y = now(lock.acquire(20, 30, 'shared'));
    void later(lock.acquire(20, 50, 'exclusive'), 'stranger', granted);
    void later(lock.acquire(40, 50, 'exclusive', owner), 'behind the stranger', granted);
    void later(lock.acquire(0, 10, 'exclusive', owner), 'ready', granted);
    lock.release(x);
    await settle();
    expect(granted).toEqual(['ready', 'behind the stranger']);
    lock.release(y);
    await settle();
    expect(granted).toEqual(['ready', 'behind the stranger']);
  });

  it('refuses to take a range back twice', () => {
    const lock = new RangeLock();
    const first = lock.hold(0, 10, 'shared');
    lock.hold(0, 10, 'shared');
    lock.release(first);
    expect(() => lock.release(first)).toThrow('release of a range that is not held');
    expect(lock.isFree(0, 10, 'exclusive')).toBe(false);
  });

  it('holds to the end of all numbers', () => {
    const lock = new RangeLock();
    lock.hold(100, Number.POSITIVE_INFINITY, 'exclusive');
    expect([lock.isFree(0, 100, 'exclusive'), lock.isFree(2 ** 53, 2 ** 53 + 2, 'shared')]).toEqual([true, false]);
  });
});

// -- against a model ----------------------------------------------------------------------------------------------------

interface Entry {
  readonly id: number;
  readonly start: number;
  readonly end: number;
  readonly mode: RangeMode;
}

/** The rules once more, as simple as they can be said: a list in order of arrival, each entry waiting or not. */
class Model {
  entries: (Entry & { waits: boolean })[] = [];

  add(entry: Entry): void {
    this.entries.push({ ...entry, waits: true });
    this.#grant();
  }

  remove(id: number): void {
    this.entries = this.entries.filter((entry) => entry.id !== id);
    this.#grant();
  }

  get holding(): number[] {
    return this.entries.filter((entry) => !entry.waits).map((entry) => entry.id);
  }

  #grant(): void {
    for (const [index, entry] of this.entries.entries()) {
      // without owners, whoever came later and conflicts is itself kept out by this one: only earlier ones count
      entry.waits = this.entries.slice(0, index).some((earlier) => {
        for (let at = entry.start; at < entry.end; at++) {
          if (at >= earlier.start && at < earlier.end && (entry.mode === 'exclusive' || earlier.mode === 'exclusive')) return true;
        }
        return false;
      });
    }
  }
}

describe('a range lock and a list of rules', () => {
  it('hold the same ranges after any history', async () => {
    const step = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({
          kind: fc.constant('acquire' as const),
          start: fc.integer({ min: 0, max: 12 }),
          length: fc.integer({ min: 0, max: 6 }),
          mode: fc.constantFrom<RangeMode>('shared', 'exclusive'),
        }),
      },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const), which: fc.nat(20) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const lock = new RangeLock();
        const model = new Model();
        const holds = new Map<number, RangeHold>();
        for (const [id, action] of steps.entries()) {
          if (action.kind === 'acquire') {
            const [start, end] = [action.start, action.start + action.length];
            const wasFree = lock.isFree(start, end, action.mode);
            const result = lock.acquire(start, end, action.mode);
            expect(isPending(result)).toBe(!wasFree);
            if (isPending(result)) void result.then((hold) => holds.set(id, hold));
            else holds.set(id, result);
            model.add({ id, start, end, mode: action.mode });
          } else {
            const ids = [...holds.keys()];
            const id2 = ids[action.which % Math.max(1, ids.length)];
            const hold = id2 === undefined ? undefined : holds.get(id2);
            if (id2 === undefined || hold === undefined) continue;
            holds.delete(id2);
            lock.release(hold);
            model.remove(id2);
          }
          await Promise.resolve();
          await Promise.resolve();
          expect([...holds.keys()].sort((a, b) => a - b)).toEqual(model.holding.sort((a, b) => a - b));
          expect(lock.busy).toBe(model.entries.filter((entry) => entry.waits || entry.mode === 'exclusive').length);
        }
        // everybody is served in the end
        while (holds.size > 0) {
          for (const [id, hold] of [...holds]) {
            holds.delete(id);
            lock.release(hold);
            model.remove(id);
          }
          await Promise.resolve();
          await Promise.resolve();
        }
        expect([model.entries.length, lock.busy, lock.isIdle]).toEqual([0, 0, true]);
      }),
      { numRuns: 300 },
    );
  });
});
