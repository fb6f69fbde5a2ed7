/*
 * npm run mutate [TARGET …]: mutation testing with StrykerJS in a copy of the project, on a Node 22 from npm. Prints a table;
 * what survived goes to the folder that TSIMG_MUTATE_REPORTS names (default: mutation-reports under the cache folder).
 * By hand only: a whole run takes hours.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { targets } from './targets.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const cache = process.env.TSIMG_MUTATE_CACHE ?? join(homedir(), '.cache', 'tsimg-mutate');
const reports = process.env.TSIMG_MUTATE_REPORTS ?? join(cache, 'reports');
const copy = join(cache, 'copy');
const tools = [`node-linux-${process.arch}@22`, '@stryker-mutator/core@10.1.1', '@stryker-mutator/vitest-runner@10.1.1'];

const words = process.argv.slice(2);
const names = Object.keys(targets(root)).filter((name) => words.length === 0 || words.some((word) => name.startsWith(word)));
if (names.length === 0) {
  console.error(`no such target; there are: ${Object.keys(targets(root)).join(', ')}`);
  process.exit(2);
}

mkdirSync(copy, { recursive: true });
mkdirSync(reports, { recursive: true });
for (const part of ['src', 'test', 'scripts', 'bin', 'man', 'docs', 'package.json', 'package-lock.json', 'tsconfig.json', 'vitest.config.ts']) {
  rmSync(join(copy, part), { recursive: true, force: true });
  cpSync(join(root, part), join(copy, part), { recursive: true });
}
const node = join(copy, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');
if (!existsSync(node) || !existsSync(join(copy, 'node_modules', '@stryker-mutator', 'core'))) {
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']);
  run('npm', ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', ...tools]);
}

console.log('| target | mutants | tried | killed | timeouts | survived | not covered | killed of tried |\n|---|---|---|---|---|---|---|---|');
for (const name of names) {
  const report = join(reports, `${name.replace(/\W+/g, '-')}.json`);
  const { status, stdout, stderr } = spawnSync(node, [join('scripts', 'mutate', 'worker.mjs'), name, report], {
    cwd: copy,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (status !== 0) {
    console.error(`${name}: ${stderr}${stdout.slice(-4000)}`);
    process.exitCode = 1;
    continue;
  }
  const { total, tried, killed, timeouts, survived, notCovered } = JSON.parse(readFileSync(report, 'utf8'));
  const share = (100 * (killed + timeouts)) / tried;
  console.log(`| ${name} | ${total} | ${tried} | ${killed} | ${timeouts} | ${survived} | ${notCovered} | ${share.toFixed(1)} % |`);
  if (share < 80 || timeouts * 10 > killed + timeouts) process.exitCode = 1;
}

function run(command, args) {
  const { status } = spawnSync(command, args, { cwd: copy, stdio: ['ignore', 'ignore', 'inherit'] });
  if (status !== 0) process.exit(status ?? 1);
}
