/*
 * npm run demo: the founding workflow, from nothing to nothing. A disk with known contents, a guest that writes to it all
 * the time, a backup with sync=none, and readers of the frozen view over NBD that must see the instant of the backup.
 * Exit 0 when every byte is equal; 1 on any difference, with its place.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');
const folder = mkdtempSync(join(tmpdir(), 'tsimg-demo-'));
const isColoured = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
const bold = (text) => (isColoured ? `\u001b[1m${text}\u001b[0m` : text);
const green = (text) => (isColoured ? `\u001b[32m${text}\u001b[0m` : text);
const red = (text) => (isColoured ? `\u001b[31m${text}\u001b[0m` : text);
const diskSize = 32 * 1024 * 1024;
const reads = 4;

function step(text) {
  process.stdout.write(`\n${bold(text)}\n`);
}

function tsimg(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(dist, 'tsimg.cjs'), ...args], { cwd: folder, encoding: 'utf8' });
  process.stdout.write(`$ tsimg ${args.join(' ')}\n${stdout}${stderr}`);
  if (status !== 0) throw new Error(`tsimg ${args[0]} ended with ${status}`);
}

/** The disk's first contents: seeded, some of it zeros, so that there are holes too. */
function knownContents() {
  const bytes = Buffer.alloc(diskSize);
  let state = 20131103;
  for (let at = 0; at < diskSize; at += 65536) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    if (state % 4 === 0) continue;
    bytes.fill(1 + (state % 250), at, at + 65536);
    bytes.writeUInt32LE(at, at);
  }
  return bytes;
}

function read(name, file) {
  return `! "${process.execPath}" "${join(root, 'scripts', 'nbd-read.mjs')}" fleece.sock ${name} ${file}`;
}

/** Runs a script in tsqmp and passes on what it prints. */
function tsqmp(script) {
  writeFileSync(join(folder, 'demo.qmp'), script.join('\n'));
  const child = spawn(process.execPath, [join(dist, 'tsqmp.cjs'), '--disk', 'ide0-hd0=RUNNING-VM.qcow2', 'run', 'demo.qmp'], {
    cwd: folder,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
}

function firstDifference(a, b) {
  if (a.length !== b.length) return Math.min(a.length, b.length);
  let low = 0;
  for (let size = 65536; low < a.length; low += size) {
    if (a.compare(b, low, Math.min(low + size, b.length), low, Math.min(low + size, a.length)) !== 0) break;
  }
  while (low < a.length && a[low] === b[low]) low++;
  return low < a.length ? low : -1;
}

let code = 1;
try {
  step('1. A running disk with known contents, and an empty image for what will be overwritten');
  writeFileSync(join(folder, 'contents.raw'), knownContents());
  tsimg('convert', '-f', 'raw', '-O', 'qcow2', 'contents.raw', 'RUNNING-VM.qcow2');
  tsimg('create', '-f', 'qcow2', 'BACKUP.qcow2', String(diskSize));

  step('2. The workflow, while the guest writes all the time');
  const ended = await tsqmp([
    'guest run ide0-hd0 --workload mixed --seed 7 --requests 200',
    '# the guest is writing already; now the backup is prepared',
    'blockdev-add backing=ide0-hd0 file.driver=file file.filename=BACKUP.qcow2 id=target0 if=none driver=qcow2',
    'nbd-server-start addr.type=unix addr.data.path=fleece.sock',
    '# the instant: the guest stands still only so that the demo can write down what is true now',
    'stop',
    'blockdev-backup device=ide0-hd0 sync=none target=target0',
    'nbd-server-add device=ide0-hd0 name=now',
    read('now', 'instant.raw'),
    'nbd-server-remove name=now',
    'cont',
    'guest run ide0-hd0 --workload mixed --seed 11 --block-size 256k',
    'nbd-server-add device=target0',
    ...Array.from({ length: reads }, (_, index) => read('target0', `frozen-${index + 1}.raw`)),
    'map target0',
    'graph',
    'guest status',
    'query-block-jobs',
    '# the end: guest, export, job, drive',
    'guest stop',
    'nbd-server-add device=ide0-hd0 name=now',
    read('now', 'later.raw'),
    'nbd-server-remove name=now',
    'nbd-server-remove name=target0',
    'block-job-complete device=ide0-hd0',
    'wait BLOCK_JOB_CANCELLED timeout=30s',
    'drive_del target0',
    'nbd-server-stop',
  ]);
  if (ended !== 0) throw new Error(`tsqmp ended with ${ended}`);

  step('3. What the readers saw');
  const instant = readFileSync(join(folder, 'instant.raw'));
  let isEqual = true;
  for (let index = 1; index <= reads; index++) {
    const at = firstDifference(instant, readFileSync(join(folder, `frozen-${index}.raw`)));
    isEqual &&= at === -1;
    console.log(`reader ${index}: ${at === -1 ? green(`all ${diskSize} bytes as they were at the instant of the backup`) : red(`differs at byte ${at}`)}`);
  }
  const later = readFileSync(join(folder, 'later.raw'));
  let changed = 0;
  for (let at = 0; at < diskSize; at += 65536) if (later.compare(instant, at, at + 65536, at, at + 65536) !== 0) changed++;
  console.log(`the guest has changed ${changed} of ${diskSize / 65536} clusters since; BACKUP.qcow2 took ${statSync(join(folder, 'BACKUP.qcow2')).size} bytes`);
  if (changed === 0) throw new Error('the guest changed nothing: nothing was proved');
  tsimg('check', 'BACKUP.qcow2');
  tsimg('check', 'RUNNING-VM.qcow2');
  code = isEqual ? 0 : 1;
  console.log(isEqual ? green('\nFrozen: every reader saw one instant while the guest wrote on.') : red('\nNOT frozen.'));
} catch (error) {
  console.error(red(`demo: ${error instanceof Error ? error.message : error}`));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = code;
