/*
 * Once before a test run: brings dist/ up to date, so that tests of the built programs see the sources as they are. A run
 * of named files that need no dist does not build. When the build fails, tests that ask for a program fail and say why.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Why dist/ is not what the sources say; empty when it is. */
    distProblem: string;
  }
}

const root = join(import.meta.dirname, '..', '..');
/** Written last, dated when the build began. */
const stamp = join(root, 'dist', 'THIRD-PARTY-NOTICES.txt');
const usesDist = /test\/(?:e2e|journeys|faults|arch|differential|nbd|monitor|qmp-shell)\b/;

function newestChange(path: string): number {
  const { mtimeMs, ctimeMs } = statSync(path);
  const own = Math.max(mtimeMs, ctimeMs);
  if (!statSync(path).isDirectory()) return own;
  return readdirSync(path).reduce((newest, name) => Math.max(newest, newestChange(join(path, name))), own);
}

function isFresh(): boolean {
  if (!existsSync(stamp) || !existsSync(join(root, 'dist', 'index.d.ts'))) return false;
  const built = statSync(stamp).mtimeMs;
  return ['src', 'bin', 'scripts/build.mjs', 'package.json'].every((path) => newestChange(join(root, path)) <= built);
}

function build(): string {
  const bundled = spawnSync(process.execPath, ['scripts/build.mjs'], { cwd: root, encoding: 'utf8' });
  if (bundled.status !== 0) return `${bundled.stdout}${bundled.stderr}`;
  // the declarations are for users of the library: no program needs them, and `npm run typecheck` tells what is wrong
  const declared = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { cwd: root, encoding: 'utf8' });
  if (declared.status !== 0) console.warn(`dist/ has been built with type errors:\n${declared.stdout}`);
  return '';
}

export default function setup(project: TestProject): void {
  const named = process.argv.slice(2).filter((word) => word.includes('test/'));
  const isNeeded = named.length === 0 || named.some((word) => usesDist.test(word));
  const problem = isNeeded && !isFresh() ? build() : '';
  if (problem !== '') console.warn(`dist/ could not be built:\n${problem}`);
  project.provide('distProblem', problem);
}
