import { describe, expect, it } from 'vitest';
import { Waiters } from '../../../src/core/util/waiters.ts';

describe('waiters', () => {
  it('are woken all together, in the order in which they came', async () => {
    const waiters = new Waiters();
    const log: string[] = [];
    const all = ['a', 'b'].map((name) => waiters.wait().then(() => log.push(name)));
    expect(waiters.isEmpty).toBe(false);
    waiters.wakeAll();
    expect(waiters.isEmpty).toBe(true);
    await Promise.all(all);
    expect(log).toEqual(['a', 'b']);
  });

  it('are woken one by one, the oldest first', () => {
    const waiters = new Waiters();
    const log: string[] = [];
    for (const name of ['a', 'b']) waiters.add(() => log.push(name));
    expect([waiters.wakeOne(), waiters.wakeOne(), waiters.wakeOne()]).toEqual([true, true, false]);
    expect(log).toEqual(['a', 'b']);
  });

  it('stay when they come while others are woken', () => {
    const waiters = new Waiters();
    let woken = 0;
    waiters.add(() => {
      waiters.add(() => woken++);
    });
    waiters.wakeAll();
    expect([woken, waiters.isEmpty]).toEqual([0, false]);
  });

  it('can be taken out, also when they were woken already', () => {
    const waiters = new Waiters();
    let woken = 0;
    const out = waiters.add(() => woken++);
    waiters.add(() => woken++);
    out();
    waiters.wakeAll();
    out();
    expect(woken).toBe(1);
  });
});
