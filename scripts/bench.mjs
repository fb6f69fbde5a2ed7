/*
 * npm run bench [WORD …]: rows of bench/rows.ts beside the newest peers, both sides in the same run, in turns.
 * npm run bench -- --before COMMIT [WORD …]: the same rows, the programs of COMMIT (built in a scratch folder) against ours.
 * NODE_EXTRA_CA_CERTS is cleared: Node 20 parses it at every start.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { buildOf } from './older-build.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const words = process.argv.slice(2);
const at = words.indexOf('--before');
const before = at < 0 ? undefined : words.splice(at, 2)[1];
const folder = mkdtempSync(join(tmpdir(), 'tsimg-bench-'));
const env = { ...process.env, TSIMG_ROOT: root, TSIMG_ROWS: words.join(' ') };
delete env.NODE_EXTRA_CA_CERTS;
try {
  if (before !== undefined) env.TSIMG_BEFORE = join(buildOf(before, root, join(folder, 'before')), 'dist');
  const bundle = await rolldown({
    platform: 'node',
    input: join(root, 'bench', before === undefined ? 'peers.ts' : 'versions.ts'),
    external: [/^node:/, 'koffi', '@bokuweb/zstd-wasm'],
  });
  const file = join(folder, 'bench.mjs');
  await bundle.write({ file, format: 'esm', codeSplitting: false });
  await bundle.close();
  const { status } = spawnSync(process.execPath, [file], { cwd: root, env, stdio: 'inherit' });
  process.exitCode = status ?? 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
