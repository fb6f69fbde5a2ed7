/* Who may go on in a throttle group, and when: rates, bursts, sizes, turns between members, members that are drained. */
import { describe, expect, it } from 'vitest';
import { type Direction, Throttle, type ThrottleMember, type ThrottleRates } from '../../../src/core/objects/throttle.ts';
import type { Rate } from '../../../src/core/util/leaky-bucket.ts';
import { isPending } from '../../../src/core/util/maybe.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const free: Rate = { average: 0, burst: 0, burstSeconds: 1 };
const none = { total: free, read: free, write: free };
const rate = (average: number, burst = 0, burstSeconds = 1): Rate => ({ average, burst, burstSeconds });

function make(given: Partial<ThrottleRates>): { clock: ManualClock; throttle: Throttle; join(): ThrottleMember } {
  const clock = new ManualClock();
  const throttle = new Throttle({ bytes: none, requests: none, requestSize: 0, ...given });
  return { clock, throttle, join: () => throttle.join(clock) };
}

/** Begins `count` requests, and tells how many went on at each of `times` (ms from now). */
async function passed(clock: ManualClock, begin: () => unknown, count: number, times: readonly number[]): Promise<number[]> {
  let done = 0;
  const count1 = (): void => void done++;
  for (let index = 0; index < count; index++) {
    const turn = begin();
    if (isPending(turn as Promise<void> | undefined)) void (turn as Promise<void>).then(count1);
    else done++;
  }
  const seen: number[] = [];
  let now = 0;
  for (const time of times) {
    // each request that goes on sets the next timer behind a promise
    for (; now < time; now++) {
      clock.advance(1);
      await clock.nextTurn();
    }
    seen.push(done);
  }
  return seen;
}

describe('one member', () => {
  it('goes on at once without limits', () => {
    const { join } = make({});
    const member = join();
    for (let index = 0; index < 1000; index++) expect(isPending(member.pass('write', 1 << 20))).toBe(false);
  });

  it('passes a tenth of a second at once, then so many requests a second', async () => {
    const { clock, join } = make({ requests: { ...none, total: rate(10) } });
    const member = join();
    // a bucket of one: the second request finds it full, not over
    expect(await passed(clock, () => member.pass('read', 512), 12, [0, 99, 100, 200, 1000])).toEqual([2, 2, 3, 4, 12]);
    expect(clock.waiting).toBe(0);
  });

  it('counts bytes of its direction and in total', async () => {
    const { clock, join } = make({ bytes: { total: free, read: rate(1000), write: rate(100) } });
    const member = join();
    expect(await passed(clock, () => member.pass('read', 500), 4, [0, 399, 400, 900, 1400])).toEqual([1, 1, 2, 3, 4]);
    expect(isPending(member.pass('write', 10))).toBe(false);
    const both = make({ bytes: { total: rate(1000), read: free, write: free } });
    const other = both.join();
    expect(isPending(other.pass('read', 500))).toBe(false);
    expect(isPending(other.pass('write', 1))).toBe(true);
  });

  it('lets a burst pass at its own rate for as long as it may last, then at the average', async () => {
    const short = make({ requests: { ...none, total: rate(10, 50) } });
    const first = short.join();
    // all of a second's burst at once
    expect(await passed(short.clock, () => first.pass('read', 1), 60, [0, 100, 200])).toEqual([51, 52, 53]);
    const long = make({ requests: { ...none, total: rate(10, 50, 2) } });
    const second = long.join();
    const seen = await passed(long.clock, () => second.pass('read', 1), 400, [0, 1000, 2000, 3000, 4000, 5000]);
    // 50 a second within the burst, 10 a second after it
    expect(seen.map((count, index) => count - (seen[index - 1] ?? 0))).toEqual([6, 50, 50, 25, 10, 10]);
  });

  it('counts a large request as several', async () => {
    const { clock, join } = make({ requests: { ...none, total: rate(10) }, requestSize: 4096 });
    const member = join();
    expect(isPending(member.pass('read', 16384))).toBe(false);
    expect(await passed(clock, () => member.pass('read', 100), 2, [299, 300, 400])).toEqual([0, 1, 2]);
  });

  it('keeps its order, also for one that comes when there is room', async () => {
    const { clock, join } = make({ bytes: { ...none, total: rate(1000) } });
    const member = join();
    void member.pass('read', 1000);
    const order: number[] = [];
    const all = [600, 1, 1].map(async (bytes, index) => {
      await member.pass('read', bytes);
      order.push(index);
    });
    for (let step = 0; step < 3; step++) {
      clock.advance(1000);
      await clock.nextTurn();
    }
    await Promise.all(all);
    expect(order).toEqual([0, 1, 2]);
  });
});

describe('members of a group', () => {
  async function shares(directions: readonly Direction[]): Promise<string[]> {
    const { clock, join } = make({ requests: { ...none, total: rate(10) } });
    const members = directions.map(() => join());
    const order: string[] = [];
    void members[0]?.pass('read', 1);
    void members[0]?.pass('read', 1);
    // the first one asks for much more than the others
    const all = members.flatMap((member, index) =>
      Array.from({ length: index === 0 ? 6 : 2 }, async () => {
        await member.pass(directions[index] ?? 'read', 1);
        order.push(`m${index}`);
      }),
    );
    for (let step = 0; step < 2000; step++) {
      clock.advance(1);
      await clock.nextTurn();
    }
    await Promise.all(all);
    return order;
  }

  it('take turns', async () => {
    expect(await shares(['read', 'read', 'read'])).toEqual(['m1', 'm2', 'm0', 'm1', 'm2', 'm0', 'm0', 'm0', 'm0', 'm0']);
  });

  it('share what is limited in total between the directions', async () => {
    const order = await shares(['read', 'write']);
    expect(order.length).toBe(8);
    expect(order.slice(0, 4).sort()).toEqual(['m0', 'm0', 'm1', 'm1']);
  });

  it('go on at once while they are not limited, are counted all the same, and leave the others their turn', async () => {
    const { clock, join } = make({ requests: { ...none, total: rate(10) } });
    const [drained, other] = [join(), join()];
    void drained.pass('read', 1);
    void drained.pass('read', 1);
    const order: string[] = [];
    for (const [name, member] of [
      ['drained', drained],
      ['other', other],
      ['drained', drained],
    ] as const) {
      void Promise.resolve(member.pass('read', 1)).then(() => order.push(name));
    }
    drained.unlimit();
    await clock.nextTurn();
    expect(order).toEqual(['drained', 'drained']);
    expect(isPending(drained.pass('read', 1))).toBe(false);
    drained.limit();
    expect(isPending(drained.pass('write', 1))).toBe(true);
    // five have gone, one may at once, so the other one waits for three that were let through
    clock.advance(100);
    await clock.nextTurn();
    expect(order).toEqual(['drained', 'drained', 'other']);
  });

  it('leave no timer behind when all that waited were let go', async () => {
    const { clock, join } = make({ requests: { ...none, total: rate(1) } });
    const member = join();
    void member.pass('read', 1);
    const turn = member.pass('read', 1);
    expect([isPending(turn), clock.waiting]).toEqual([true, 1]);
    member.unlimit();
    await turn;
    expect(clock.waiting).toBe(0);
    member.limit();
    member[Symbol.dispose]();
  });

  it('that leave take nobody the turn', async () => {
    const { clock, join, throttle } = make({ requests: { ...none, total: rate(10) } });
    const [first, second] = [join(), join()];
    void first.pass('read', 1);
    void first.pass('read', 1);
    const turn = second.pass('read', 1);
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    clock.advance(100);
    await turn;
    expect(throttle.isUsed).toBe(true);
    second[Symbol.dispose]();
    expect(throttle.isUsed).toBe(false);
  });
});

it('judges those who wait by new limits at once', async () => {
  const { clock, join, throttle } = make({ requests: { ...none, total: rate(1) } });
  const member = join();
  void member.pass('read', 1);
  const turn = member.pass('read', 1);
  throttle.configure({ bytes: none, requests: { ...none, total: rate(1000) }, requestSize: 0 });
  await turn;
  expect(clock.waiting).toBe(0);
});
