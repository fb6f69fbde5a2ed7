/* Damaged images that are repaired, and images whose clusters internal snapshots share. */
import type { CreateValues } from '../../src/core/block/driver.ts';
import { damages, ImageBytes, type SnapshotShape } from '../support/qcow2-bytes.ts';
import type { Random } from '../support/random.ts';
import type { Guest } from './guest.ts';
import { backingOf, caches, fillAll, fillSome, history, kib, mixed } from './histories.ts';
import type { Scenario } from './scenario.ts';

const file = 'image.qcow2';

/** What prepares an image as bytes and keeps watch over what its snapshots hold. */
export function watched(alter: (image: ImageBytes, random: Random) => void, backing: Uint8Array = new Uint8Array(0)): Pick<Scenario, 'prepare' | 'inspect'> {
  let expected: ReturnType<ImageBytes['snapshots']> = [];
  return {
    prepare: (media, random) => {
      const image = new ImageBytes(media.get(file) ?? new Uint8Array(0));
      alter(image, random);
      media.set(file, image.bytes);
      expected = image.snapshots(backing);
    },
    inspect: (bytes, where) => {
      const found = new ImageBytes(bytes).snapshots(backing);
      if (found.length !== expected.length) throw new Error(`${where}: ${found.length} snapshots of ${expected.length}`);
      for (const [index, { name, content }] of expected.entries()) {
        if (found[index]?.name !== name) throw new Error(`${where}: snapshot ${index} is named ${found[index]?.name}, not ${name}`);
        const at = content.findIndex((value, offset) => found[index]?.content[offset] !== value);
        if (at >= 0) throw new Error(`${where}: snapshot ${name}: byte ${at} is ${found[index]?.content[at]}, not ${content[at]}`);
      }
    },
  };
}

// the second name is no text
export const sound = (): readonly SnapshotShape[] => [{ name: Buffer.from('first') }, { name: Uint8Array.of(0x61, 0xff, 0x62), id: 'x' }];

interface Repair {
  readonly values?: CreateValues;
  readonly fix?: 'leaks' | 'all';
  readonly snapshots?: (random: Random) => readonly SnapshotShape[];
  readonly open?: Scenario['open'];
  readonly before?: Scenario['before'];
}

/** Damage, and a repair; one that failed is tried again, and a guest goes on with what was repaired. */
function repair(
  name: string,
  kinds: readonly (keyof typeof damages)[],
  { values = {}, fix = 'all', snapshots, open = {}, before = fillSome }: Repair = {},
): Scenario {
  const what = { leaks: true, errors: fix === 'all' };
  return {
    name,
    values: { size: 48 * kib, cluster_size: kib, ...values },
    before,
    open,
    damaged: kinds.includes('misplacedZeros') ? 'unreadable' : fix === 'leaks' ? 'leaks' : 'anything',
    ...watched((image, random) => {
      if (snapshots !== undefined) image.takeSnapshots(snapshots(random));
      for (const kind of kinds) damages[kind](image, random);
    }),
    play: async (guest, random) => {
      if (!((await guest.repair(what)) || (await guest.repair(what)))) return;
      await guest.begin();
      await guest.write(random(40) * kib, 2 * kib, 1);
      await guest.flush();
    },
  };
}

/** Up to five entries, of which the first one has to be written anew. */
function incomplete(random: Random): readonly SnapshotShape[] {
  return Array.from({ length: 1 + random(5) }, (_, index) => ({
    name: Uint8Array.from({ length: 1 + random(30) }, () => 1 + random(255)),
    extra: index === 0 ? 8 * random(2) : 8 * random(4),
  }));
}

const several = ['copiedFlags', 'highCount', 'leak', 'sharedCluster'] as const;

export const repairs: readonly Scenario[] = [
  repair('leaks', ['leak'], { fix: 'leaks' }),
  repair('leaks of an image with snapshots', ['leak'], { fix: 'leaks', snapshots: sound }),
  repair('leaks, all discards passed on', ['leak', 'highCount'], { open: { ...caches, 'pass-discard-other': true } }),
  repair('leaks, no discards passed on', ['leak', 'highCount'], { open: { 'pass-discard-request': false, 'pass-discard-snapshot': false } }),
  repair('counts of single clusters', ['sharedCluster', 'sharedCluster', 'highCount', 'leak'], { values: { cluster_size: 512 }, before: fillAll }),
  repair('COPIED flags', ['copiedFlags'], { values: { cluster_size: 512 }, before: fillAll }),
  repair('COPIED flags of shared clusters', ['copiedFlags'], { snapshots: sound }),
  repair('a refcount structure without a count', ['uncounted', 'leak']),
  repair('a refcount structure without its block', ['sharedCluster', 'copiedFlags', 'lostBlock'], { snapshots: sound }),
  repair('a refcount block beyond the end', ['blockBeyondEnd', 'leak'], { values: { cluster_size: 512 } }),
  repair('places of zeros that cannot be', ['misplacedZeros', 'leak'], { before: fillAll }),
  repair('a snapshot table', [], { snapshots: incomplete }),
  repair('a snapshot table, all discards passed on', ['leak'], { snapshots: incomplete, open: { 'pass-discard-other': true, 'pass-discard-snapshot': true } }),
  repair('much at once', several, { snapshots: incomplete }),
  repair('much at once, and the refcount structure', ['copiedFlags', 'leak', 'uncounted', 'misplacedZeros'], { snapshots: incomplete, before: fillAll }),
];

const taken = (image: ImageBytes): void => image.takeSnapshots(sound());
const sizes = [20 * kib, 48 * kib, 100 * kib, 33 * kib + 512];

export const shared: readonly Scenario[] = [
  history('snapshots', {}, kib, watched(taken)),
  history('snapshots, small caches, all discards passed on', {}, 512, { open: { ...caches, 'pass-discard-other': true }, ...watched(taken) }),
  history('snapshots of a disk that is resized', {}, 512, { mix: { steps: 10, resize: sizes }, ...watched(taken) }),
  history('snapshots over a longer backing file, resized', {}, kib, {
    backing: backingOf(120 * kib),
    mix: { steps: 8, resize: sizes },
    ...watched(taken, backingOf(120 * kib)),
  }),
  {
    name: 'growing with metadata, with snapshots',
    values: { size: 24 * kib, cluster_size: kib },
    before: fillSome,
    ...watched(taken),
    play: async (guest, random) => {
      await guest.write(random(8) * kib, 3 * kib, 1);
      await guest.resize(60 * kib + random(20) * 512, 'metadata');
      await guest.write(guest.size - 4 * kib, 3 * kib, 3);
    },
  },
  { name: 'growing a data file', values: { size: 24 * kib, cluster_size: 512, data_file: 'data.raw' }, before: fillSome, play: growFar },
  {
    name: 'growing a raw data file',
    values: { size: 24 * kib, cluster_size: 512, data_file: 'data.raw', data_file_raw: true },
    before: fillSome,
    play: growFar,
  },
  history('discards of requests kept, all others passed on', {}, 512, {
    open: { 'pass-discard-request': false, 'pass-discard-other': true },
    mix: { resize: sizes },
  }),
  history('no discards passed on, small caches', {}, 512, {
    open: { ...caches, 'pass-discard-request': false, 'pass-discard-snapshot': false, 'pass-discard-other': false },
    mix: { resize: sizes },
  }),
];

/** Over the end of the L1 table, again and again; writes where the new tables are. */
async function growFar(guest: Guest, random: Random): Promise<void> {
  for (const size of [56 * kib + random(8) * 512, 90 * kib, 140 * kib]) {
    await guest.resize(size);
    await guest.write(guest.size - (1 + random(6)) * kib, kib, 1 + random(9));
    if (random(3) === 0) await guest.flush();
  }
  await mixed(guest, random, { steps: 3, unit: 512 });
}
