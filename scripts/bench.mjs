/*
 * npm run bench [SUBJECT …]: bundles bench/SUBJECT.ts and runs it. Each prints ratios against the newest peers, both sides
 * measured in the same run, in turns. NODE_EXTRA_CA_CERTS is cleared: Node 20 parses it at every start.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const subjects =
  process.argv.length > 2
    ? process.argv.slice(2)
    : readdirSync(join(root, 'bench'))
        .filter((name) => name.endsWith('.ts') && name !== 'support.ts')
        .map((name) => basename(name, '.ts'));
const folder = mkdtempSync(join(tmpdir(), 'tsimg-bench-'));
const env = { ...process.env, TSIMG_ROOT: root };
delete env.NODE_EXTRA_CA_CERTS;
try {
  for (const subject of subjects) {
    const bundle = await rolldown({ platform: 'node', input: join(root, 'bench', `${subject}.ts`), external: [/^node:/, 'koffi', '@bokuweb/zstd-wasm'] });
    const file = join(folder, `${subject}.mjs`);
    await bundle.write({ file, format: 'esm', codeSplitting: false });
    await bundle.close();
    const { status } = spawnSync(process.execPath, [file], { cwd: root, env, stdio: 'inherit' });
    if (status !== 0) process.exitCode = status ?? 1;
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
