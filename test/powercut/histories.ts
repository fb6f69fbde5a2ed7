/* What scenarios are made of: guests that do this and that, over disks of which some is filled. */
import type { CreateValues } from '../../src/core/block/driver.ts';
import type { Random } from '../support/random.ts';
import type { Guest } from './guest.ts';
import type { Scenario } from './scenario.ts';
import { sector } from './tape.ts';

export const kib = 1024;

/** Two sectors of every four hold something. */
export function backingOf(size: number): Uint8Array {
  return new Uint8Array(size).map((_, at) => (Math.floor(at / 1024) % 2 === 0 ? 200 : 0));
}

interface Mix {
  readonly steps: number;
  readonly unit: number;
  readonly compressed?: number;
  readonly resize?: readonly number[];
}

/** Writes, zeros, discards and flushes anywhere, of sectors and of clusters. */
export async function mixed(guest: Guest, random: Random, mix: Mix): Promise<void> {
  for (let step = 0; step < mix.steps; step++) {
    const kind = random(10);
    const unit = random(2) === 0 ? sector : mix.unit;
    const offset = random(Math.floor(guest.size / unit)) * unit;
    const length = Math.min(guest.size - offset, (1 + random(10)) * unit);
    const value = 1 + step;
    if (mix.resize !== undefined && random(5) === 0) {
      await guest.resize(mix.resize[random(mix.resize.length)] ?? guest.size);
    } else if (mix.compressed !== undefined && random(10) < mix.compressed) {
      const start = random(Math.floor(guest.size / mix.unit)) * mix.unit;
      await guest.write(start, Math.min(guest.size - start, (1 + random(3)) * mix.unit), value, true);
    } else if (kind < 5) await guest.write(offset, length, value);
    else if (kind < 7) await guest.zero(offset, length, kind === 6);
    else if (kind < 8) await guest.discard(offset, length);
    else await guest.flush();
  }
}

export async function fillSome(guest: Guest): Promise<void> {
  const part = Math.floor(guest.size / 8 / sector) * sector;
  await guest.write(0, 2 * part, 100);
  await guest.zero(4 * part, part, false);
  await guest.flush();
}

export const caches = { 'l2-cache-size': 1024, 'refcount-cache-size': 2048 };

export function history(name: string, values: CreateValues, unit: number, more: Partial<Scenario> & { mix?: Partial<Mix> } = {}): Scenario {
  const { mix, ...rest } = more;
  return {
    name,
    values: { size: 48 * kib, cluster_size: unit, ...values },
    before: fillSome,
    play: (guest, random) => mixed(guest, random, { steps: 12, unit, ...mix }),
    ...rest,
  };
}

export async function fillAll(guest: Guest): Promise<void> {
  await guest.write(0, guest.size, 100);
  await guest.flush();
}
