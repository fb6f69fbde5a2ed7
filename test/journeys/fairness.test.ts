/* Nobody starves: readers of a fleecing target, a guest's writes and discards, and resizes of its disk, on slow media. */
import { afterAll, expect, it } from 'vitest';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { type ClassResult, fairnessTable, playFairness } from '../support/fairness.ts';
import { ManualClock } from '../support/manual-clock.ts';

const tables: string[] = [];
afterAll(() => {
  for (const table of tables) console.log(table);
});

/** Plays in virtual time: the clock moves on whenever nothing else can run. */
async function play(seed: number): Promise<ClassResult[]> {
  const clock = new ManualClock();
  const media = new Map<string, MemoryStorage>();
  let isOver = false;
  const playing = playFairness({
    clock,
    openStorage: async (path, how) => {
      let medium = media.get(path);
      if (medium === undefined) {
        if (how.create === 'never') throw new BlockError('No such file or directory', { code: 'ENOENT' });
        medium = new MemoryStorage(path);
        media.set(path, medium);
      } else if (how.create === 'truncate') medium.truncate(0);
      return medium;
    },
    clusters: 2000,
    aloneMs: 500,
    togetherMs: 2000,
    depth: 3,
    delayMs: 1,
    seed,
  }).finally(() => {
    isOver = true;
  });
  while (!isOver) {
    await clock.nextTurn();
    await clock.nextTurn();
    clock.advance(0.5);
  }
  return playing;
}

it.each([1, 2])('gives each class 20 requests a second, none waiting 50 times its own median, seed %i', async (seed) => {
  const results = await play(seed);
  tables.push(fairnessTable(results));
  for (const { name, aloneMedian, perSecond, longest } of results) {
    expect(perSecond, name).toBeGreaterThanOrEqual(20);
    expect(longest / aloneMedian, name).toBeLessThanOrEqual(50);
  }
});
