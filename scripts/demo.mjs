/*
 * npm run demo: the founding workflow, from nothing to nothing. A disk with known contents, a guest that writes to it all
 * the time, a backup with sync=none, and readers of the frozen view over NBD that must see the instant of the backup.
 * Runs the built programs as a user does. Exit 0 when every byte is equal; 1 on any difference, with its place.
 */
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = process.env.TSIMG_DIST ?? join(root, 'dist');
const folder = mkdtempSync(join(tmpdir(), 'tsimg-demo-'));
const clusterSize = 65536;
const diskSize = 32 * 1024 * 1024;
const readers = 4;
const isColoured = process.stdout.isTTY === true && (process.env.NO_COLOR ?? '') === '' && process.env.TERM !== 'dumb';
const paint = (code) => (text) => (isColoured ? `\u001b[${code}m${text}\u001b[0m` : text);
const bold = paint(1);
const dim = paint(2);
const red = paint(31);
const green = paint(32);
const yellow = paint(33);
const say = (text) => process.stdout.write(`${text}\n`);

/** A command of the system's shell, shown and run. */
function tsimg(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(dist, 'tsimg.cjs'), ...args], { cwd: folder, encoding: 'utf8' });
  say(`${bold(`$ tsimg ${args.join(' ')}`)}\n${stdout}${stderr}`.trimEnd());
  if (status !== 0) throw new Error(`tsimg ${args[0]} ended with ${status}`);
}

/** The disk's first contents: seeded, some of it zeros, so that there are holes too. Each cluster tells where it belongs. */
function knownContents() {
  const bytes = Buffer.alloc(diskSize);
  let state = 20131103;
  for (let at = 0; at < diskSize; at += clusterSize) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    if ((state >>> 16) % 4 === 0) continue;
    bytes.fill(1 + ((state >>> 16) % 250), at, at + clusterSize);
    bytes.writeUInt32LE(at, at);
  }
  return bytes;
}

/** Puts the demo's own NBD client on the PATH of the script's shell lines. */
function installReader() {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  const launcher = join(bin, 'nbd-read');
  writeFileSync(launcher, `#!/bin/sh\nexec "${process.execPath}" "${join(root, 'scripts', 'nbd-read.mjs')}" "$@"\n`);
  chmodSync(launcher, 0o755);
  return `${bin}${delimiter}${process.env.PATH ?? ''}`;
}

/** Runs a script in tsqmp, shows what it prints, and returns the lines. */
async function tsqmp(script) {
  writeFileSync(join(folder, 'fleecing.qmp'), script.map((line) => `${line}\n`).join(''));
  const args = ['--disk', 'ide0-hd0=RUNNING-VM.qcow2', 'run', 'fleecing.qmp'];
  say(bold(`$ tsqmp ${args.join(' ')}`));
  // one pipe for both streams: what is said beside an answer stays beside it
  const child = spawn('/bin/sh', ['-c', 'exec "$0" "$@" 2>&1', process.execPath, join(dist, 'tsqmp.cjs'), ...args], {
    cwd: folder,
    env: { ...process.env, PATH: installReader() },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = [];
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (/^(?:note|hint|warning): /.test(line)) {
      say(yellow(line));
      return;
    }
    lines.push(line);
    say(line.startsWith('(QEMU) ') ? bold(line) : line.startsWith('#') && !line.startsWith('# data') ? `\n${green(line)}` : dim(line));
  });
  const status = await ended;
  if (status !== 0) throw new Error(`tsqmp ended with ${status}`);
  return lines;
}

/** The place of the first byte that differs; -1 when there is none. */
function firstDifference(a, b) {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at += clusterSize) {
    const end = Math.min(at + clusterSize, length);
    if (a.compare(b, at, end, at, end) === 0) continue;
    while (a[at] === b[at]) at++;
    return at;
  }
  return a.length === b.length ? -1 : length;
}

const hex = (byte) => (byte === undefined ? 'nothing' : `0x${byte.toString(16).padStart(2, '0')}`);

function lastMatch(lines, pattern) {
  const found = lines.map((line) => pattern.exec(line)).filter((match) => match !== null);
  return found.at(-1)?.slice(1) ?? [];
}

let code = 1;
try {
  say(bold('1. A disk with known contents, and an empty image for what will be overwritten\n'));
  writeFileSync(join(folder, 'contents.raw'), knownContents());
  tsimg('convert', '-f', 'raw', '-O', 'qcow2', 'contents.raw', 'RUNNING-VM.qcow2');
  tsimg('create', '-f', 'qcow2', 'BACKUP.qcow2', String(diskSize));

  say(bold('\n2. The workflow, while the guest writes all the time\n'));
  const lines = await tsqmp([
    'guest run ide0-hd0 --workload mixed --seed 7',
    '# The guest is writing already. The empty image becomes an overlay of the running disk, and the NBD server starts.',
    'blockdev-add backing=ide0-hd0 file.driver=file file.filename=BACKUP.qcow2 id=target0 if=none driver=qcow2',
    'nbd-server-start addr.type=unix addr.data.path=fleece.sock',
    '# The instant. The guest stands still only while this demo writes down what is true now, to compare with later.',
    'stop',
    'blockdev-backup device=ide0-hd0 sync=none target=target0',
    'nbd-server-add device=target0',
    'nbd-server-add device=ide0-hd0 name=now',
    '! nbd-read fleece.sock now instant.raw',
    'nbd-server-remove name=now',
    'cont',
    '# It writes again: what it is about to overwrite goes to BACKUP.qcow2 first.',
    'map target0',
    `# ${readers} readers at once, while the guest goes on.`,
    `! for n in ${Array.from({ length: readers }, (_, index) => index + 1).join(' ')}; do nbd-read fleece.sock target0 frozen-$n.raw & done; wait`,
    'map target0',
    'graph',
    'guest status',
    'query-block-jobs',
    '# The end: first the export, then the job, then the drive.',
    'nbd-server-remove name=target0',
    'block-job-complete device=ide0-hd0',
    'wait BLOCK_JOB_CANCELLED timeout=30s',
    'drive_del target0',
    '# What has become of the disk meanwhile.',
    'guest stop',
    'nbd-server-add device=ide0-hd0 name=now',
    '! nbd-read fleece.sock now later.raw',
    'nbd-server-stop',
  ]);

  say(bold('\n3. What the readers saw\n'));
  const instant = readFileSync(join(folder, 'instant.raw'));
  let differences = 0;
  for (let index = 1; index <= readers; index++) {
    const frozen = readFileSync(join(folder, `frozen-${index}.raw`));
    const at = firstDifference(instant, frozen);
    if (at === -1) {
      say(green(`  reader ${index}: all ${diskSize} bytes as they were at the instant of the backup`));
      continue;
    }
    differences++;
    say(red(`  reader ${index}: differs at byte ${at} (cluster ${Math.floor(at / clusterSize)}): ${hex(instant[at])} at the instant, ${hex(frozen[at])} read`));
  }
  const later = readFileSync(join(folder, 'later.raw'));
  let changed = 0;
  for (let at = 0; at < diskSize; at += clusterSize) if (later.compare(instant, at, at + clusterSize, at, at + clusterSize) !== 0) changed++;
  const [written] = lastMatch(lines, /, (\d+) bytes written/);
  const [saved, clusters] = lastMatch(lines, /has saved (\d+) of (\d+) clusters/);
  say(`  the guest wrote ${written} bytes and changed ${changed} of ${diskSize / clusterSize} clusters`);
  say(`  copy-before-write saved ${saved} of ${clusters} clusters first; BACKUP.qcow2 has ${statSync(join(folder, 'BACKUP.qcow2')).size} bytes`);
  if (changed === 0) throw new Error('the guest changed nothing: nothing was proved');

  say('');
  tsimg('check', 'RUNNING-VM.qcow2');
  tsimg('check', 'BACKUP.qcow2');
  rmSync(join(folder, 'BACKUP.qcow2'));
  say(bold('$ rm BACKUP.qcow2'));
  code = differences === 0 ? 0 : 1;
  say(differences === 0 ? green(bold('\nFrozen: every reader saw one instant while the guest wrote on.')) : red(bold('\nNOT frozen.')));
} catch (error) {
  console.error(red(`demo: ${error instanceof Error ? error.message : error}`));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = code;
