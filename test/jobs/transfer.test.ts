import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Maybe } from '../../src/core/util/maybe.ts';
import { type TransferPiece, type TransferPlan, transfer } from '../../src/jobs/transfer.ts';
import { turns } from './job-support.ts';

interface Numbered extends TransferPiece {
  readonly index: number;
}

type Halves = 'at once' | 'microtask' | 'turn' | 'fails at once' | 'fails later';

const settleAs = (how: Halves): Maybe<void> => {
  switch (how) {
    case 'at once':
      return;
    case 'microtask':
      return Promise.resolve();
    case 'turn':
      return new Promise((resolve) => setImmediate(resolve));
    case 'fails at once':
      throw new Error('failed');
    case 'fails later':
      return new Promise((_, reject) => setImmediate(() => reject(new Error('failed'))));
  }
};

interface Scene {
  readonly plan: TransferPlan<Numbered>;
  /** `begin 0`, `finish 0`, `done 0`. */
  readonly log: string[];
  most(): number;
}

/** A plan of one piece a row: how its two halves behave. */
function scene(rows: readonly (readonly [Halves, Halves])[], given: Partial<TransferPlan<Numbered>> = {}): Scene {
  const log: string[] = [];
  let index = 0;
  let inside = 0;
  let most = 0;
  const plan: TransferPlan<Numbered> = {
    ordered: true,
    inFlight: 3,
    next: () => (index < rows.length ? { index: index++, length: 10 } : undefined),
    begin: (piece) => {
      log.push(`begin ${piece.index}`);
      most = Math.max(most, ++inside);
      return settleAs(rows[piece.index]?.[0] ?? 'at once');
    },
    finish: (piece) => {
      log.push(`finish ${piece.index}`);
      return settleAs(rows[piece.index]?.[1] ?? 'at once');
    },
    done: (piece) => {
      inside--;
      log.push(`done ${piece.index}`);
    },
    tick: () => undefined,
    ...given,
  };
  return { plan, log, most: () => most };
}

const of = (log: readonly string[], what: string): number[] => log.filter((line) => line.startsWith(what)).map((line) => Number(line.split(' ')[1]));

describe('the transfer machine', () => {
  it('moves every piece once, keeps the order of what is written, and no more in flight than it may', async () => {
    const half = fc.constantFrom<Halves>('at once', 'microtask', 'turn');
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(half, half), { maxLength: 12 }), fc.integer({ min: 0, max: 4 }), fc.boolean(), async (rows, inFlight, ordered) => {
        const { plan, log, most } = scene(rows, { inFlight, ordered });
        await transfer(plan);
        const all = rows.map((_, index) => index);
        expect(of(log, 'begin')).toEqual(all);
        if (ordered) expect(of(log, 'finish')).toEqual(all);
        expect(of(log, 'finish').sort((a, b) => a - b)).toEqual(all);
        expect(of(log, 'done').sort((a, b) => a - b)).toEqual(all);
        expect(most()).toBeLessThanOrEqual(Math.max(1, inFlight));
      }),
      { seed: 12, numRuns: 200 },
    );
  });

  it('stays in one turn of the loop where nothing is pending', async () => {
    const { plan, log } = scene([
      ['at once', 'at once'],
      ['at once', 'at once'],
    ]);
    const ended = transfer(plan);
    expect(log).toEqual(['begin 0', 'finish 0', 'done 0', 'begin 1', 'finish 1', 'done 1']);
    await ended;
  });

  it('reads ahead while a write is pending, and lets the unordered go out as they are ready', async () => {
    const rows = [
      ['at once', 'turn'],
      ['at once', 'at once'],
    ] as const;
    const inOrder = scene(rows);
    await transfer(inOrder.plan);
    expect(inOrder.log).toEqual(['begin 0', 'finish 0', 'begin 1', 'done 0', 'finish 1', 'done 1']);
    const free = scene(rows, { ordered: false });
    await transfer(free.plan);
    expect(free.log).toEqual(['begin 0', 'finish 0', 'begin 1', 'finish 1', 'done 1', 'done 0']);
  });

  it.each(['fails at once', 'fails later'] as const)(
    'ends with the first error in order, with nothing in flight and nothing written behind it (%s)',
    async (how) => {
      const { plan, log } = scene([
        ['at once', 'turn'],
        [how, 'at once'],
        ['fails at once', 'at once'],
        ['at once', 'at once'],
      ]);
      await expect(transfer(plan)).rejects.toThrow('failed');
      expect(of(log, 'finish')).toEqual([0]);
      expect(of(log, 'done').length).toBe(of(log, 'begin').length);
    },
  );

  it.each(['fails at once', 'fails later'] as const)('asks about an error once nothing is in flight, and goes on (%s)', async (how) => {
    const errors: unknown[] = [];
    let rest = [0, 1, 2];
    const { plan, log } = scene([], {
      ordered: false,
      next: () => {
        const index = rest.shift();
        return index === undefined ? undefined : { index, length: 1 };
      },
      finish: (piece) => {
        log.push(`finish ${piece.index}`);
        return piece.index === 1 && errors.length === 0 ? settleAs(how) : settleAs('turn');
      },
      onError: async (error) => {
        errors.push(error);
        expect(of(log, 'done').length).toBe(of(log, 'begin').length);
        rest = [1, ...rest];
      },
    });
    await transfer(plan);
    expect(errors).toEqual([new Error('failed')]);
    expect(of(log, 'finish').filter((index) => index === 1).length).toBe(2);
    expect(new Set(of(log, 'done'))).toEqual(new Set([0, 1, 2]));
  });

  it('fails with what the plan says to an error', async () => {
    const { plan } = scene([['fails later', 'at once']], {
      onError: async () => {
        throw new Error('no more');
      },
    });
    await expect(transfer(plan)).rejects.toThrow('no more');
  });

  it.each([false, true])('waits for what is in flight when the next piece cannot be told (later: %s)', async (isLater) => {
    let count = 0;
    const { plan, log } = scene([], {
      next: () => {
        if (count === 0) return { index: count++, length: 1 };
        if (isLater) return Promise.reject(new Error('lost'));
        throw new Error('lost');
      },
      finish: (piece) => {
        log.push(`finish ${piece.index}`);
        return settleAs('turn');
      },
    });
    await expect(transfer(plan)).rejects.toThrow('lost');
    expect(of(log, 'done')).toEqual([0]);
  });

  it('pauses and sleeps with nothing in flight', async () => {
    const seen: string[] = [];
    let wantsPause = false;
    const { plan, log } = scene(
      [
        ['turn', 'turn'],
        ['turn', 'turn'],
        ['turn', 'turn'],
      ],
      {
        ordered: false,
        delayFor: () => (of(log, 'begin').length === 1 ? 10 : 0),
        sleep: async (ms) => {
          seen.push(`sleep ${ms} after ${of(log, 'done').join()}`);
          wantsPause = true;
        },
        pause: async () => {
          seen.push(`pause after ${of(log, 'done').join()}`);
          wantsPause = false;
        },
      },
    );
    Object.defineProperty(plan, 'mustPause', { get: () => wantsPause });
    await transfer(plan);
    expect(seen).toEqual(['sleep 10 after 0', 'pause after 0']);
    expect(of(log, 'done').sort()).toEqual([0, 1, 2]);
  });

  it('waits as long as the rate says once nothing is in flight, not as it said before', async () => {
    const slept: number[] = [];
    let speedIsLimited = true;
    const { plan } = scene([['turn', 'turn']], {
      delayFor: () => (speedIsLimited ? 1000 : 0),
      sleep: async (ms) => void slept.push(ms),
      done: () => {
        speedIsLimited = false;
      },
    });
    await transfer(plan);
    expect(slept).toEqual([0]);
  });

  it('takes nothing more on once it is cancelled, and forgives what fails then', async () => {
    let isCancelled = false;
    const { plan, log } = scene(
      [
        ['at once', 'fails later'],
        ['at once', 'at once'],
      ],
      { inFlight: 1, ordered: false },
    );
    Object.defineProperty(plan, 'isCancelled', { get: () => isCancelled });
    const ended = transfer(plan);
    isCancelled = true;
    await ended;
    expect(of(log, 'begin')).toEqual([0]);
    expect(of(log, 'done')).toEqual([0]);
  });

  it('gives others their turn when the plan says so', async () => {
    let ticks = 0;
    const { plan, log } = scene(
      [
        ['at once', 'at once'],
        ['at once', 'at once'],
      ],
      { tick: (bytes) => (ticks++ === 0 && bytes === 10 ? new Promise((resolve) => setImmediate(resolve)) : undefined) },
    );
    const ended = transfer(plan);
    expect(of(log, 'done')).toEqual([0]);
    await turns(1);
    await ended;
    expect(ticks).toBe(2);
  });
});
