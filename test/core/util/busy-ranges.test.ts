import { describe, expect, it } from 'vitest';
import { BusyRanges } from '../../../src/core/util/busy-ranges.ts';

describe('busy ranges', () => {
  it('are found where they overlap', () => {
    const busy = new BusyRanges();
    const range = busy.add(100, 50);
    expect(busy.find(149, 1)).toBe(range);
    expect(busy.find(150, 10)).toBeUndefined();
    expect(busy.find(0, 100)).toBeUndefined();
    expect(busy.waitAll(150, 1)).toBeUndefined();
    expect([busy.isEmpty, busy.bytes]).toEqual([false, 50]);
    busy.remove(range);
    busy.remove(range);
    expect([busy.isEmpty, busy.bytes]).toEqual([true, 0]);
  });

  it('hold whoever waits for all until the last one is gone, also those that came meanwhile', async () => {
    const busy = new BusyRanges();
    const first = busy.add(0, 10);
    let isFree = false;
    void Promise.resolve(busy.waitAll(0, 20)).then(() => {
      isFree = true;
    });
    const second = busy.add(15, 10);
    busy.remove(first);
    await new Promise((resolve) => setImmediate(resolve));
    expect(isFree).toBe(false);
    busy.remove(second);
    await new Promise((resolve) => setImmediate(resolve));
    expect(isFree).toBe(true);
  });
});
