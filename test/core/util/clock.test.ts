/* The real clock: timers that are longer than Node carries. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { realClock } from '../../../src/core/util/clock.ts';

const fiftyDays = 4294967295;

describe('real clock', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('acts after fifty days, not at once', () => {
    const act = vi.fn();
    realClock.after(fiftyDays, act);
    vi.advanceTimersByTime(fiftyDays - 1);
    expect(act).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(act).toHaveBeenCalledOnce();
  });

  it('does not act when it is given up in the second half', () => {
    const act = vi.fn();
    const stop = realClock.after(fiftyDays, act);
    vi.advanceTimersByTime(fiftyDays - 1);
    stop();
    vi.advanceTimersByTime(fiftyDays);
    expect(act).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('sleeps fifty days, or until the signal', async () => {
    const giveUp = new AbortController();
    const done = vi.fn();
    const slept = realClock.sleep(fiftyDays, giveUp.signal).then(done);
    await vi.advanceTimersByTimeAsync(fiftyDays - 1);
    expect(done).not.toHaveBeenCalled();
    giveUp.abort();
    await slept;
    expect(vi.getTimerCount()).toBe(0);
  });
});
