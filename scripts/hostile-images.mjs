/*
 * node scripts/hostile-images.mjs [NAME …]: what every program takes over hostile images (test/support/hostile-images.ts),
 * in seconds of a processor and MiB over its start, beside qemu-img (PEERS=DIR, default ~/.cache/tsimg-peers/bin). Build
 * first. Marks what takes more than 256 MiB over its start, or longer than 5 s and than twice the peer. Then a daemon opens
 * each of them while another monitor asks for its version every 20 ms: the longest wait is told, beside that of an idle
 * daemon. ONLY=daemon leaves the programs out. Other work on the machine shows in waits: run it alone.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
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
  `process.on('exit', () => require('node:fs').writeFileSync(${JSON.stringify(join(scratch, 'peak'))}, (({ maxRSS, userCPUTime, systemCPUTime }) => maxRSS / 1024 + ' ' + (userCPUTime + systemCPUTime) / 1e6)(process.resourceUsage())));`,
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
  const chosen = hostileImages.filter(({ name }) => names.length === 0 || names.some((word) => name.includes(word)));
  let over = 0;
  for (const image of process.env.ONLY === 'daemon' ? [] : chosen) {
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
  over += await askBeside(chosen, writeHostile);
  console.log(over === 0 ? 'nothing over' : `${over} over`);
  process.exitCode = over === 0 ? 0 : 1;
}

function run(command, args, env, watch) {
  const child = spawn(command, args, { cwd: scratch, stdio: 'ignore', env: { ...process.env, ...env } });
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
  const poll = watch === undefined ? undefined : setInterval(() => watch(child.pid), 10);
  return new Promise((resolve) => {
    child.on('close', (code) => {
      clearTimeout(timer);
      clearInterval(poll);
      resolve({ code });
    });
  });
}

/** Opens each image in a daemon while another monitor asks. How many of them kept that one waiting for too long. */
async function askBeside(images, writeHostile) {
  let late = 0;
  const socket = (name) => join(scratch, name);
  const monitors = ['a', 'b'].flatMap((id) => [
    '--chardev',
    `socket,id=${id},path=${socket(id)},server=on,wait=off`,
    '--monitor',
    `chardev=${id},mode=control`,
  ]);
  const child = spawn(process.execPath, [join(root, 'dist', 'tsqmp.cjs'), '--daemon', ...monitors], { cwd: scratch, stdio: ['ignore', 'ignore', 'inherit'] });
  try {
    while (!existsSync(socket('b'))) await sleep(20);
    const [opener, asker] = [await monitor(socket('a')), await monitor(socket('b'))];
    const idle = await longestWait(asker, sleep(1000));
    console.log(`daemon: another monitor waits ${idle} ms at most while nothing is opened`);
    for (const image of images) {
      writeHostile(image, join(scratch, 'image'));
      const file = { driver: 'file', filename: join(scratch, 'image') };
      const open = async () => {
        const added = await opener('blockdev-add', { driver: 'qcow2', 'node-name': 'hostile', backing: null, file });
        await opener('query-named-block-nodes');
        if ('return' in added) await opener('blockdev-del', { 'node-name': 'hostile' });
      };
      const wait = await longestWait(asker, open());
      if (wait > 200) late++;
      console.log(`daemon: ${image.name}: another monitor waits ${wait} ms at most${wait > 200 ? '   OVER' : ''}`);
    }
    return late;
  } finally {
    child.kill();
  }
}

/** Milliseconds that the slowest of the questions took that were asked until `done`. */
async function longestWait(ask, done) {
  let isDone = false;
  const end = done.finally(() => {
    isDone = true;
  });
  let longest = 0;
  do {
    const asked = performance.now();
    await ask('query-version');
    longest = Math.max(longest, performance.now() - asked);
    await sleep(20);
  } while (!isDone);
  await end;
  return Math.round(longest);
}

/** A QMP session; answers come in the order of the questions, events are passed over. */
async function monitor(path) {
  const socket = connect(path);
  const waiting = [];
  let text = '';
  socket.setEncoding('utf8').on('data', (part) => {
    text += part;
    const lines = text.split('\n');
    text = lines.pop();
    for (const message of lines.map((line) => JSON.parse(line))) if ('return' in message || 'error' in message) waiting.shift()?.(message);
  });
  const ask = (execute, args = {}) =>
    new Promise((resolve) => {
      waiting.push(resolve);
      socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    });
  await ask('qmp_capabilities');
  return ask;
}

/** Peak resident MiB and seconds of a processor by looking now and then: for programs that are killed, and for the peer. */
function watcher() {
  const seen = { peak: 0, seconds: 0 };
  const watch = (pid) => {
    try {
      const [user, system] = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\) /, '').split(' ').slice(11, 13);
      seen.seconds = Math.max(seen.seconds, (Number(user) + Number(system)) / 100);
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
  if (text === '') return { ...done, ...seen };
  const [peak, seconds] = text.split(' ').map(Number);
  return { ...done, peak, seconds };
}

async function peer(args) {
  const { seen, watch } = watcher();
  const done = await run(join(peers, 'qemu-img'), args, {}, watch);
  return { ...done, ...seen };
}
