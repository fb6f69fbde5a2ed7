/*
 * The peers (QEMU, nbdkit, libnbd, fio …) as scripts/peers brings them. Absent: tests that need one are skipped loudly;
 * with REQUIRE_PEERS=1 their absence is a failure.
 */
import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'vitest';
import { nameOfLeftOut } from './closing-lines.ts';

const folder = process.env['TSIMG_PEERS'] ?? join(homedir(), '.cache', 'tsimg-peers');

/** The path of a peer's program, or undefined. */
export function findPeer(name: string): string | undefined {
  const path = join(folder, 'bin', name);
  try {
    accessSync(path, constants.X_OK);
    return path;
  } catch {
    return undefined;
  }
}

/** The path of a peer that the caller is only run with. */
export function peer(name: string): string {
  const path = findPeer(name);
  if (path === undefined) throw new Error(`peer ${name} is missing: run scripts/peers/install`);
  return path;
}

function missing(names: readonly string[]): string[] {
  return names.filter((name) => findPeer(name) === undefined);
}

/** `describe` that needs peers. */
export function describeWithPeers(names: readonly string[], title: string, body: () => void): void {
  const absent = missing(names);
  if (absent.length === 0) describe(title, body);
  else describe(title, () => leaveOut(absent));
}

/** `it` that needs peers. */
export function itWithPeers(names: readonly string[], title: string, body: () => void | Promise<void>): void {
  const absent = missing(names);
  if (absent.length === 0) it(title, body);
  else describe(title, () => leaveOut(absent));
}

/** Stands for the tests: test/support/closing-lines.ts tells of it at the end of the run. */
function leaveOut(absent: readonly string[]): void {
  const name = nameOfLeftOut(absent);
  if (process.env['REQUIRE_PEERS'] === '1') it(name, () => Promise.reject(new Error(`missing peers: ${absent.join(', ')}; run scripts/peers/install`)));
  else it.runIf(false)(name, () => {});
}
