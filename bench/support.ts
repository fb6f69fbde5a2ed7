/* Pairs of measurements in turns (A B A B …), medians, ratios, and servers that are ended by pid. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

const peers = join(process.env['TSIMG_PEERS'] ?? join(homedir(), '.cache', 'tsimg-peers'), 'bin');
const root = process.env['TSIMG_ROOT'] ?? process.cwd();

export const peer = (name: string): string => join(peers, name);
const dist = (name: string): string => join(root, 'dist', `${name}.cjs`);

/** Whether the words after the subject (TSIMG_ROWS) pick this row: all without any. */
export function picked(row: { readonly subject: string; readonly name: string }): boolean {
  const words = (process.env['TSIMG_ROWS'] ?? '').split(' ').filter((word) => word !== '');
  return words.length === 0 || words.some((word) => row.subject === word || row.name.includes(word));
}

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
}

export const ours = (name: string, ...args: string[]): Command => ({ file: process.execPath, args: [dist(name), ...args] });
export const theirs = (name: string, ...args: string[]): Command => ({ file: peer(name), args });

/** Runs to the end; milliseconds. Throws when it fails. */
export function time({ file, args }: Command, cwd?: string): number {
  const since = performance.now();
  const done = spawnSync(file, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
  const took = performance.now() - since;
  if (done.status !== 0) throw new Error(`${file} ${args.join(' ')}: ${done.stderr}`);
  return took;
}

export function output({ file, args }: Command, cwd?: string): string {
  const done = spawnSync(file, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  if (done.status !== 0) throw new Error(`${file} ${args.join(' ')}: ${done.stderr}`);
  return done.stdout;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Measures `a` and `b` in turns, one warm-up first; the medians. */
export async function pair(rounds: number, a: () => Promise<number> | number, b: () => Promise<number> | number): Promise<[number, number]> {
  await a();
  await b();
  const first: number[] = [];
  const second: number[] = [];
  for (let round = 0; round < rounds; round++) {
    first.push(await a());
    second.push(await b());
  }
  return [median(first), median(second)];
}

/** Prints one row: figures of both sides, the ratio, and the goal. */
export function row(name: string, mine: string, peers_: string, ratio: number, goal: { readonly atLeast?: number; readonly atMost?: number }): void {
  const isMet = (goal.atLeast === undefined || ratio >= goal.atLeast) && (goal.atMost === undefined || ratio <= goal.atMost);
  const wanted = goal.atLeast === undefined ? `at most ${goal.atMost}` : `at least ${goal.atLeast}`;
  console.log(`| ${name} | ${mine} | ${peers_} | ${ratio.toFixed(2)} | ${wanted} | ${isMet ? 'met' : 'missed'} |`);
}

export function folder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tsimg-bench-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Starts a server and waits for its socket. */
export async function serve({ file, args }: Command, socket: string): Promise<{ stop(): Promise<void>; child: ChildProcess }> {
  const child = spawn(file, args, { stdio: ['pipe', 'ignore', 'inherit'] });
  for (let tries = 0; tries < 500 && !existsSync(socket); tries++) await new Promise((resolve) => setTimeout(resolve, 20));
  if (!existsSync(socket)) throw new Error(`${file} did not start`);
  return {
    child,
    stop: async () => {
      const ended = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGTERM');
      await ended;
      rmSync(socket, { force: true });
    },
  };
}

/** For fio: not once over the size, but for this long. */
export const timed: readonly string[] = ['--time_based', '--runtime=3'];

/** Requests a second of fio on an NBD export. */
export function fio(uri: string, options: readonly string[]): number {
  const text = output(theirs('fio', '--name=b', '--ioengine=nbd', `--uri=${uri}`, '--output-format=json', ...options));
  const report = JSON.parse(text.slice(text.indexOf('{'))) as { jobs: { read: { iops: number }; write: { iops: number } }[] };
  return (report.jobs[0]?.read.iops ?? 0) + (report.jobs[0]?.write.iops ?? 0);
}

/** Makes a file of 1 GiB without a zero block. */
export function gibibyteOfData(path: string): void {
  const block = Buffer.alloc(64 * 1024 * 1024);
  for (let at = 0; at < block.length; at += 4) block.writeUInt32LE((Math.imul(at, 2654435761) | 1) >>> 0, at);
  for (let index = 0; index < 16; index++) writeFileSync(path, block, { flag: 'a' });
}
