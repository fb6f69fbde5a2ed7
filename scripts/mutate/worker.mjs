/*
 * Runs in the copy, on the Node that StrykerJS wants: one target, all of its mutants or a sample. Mutants outside the sample
 * are ignored where they are made, so that the report has exactly the sample. Arguments: target's name, report file.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { leftOut, seed, targets } from './targets.mjs';

const [name, report] = process.argv.slice(2);
// of the power cuts a few, which reach the same code
process.env.TSIMG_POWERCUT_MEDIA ??= '8';
const root = process.cwd();
const { files, tests, sample } = targets(root)[name];
const stryker = (file) => import(pathToFileURL(join(root, 'node_modules', '@stryker-mutator', file)).href);
const { Stryker } = await stryker('core/dist/src/index.js');
const { Instrumenter } = await stryker('instrumenter/dist/src/instrumenter.js');
const { MutantCollector } = await stryker('instrumenter/dist/src/transformers/mutant-collector.js');

/** Numbers below 2^32, from a seed (mulberry32). */
function numbers(start) {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

async function drawSample(count) {
  const silent = { isDebugEnabled: () => false, debug() {}, info() {}, warn() {}, error() {}, trace() {}, isTraceEnabled: () => false };
  const options = { ignorers: [], excludedMutations: [], plugins: null, noHeader: true };
  const contents = files.map((file) => ({ name: join(root, file), mutate: true, content: readFileSync(join(root, file), 'utf8') }));
  const { mutants } = await new Instrumenter(silent).instrument(contents, options);
  const perFile = new Map();
  const keys = mutants.map(({ fileName }) => {
    const index = perFile.get(fileName) ?? 0;
    perFile.set(fileName, index + 1);
    return `${fileName}:${index}`;
  });
  const next = numbers(seed);
  for (let last = keys.length - 1; last > 0; last--) {
    const other = next() % (last + 1);
    [keys[last], keys[other]] = [keys[other], keys[last]];
  }
  return { chosen: new Set(keys.slice(0, count)), total: keys.length };
}

let total;
if (sample !== undefined) {
  const drawn = await drawSample(sample);
  total = drawn.total;
  const counts = new Map();
  const collect = MutantCollector.prototype.collect;
  MutantCollector.prototype.collect = function (fileName, original, mutable, offset) {
    const index = counts.get(fileName) ?? 0;
    counts.set(fileName, index + 1);
    const isChosen = drawn.chosen.has(`${fileName}:${index}`);
    return collect.call(this, fileName, original, isChosen ? mutable : { ...mutable, ignoreReason: 'outside the sample' }, offset);
  };
}

writeFileSync(
  'vitest.mutate.config.mjs',
  `export default { test: { include: ${JSON.stringify(tests)}, exclude: ${JSON.stringify(leftOut)}, testTimeout: 15000, hookTimeout: 15000, maxWorkers: 1 } };\n`,
);
const results = await new Stryker({
  testRunner: 'vitest',
  plugins: ['@stryker-mutator/vitest-runner'],
  mutate: files,
  // StrykerJS 9 and 10 call the compiler's old interface for a tsconfig that they find
  tsconfigFile: 'none.json',
  coverageAnalysis: 'perTest',
  concurrency: Number(process.env.TSIMG_MUTATE_JOBS ?? 2),
  reporters: ['progress'],
  // longer than a test may take: one that waits for ever fails, and only what keeps the process busy is a timeout
  timeoutMS: 45000,
  vitest: { configFile: 'vitest.mutate.config.mjs', related: false },
  tempDirName: '.stryker-tmp',
  cleanTempDir: 'always',
  disableTypeChecks: false,
}).runMutationTest();
const counted = results.filter(({ status }) => status !== 'Ignored');
const of = (status) => counted.filter((mutant) => mutant.status === status).length;
const survivors = counted
  .filter(({ status }) => status !== 'Killed')
  .map(({ fileName, location, mutatorName, replacement, status }) => ({
    place: `${fileName.slice(root.length + 1)}:${location.start.line}:${location.start.column}`,
    mutator: mutatorName,
    replacement,
    status,
  }));
writeFileSync(
  report,
  JSON.stringify({
    name,
    total: total ?? counted.length,
    tried: counted.length,
    killed: of('Killed'),
    timeouts: of('Timeout'),
    survived: of('Survived'),
    notCovered: of('NoCoverage'),
    errors: of('RuntimeError') + of('CompileError'),
    survivors,
  }),
);
