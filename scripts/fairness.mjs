/*
 * npm run fairness [-- SECONDS]: what test/journeys/fairness.test.ts plays in virtual time, on files with real delays of 1 to 3
 * ms, 60 s without an argument. Prints each class; exit code 1 when one starves or the view is not frozen.
 */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const seconds = Number(process.argv[2] ?? 60);
const scratch = mkdtempSync(join(tmpdir(), 'tsimg-fairness-'));
const source = (path) => JSON.stringify(join(root, path));
try {
  writeFileSync(
    join(scratch, 'all.ts'),
    `export { playFairness, fairnessTable } from ${source('test/support/fairness.ts')};
export { localStorage } from ${source('src/core/storage/local-open.ts')};
export { realClock } from ${source('src/core/util/clock.ts')};
`,
  );
  const built = await rolldown({
    input: join(scratch, 'all.ts'),
    platform: 'node',
    transform: { target: 'node20.19' },
    external: [/^koffi/, /zstd-wasm/],
    onLog: () => {},
  });
  await built.write({ dir: scratch, format: 'esm', entryFileNames: 'all.mjs' });
  symlinkSync(join(root, 'node_modules'), join(scratch, 'node_modules'));
  const { playFairness, fairnessTable, localStorage, realClock } = await import(pathToFileURL(join(scratch, 'all.mjs')).href);
  const open = localStorage({ syncLimit: 65536, clock: realClock });
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const results = await playFairness({
    clock: realClock,
    openStorage: (path, how) => open(join(scratch, path), how),
    clusters: Math.ceil(seconds * 600) + 4000,
    aloneMs: 3000,
    togetherMs: seconds * 1000,
    depth: 1,
    delayMs: 1,
    seed: 1,
  });
  console.log(fairnessTable(results));
  // what the machine took from everybody: on one that is busy with other things, look here first
  console.log(`the event loop itself stood still for at most ${(delay.max / 1e6).toFixed(1)} ms`);
  const starved = results.filter(({ aloneMedian, perSecond, longest }) => perSecond < 20 || longest > 50 * aloneMedian);
  for (const { name } of starved) console.log(`${name} starves`);
  if (starved.length > 0) process.exitCode = 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
