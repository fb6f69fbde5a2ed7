/* Snapshots that come and go among writes, and disks that become what they were. */
import type { CreateValues } from '../../src/core/block/driver.ts';
import type { Random } from '../support/random.ts';
import type { Guest } from './guest.ts';
import { backingOf, caches, fillSome, kib, mixed } from './histories.ts';
import type { Scenario } from './scenario.ts';

type Verb = 'take' | 'apply' | 'delete' | 'grow' | 'shrink';

/** Each verb with a few requests around it; snapshots are the oldest there is, or the newest. */
async function around(guest: Guest, random: Random, verbs: readonly Verb[], unit: number, compressed: number): Promise<void> {
  const names: string[] = [];
  for (const [index, verb] of verbs.entries()) {
    await mixed(guest, random, { steps: 3, unit, compressed });
    const at = random(2) === 0 ? 0 : -1;
    const name = names.at(at) ?? '';
    if (verb === 'take') {
      names.push(`s${index}`);
      await guest.takeSnapshot(`s${index}`);
    } else if (verb === 'apply') await guest.applySnapshot(name);
    else if (verb === 'delete') {
      names.splice(at, 1);
      await guest.deleteSnapshot(name);
    } else await guest.resize(verb === 'grow' ? guest.size + 20 * kib : Math.max(16 * kib, guest.size - 12 * kib));
  }
  await mixed(guest, random, { steps: 3, unit, compressed });
}

const all: readonly Verb[] = ['take', 'take', 'apply', 'delete', 'take', 'apply', 'delete', 'delete'];

function snapshots(name: string, verbs: readonly Verb[], values: CreateValues = {}, more: Partial<Scenario> & { compressed?: number } = {}): Scenario {
  const { compressed = 0, ...rest } = more;
  const unit = Number(values['cluster_size'] ?? kib);
  return {
    name: `snapshots: ${name}`,
    values: { size: 48 * kib, cluster_size: kib, ...values },
    before: fillSome,
    play: (guest, random) => around(guest, random, verbs, unit, compressed),
    neverFails: true,
    hasLateFlags: true,
    ...rest,
  };
}

export const snapshotScenarios: readonly Scenario[] = [
  snapshots('taken', ['take', 'take', 'take']),
  snapshots('taken and deleted', ['take', 'delete', 'take', 'take', 'delete', 'delete']),
  snapshots('applied', ['take', 'apply', 'take', 'apply', 'apply']),
  snapshots('everything, 512 byte clusters', all, { cluster_size: 512 }, { open: caches }),
  snapshots('everything, extended L2', all, { size: 64 * kib, cluster_size: 16 * kib, extended_l2: true }),
  snapshots('everything, version 2', all, { compat: '0.10' }),
  snapshots('everything, over a backing file', all, {}, { backing: backingOf(48 * kib) }),
  snapshots('everything, compressed clusters', all, { cluster_size: 4 * kib }, { compressed: 5, neverFails: false }),
  snapshots('everything, all discards passed on', all, { cluster_size: 512 }, { open: { 'pass-discard-other': true } }),
  snapshots('applied with another size', ['take', 'grow', 'take', 'apply', 'shrink', 'apply', 'delete', 'apply'], { cluster_size: 512 }),
  snapshots('everything, lazy refcounts', all, { lazy_refcounts: true }, { isLazy: true }),
  // the third of them has no room in its counts: it fails, and leaves nothing
  snapshots('2-bit refcounts', ['take', 'take', 'take', 'apply', 'delete'], { refcount_bits: 2 }, { neverFails: false }),
];
