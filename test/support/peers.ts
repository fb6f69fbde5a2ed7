/*
 * The peers (QEMU, nbdkit, libnbd, fio …) as scripts/peers brings them. Absent: tests that need one are skipped loudly;
 * with REQUIRE_PEERS=1 their absence is a failure.
 */
import { accessSync, constants, existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { describe, it } from 'vitest';

const folder = process.env['TSIMG_PEERS'] ?? join(homedir(), '.cache', 'tsimg-peers');

/** The path of a peer's program, or undefined. */
export function findPeer(name: string): string | undefined {
  for (const directory of [join(folder, 'bin'), ...(process.env['TSIMG_PEERS_ON_PATH'] ? (process.env['PATH'] ?? '').split(delimiter) : [])]) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not here: look on
    }
  }
  return undefined;
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
  else if (process.env['REQUIRE_PEERS'] === '1')
    describe(title, () => it(`needs ${absent.join(', ')}`, () => Promise.reject(new Error(`missing peers: ${absent.join(', ')}`))));
  else leaveOut(title, absent);
}

function leaveOut(title: string, absent: readonly string[]): void {
  console.warn(`LEFT OUT: ${title} (needs ${absent.join(', ')}; run scripts/peers/install)`);
  describe.runIf(false)(title, () => it(`needs ${absent.join(', ')}`, () => {}));
}

export const peersFolder: string | undefined = existsSync(folder) ? folder : undefined;
