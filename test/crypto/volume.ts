/* LUKS volumes in memory that log what is written and flushed, and what a power cut may leave of them. */

import { type Clock, realClock } from '../../src/core/util/clock.ts';
import { cipherAlgs } from '../../src/crypto/algorithms.ts';
import type { SlotChange, SlotChangeContext } from '../../src/crypto/key-slots.ts';
import type { LuksSpec } from '../../src/crypto/luks-header.ts';
import { type LuksMedium, newLuks } from '../../src/crypto/luks-volume.ts';

export const clock: Clock = realClock;
export const text = (password: string): Uint8Array => Buffer.from(password);

/** AES-128 with CBC: the smallest that there is. */
export function smallSpec(): LuksSpec {
  const alg = cipherAlgs[0];
  if (alg === undefined) throw new Error('no cipher');
  return { alg, mode: 'cbc', ivgen: 'plain64', ivHash: undefined, hash: 'sha256' };
}

export type Entry = { readonly offset: number; readonly bytes: Uint8Array } | 'flush';

export class MemoryVolume implements LuksMedium {
  readonly bytes: Uint8Array;
  log: Entry[] = [];
  /** The write or flush with this number fails. */
  failAt = -1;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  read(offset: number, into: Uint8Array): void {
    into.fill(0);
    into.set(this.bytes.subarray(offset, offset + into.length));
  }

  write(offset: number, from: Uint8Array): void {
    this.#step({ offset, bytes: Uint8Array.from(from) });
    this.bytes.set(from, offset);
  }

  flush(): void {
    this.#step('flush');
  }

  #step(entry: Entry): void {
    if (this.log.length === this.failAt) throw new Error('medium failed');
    this.log.push(entry);
  }
}

/** The bytes of a new volume under one passphrase. */
export async function newVolume(password: string, spec: LuksSpec = smallSpec(), isDetached = false): Promise<Uint8Array> {
  const made = await newLuks(spec, text(password), { iterTime: 0, isDetached, clock });
  const bytes = new Uint8Array(made.length + 4096);
  bytes.set(made.material, made.materialOffset);
  bytes.set(made.header);
  return bytes;
}

export const activate = (more: Partial<SlotChange> = {}): SlotChange => ({
  isActive: true,
  newSecret: 'new',
  oldSecret: undefined,
  keySlot: undefined,
  iterTime: 0,
  ...more,
});
export const inactivate = (more: Partial<SlotChange> = {}): SlotChange => ({
  isActive: false,
  newSecret: undefined,
  oldSecret: undefined,
  keySlot: undefined,
  iterTime: undefined,
  ...more,
});

/** Secrets are their own ids. */
export const context = (password: string, force = false): SlotChangeContext => ({ force, clock, password: text(password), secret: (id) => text(id) });

/**
 * States that a cut may leave: after each flush any of the writes since may have got there, in sectors of 512 bytes. A few of
 * the many are taken: none, all, each alone, all but each, and halves of sectors.
 */
export function* cuts(before: Uint8Array, log: readonly Entry[]): Generator<Uint8Array> {
  const durable = Uint8Array.from(before);
  let open: { offset: number; bytes: Uint8Array }[] = [];
  for (let at = 0; at <= log.length; at++) {
    const entry = log[at];
    yield Uint8Array.from(durable);
    for (const pick of [...open.keys()]) {
      yield applied(
        durable,
        open.filter((_, index) => index === pick),
      );
      yield applied(
        durable,
        open.filter((_, index) => index !== pick),
      );
      yield applied(durable, open.slice(0, pick + 1));
      yield applied(durable, sectorsOf(open[pick], 0));
      yield applied(durable, sectorsOf(open[pick], 1));
    }
    if (entry === undefined) return;
    if (entry === 'flush') {
      for (const { offset, bytes } of open) durable.set(bytes, offset);
      open = [];
    } else open.push(entry);
  }
}

/** Every other sector that a write touches. */
function sectorsOf(write: { offset: number; bytes: Uint8Array } | undefined, odd: number): { offset: number; bytes: Uint8Array }[] {
  if (write === undefined) return [];
  const parts: { offset: number; bytes: Uint8Array }[] = [];
  for (let at = write.offset; at < write.offset + write.bytes.length; ) {
    const end = Math.min((Math.floor(at / 512) + 1) * 512, write.offset + write.bytes.length);
    if (Math.floor(at / 512) % 2 === odd) parts.push({ offset: at, bytes: write.bytes.subarray(at - write.offset, end - write.offset) });
    at = end;
  }
  return parts;
}

function applied(durable: Uint8Array, writes: readonly { offset: number; bytes: Uint8Array }[]): Uint8Array {
  const state = Uint8Array.from(durable);
  for (const { offset, bytes } of writes) state.set(bytes, offset);
  return state;
}
