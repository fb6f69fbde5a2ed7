/* Persistent bitmaps that commands change, and images whose header, counts and version are amended. */
import type { BlockBackend } from '../../src/core/block/backend.ts';
import type { CreateValues } from '../../src/core/block/driver.ts';
import type { ImageBytes } from '../support/qcow2-bytes.ts';
import type { Random } from '../support/random.ts';
import type { Guest } from './guest.ts';
import { backingOf, caches, history, kib, mixed } from './histories.ts';
import { sound, watched } from './repair-scenarios.ts';
import type { Scenario } from './scenario.ts';
import { sector } from './tape.ts';

const taken = (image: ImageBytes): void => image.takeSnapshots(sound());

// -- bitmaps: `all` has recorded every change there ever was, `late` those of values from 50 on, `still` none after the first tape --------------------

const late = 50;

async function addBitmaps(guest: Guest): Promise<void> {
  const { dirtyBitmaps } = guest.backend.node ?? {};
  dirtyBitmaps?.add({ name: 'all', granularity: 512, isPersistent: true });
  dirtyBitmaps?.add({ name: 'late', granularity: 1024, isPersistent: true });
  dirtyBitmaps?.add({ name: 'still', granularity: 4096, isPersistent: true });
  await guest.write(0, 8 * kib, 100);
  const still = dirtyBitmaps?.find('still');
  if (still !== undefined) still.isEnabled = false;
  await guest.flush();
}

type Verb = 'add' | 'remove' | 'clear' | 'merge' | 'disable' | 'enable';

async function carryOut(guest: Guest, verb: Verb): Promise<void> {
  const { node } = guest.backend;
  const find = (name: string) => node?.dirtyBitmaps.find(name);
  switch (verb) {
    case 'add':
      await guest.attempt(() => node?.dirtyBitmaps.add({ name: 'copy', granularity: 2048, isPersistent: true }));
      return;
    case 'merge': {
      const all = find('all');
      if (all !== undefined) await guest.attempt(() => find('copy')?.merge(all));
      return;
    }
    case 'remove': {
      const gone = find('still');
      if (gone !== undefined && (await guest.attempt(() => node?.state.bitmapStore?.remove('still')))) node?.dirtyBitmaps.remove(gone);
      return;
    }
    case 'clear':
      await guest.attempt(() => find('late')?.clear());
      return;
    default: {
      const bitmap = find('copy');
      if (bitmap !== undefined) bitmap.isEnabled = verb === 'enable';
    }
  }
}

/** What an opened medium says consistently of its bitmaps must be so. */
async function verifyBitmaps(backend: BlockBackend, where: string): Promise<void> {
  const content = new Uint8Array(backend.size());
  await backend.read(0, content);
  const check = (name: string, isMeant: (value: number) => boolean): void => {
    const bitmap = backend.node?.dirtyBitmaps.find(name);
    // lost as a whole, or told to be inconsistent: nobody will believe it
    if (bitmap === undefined || bitmap.isInconsistent) return;
    for (let at = 0; at < content.length; at += sector) {
      if (isMeant(content[at] ?? 0) && !bitmap.isDirty(at)) throw new Error(`${where}: byte ${at} is ${content[at]}, which bitmap ${name} does not know`);
    }
  };
  check('all', (value) => value !== 0);
  check('copy', (value) => value !== 0);
  check('late', (value) => value >= late && value < 100);
  check('still', (value) => value === 100);
  const still = backend.node?.dirtyBitmaps.find('still');
  if (still?.isInconsistent === false && still.isDirty(40 * kib)) throw new Error(`${where}: bitmap still recorded`);
}

/** Changes among writes of one session; whatever is cleared is cleared before the first late value. */
function bitmaps(name: string, verbs: readonly Verb[], values: CreateValues = {}, more: Partial<Scenario> = {}): Scenario {
  return {
    name,
    values: { size: 48 * kib, cluster_size: kib, ...values },
    before: addBitmaps,
    verify: verifyBitmaps,
    neverFails: true,
    play: async (guest, random) => {
      let value = late;
      for (const verb of verbs) {
        await carryOut(guest, verb);
        await guest.write((16 + random(30)) * kib, kib, value++);
        if (random(3) === 0) await guest.flush();
      }
    },
    ...more,
  };
}

export const bitmapScenarios: readonly Scenario[] = [
  bitmaps('bitmaps: added and merged', ['add', 'merge']),
  bitmaps('bitmaps: removed', ['remove', 'add', 'merge']),
  bitmaps('bitmaps: cleared', ['clear']),
  bitmaps('bitmaps: disabled and enabled', ['add', 'disable', 'enable', 'merge']),
  bitmaps('bitmaps: everything, 512 byte clusters', ['clear', 'add', 'remove', 'merge'], { cluster_size: 512 }, { open: caches }),
  bitmaps(
    'bitmaps: everything, 64-bit refcounts, all discards passed on',
    ['clear', 'add', 'remove', 'merge'],
    { refcount_bits: 64, cluster_size: 512 },
    {
      open: { 'pass-discard-other': true },
    },
  ),
  bitmaps('bitmaps: everything, with snapshots', ['clear', 'add', 'remove', 'merge'], {}, watched(taken)),
  bitmaps('bitmaps: everything, lazy refcounts', ['clear', 'add', 'remove', 'merge'], { lazy_refcounts: true }, { isLazy: true }),
];

// -- amend ------------------------------------------------------------------------------------------------------------------

async function amend(guest: Guest, values: CreateValues): Promise<void> {
  await guest.attempt(() => guest.backend.node?.state.amend?.(values, { force: false, onProgress: () => {} }));
}

function amending(name: string, values: CreateValues, changes: readonly CreateValues[], more: Partial<Scenario> = {}): Scenario {
  return history(name, { size: 48 * kib, ...values }, Number(values['cluster_size'] ?? kib), {
    play: async (guest: Guest, random: Random) => {
      for (const change of changes) {
        await mixed(guest, random, { steps: 4, unit: kib });
        await amend(guest, change);
      }
      await mixed(guest, random, { steps: 3, unit: kib });
    },
    neverFails: true,
    ...more,
  });
}

const down = { compat: '0.10' };
const up = { compat: '1.1' };

export const amendScenarios: readonly Scenario[] = [
  amending('amend: down', {}, [down]),
  amending('amend: up and down', { compat: '0.10' }, [up, down]),
  amending('amend: down over a backing file', {}, [down], { backing: backingOf(48 * kib) }),
  amending('amend: down, 512 byte clusters, small caches', { cluster_size: 512 }, [down, up], { open: caches }),
  amending('amend: down with snapshots', {}, [down], { backing: backingOf(48 * kib), ...watched(taken, backingOf(48 * kib)) }),
  amending('amend: wider counts', {}, [{ refcount_bits: 64 }]),
  amending('amend: narrower counts', { refcount_bits: 64 }, [{ refcount_bits: 1 }]),
  amending('amend: counts, 512 byte clusters, all discards passed on', { cluster_size: 512 }, [{ refcount_bits: 32 }, { refcount_bits: 8 }], {
    open: { ...caches, 'pass-discard-other': true },
  }),
  amending('amend: counts of an image with snapshots', {}, [{ refcount_bits: 2 }, { refcount_bits: 64 }], watched(taken)),
  amending('amend: lazy refcounts', {}, [{ lazy_refcounts: true }, { lazy_refcounts: false }, { lazy_refcounts: true, refcount_bits: 8 }], { isLazy: true }),
  amending('amend: everything at once', { refcount_bits: 8, lazy_refcounts: true }, [{ ...down, refcount_bits: 16, lazy_refcounts: false }], { isLazy: true }),
  amending('amend: everything at once, upwards', { ...down }, [{ ...up, refcount_bits: 64, lazy_refcounts: true }], { isLazy: true }),
];
