/* Builds after `npm ci` and `npm install`. Does nothing where the build tools are not installed (lockfile-only installs, production installs). */
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
try {
  require.resolve('rolldown/package.json');
  require.resolve('typescript/package.json');
} catch {
  console.log('tsimg: build tools are not installed, nothing is built');
  process.exit(0);
}
for (const args of [['scripts/build.mjs'], [join('node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.build.json']]) {
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}
