/*
 * One LUKS volume: its header on a medium, its key by a passphrase, new volumes. Knows no image format: who holds the header
 * gives a way to its bytes. Rule source: LUKS on-disk format 1.2; observed behaviour of qemu-img 11.1.
 */
import type { Clock } from '../core/util/clock.ts';
import { BlockError } from '../core/util/errors.ts';
import type { Maybe } from '../core/util/maybe.ts';
import { mergeKey, splitKey } from './af-split.ts';
import { type CipherAlg, checkCipher, checkHash, keyBytesOf } from './algorithms.ts';
import {
  decodeLuksHeader,
  digestLength,
  encodeLuksHeader,
  type KeySlot,
  type LuksHeader,
  type LuksSpec,
  luksHeaderBytes,
  materialBytes,
  saltBytes,
  slotCount,
  slotOffset,
  specOfHeader,
  stripesOfSlot,
} from './luks-header.ts';
import { nodeCrypto, randomBytes } from './node-crypto.ts';
import { deriveKey, iterationsPerSecond, minIterations, scaledIterations } from './pbkdf.ts';
import { SectorCipher } from './sector-cipher.ts';
import { cryptoSector } from './sector-size.ts';

/** The bytes of a volume's header and key material, counted from its start. */
export interface LuksMedium {
  /** Fills `into`, with zeros behind the end. */
  read(offset: number, into: Uint8Array): Maybe<void>;
  write(offset: number, from: Uint8Array): Maybe<void>;
  flush(): Maybe<void>;
}

/**
 * All rounds of PBKDF2 that opening one volume may cost, over the slots that are tried. QEMU knows no such limit; a header
 * that asks for more would keep a processor busy for as long as it likes.
 */
export const maxUnlockRounds: number = 2 ** 27;

/** The digest of the key gets this part of the time of a slot. */
const digestShare = 8;

export class LuksVolume {
  readonly #medium: LuksMedium;
  readonly #isDetached: boolean;
  header: LuksHeader;
  readonly spec: LuksSpec;

  private constructor(medium: LuksMedium, isDetached: boolean, header: LuksHeader) {
    this.#medium = medium;
    this.#isDetached = isDetached;
    this.header = header;
    this.spec = specOfHeader(header);
  }

  /** Reads and checks the header. `isDetached`: the payload lies elsewhere. */
  static async open(medium: LuksMedium, isDetached: boolean): Promise<LuksVolume> {
    return new LuksVolume(medium, isDetached, await readHeader(medium, isDetached));
  }

  /** Bytes in front of the payload. */
  get payloadOffset(): number {
    return this.header.payloadOffset * cryptoSector;
  }

  get medium(): LuksMedium {
    return this.#medium;
  }

  /** Takes the header from the medium again. */
  async refresh(): Promise<void> {
    this.header = await readHeader(this.#medium, this.#isDetached);
  }

  /** The key of the payload. Throws `Invalid password, cannot unlock any keyslot`. */
  async unlock(password: Uint8Array): Promise<Uint8Array> {
    const budget = { rounds: maxUnlockRounds };
    for (const slot of this.header.slots) {
      const key = await this.openSlot(slot, password, budget);
      if (key !== undefined) return key;
    }
    throw new BlockError('Invalid password, cannot unlock any keyslot', { code: 'EPERM' });
  }

  /** The key of the payload when `slot` is active and holds it under this passphrase. Takes its cost from `budget`. */
  async openSlot(slot: KeySlot, password: Uint8Array, budget: { rounds: number }): Promise<Uint8Array | undefined> {
    if (!slot.isActive) return undefined;
    const { header, spec } = this;
    checkCipher(spec);
    checkHash(spec.hash);
    budget.rounds -= slot.iterations + header.digestIterations;
    if (budget.rounds < 0) throw new BlockError(`The key slots ask for more than ${maxUnlockRounds} iterations`, { code: 'ERANGE' });
    const material = new Uint8Array(Math.ceil(materialBytes(header.keyBytes) / cryptoSector) * cryptoSector);
    await this.#medium.read(slot.keyOffset * cryptoSector, material);
    const slotKey = await deriveKey(spec.hash, password, slot.salt, slot.iterations, header.keyBytes);
    new SectorCipher(spec, slotKey).decrypt(0, material, material);
    const key = mergeKey(spec.hash, stripesOfSlot, header.keyBytes, material);
    const digest = await deriveKey(spec.hash, key, header.digestSalt, header.digestIterations, digestLength);
    return nodeCrypto().timingSafeEqual(digest, header.digest) ? key : undefined;
  }

  /** What enciphers the payload under `key`. */
  cipher(key: Uint8Array): SectorCipher {
    return new SectorCipher(this.spec, key);
  }
}

async function readHeader(medium: LuksMedium, isDetached: boolean): Promise<LuksHeader> {
  const bytes = new Uint8Array(luksHeaderBytes);
  await medium.read(0, bytes);
  return decodeLuksHeader(bytes, isDetached);
}

/** A slot for `key` under a passphrase: what the header says of it, and its material. */
export async function makeSlot(
  spec: LuksSpec,
  key: Uint8Array,
  password: Uint8Array,
  how: { readonly keyOffset: number; readonly iterations: number },
): Promise<{ slot: KeySlot; material: Uint8Array }> {
  const salt = randomBytes(saltBytes);
  const slotKey = await deriveKey(spec.hash, password, salt, how.iterations, key.length);
  return { slot: { isActive: true, salt, ...how }, material: sealKey(spec, key, slotKey) };
}

/** The key material of a slot whose passphrase gives `slotKey`. */
function sealKey(spec: LuksSpec, key: Uint8Array, slotKey: Uint8Array): Uint8Array {
  const material = splitKey(spec.hash, stripesOfSlot, key);
  new SectorCipher(spec, slotKey).encrypt(0, material, material);
  return material;
}

/** Rounds for a slot of a volume that is to take `iterTime` milliseconds to open. */
export async function slotIterations(spec: LuksSpec, keyBytes: number, iterTime: number, clock: Clock): Promise<number> {
  if (iterTime === 0) return minIterations;
  return scaledIterations(await iterationsPerSecond(spec.hash, keyBytes, clock), iterTime);
}

/** What is to be written of a new volume: the header last. */
export interface NewLuks {
  readonly header: Uint8Array;
  readonly material: Uint8Array;
  readonly materialOffset: number;
  /** Bytes of header and key material together. */
  readonly length: number;
}

/** Whether key material of this cipher fills whole sectors; QEMU ends with an assertion where it does not. */
function checkMaterial(alg: CipherAlg, keyBytes: number): void {
  if (materialBytes(keyBytes) % cryptoSector === 0) return;
  throw new BlockError(`Algorithm '${alg.name}' with key size ${keyBytes} bytes not supported`, { code: 'ENOTSUP' });
}

/** Bytes of a new volume in front of its payload. */
export function luksOverhead({ alg, mode }: LuksSpec): number {
  return slotOffset(keyBytesOf(alg, mode), slotCount) * cryptoSector;
}

/** A volume with a new key in slot 0. */
export async function newLuks(spec: LuksSpec, password: Uint8Array, how: { iterTime: number; isDetached: boolean; clock: Clock }): Promise<NewLuks> {
  checkCipher(spec);
  checkHash(spec.hash);
  const keyBytes = keyBytesOf(spec.alg, spec.mode);
  checkMaterial(spec.alg, keyBytes);
  const key = randomBytes(keyBytes);
  const iterations = await slotIterations(spec, keyBytes, how.iterTime, how.clock);
  const digestSalt = randomBytes(saltBytes);
  const digestIterations =
    how.iterTime === 0 ? minIterations : scaledIterations(await iterationsPerSecond(spec.hash, digestLength, how.clock), how.iterTime, digestShare);
  const { slot, material } = await makeSlot(spec, key, password, { keyOffset: slotOffset(keyBytes, 0), iterations });
  const free = (index: number): KeySlot => ({ isActive: false, iterations: 0, salt: new Uint8Array(saltBytes), keyOffset: slotOffset(keyBytes, index) });
  const payload = slotOffset(keyBytes, slotCount);
  const header: LuksHeader = {
    cipherName: spec.alg.luksName ?? '',
    cipherMode: `${spec.mode}-${spec.ivgen}${spec.ivHash === undefined ? '' : `:${spec.ivHash}`}`,
    hashSpec: spec.hash,
    payloadOffset: how.isDetached ? 0 : payload,
    keyBytes,
    digest: await deriveKey(spec.hash, key, digestSalt, digestIterations, digestLength),
    digestSalt,
    digestIterations,
    uuid: nodeCrypto().randomUUID(),
    slots: Array.from({ length: slotCount }, (_, index) => (index === 0 ? slot : free(index))),
  };
  return { header: encodeLuksHeader(header), material, materialOffset: slot.keyOffset * cryptoSector, length: payload * cryptoSector };
}
