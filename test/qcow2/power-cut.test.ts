/*
 * Power cuts: of the changes since the last flush any subset may have reached the medium, torn at sectors. Whatever it was,
 * the image has leaks at worst, and what the guest had flushed reads back.
 */
import { describe, expect, it } from 'vitest';
import { type CreateValues, reqFlag } from '../../src/core/block/driver.ts';
import { FaultyStorage, type LoggedChange } from '../../src/core/storage/faulty.ts';
import type { MemoryStorage } from '../../src/core/storage/memory.ts';
import { type Random, seeded } from '../support/random.ts';
import { checkMedium, copyMedium, newMedium, openMedium } from './image-support.ts';

const size = 64 * 4096;
const sector = 512;

/** What a sector may hold: the values it had or was given since the last guest flush. */
type Allowed = Set<number>[];

interface Recorded {
  readonly before: MemoryStorage;
  readonly log: readonly LoggedChange[];
  /** For each position in the log at which the guest was told something: what sectors may hold from there on. */
  readonly promises: readonly { readonly at: number; readonly allowed: Allowed }[];
}

const backing = new Uint8Array(size).map((_, at) => (Math.floor(at / 8192) % 2 === 0 ? 200 : 0));

async function record(values: CreateValues, seed: number): Promise<Recorded> {
  const random = seeded(seed);
  const medium = await newMedium({ ...values, size }, backing);
  // something of every kind is there already, and durable
  const first = await openMedium(medium, { backing });
  await first.backend.write(0, new Uint8Array(16 * 4096).fill(100));
  await first.backend.zero(20 * 4096, 4 * 4096);
  await first.engine.close();
  const before = copyMedium(medium);
  let faulty: FaultyStorage | undefined;
  const { backend, engine } = await openMedium(medium, {
    backing,
    wrap: (storage) => {
      faulty = new FaultyStorage(storage, {}, { log: true });
      return faulty;
    },
    open: { 'l2-cache-size': 4096, 'refcount-cache-size': 4096 },
  });
  const log = faulty?.log ?? [];
  const start = new Uint8Array(size);
  await backend.read(0, start);
  let allowed: Allowed = Array.from({ length: size / sector }, (_, index) => new Set([start[index * sector] ?? 0]));
  const promises: { at: number; allowed: Allowed }[] = [{ at: 0, allowed: allowed.map((set) => new Set(set)) }];
  const current = allowed.map((set) => [...set][0] ?? 0);
  for (let step = 0; step < 14; step++) {
    const kind = random(9);
    if (kind >= 8) {
      await backend.flush();
      allowed = current.map((value) => new Set([value]));
      promises.push({ at: log.length, allowed: allowed.map((set) => new Set(set)) });
      continue;
    }
    const unit = random(2) === 0 ? sector : 4096;
    const offset = random(size / unit) * unit;
    const length = Math.min(size - offset, (1 + random(12)) * unit);
    const value = kind < 5 ? 1 + step : 0;
    // from the moment the request is given, either may be found
    for (let at = offset; at < offset + length; at += sector) allowed[at / sector]?.add(value);
    promises.push({ at: log.length, allowed: allowed.map((set) => new Set(set)) });
    if (kind < 5) await backend.write(offset, new Uint8Array(length).fill(value));
    else if (kind < 7) await backend.zero(offset, length, kind === 6 ? reqFlag.mayUnmap : 0);
    else await backend.discard(offset, length);
    const now = new Uint8Array(length);
    await backend.read(offset, now);
    for (let at = 0; at < length; at += sector) current[(offset + at) / sector] = now[at] ?? 0;
  }
  await engine.close();
  return { before, log, promises };
}

function applyChange(medium: MemoryStorage, change: LoggedChange, random: Random | undefined): void {
  if (change.op === 'write') {
    for (let at = 0; at < change.data.length; ) {
      // sectors are written whole; which of them, nobody knows
      const end = Math.min(change.data.length, at + sector - ((change.offset + at) % sector));
      if (random === undefined || random(2) === 0) medium.write(change.offset + at, change.data.subarray(at, end));
      at = end;
    }
  } else if (change.op === 'zero') medium.zero(change.offset, change.length, true);
  else if (change.op === 'discard') medium.discard(change.offset, change.length);
  else if (change.op === 'truncate') medium.truncate(change.size);
}

/** The media that a cut behind `log[cut - 1]` can leave. */
function* statesAt(recorded: Recorded, cut: number, random: Random): Generator<MemoryStorage> {
  const { before, log } = recorded;
  let flushed = 0;
  for (let at = 0; at < cut; at++) if (log[at]?.op === 'flush') flushed = at + 1;
  const durable = copyMedium(before);
  for (const change of log.slice(0, flushed)) applyChange(durable, change, undefined);
  const loose = log.slice(flushed, cut);
  const keep = (choose: (index: number) => boolean, tear: boolean): MemoryStorage => {
    const medium = copyMedium(durable);
    for (const [index, change] of loose.entries()) if (choose(index)) applyChange(medium, change, tear ? random : undefined);
    return medium;
  };
  yield keep(() => true, false);
  if (loose.length === 0) return;
  yield keep((index) => index === loose.length - 1, false);
  yield keep((index) => index !== loose.length - 1, false);
  yield keep(() => random(2) === 0, false);
  yield keep(() => random(4) !== 0, true);
}

async function judge(medium: MemoryStorage, allowed: Allowed, isLazy: boolean): Promise<void> {
  if (!isLazy) {
    const found = await checkMedium(medium, { backing });
    expect({ corruptions: found.corruptions, errors: found.checkErrors, messages: found.messages.filter((line) => !line.startsWith('Leaked')) }).toEqual({
      corruptions: 0,
      errors: 0,
      messages: [],
    });
  }
  // a writer's open repairs what the dirty bit tells of
  const { engine, backend } = await openMedium(medium, { backing });
  try {
    const content = new Uint8Array(size);
    await backend.read(0, content);
    for (let at = 0; at < size; at++) {
      const value = content[at] ?? 0;
      const set = allowed[Math.floor(at / sector)];
      // a hole may be punched before the entry goes: zeros where a discard was under way are in the set then
      if (set?.has(value) !== true) throw new Error(`byte ${at} is ${value}, allowed ${[...(set ?? [])].join(', ')}`);
    }
    await backend.node?.state.check?.({ leaks: true, errors: true }, { line: () => {}, error: () => {} });
  } finally {
    await engine.close();
  }
  const after = await checkMedium(medium, { backing });
  expect({ corruptions: after.corruptions, leaks: after.leaks, messages: after.messages }).toEqual({ corruptions: 0, leaks: 0, messages: [] });
}

const layouts: readonly [string, CreateValues][] = [
  ['4 KiB clusters', { cluster_size: 4096 }],
  ['512 byte clusters', { cluster_size: 512 }],
  ['extended L2', { cluster_size: 16384, extended_l2: true }],
  ['lazy refcounts', { cluster_size: 4096, lazy_refcounts: true }],
];

describe.each(layouts)('a power cut in a qcow2 image with %s', (_name, values) => {
  it.each([1, 2, 3, 4, 5, 6])('leaves leaks at worst (history %i)', async (seed) => {
    const recorded = await record(values, seed);
    const random = seeded(seed + 1000);
    const cuts = recorded.log.length;
    expect(cuts).toBeGreaterThan(10);
    for (let cut = 0; cut <= cuts; cut += 1 + random(4)) {
      const known = recorded.promises.filter(({ at }) => at <= cut).at(-1);
      for (const medium of statesAt(recorded, cut, random)) await judge(medium, known?.allowed ?? [], values['lazy_refcounts'] === true);
    }
  });
});
