/*
 * node scripts/hostile-images.mjs [NAME …]: what every program takes over hostile images (test/support/hostile-images.ts),
 * in seconds and MiB over its start, beside qemu-img (PEERS=DIR, default ~/.cache/tsimg-peers/bin). Build first. Marks what
 * takes more than 256 MiB over its start, or longer than 5 s and than twice the peer.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const peers = process.env.PEERS ?? join(homedir(), '.cache', 'tsimg-peers', 'bin');
const limitMs = Number(process.env.LIMIT ?? 60) * 1000;
const names = process.argv.slice(2);
const scratch = mkdtempSync(join(process.env.SCRATCH ?? tmpdir(), 'tsimg-hostile-'));
const hook = join(scratch, 'peak.cjs');
writeFileSync(
  hook,
  `process.on('exit', () => require('node:fs').writeFileSync(${JSON.stringify(join(scratch, 'peak'))}, String(process.resourceUsage().maxRSS / 1024)));`,
);

const commands = [
  ['info'],
  ['check'],
  ['check', '-r', 'all'],
  ['map', '--output=json'],
  ['snapshot', '-l'],
  ['resize', '-q', 'IMAGE', '+1G'],
  ['compare', 'IMAGE', 'IMAGE'],
  ['convert', '-O', 'qcow2', 'IMAGE', 'out'],
];

try {
  await main();
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

async function main() {
  const bundle = await rolldown({ input: join(root, 'test/support/hostile-images.ts'), platform: 'node', transform: { target: 'node20.19' }, onLog: () => {} });
  await bundle.write({ dir: scratch, format: 'esm', entryFileNames: 'images.mjs' });
  const { hostileImages, writeHostile } = await import(pathToFileURL(join(scratch, 'images.mjs')).href);
  const start = (await ours(['--version'])).peak;
  let over = 0;
  for (const image of hostileImages.filter(({ name }) => names.length === 0 || names.some((word) => name.includes(word)))) {
    const source = join(scratch, 'source');
    writeHostile(image, source);
    console.log(`${image.name} (${Math.round((statSync(source).blocks * 512) / 1024)} KiB on the medium)`);
    for (const command of commands) {
      if (['compare', 'convert'].includes(command[0]) && !image.isReadable) continue;
      const words = command.includes('IMAGE') ? command.map((word) => (word === 'IMAGE' ? 'image' : word)) : [...command, 'image'];
      const play = async (run) => {
        rmSync(join(scratch, 'image'), { force: true });
        rmSync(join(scratch, 'out'), { force: true });
        writeHostile(image, join(scratch, 'image'));
        return run(words);
      };
      const mine = await play(ours);
      const theirs = await play(peer);
      const cost = mine.peak - start;
      const isOver = cost > 256 || (mine.seconds > 5 && mine.seconds > 2 * theirs.seconds);
      if (isOver) over++;
      const tell = (one, mib) => `${one.seconds.toFixed(2)} s ${Math.round(mib)} MiB ${one.code === null ? 'stopped' : `exit ${one.code}`}`;
      console.log(
        `  ${command.slice(0, 3).join(' ').padEnd(18)} ours ${tell(mine, cost).padEnd(30)} peer ${tell(theirs, theirs.peak)}${isOver ? '   OVER' : ''}`,
      );
    }
  }
  console.log(over === 0 ? 'nothing over' : `${over} over`);
  process.exitCode = over === 0 ? 0 : 1;
}

function run(command, args, env, watch) {
  const started = performance.now();
  const child = spawn(command, args, { cwd: scratch, stdio: 'ignore', env: { ...process.env, ...env } });
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
  const poll = watch === undefined ? undefined : setInterval(() => watch(child.pid), 10);
  return new Promise((resolve) => {
    child.on('close', (code) => {
      clearTimeout(timer);
      clearInterval(poll);
      resolve({ code, seconds: (performance.now() - started) / 1000 });
    });
  });
}

/** Peak resident MiB by looking now and then: for programs that are killed, and for the peer. */
function watcher() {
  const seen = { peak: 0 };
  const watch = (pid) => {
    try {
      seen.peak = Math.max(seen.peak, Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024);
    } catch {
      seen.peak = Math.max(seen.peak, 0);
    }
  };
  return { seen, watch };
}

async function ours(args) {
  writeFileSync(join(scratch, 'peak'), '');
  const { seen, watch } = watcher();
  const done = await run(process.execPath, [join(root, 'dist', 'tsimg.cjs'), ...args], { NODE_OPTIONS: `--require=${hook}` }, watch);
  const text = readFileSync(join(scratch, 'peak'), 'utf8');
  return { ...done, peak: text === '' ? seen.peak : Number(text) };
}

async function peer(args) {
  const { seen, watch } = watcher();
  const done = await run(join(peers, 'qemu-img'), args, {}, watch);
  return { ...done, peak: seen.peak };
}
