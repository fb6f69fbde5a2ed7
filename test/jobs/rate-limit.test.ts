import { expect, test } from 'vitest';
import { RateLimit } from '../../src/jobs/rate-limit.ts';
import { ManualClock } from '../support/manual-clock.ts';

test('without a speed nothing waits', () => {
  const limit = new RateLimit(new ManualClock(), 0);
  expect(limit.delayFor(2 ** 40)).toBe(0);
});

test('work below the quota of a slice goes through, the rest waits for as many slices as it takes', () => {
  const limit = new RateLimit(new ManualClock(), 10_000);
  expect(limit.delayFor(999)).toBe(0);
  expect(limit.delayFor(1)).toBe(100);
  // 1,000 + 2,500 bytes are four slices of 1,000
  expect(limit.delayFor(2500)).toBe(400);
});

test('a request made while another waits does not count the wait twice', () => {
  const clock = new ManualClock();
  const limit = new RateLimit(clock, 10_000);
  expect(limit.delayFor(3000)).toBe(300);
  clock.advance(50);
  expect(limit.delayFor(1000)).toBe(350);
});

test.each([1000, 64 * 1024, 10_000_000])('in the long run %d bytes a second', (speed) => {
  const clock = new ManualClock();
  const limit = new RateLimit(clock, speed);
  const began = clock.now();
  let bytes = 0;
  for (let step = 0; step < 1000; step++) {
    const piece = (step * 7919) % 4096;
    bytes += piece;
    clock.advance(limit.delayFor(piece));
  }
  // the time passes in the waits alone: no slice gives more than its quota and one piece away
  const seconds = Math.max(0.1, (clock.now() - began) / 1000);
  expect(bytes / seconds).toBeLessThanOrEqual(speed * 1.05 + 4096 / seconds);
  expect(bytes / seconds).toBeGreaterThan(speed / 5);
});

test('a new speed counts from the next request on', () => {
  const clock = new ManualClock();
  const limit = new RateLimit(clock, 1000);
  clock.advance(limit.delayFor(1000));
  limit.speed = 0;
  expect(limit.delayFor(1_000_000)).toBe(0);
  limit.speed = 1_000_000;
  expect(limit.delayFor(100_000)).toBe(100);
});
