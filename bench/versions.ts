/*
 * The built programs of an older version (TSIMG_BEFORE: its dist/) and of this one, alternating, 15 pairs a row: the median
 * ratio of the pairs (above 1: slower now) and its 95 % interval by resampling. A row is met when the ratio is at most 1.05
 * or the interval holds 1; start-up when it grew by at most 2 ms.
 */
import { join } from 'node:path';
import { prepare, rows, type Side } from './rows.ts';
import { folder, median, ours, picked } from './support.ts';

const before = process.env['TSIMG_BEFORE'];
if (before === undefined) throw new Error('TSIMG_BEFORE names the dist folder of the older version');
const older: Side = (program, ...args) => ({ file: process.execPath, args: [join(before, `${program}.cjs`), ...args] });
const pairs = Number(process.env['TSIMG_PAIRS'] ?? 15);

/** The middle 95 % of the medians of samples drawn from `values`, by a fixed sequence of random numbers. */
function interval(values: readonly number[]): readonly [number, number] {
  let seed = 1;
  const draw = (): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * values.length);
  };
  const medians = Array.from({ length: 2000 }, () => median(values.map(() => values[draw()] ?? Number.NaN))).sort((a, b) => a - b);
  return [medians[50] ?? Number.NaN, medians[1949] ?? Number.NaN];
}

const { path, remove } = folder();
try {
  const chosen = rows.filter(picked);
  prepare(path, new Set(chosen.flatMap(({ needs }) => needs)));
  console.log('| subject | now | before | ratio (above 1: slower) | 95 % | |\n|---|---|---|---|---|---|');
  for (const row of chosen) {
    const now = await row.begin(ours, path, 'now');
    const then = await row.begin(older, path, 'then');
    await now.run();
    await then.run();
    const figures: [number, number][] = [];
    for (let round = 0; round < pairs; round++) {
      // who is first changes, so that what the second finds warm does not count
      if (round % 2 === 0) figures.push([await now.run(), await then.run()]);
      else {
        const last = await then.run();
        figures.push([await now.run(), last]);
      }
    }
    await now.stop?.();
    await then.stop?.();
    const ratios = figures.map(([a, b]) => (row.isRate ? b / a : a / b));
    const [low, high] = interval(ratios);
    const ratio = median(ratios);
    const [a, b] = [median(figures.map(([x]) => x)), median(figures.map(([, y]) => y))];
    const isMet = row.name.startsWith('start-up') ? a - b <= 2 : ratio <= 1.05 || (low <= 1 && high >= 1);
    console.log(
      `| ${row.name} | ${row.show(a)} | ${row.show(b)} | ${ratio.toFixed(3)} | ${low.toFixed(3)} – ${high.toFixed(3)} | ${isMet ? 'met' : 'missed'} |`,
    );
  }
} finally {
  remove();
}
