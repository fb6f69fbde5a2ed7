/*
 * Values of the options of LUKS volumes, checked in QEMU's order and words.
 * Rule source: QAPI QCryptoBlockCreateOptionsLUKS and QCryptoBlockAmendOptionsLUKS.
 */
import type { CreateValues } from '../core/block/driver.ts';
import { meantValue } from '../core/util/did-you-mean.ts';
import { BlockError } from '../core/util/errors.ts';
import { cipherAlgs, cipherModes, defaultCipher, hashNames, ivGenerators } from './algorithms.ts';
import type { SlotChange } from './key-slots.ts';
import type { LuksSpec } from './luks-header.ts';

/** Milliseconds that opening a new slot takes. */
export const defaultIterTime = 2000;

/** Throws QEMU's words of an option that is missing. */
export function secretRequired(prefix: string): BlockError {
  return new BlockError(`Parameter '${prefix}key-secret' is required for cipher`, { code: 'ERR_OPTION' });
}

function oneOf<T extends string>(values: CreateValues, prefix: string, name: string, allowed: readonly T[]): T | undefined {
  const text = textOf(values, prefix + name);
  if (text === undefined) return undefined;
  const found = allowed.find((candidate) => candidate === text);
  if (found !== undefined) return found;
  throw new BlockError(`Parameter '${name}' does not accept value '${text}'`, { code: 'ERR_OPTION', hint: meantValue(text, allowed) });
}

function textOf(values: CreateValues, name: string): string | undefined {
  const value = values[name];
  return value === undefined ? undefined : String(value);
}

function numberOf(values: CreateValues, name: string): number | undefined {
  const value = values[name];
  return value === undefined ? undefined : Number(value);
}

export interface LuksCreation {
  readonly spec: LuksSpec;
  /** Milliseconds. */
  readonly iterTime: number;
  readonly keySecret: string | undefined;
}

/** The options of a new volume. Throws for names that are none. */
export function readLuksCreation(values: CreateValues, prefix: string): LuksCreation {
  const algName = oneOf(
    values,
    prefix,
    'cipher-alg',
    cipherAlgs.map(({ name }) => name),
  );
  const mode = oneOf(values, prefix, 'cipher-mode', cipherModes) ?? 'xts';
  const ivgen = oneOf(values, prefix, 'ivgen-alg', ivGenerators) ?? 'plain64';
  const ivHash = oneOf(values, prefix, 'ivgen-hash-alg', hashNames) ?? (ivgen === 'essiv' ? 'sha256' : undefined);
  const hash = oneOf(values, prefix, 'hash-alg', hashNames) ?? 'sha256';
  const alg = cipherAlgs.find(({ name }) => name === (algName ?? defaultCipher));
  if (alg === undefined) throw new BlockError(`Parameter 'cipher-alg' does not accept value '${algName ?? ''}'`, { code: 'ERR_OPTION' });
  return {
    spec: { alg, mode, ivgen, ivHash, hash },
    iterTime: numberOf(values, `${prefix}iter-time`) ?? defaultIterTime,
    keySecret: textOf(values, `${prefix}key-secret`),
  };
}

/** The options of one change of key slots. */
export function readSlotChange(values: CreateValues, prefix: string): SlotChange {
  const state = oneOf(values, prefix, 'state', ['active', 'inactive']);
  if (state === undefined) throw new BlockError(`Parameter 'state' is missing`, { code: 'ERR_OPTION' });
  // counted from 2^64, as the peer does
  const iterTime = numberOf(values, `${prefix}iter-time`);
  return {
    isActive: state === 'active',
    newSecret: textOf(values, `${prefix}new-secret`),
    oldSecret: textOf(values, `${prefix}old-secret`),
    keySlot: numberOf(values, `${prefix}keyslot`),
    iterTime: iterTime === undefined || iterTime >= 0 ? iterTime : iterTime + 2 ** 64,
  };
}
