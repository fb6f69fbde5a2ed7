/* The built programs answer on this Node: used in CI with other versions. Prints one line; exits 1 on the first failure. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist');
const folder = mkdtempSync(join(tmpdir(), 'tsimg-smoke-'));

function expectRun(program, args, expected, input = '') {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(dist, `${program}.cjs`), ...args], { cwd: folder, encoding: 'utf8', input });
  if (status === 0 && expected.test(stdout)) return;
  console.error(`${program} ${args.join(' ')}: exit ${status}\n${stdout}${stderr}`);
  process.exit(1);
}

try {
  expectRun('tsimg', ['create', '-f', 'qcow2', 'a.qcow2', '16M'], /Formatting/);
  expectRun('tsimg', ['info', '--output=json', 'a.qcow2'], /"virtual-size": 16777216/);
  expectRun('tsimg', ['convert', '-O', 'raw', 'a.qcow2', 'a.raw'], /^$/);
  expectRun('tsimg', ['compare', 'a.qcow2', 'a.raw'], /identical/);
  expectRun('tsimg', ['check', 'a.qcow2'], /No errors/);
  expectRun('tsio', ['-c', 'write -P 7 1M 64k', '-c', 'read -P 7 1M 64k', 'a.qcow2'], /read 65536\/65536 bytes/);
  expectRun('tsnbd', ['--version'], /tsnbd/);
  expectRun('tsqmp', ['--disk', 'd=a.qcow2'], /virtual-size/, 'query-block\n');
  console.log(`smoke: ok on Node ${process.version}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
