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

  it('repeats whole pages, which are its own again once they change', () => {
    const bits = new Bitmap(32768 * 4 + 5);
    bits.writeBytes(0, new Uint8Array(4096).fill(0xaa));
    expect([bits.repeatBytes(8192, 0, 4096), bits.repeatBytes(12288, 4096, 4096), bits.repeatBytes(16384, 0, 4096), bits.repeatBytes(8192, 1, 4096)]).toEqual([
      true,
      true,
      false,
      false,
    ]);
    expect([bits.count, bits.has(65537), bits.has(65536)]).toEqual([32768, true, false]);
    bits.set(65536, 65537);
    bits.clear(1, 2);
    expect([bits.count, bits.has(0), bits.has(65536), bits.has(1), bits.has(65537)]).toEqual([32768, false, true, false, true]);
  });

  it('that was set or cleared as a whole costs nothing', () => {
    const bits = new Bitmap(100_000);
    bits.set(5, 70_000);
    bits.set(0, 100_000);
    expect([bits.count, bits.nextClear(0, 100_000)]).toEqual([100_000, 100_000]);
    bits.clear(7, 8);
    expect([bits.count, bits.nextClear(0, 100_000)]).toEqual([99_999, 7]);
    bits.clear(0, 100_000);
    expect([bits.count, bits.nextSet(0, 100_000)]).toEqual([0, 100_000]);
  });

  it('of a disk of 2 PiB is as small as what was touched of it', () => {
    const bits = new Bitmap(2 ** 35);
    bits.set(2 ** 34, 2 ** 34 + 1);
    expect([bits.count, bits.nextSet(2 ** 33, 2 ** 35), bits.nextSet(2 ** 34 + 1, 2 ** 35)]).toEqual([1, 2 ** 34, 2 ** 35]);
  });

  it.each([
    [5, 100],
    [6, 32768 * 2 + 13],
    [7, 32768 * 3],
  ])('is read and written as bytes, seed %i, %i bits', (seed, size) => {
    const random = seeded(seed);
    for (const initial of [false, true]) {
      const bits = new Bitmap(size, initial);
      const model = new Array<boolean>(size).fill(initial);
      const byteLength = Math.ceil(size / 8);
      for (let round = 0; round < 10; round++) {
        const start = random(byteLength);
        const bytes = new Uint8Array(1 + random(random(3) === 0 ? 9000 : 20)).map(() => random(256));
        if (random(4) === 0) bytes.fill(random(2) === 0 ? 0 : 255);
        bits.writeBytes(start, bytes);
        for (const [at, byte] of bytes.entries()) {
          for (let bit = 0; bit < 8; bit++) {
            const index = (start + at) * 8 + bit;
            if (index < size) model[index] = (byte & (1 << bit)) !== 0;
          }
        }
        if (random(3) === 0) {
          const from = random(size);
          bits.set(from, from + 70000);
          model.fill(true, from, from + 70000);
        }
        expect(bits.count).toBe(model.filter(Boolean).length);
        const at = random(byteLength);
        const into = new Uint8Array(1 + random(9000)).fill(0x55);
        bits.readBytes(at, into);
        const expected = into.map((_, byte) => {
          let value = 0;
          for (let bit = 0; bit < 8; bit++) if (model[(at + byte) * 8 + bit]) value |= 1 << bit;
          return value;
        });
        expect(Buffer.compare(into, expected)).toBe(0);
      }
    }
  });

  it('keeps its bits in another size, and takes those of another', () => {
    const bits = new Bitmap(100);
    bits.set(10, 20);
    bits.set(90, 100);
    const longer = bits.resized(200);
    expect([longer.size, longer.count, longer.nextSet(20, 200), longer.nextClear(90, 200)]).toEqual([200, 20, 90, 100]);
    const shorter = bits.resized(95);
    expect([shorter.size, shorter.count, shorter.has(94), shorter.has(95)]).toEqual([95, 15, true, false]);
    expect([bits.size, bits.count]).toEqual([100, 20]);
    const other = new Bitmap(150);
    other.set(15, 30);
    other.set(120, 130);
    bits.merge(other);
    expect([bits.count, bits.nextClear(10, 100), bits.nextSet(30, 100)]).toEqual([30, 30, 90]);
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
