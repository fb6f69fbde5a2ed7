/* Everything that writes, as scenarios: small disks with small clusters, so that tables and counts move soon. */
import type { BlockBackend } from '../../src/core/block/backend.ts';
import type { Random } from '../support/random.ts';
import type { Guest } from './guest.ts';
import { backingOf, caches, fillAll, fillSome, history, kib, mixed } from './histories.ts';
import type { Scenario } from './scenario.ts';
import { sector } from './tape.ts';

const grown = 160 * kib;

async function growAround(guest: Guest, random: Random, prealloc: 'off' | 'metadata' | 'falloc' | 'full'): Promise<void> {
  await guest.write(random(8) * kib, 3 * kib, 1);
  await guest.resize(guest.size + sector * (1 + random(60)), prealloc);
  await guest.write(guest.size - 2 * kib, kib, 2);
  if (random(2) === 0) await guest.flush();
  await guest.resize(grown, prealloc);
  await guest.write(guest.size - 4 * kib, 3 * kib, 3);
}

async function shrinkAround(guest: Guest, random: Random): Promise<void> {
  await guest.write(random(8) * kib, 3 * kib, 1);
  await guest.resize(guest.size - sector * (1 + random(80)));
  await guest.write(guest.size - 2 * kib, kib, 2);
  if (random(2) === 0) await guest.flush();
  await guest.resize(8 * kib + random(16) * sector);
  await guest.write(0, 2 * kib, 3);
  await guest.resize(96 * kib);
  await guest.write(guest.size - 4 * kib, 3 * kib, 4);
}

/** Sets a feature word in the header of the image. */
function feature(at: number, bits: bigint): (media: Map<string, Uint8Array>) => void {
  return (media) => {
    const bytes = media.get('image.qcow2');
    if (bytes === undefined) return;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    view.setBigUint64(at, view.getBigUint64(at) | bits);
  };
}

export const histories: readonly Scenario[] = [
  history('4 KiB clusters', {}, 4 * kib),
  history('512 byte clusters, small caches', {}, 512, { open: caches }),
  history('extended L2', { extended_l2: true, size: 64 * kib }, 16 * kib),
  history('version 2', { compat: '0.10' }, kib),
  history('64-bit refcounts', { refcount_bits: 64 }, 512, { open: caches }),
  history('1-bit refcounts', { refcount_bits: 1 }, 512),
  history('lazy refcounts', { lazy_refcounts: true }, kib, { isLazy: true }),
  history('over a backing file', {}, kib, { backing: backingOf(48 * kib) }),
  history('extended L2 over a backing file', { extended_l2: true, size: 64 * kib }, 16 * kib, { backing: backingOf(64 * kib) }),
];

export const resizes: readonly Scenario[] = [
  { name: 'growing', values: { size: 24 * kib, cluster_size: 512 }, before: fillSome, open: caches, play: (guest, random) => growAround(guest, random, 'off') },
  {
    name: 'growing over a longer backing file',
    values: { size: 24 * kib + 512, cluster_size: kib },
    backing: backingOf(200 * kib),
    before: fillSome,
    play: (guest, random) => growAround(guest, random, 'off'),
  },
  {
    name: 'growing over a longer backing file, extended L2',
    values: { size: 24 * kib + 512, cluster_size: 16 * kib, extended_l2: true },
    backing: backingOf(200 * kib),
    play: (guest, random) => growAround(guest, random, 'off'),
  },
  {
    name: 'growing with metadata',
    values: { size: 24 * kib, cluster_size: kib },
    before: fillSome,
    play: (guest, random) => growAround(guest, random, 'metadata'),
  },
  {
    name: 'growing with metadata over a longer backing file',
    values: { size: 24 * kib + 512, cluster_size: kib },
    backing: backingOf(200 * kib),
    play: (guest, random) => growAround(guest, random, 'metadata'),
  },
  {
    name: 'growing with blocks',
    values: { size: 24 * kib, cluster_size: kib },
    before: fillSome,
    play: (guest, random) => growAround(guest, random, 'falloc'),
  },
  {
    name: 'growing with blocks over a longer backing file',
    values: { size: 24 * kib + 512, cluster_size: kib },
    backing: backingOf(200 * kib),
    play: (guest, random) => growAround(guest, random, 'full'),
  },
  { name: 'shrinking', values: { size: 80 * kib, cluster_size: 512 }, before: fillAll, play: shrinkAround },
  { name: 'shrinking over a backing file', values: { size: 80 * kib, cluster_size: 512 }, backing: backingOf(96 * kib), before: fillSome, play: shrinkAround },
  {
    name: 'resizes among writes',
    values: { size: 48 * kib, cluster_size: 512 },
    before: fillSome,
    play: (guest, random) => mixed(guest, random, { steps: 10, unit: 512, resize: [20 * kib, 48 * kib, 100 * kib, 33 * kib + 512] }),
  },
];

/** A bitmap that records from the first tape on: what a writer's open finds consistent says of every change that it was one. */
async function addBitmap(guest: Guest): Promise<void> {
  guest.backend.node?.dirtyBitmaps.add({ name: 'b', granularity: 1024, isPersistent: true });
  await guest.flush();
}

async function verifyBitmap(backend: BlockBackend, where: string): Promise<void> {
  const bitmap = backend.node?.dirtyBitmaps.find('b');
  // lost as a whole, or told to be inconsistent: nobody will believe it
  if (bitmap === undefined || bitmap.isInconsistent) return;
  const content = new Uint8Array(backend.size());
  await backend.read(0, content);
  // the disk was empty when the bitmap began
  for (let at = 0; at < content.length; at += sector) {
    if (content[at] !== 0 && !bitmap.isDirty(at)) throw new Error(`${where}: byte ${at} changed, and the bitmap says it did not`);
  }
}

/** The refcount table of 512 byte clusters with wide counts is full after 2 MiB. */
async function nearlyFull(guest: Guest): Promise<void> {
  await guest.write(0, 1928 * kib, 100);
  await guest.flush();
}

async function fullTable(guest: Guest, random: Random): Promise<void> {
  for (let at = 1928 * kib; at < guest.size; at += 40 * kib) await guest.write(at, 40 * kib, 1 + random(50));
}

export const others: readonly Scenario[] = [
  { name: 'a refcount table that grows', values: { size: 2048 * kib, cluster_size: 512, refcount_bits: 64 }, before: nearlyFull, play: fullTable, count: 320 },
  history('bitmaps at open and close', {}, kib, { before: addBitmap, verify: verifyBitmap, mix: { steps: 6 } }),
  history('bitmaps of a disk that is resized', {}, 512, { before: addBitmap, verify: verifyBitmap, mix: { steps: 6, resize: [20 * kib, 48 * kib, 80 * kib] } }),
  history('compressed clusters', {}, 4 * kib, { mix: { compressed: 5 } }),
  history('compressed clusters, lazy refcounts', { lazy_refcounts: true }, 4 * kib, { isLazy: true, mix: { compressed: 5 } }),
  history('compressed clusters, extended L2', { extended_l2: true, size: 64 * kib }, 16 * kib, { mix: { compressed: 5 } }),
  history('a data file', { data_file: 'data.raw' }, kib),
  history('a raw data file', { data_file: 'data.raw', data_file_raw: true }, kib),
  history('a data file that is resized', { data_file: 'data.raw' }, kib, { mix: { resize: [20 * kib, 48 * kib, 80 * kib] } }),
  history('discards kept from the file', {}, kib, { open: { 'pass-discard-request': false, 'pass-discard-snapshot': false } }),
  history('all discards passed on', {}, 512, { open: { ...caches, 'pass-discard-other': true } }),
  history('discards that keep the cluster', {}, kib, { open: { 'discard-no-unref': true } }),
  history('compressed clusters, all discards passed on', {}, 4 * kib, { open: { 'pass-discard-other': true }, mix: { compressed: 5 } }),
  history('an unknown autoclear bit', {}, kib, { patch: feature(88, 1n << 40n), before: (guest) => guest.flush() }),
];

async function commits(guest: Guest, random: Random): Promise<void> {
  for (let round = 1; round <= 3; round++) {
    await guest.write(random(40) * sector, (1 + random(30)) * sector, round);
    await guest.zero(random(40) * sector, (1 + random(30)) * sector, random(2) === 0);
    if (random(2) === 0) await guest.write(random(20) * kib, 3 * kib, 10 + round);
    if (random(3) === 0) await guest.flush();
    await guest.commit();
  }
  await guest.write(random(40) * sector, 4 * sector, 20);
}

export const committing: readonly Scenario[] = [
  {
    name: 'commit, 512 byte clusters',
    values: { size: 40 * kib, cluster_size: 512 },
    open: caches,
    backing: backingOf(40 * kib),
    writesBacking: true,
    play: commits,
  },
  { name: 'commit, 1 KiB clusters', values: { size: 40 * kib, cluster_size: kib }, backing: backingOf(40 * kib), writesBacking: true, play: commits },
  { name: 'commit into a shorter file', values: { size: 40 * kib, cluster_size: kib }, backing: backingOf(24 * kib), writesBacking: true, play: commits },
  {
    name: 'commit, lazy refcounts',
    values: { size: 40 * kib, cluster_size: kib, lazy_refcounts: true },
    backing: backingOf(40 * kib),
    writesBacking: true,
    isLazy: true,
    play: commits,
  },
  {
    name: 'commit, version 2',
    values: { size: 40 * kib, cluster_size: kib, compat: '0.10' },
    backing: backingOf(40 * kib),
    writesBacking: true,
    play: commits,
  },
  {
    name: 'commit, extended L2',
    values: { size: 64 * kib, cluster_size: 16 * kib, extended_l2: true },
    backing: backingOf(64 * kib),
    writesBacking: true,
    play: commits,
  },
];

/** Names of one length: the header is one write, and a cut through it must leave a name that is one of them. */
async function rebases(guest: Guest, random: Random): Promise<void> {
  for (const name of ['more.raw', 'base.raw', 'more.raw']) {
    await guest.write(random(40) * sector, (1 + random(12)) * sector, 1 + random(9));
    if (random(2) === 0) await guest.zero(random(40) * sector, (1 + random(12)) * sector, true);
    if (random(3) === 0) await guest.flush();
    await guest.rebase(name);
  }
  await guest.write(random(40) * sector, 4 * sector, 20);
}

/** Another backing file beside the first, longer and of other content. */
function withOther(media: Map<string, Uint8Array>): void {
  media.set(
    'other.raw',
    new Uint8Array(48 * kib).map((_, at) => (Math.floor(at / 2048) % 3 === 0 ? 200 : 60)),
  );
}

const rebased = { backing: backingOf(32 * kib), patch: withOther, play: rebases };
export const rebasing: readonly Scenario[] = [
  { name: 'rebase, 512 byte clusters', values: { size: 40 * kib, cluster_size: 512 }, open: caches, ...rebased },
  { name: 'rebase, 4 KiB clusters', values: { size: 40 * kib, cluster_size: 4 * kib }, ...rebased },
  { name: 'rebase, extended L2', values: { size: 64 * kib, cluster_size: 16 * kib, extended_l2: true }, ...rebased },
  { name: 'rebase, version 2', values: { size: 40 * kib, cluster_size: kib, compat: '0.10' }, ...rebased },
];
