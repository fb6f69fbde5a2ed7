import { describe, expect, it } from 'vitest';
import { Bitmap } from '../../../src/core/util/bitmap.ts';
import { seeded } from '../../support/random.ts';

describe('a bitmap', () => {
  it.each([
    [1, 100],
    [2, 32768],
    [3, 32768 * 3 + 17],
    [4, 70001],
  ])('does what an array of booleans does, seed %i, %i bits', (seed, size) => {
    const random = seeded(seed);
    for (const initial of [false, true]) {
      const bits = new Bitmap(size, initial);
      const model = new Array<boolean>(size).fill(initial);
      for (let round = 0; round < 200; round++) {
        const start = random(size + 1);
        const end = Math.min(size, start + random(random(3) === 0 ? size : 100));
        const value = random(2) === 0;
        if (value) bits.set(start, end);
        else bits.clear(start, end);
        model.fill(value, start, Math.max(start, end));
        if (round % 10 === 0) expect(bits.count).toBe(model.filter(Boolean).length);
        const from = random(size);
        const to = Math.min(size, from + random(size));
        const next = (wanted: boolean): number => {
          const found = model.indexOf(wanted, from);
          return found < 0 || found > to ? to : found;
        };
        expect(bits.nextSet(from, to)).toBe(next(true));
        expect(bits.nextClear(from, to)).toBe(next(false));
        expect(bits.has(from)).toBe(model[from]);
      }
    }
  });

  it('of a disk of 2 PiB is as small as what was touched of it', () => {
    const bits = new Bitmap(2 ** 35);
    bits.set(2 ** 34, 2 ** 34 + 1);
    expect([bits.count, bits.nextSet(2 ** 33, 2 ** 35), bits.nextSet(2 ** 34 + 1, 2 ** 35)]).toEqual([1, 2 ** 34, 2 ** 35]);
  });

  it('is clear past its end', () => {
    const bits = new Bitmap(10, true);
    expect([bits.has(9), bits.has(40000)]).toEqual([true, false]);
    expect(bits.nextClear(0, 10)).toBe(10);
    bits.clear(5, 100);
    bits.set(9, 1000);
    expect(bits.count).toBe(6);
  });
});
