/* Meta contexts: which queries name them, the ids they get, and the walk that turns them into extents. */
import { describe, expect, it } from 'vitest';
import { eventLoop } from '../../src/core/util/clock.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { isPending, type Maybe, YieldBudget } from '../../src/core/util/maybe.ts';
import { allocationDepth } from '../../src/nbd/allocation-depth.ts';
import { baseAllocation } from '../../src/nbd/base-allocation.ts';
import { collectExtents, Extents, extentsCost } from '../../src/nbd/extents.ts';
import { ContextList, type Extent, type MetaContext, matchesQuery } from '../../src/nbd/meta-context.ts';
import { ManualClock } from '../support/manual-clock.ts';

const listOf = (extents: Extents): (readonly [length: number, state: number])[] =>
  Array.from({ length: extents.count }, (_, index) => [extents.lengthOf(index), extents.stateOf(index)] as const);

/** A context whose runs are `run` bytes long, their state by number; `isLater` says which calls are pending. */
function striped(
  run: number,
  stateOf: (index: number) => number,
  isLater: (call: number) => boolean = () => false,
): MetaContext & { asked: [number, number][] } {
  const asked: [number, number][] = [];
  return {
    asked,
    name: 'test:stripes',
    wildcards: ['test:'],
    extentAt: (offset, length): Maybe<Extent> => {
      asked.push([offset, length]);
      const index = Math.floor(offset / run);
      const extent = { length: (index + 1) * run - offset, state: stateOf(index) };
      return isLater(asked.length) ? eventLoop.nextTurn().then(() => extent) : extent;
    },
  };
}

const budget = (): YieldBudget => new YieldBudget(new ManualClock(), { maxBytes: 20 * 4096 });

describe('queries', () => {
  const status = (): never => {
    throw new Error('not asked');
  };
  it.each([
    ['base:allocation', true, true],
    ['base:', true, false],
    ['base:alloc', false, false],
    ['base', false, false],
    ['', false, false],
    ['qemu:', false, false],
  ])('%j lists base:allocation: %s, selects it: %s', (query, lists, selects) => {
    expect([matchesQuery(baseAllocation(status), query, true), matchesQuery(baseAllocation(status), query, false)]).toEqual([lists, selects]);
  });
  it.each([
    ['qemu:allocation-depth', true, true],
    ['qemu:', true, false],
    ['qemu:allocation-', false, false],
    ['base:', false, false],
  ])('%j lists qemu:allocation-depth: %s, selects it: %s', (query, lists, selects) => {
    expect([matchesQuery(allocationDepth(status), query, true), matchesQuery(allocationDepth(status), query, false)]).toEqual([lists, selects]);
  });
});

describe('the contexts of an export', () => {
  const named = (name: string): MetaContext => ({ ...striped(1, () => 0), name });
  it('have fixed ids where QEMU has them, else the next in order, and each name once', () => {
    const list = new ContextList();
    for (const name of ['qemu:dirty-bitmap:b', 'base:allocation', 'qemu:dirty-bitmap:a', 'qemu:allocation-depth']) expect(list.add(named(name))).toBe(true);
    const before = list.offered;
    expect(list.add(named('qemu:dirty-bitmap:a'))).toBe(false);
    expect(list.offered).toBe(before);
    expect(list.offered.map(({ id, context }) => `${id} ${context.name}`)).toEqual([
      '0 base:allocation',
      '1 qemu:allocation-depth',
      '2 qemu:dirty-bitmap:b',
      '3 qemu:dirty-bitmap:a',
    ]);
    list.add(named('qemu:dirty-bitmap:c'));
    expect([before.length, list.offered.at(-1)?.id]).toEqual([4, 4]);
  });
});

describe('states', () => {
  const told = { length: 7, allocated: true };
  it('of base:allocation tell holes and zeros', () => {
    const states = [
      [true, false],
      [true, true],
      [false, false],
      [false, true],
    ] as const;
    const context = (data: boolean, zero: boolean): MetaContext => baseAllocation((offset, length) => ({ ...told, length: offset + length, data, zero }));
    expect(states.map(([data, zero]) => context(data, zero).extentAt(3, 4))).toEqual([0, 2, 1, 3].map((state) => ({ length: 7, state })));
  });

  it('of qemu:allocation-depth tell the layer, counted from one', async () => {
    const at = (allocated: boolean, depth?: number): Maybe<Extent> =>
      allocationDepth((offset, length) => ({ length: offset + length, data: true, zero: false, allocated, depth })).extentAt(3, 4);
    expect([at(true, 0), at(true, 2), at(false, 2), at(true)]).toEqual([1, 3, 0, 1].map((state) => ({ length: 7, state })));
    const later = allocationDepth(async () => ({ ...told, data: true, zero: false, depth: 1 })).extentAt(0, 7);
    expect(isPending(later)).toBe(true);
    expect(await later).toEqual({ length: 7, state: 2 });
  });
});

describe('extents', () => {
  it('join neighbours of one state and stop at their limit', () => {
    const extents = new Extents(2);
    expect([extents.add(10, 1), extents.add(5, 1), extents.add(1, 0), extents.add(2, 0), extents.add(1, 1), extents.add(4, 0)]).toEqual([
      true,
      true,
      true,
      true,
      false,
      true,
    ]);
    expect(listOf(extents)).toEqual([
      [15, 1],
      [7, 0],
    ]);
    expect([extents.lengthOf(2), extents.stateOf(2)]).toEqual([0, 0]);
  });

  it('cost what they may come to', () => {
    expect([extentsCost(1), extentsCost(512), extentsCost(513), extentsCost(2 ** 32 - 1)]).toEqual([24, 24, 48, 24 * 131072]);
  });

  const whole: [number, number][] = [
    [996, 0],
    [1000, 1],
    [1000, 2],
    [3, 3],
  ];
  it.each([
    ['at once', () => false],
    ['later', () => true],
    ['the second later', (call: number) => call === 2],
  ])('cover the range that was asked for, answered %s', async (_when, isLater) => {
    const context = striped(1000, (index) => index, isLater);
    const found = collectExtents(context, 4, 2999, false, budget());
    expect(isPending(found)).toBe(isLater(1) || isLater(2));
    expect(listOf(await found)).toEqual(whole);
    expect(context.asked).toEqual([
      [4, 2999],
      [1000, 2003],
      [2000, 1003],
      [3000, 3],
    ]);
  });

  it.each([
    ['at once', () => false],
    ['later', () => true],
  ])('are one, joined, when one is wanted, answered %s', async (_when, isLater) => {
    const context = striped(1000, (index) => Math.floor(index / 3), isLater);
    expect(listOf(await collectExtents(context, 0, 9000, true, budget()))).toEqual([[3000, 0]]);
    expect(context.asked.length).toBe(4);
  });

  it('of many runs let others have their turn', async () => {
    const context = striped(1, (index) => index & 1);
    const found = collectExtents(context, 0, 64, false, budget());
    expect(isPending(found)).toBe(false);
    const more = collectExtents(context, 0, 65, false, budget());
    expect(isPending(more)).toBe(true);
    expect((await more).count).toBe(65);
    let turns = 0;
    let isOver = false;
    const many = Promise.resolve(collectExtents(context, 0, 500, false, budget())).finally(() => {
      isOver = true;
    });
    while (!isOver) {
      turns++;
      await eventLoop.nextTurn();
    }
    expect((await many).count).toBe(500);
    expect(turns).toBeGreaterThan(10);
  });

  it('end short at the limit of the protocol', async () => {
    const found = await collectExtents(
      striped(1, (index) => index & 1),
      0,
      131_080,
      false,
      new YieldBudget(new ManualClock(), { maxBytes: 2 ** 40 }),
    );
    expect(found.count).toBe(131_072);
  });

  it('fail when the context fails, at once and later', async () => {
    const failing = (at: number, isLater: boolean): MetaContext => ({
      name: 'test:fails',
      wildcards: [],
      extentAt: (offset) => {
        if (offset < at) return { length: 1, state: offset & 1 };
        const error = new BlockError('Input/output error', { code: 'EIO' });
        if (isLater) return Promise.reject(error);
        throw error;
      },
    });
    expect(() => collectExtents(failing(3, false), 0, 10, false, budget())).toThrow('Input/output error');
    await expect(collectExtents(failing(3, true), 0, 10, false, budget())).rejects.toThrow('Input/output error');
    await expect(collectExtents(failing(70, false), 0, 100, false, budget())).rejects.toThrow('Input/output error');
  });
});
