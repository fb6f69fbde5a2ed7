/*
 * A scenario is played to the end, then cut off everywhere: each medium that a cut can leave is checked, read against what
 * the guest was promised, repaired, and checked again. Then it is played once more for each change and flush, which fails.
 */
import { createHash } from 'node:crypto';
import { type BlockBackend, resizerPerms } from '../../src/core/block/backend.ts';
import type { CreateValues } from '../../src/core/block/driver.ts';
import type { OptionTree } from '../../src/core/block/options.ts';
import { showSnapshot } from '../../src/core/block/snapshots.ts';
import type { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { createImage } from '../../src/engine/create.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { memoryEngine } from '../support/memory-engine.ts';
import { type Random, seeded } from '../support/random.ts';
import { addSecret } from '../support/vault.ts';
import { Guest, type Promised } from './guest.ts';
import { bytesOf, cutsAt, type Media, mediumOf, sector, Tape } from './tape.ts';

export interface Scenario {
  readonly name: string;
  readonly values: CreateValues;
  /** Content of a raw backing file; one value a sector. */
  readonly backing?: Uint8Array;
  readonly open?: Readonly<Record<string, string | number | boolean>>;
  /** The image is encrypted: passphrases by id of their secrets; `s` opens it. */
  readonly secrets?: Readonly<Record<string, string>>;
  /** Refcounts may be wrong while the image says that it is dirty. */
  readonly isLazy?: boolean;
  /** Changes the media after creation, as bytes. */
  readonly patch?: (media: Map<string, Uint8Array>) => void;
  /** What is there, durably, before the tape runs. */
  readonly before?: (guest: Guest) => Promise<void>;
  readonly play: (guest: Guest, random: Random) => Promise<void>;
  /** Makes of what is there another start for each seed; the media are the caller's to change. */
  readonly prepare?: (media: Map<string, Uint8Array>, random: Random) => void;
  /** The image is damaged: what may be found of it until it is repaired. */
  readonly damaged?: 'leaks' | 'anything' | 'unreadable';
  /** Looks at the image file of a medium, before and after its repair; throws when something is wrong. */
  readonly inspect?: (image: Uint8Array, where: string) => void;
  /** Looks at what else an opened medium has; throws when that is wrong. */
  readonly verify?: (backend: BlockBackend, where: string) => Promise<void>;
  /** The backing file is written to as well. */
  readonly writesBacking?: boolean;
  /** COPIED flags may be behind the counts, as long as no snapshot suffers from it. */
  readonly hasLateFlags?: boolean;
  /** Stands between the image and the tape, and breaks the order of writes. */
  readonly spoil?: (tape: Tape, inner: Storage, path: string) => Storage;
  /** Every request succeeds where no fault is played. */
  readonly neverFails?: boolean;
  /** Media to judge, where they are costly: else as many as for all. */
  readonly count?: number;
}

export interface Outcome {
  readonly media: number;
  readonly faults: number;
  /** A medium of those that were judged, for a peer to look at. */
  readonly sample: Media;
}

const image = 'image.qcow2';

interface Opened {
  readonly engine: Engine;
  readonly media: Map<string, MemoryStorage>;
}

function addSecrets(engine: Engine, { secrets = {} }: Scenario): void {
  for (const [id, data] of Object.entries(secrets)) addSecret(engine, id, data);
}

function engineOver(scenario: Scenario, media: Media, tape?: Tape): Opened {
  const isTaped = (path: string): boolean => path !== 'base.raw' || scenario.writesBacking === true;
  const opened = memoryEngine((storage, path) => {
    if (tape === undefined || !isTaped(path)) return storage;
    return scenario.spoil?.(tape, storage, path) ?? tape.wrap(storage, path);
  });
  for (const [path, bytes] of media) opened.media.set(path, mediumOf(path, bytes));
  addSecrets(opened.engine, scenario);
  return opened;
}

/** Options that open the image of a scenario. */
function optionsOf({ open = {}, secrets }: Scenario): OptionTree {
  return secrets === undefined ? open : { ...open, encrypt: { 'key-secret': 's' } };
}

async function newMedia(scenario: Scenario): Promise<Media> {
  const { engine, media } = memoryEngine();
  addSecrets(engine, scenario);
  const { backing, values } = scenario;
  if (backing !== undefined) media.set('base.raw', mediumOf('base.raw', backing));
  await createImage(engine, 'qcow2', image, backing === undefined ? values : { ...values, backing_file: 'base.raw', backing_fmt: 'raw' });
  await engine.close();
  const bytes = bytesOf(media);
  scenario.patch?.(bytes);
  if (scenario.before === undefined) return bytes;
  const tape = new Tape();
  const opened = engineOver(scenario, bytes, tape);
  const guest = await guestOf(opened.engine, scenario, tape);
  await scenario.before(guest);
  await opened.engine.close();
  return bytesOf(opened.media);
}

async function guestOf(engine: Engine, scenario: Scenario, tape: Tape): Promise<Guest> {
  const toCheck = scenario.damaged !== undefined;
  const how = { filename: image, format: 'qcow2', readOnly: false, discard: true, toCheck, perms: resizerPerms };
  const backend = await engine.openBackend({ ...how, options: optionsOf(scenario) });
  return new Guest(engine, backend, tape, scenario.backing);
}

interface Played {
  readonly start: Media;
  readonly tape: Tape;
  readonly promises: readonly Promised[];
  /** The end, as the media are. */
  readonly end: Media;
}

async function play(scenario: Scenario, start: Media, seed: number, tape: Tape): Promise<Played> {
  const { engine, media } = engineOver(scenario, start, tape);
  let guest: Guest | undefined;
  try {
    guest = await guestOf(engine, scenario, tape);
    if (scenario.damaged !== 'unreadable') await guest.begin();
    await scenario.play(guest, seeded(seed));
    await guest.flush();
    if (scenario.neverFails === true && tape.fault === undefined && guest.failed > 0) throw new Error(`${scenario.name}: a request failed`);
  } catch (error) {
    // an image that could not be opened for the fault is as good as one that was not opened
    if (!(error instanceof BlockError) || guest !== undefined) throw error;
  }
  await engine.close().catch((error: unknown) => {
    if (!(error instanceof BlockError)) throw error;
  });
  return { start, tape, promises: guest?.promises ?? [], end: bytesOf(media) };
}

/** Judges `count` different media of a scenario, and all of its faults, or one in so many. */
export async function tryScenario(scenario: Scenario, usual: number, oneIn = 1): Promise<Outcome> {
  const count = Math.min(scenario.count ?? usual, usual);
  const base = await newMedia(scenario);
  const startOf = (seed: number): Media => {
    if (scenario.prepare === undefined) return base;
    const media = new Map(base);
    scenario.prepare(media, seeded(seed));
    return media;
  };
  const seen = new Set<string>();
  let sample = base;
  const judgeCuts = async (played: Played, random: Random, from: number, to: number, more: number, limit: number): Promise<void> => {
    for (let cut = from; cut <= to && seen.size < limit; cut++) {
      const promised = played.promises.filter(({ at }) => at <= cut).at(-1);
      for (const media of cutsAt(played.start, played.tape, cut, more, random)) {
        const hash = hashOf(media, scenario.writesBacking === true);
        if (seen.has(hash)) continue;
        seen.add(hash);
        await judge(scenario, media, promised, seen.size % 8 === 0, `cut behind change ${cut}`);
        if (seen.size % 100 === 1) sample = media;
      }
    }
  };
  let faults = 0;
  const first = await play(scenario, startOf(1), 1, new Tape());
  for (let index = 0; index < first.tape.asked; index += oneIn) {
    for (const code of ['EIO', 'ENOSPC'] as const) {
      const tape = new Tape();
      tape.fault = { index, code, isLate: code === 'EIO' && index % 2 === 0 };
      const where = `${code}${tape.fault.isLate ? ' (late)' : ''} at change ${index}`;
      try {
        const played = await play(scenario, startOf(1), 1, tape);
        faults++;
        await judge(scenario, played.end, played.promises.at(-1), true, where);
        // a cut a little later
        const random = seeded(index);
        const at = Math.min(tape.length, index + random(4));
        await judgeCuts(played, random, at, at, 1, Infinity);
      } catch (error) {
        throw new Error(`${scenario.name}, ${where}: ${error instanceof Error ? error.stack : String(error)}`);
      }
    }
  }
  for (let seed = 1; seen.size < count && seed <= 300; seed++) {
    const played = seed === 1 ? first : await play(scenario, startOf(seed), seed, new Tape());
    try {
      await judgeCuts(played, seeded(seed + 1000), 0, played.tape.length, 3, count);
    } catch (error) {
      throw new Error(`${scenario.name}, seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`);
    }
  }
  return { media: seen.size, faults, sample };
}

function hashOf(media: Media, withBacking: boolean): string {
  const hash = createHash('sha1');
  for (const [path, bytes] of media) {
    if (path === 'base.raw' && !withBacking) continue;
    hash.update(path).update(bytes);
  }
  return hash.digest('base64');
}

interface Found {
  readonly isClean: boolean;
  readonly isCorrupt: boolean;
  readonly text: string;
}

async function checked(backend: BlockBackend, isRepair = false, hasLateFlags = false): Promise<Found> {
  const lines: string[] = [];
  const take = (text: string): void => void lines.push(text);
  const result = await backend.node?.state.check?.({ leaks: isRepair, errors: isRepair }, { line: take, error: take });
  const late = hasLateFlags ? lines.filter((line) => line.startsWith('ERROR OFLAG_COPIED')).length : 0;
  const bad = lines.filter((line) => !line.startsWith('Leaked') && !(hasLateFlags && line.startsWith('ERROR OFLAG_COPIED')));
  return {
    isClean: result?.corruptions === 0 && result.leaks === 0 && lines.length === 0,
    isCorrupt: result?.corruptions !== late || result.checkErrors !== 0 || bad.length > 0,
    text: bad.slice(0, 4).join('; '),
  };
}

async function judge(scenario: Scenario, media: Media, promised: Promised | undefined, isThorough: boolean, where: string): Promise<void> {
  const { damaged, inspect } = scenario;
  inspect?.(media.get(image) ?? new Uint8Array(0), where);
  if (scenario.isLazy !== true) {
    const { engine } = engineOver(scenario, media);
    try {
      const reader = await engine.openBackend({ filename: image, format: 'qcow2', options: optionsOf(scenario), readOnly: true });
      if (damaged !== undefined && damaged !== 'unreadable' && promised !== undefined) await compare(reader, promised, `${where}, before repair`);
      const found = await checked(reader, false, scenario.hasLateFlags);
      if (found.isCorrupt && (damaged ?? 'leaks') === 'leaks') throw new Error(`${where}: check finds ${found.text}`);
    } finally {
      await engine.close();
    }
  }
  // a writer's open repairs what the dirty bit tells of
  const { engine, media: repaired } = engineOver(scenario, media);
  try {
    const backend = await engine.openBackend({
      filename: image,
      format: 'qcow2',
      options: optionsOf(scenario),
      readOnly: false,
      toCheck: damaged !== undefined,
    });
    if (damaged === 'unreadable') await checked(backend, true);
    if (promised !== undefined) await compare(backend, promised, where);
    if (promised !== undefined) await compareSnapshots(scenario, media, backend, promised, where);
    await scenario.verify?.(backend, where);
    await checked(backend, true);
    // a leak behind the end of the file is in sight only when the repair has made the file longer
    if (damaged !== undefined) await checked(backend, true);
    const after = await checked(backend);
    if (!after.isClean) throw new Error(`${where}: after repair ${after.text || 'leaks'}`);
  } finally {
    await engine.close();
  }
  const left = bytesOf(repaired);
  inspect?.(left.get(image) ?? new Uint8Array(0), `${where}, repaired`);
  if (!isThorough) return;
  const again = engineOver(scenario, left);
  const backend = await again.engine.openBackend({ filename: image, format: 'qcow2', options: optionsOf(scenario), readOnly: true });
  if (promised !== undefined) await compare(backend, promised, `${where}, repaired`);
  const last = await checked(backend);
  await again.engine.close();
  if (!last.isClean) throw new Error(`${where}: on the medium after repair ${last.text}`);
}

async function compare(backend: BlockBackend, promised: Promised, where: string): Promise<void> {
  const size = backend.size();
  if (!promised.sizes.has(size)) throw new Error(`${where}: size ${size}, promised ${[...promised.sizes].join(' or ')}`);
  const content = new Uint8Array(size);
  await backend.read(0, content);
  if (promised.wholes?.some((whole) => isWhole(content, whole)) === false) throw new Error(`${where}: neither the disk as it was nor as it is to be`);
  for (let at = 0; at < size; at += sector) {
    const value = content[at] ?? 0;
    const set = promised.allowed[at / sector];
    const isEven = evenSector(value).equals(content.subarray(at, at + sector));
    if (!isEven || set?.has(value) !== true) throw new Error(`${where}: byte ${at} is ${value}${isEven ? '' : ' …'}, allowed ${[...(set ?? [])].join(', ')}`);
  }
}

function isWhole(content: Uint8Array, whole: readonly number[]): boolean {
  return (
    content.length === whole.length * sector && whole.every((value, index) => evenSector(value).equals(content.subarray(index * sector, (index + 1) * sector)))
  );
}

/** Snapshots that must be there are, and all hold what they did, also when the disk is written after the cut. */
async function compareSnapshots(scenario: Scenario, media: Media, writer: BlockBackend, promised: Promised, where: string): Promise<void> {
  if (promised.snapshots.size === 0) return;
  const names = writer.node?.state.snapshots?.().map(({ name }) => name) ?? [];
  for (const name of promised.kept) if (!names.includes(name)) throw new Error(`${where}: snapshot ${name} is gone`);
  await compareShown(scenario, media, names, promised, where);
  if (names.length === 0) return;
  // on copies: what is judged goes on
  const { engine, media: written } = engineOver(scenario, media);
  const backend = await engine.openBackend({ filename: image, format: 'qcow2', options: optionsOf(scenario), readOnly: false });
  await backend.write(0, new Uint8Array(backend.size()).fill(251));
  await engine.close();
  await compareShown(scenario, bytesOf(written), names, promised, `${where}, written over`);
}

async function compareShown(scenario: Scenario, media: Media, names: readonly string[], promised: Promised, where: string): Promise<void> {
  for (const name of names) {
    const { engine } = engineOver(scenario, media);
    const backend = await engine.openBackend({ filename: image, format: 'qcow2', options: optionsOf(scenario), readOnly: true });
    if (backend.node !== undefined) await showSnapshot(engine.graph, backend.node, [{ name }]);
    const whole = promised.snapshots.get(name) ?? [];
    // shown with the size that the disk has now
    const content = new Uint8Array(Math.min(backend.size(), whole.length * sector));
    await backend.read(0, content);
    await engine.close();
    if (!isWhole(content, whole.slice(0, content.length / sector))) throw new Error(`${where}: snapshot ${name} is not what it was`);
  }
}

const evenSectors = new Map<number, Buffer>();

function evenSector(value: number): Buffer {
  let even = evenSectors.get(value);
  if (even === undefined) {
    even = Buffer.alloc(sector, value);
    evenSectors.set(value, even);
  }
  return even;
}
