/*
 * The header of LUKS version 1: codec and checks, in QEMU's order and words. Every field is checked before it is used, and
 * none decides alone how much memory is taken. Rule source: LUKS on-disk format 1.2; observed order of checks.
 */
import { getU16, getU32, setU16, setU32, untilNul } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp, ceilDiv } from '../core/util/math.ts';
import { type CipherSpec, cipherModes, cipherOfHeader, essivCipher, type HashName, hashNames, ivGenerators, keyBytesOf, nameOfHeader } from './algorithms.ts';
import { cryptoSector } from './sector-size.ts';

export const luksMagic: Uint8Array = Uint8Array.from([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]);
export const luksHeaderBytes = 592;
export const slotCount = 8;
export const stripesOfSlot = 4000;
export const saltBytes = 32;
export const digestLength = 20;
/** Key material begins here, and in multiples of this. */
const slotAlign = 4096;
const slotsAt = 208;
const slotBytes = 48;
const slotActive = 0x00ac71f3;
const slotDead = 0x0000dead;

export interface KeySlot {
  readonly isActive: boolean;
  readonly iterations: number;
  readonly salt: Uint8Array;
  /** Sectors from the start of the header. */
  readonly keyOffset: number;
}

export interface LuksHeader {
  readonly cipherName: string;
  /** `xts-plain64`, `cbc-essiv:sha256` */
  readonly cipherMode: string;
  readonly hashSpec: string;
  /** Sectors from the start of the header; 0 where the header lies apart. */
  readonly payloadOffset: number;
  readonly keyBytes: number;
  readonly digest: Uint8Array;
  readonly digestSalt: Uint8Array;
  readonly digestIterations: number;
  readonly uuid: string;
  readonly slots: readonly KeySlot[];
}

/** What a header says of its ciphers. */
export interface LuksSpec extends CipherSpec {
  readonly hash: HashName;
}

function invalid(text: string): BlockError {
  return new BlockError(text, { code: 'EINVAL' });
}

/** Bytes of one key's material. */
export function materialBytes(keyBytes: number): number {
  return keyBytes * stripesOfSlot;
}

/** Sectors that a slot's material takes. */
export function slotSectors(keyBytes: number): number {
  return alignUp(ceilDiv(materialBytes(keyBytes), cryptoSector), slotAlign / cryptoSector);
}

/** First sector of slot `index` in a new header; behind the last slot it is the payload's. */
export function slotOffset(keyBytes: number, index: number): number {
  return slotAlign / cryptoSector + index * slotSectors(keyBytes);
}

/** The header in `bytes`, checked. `isDetached`: the payload lies elsewhere. Throws EINVAL. */
export function decodeLuksHeader(bytes: Uint8Array, isDetached: boolean): LuksHeader {
  if (luksMagic.some((byte, index) => bytes[index] !== byte)) throw invalid('Volume is not in LUKS format');
  const version = getU16(bytes, 6);
  if (version !== 1) throw new BlockError(`LUKS version ${version} is not supported`, { code: 'ENOTSUP' });
  const header: LuksHeader = {
    cipherName: nameIn(bytes, 8, 'cipher name'),
    cipherMode: nameIn(bytes, 40, 'cipher mode'),
    hashSpec: nameIn(bytes, 72, 'hash spec'),
    payloadOffset: getU32(bytes, 104),
    keyBytes: getU32(bytes, 108),
    digest: bytes.slice(112, 132),
    digestSalt: bytes.slice(132, 164),
    digestIterations: getU32(bytes, 164),
    uuid: untilNul(bytes, 168, 40),
    slots: Array.from({ length: slotCount }, (_, index) => decodeSlot(bytes.subarray(slotsAt + index * slotBytes))),
  };
  const start = slotAlign / cryptoSector;
  if (!isDetached && header.payloadOffset < start) throw invalid('LUKS payload is overlapping with the header');
  if (header.digestIterations === 0) throw invalid('LUKS key iteration count is zero');
  const length = slotSectors(header.keyBytes);
  header.slots.forEach((slot, index) => {
    const at = slotsAt + index * slotBytes;
    const stripes = getU32(bytes, at + 44);
    if (stripes !== stripesOfSlot) throw invalid(`Keyslot ${index} is corrupted (stripes ${stripes | 0} != ${stripesOfSlot})`);
    if (slot.keyOffset < start) throw invalid(`Keyslot ${index} is overlapping with the LUKS header`);
    const state = getU32(bytes, at);
    if (state !== slotActive && state !== slotDead) throw invalid(`Keyslot ${index} state (active/disable) is corrupted`);
    if (slot.isActive && slot.iterations === 0) throw invalid(`Keyslot ${index} iteration count is zero`);
    if (!isDetached && slot.keyOffset + length > header.payloadOffset) throw invalid(`Keyslot ${index} is overlapping with the encrypted payload`);
    for (let other = index + 1; other < slotCount; other++) {
      const offset = header.slots[other]?.keyOffset ?? 0;
      if (slot.keyOffset < offset + length && offset < slot.keyOffset + length) throw invalid(`Keyslots ${index} and ${other} are overlapping in the header`);
    }
  });
  return header;
}

function nameIn(bytes: Uint8Array, at: number, what: string): string {
  if (!bytes.subarray(at, at + 32).includes(0)) throw invalid(`LUKS header ${what} is not NUL terminated`);
  return untilNul(bytes, at, 32);
}

function decodeSlot(bytes: Uint8Array): KeySlot {
  return { isActive: getU32(bytes, 0) === slotActive, iterations: getU32(bytes, 4), salt: bytes.slice(8, 40), keyOffset: getU32(bytes, 40) };
}

/** What the names in a header mean. Throws for names that nobody knows; ciphers that are not there are told by `checkCipher`. */
export function specOfHeader(header: LuksHeader): LuksSpec {
  const text = header.cipherMode;
  const dash = text.indexOf('-');
  if (dash < 0) throw invalid(`Unexpected cipher mode string format '${text}'`);
  const [generator = '', ...hashes] = text.slice(dash + 1).split(':');
  const ivHash = hashes.length === 0 ? undefined : nameOfHeader('Hash algorithm', hashes.join(':'), hashNames);
  const mode = nameOfHeader('Cipher mode', text.slice(0, dash), cipherModes);
  const alg = cipherOfHeader(header.cipherName, mode, header.keyBytes);
  const hash = nameOfHeader('Hash algorithm', header.hashSpec, hashNames);
  const ivgen = nameOfHeader('IV generator', generator, ivGenerators);
  if (ivgen === 'essiv') {
    if (ivHash === undefined) throw invalid('Missing IV generator hash specification');
    essivCipher(alg, ivHash);
  }
  if (keyBytesOf(alg, mode) !== header.keyBytes) throw invalid('XTS cipher key length should be a multiple of 2');
  return { alg, mode, ivgen, ivHash, hash };
}

export function encodeLuksHeader(header: LuksHeader): Uint8Array {
  const bytes = new Uint8Array(luksHeaderBytes);
  bytes.set(luksMagic);
  setU16(bytes, 6, 1);
  bytes.set(Buffer.from(header.cipherName), 8);
  bytes.set(Buffer.from(header.cipherMode), 40);
  bytes.set(Buffer.from(header.hashSpec), 72);
  setU32(bytes, 104, header.payloadOffset);
  setU32(bytes, 108, header.keyBytes);
  bytes.set(header.digest, 112);
  bytes.set(header.digestSalt, 132);
  setU32(bytes, 164, header.digestIterations);
  bytes.set(Buffer.from(header.uuid), 168);
  header.slots.forEach((slot, index) => {
    bytes.set(encodeSlot(slot), slotsAt + index * slotBytes);
  });
  return bytes;
}

function encodeSlot(slot: KeySlot): Uint8Array {
  const bytes = new Uint8Array(slotBytes);
  setU32(bytes, 0, slot.isActive ? slotActive : slotDead);
  setU32(bytes, 4, slot.iterations);
  bytes.set(slot.salt, 8);
  setU32(bytes, 40, slot.keyOffset);
  setU32(bytes, 44, stripesOfSlot);
  return bytes;
}

/**
 * A slot of the header in two writes: its state, a word that a cut leaves whole, and the rest. A slot may cross the border of
 * two sectors, so what makes it valid is never written together with what it stands for.
 */
export function encodeSlotParts(slot: KeySlot, index: number): { readonly at: number; readonly state: Uint8Array; readonly rest: Uint8Array } {
  const bytes = encodeSlot(slot);
  return { at: slotsAt + index * slotBytes, state: bytes.subarray(0, 4), rest: bytes.subarray(4) };
}
