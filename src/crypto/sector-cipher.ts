/*
 * Sectors of 512 bytes to ciphertext and back, many in one go. The block cipher is always node:crypto's. Its modes cannot be
 * told another IV within a call, and a cipher object a sector costs five times the work itself: so XTS and CTR ask for ECB
 * over a whole batch and combine the blocks here (exclusive or, and the doubling of XTS's tweaks), CBC goes on in one stream
 * whose chaining value is exchanged at the first block of each sector.
 * Rule source: IEEE 1619 (XTS), NIST SP 800-38A (CBC, CTR), LUKS on-disk format 1.2 (IVs).
 */
import { invariant } from '../core/util/errors.ts';
import { type CipherSpec, essivCipher } from './algorithms.ts';
import { nodeCrypto } from './node-crypto.ts';

import { cryptoSector } from './sector-size.ts';

const block = 16;
const sectorBlocks: number = cryptoSector / block;
/** Sectors of one batch: its three buffers stay in the processor's cache. */
const batchSectors = 128;
const batchBytes: number = batchSectors * cryptoSector;

/** Takes bytes through a block cipher of node:crypto; the result is a new buffer of the same length. */
type Stream = (bytes: Uint8Array) => Uint8Array;

// scratch of the batches: never live across a yield
let scratch: { readonly words: Uint32Array; readonly bytes: Uint8Array; readonly mask: Uint32Array; readonly maskBytes: Uint8Array } | undefined;

function work(): NonNullable<typeof scratch> {
  if (scratch === undefined) {
    const words = new Uint32Array(batchBytes / 4);
    const mask = new Uint32Array(batchBytes / 4);
    scratch = { words, bytes: new Uint8Array(words.buffer), mask, maskBytes: new Uint8Array(mask.buffer) };
  }
  return scratch;
}

/** A sector cipher: sectors are numbered from `first`, lengths are whole sectors, `into` may be `from`. */
export class SectorCipher {
  readonly #mode: CipherSpec['mode'];
  readonly #encipher: Stream;
  readonly #decipher: Stream;
  /** Second key of XTS, over IVs. */
  readonly #tweak: Stream | undefined;
  readonly #isShortIv: boolean;
  readonly #essiv: Stream | undefined;
  /** The last ciphertext block that each CBC stream saw. */
  #lastOut: Uint8Array = new Uint8Array(block);
  #lastIn: Uint8Array = new Uint8Array(block);

  /** `key` has the length that `keyBytesOf` gives. The cipher is one that `checkCipher` let pass. */
  constructor({ alg, mode, ivgen, ivHash }: CipherSpec, key: Uint8Array) {
    invariant(alg.node !== undefined, 'a cipher that node:crypto has');
    const crypto = nodeCrypto();
    const ecb = `${alg.node}-ecb`;
    const forward = (name: string, part: Uint8Array, iv: Uint8Array | null = null): Stream => {
      const cipher = crypto.createCipheriv(name, part, iv).setAutoPadding(false);
      return (bytes) => cipher.update(bytes);
    };
    const backward = (name: string, part: Uint8Array, iv: Uint8Array | null = null): Stream => {
      const cipher = crypto.createDecipheriv(name, part, iv).setAutoPadding(false);
      return (bytes) => cipher.update(bytes);
    };
    this.#mode = mode;
    this.#isShortIv = ivgen === 'plain';
    if (ivgen === 'essiv' && ivHash !== undefined) {
      const salt = crypto.createHash(ivHash).update(key).digest();
      this.#essiv = forward(`${essivCipher(alg, ivHash).node ?? ''}-ecb`, salt);
    }
    if (mode === 'cbc') {
      this.#encipher = forward(`${alg.node}-cbc`, key, new Uint8Array(block));
      this.#decipher = backward(`${alg.node}-cbc`, key, new Uint8Array(block));
      return;
    }
    const main = key.subarray(0, alg.keyBytes);
    this.#encipher = forward(ecb, main);
    this.#decipher = mode === 'ctr' ? this.#encipher : backward(ecb, main);
    if (mode === 'xts') this.#tweak = forward(ecb, key.subarray(alg.keyBytes));
  }

  encrypt(first: number, from: Uint8Array, into: Uint8Array): void {
    this.#batches(first, from, into, true);
  }

  decrypt(first: number, from: Uint8Array, into: Uint8Array): void {
    this.#batches(first, from, into, false);
  }

  #batches(first: number, from: Uint8Array, into: Uint8Array, isForward: boolean): void {
    invariant(from.length % cryptoSector === 0 && into.length === from.length, 'whole sectors');
    for (let at = 0; at < from.length; at += batchBytes) {
      const end = Math.min(at + batchBytes, from.length);
      this.#batch(first + at / cryptoSector, from.subarray(at, end), into.subarray(at, end), isForward);
    }
  }

  #batch(first: number, from: Uint8Array, into: Uint8Array, isForward: boolean): void {
    switch (this.#mode) {
      case 'ecb':
        into.set(isForward ? this.#encipher(from) : this.#decipher(from));
        break;
      case 'xts':
        this.#xts(first, from, into, isForward ? this.#encipher : this.#decipher);
        break;
      case 'ctr':
        this.#ctr(first, from, into);
        break;
      default:
        if (isForward) this.#cbcForward(first, from, into);
        else this.#cbcBackward(first, from, into);
    }
  }

  /** The IVs of `count` sectors, one behind the other. */
  #ivs(first: number, count: number): Uint8Array {
    const ivs = new Uint8Array(count * block);
    const view = new DataView(ivs.buffer);
    for (let index = 0; index < count; index++) {
      const sector = first + index;
      view.setUint32(index * block, sector >>> 0, true);
      if (!this.#isShortIv) view.setUint32(index * block + 4, Math.floor(sector / 2 ** 32), true);
    }
    return this.#essiv === undefined ? ivs : this.#essiv(ivs);
  }

  #xts(first: number, from: Uint8Array, into: Uint8Array, through: Stream): void {
    const { words, bytes, mask } = work();
    const { length } = from;
    const count = length / cryptoSector;
    invariant(this.#tweak !== undefined, 'XTS has a second key');
    spreadTweaks(this.#tweak(this.#ivs(first, count)), count, mask);
    bytes.set(from);
    mix(words, mask, length / 4);
    bytes.set(through(bytes.subarray(0, length)));
    mix(words, mask, length / 4);
    into.set(bytes.subarray(0, length));
  }

  #ctr(first: number, from: Uint8Array, into: Uint8Array): void {
    const { words, bytes, mask, maskBytes } = work();
    const { length } = from;
    const ivs = this.#ivs(first, length / cryptoSector);
    for (let at = 0; at < length; at += cryptoSector) {
      const counter = ivs.subarray((at / cryptoSector) * block, (at / cryptoSector + 1) * block);
      for (let index = 0; index < sectorBlocks; index++) {
        maskBytes.set(counter, at + index * block);
        // the counter is one big-endian number
        for (let byte = block - 1; byte >= 0; byte--) {
          const next = ((counter[byte] ?? 0) + 1) & 0xff;
          counter[byte] = next;
          if (next !== 0) break;
        }
      }
    }
    maskBytes.set(this.#encipher(maskBytes.subarray(0, length)));
    bytes.set(from);
    mix(words, mask, length / 4);
    into.set(bytes.subarray(0, length));
  }

  #cbcForward(first: number, from: Uint8Array, into: Uint8Array): void {
    const { bytes } = work();
    const ivs = this.#ivs(first, from.length / cryptoSector);
    bytes.set(from);
    for (let at = 0; at < from.length; at += cryptoSector) {
      const sector = bytes.subarray(at, at + cryptoSector);
      exchange(sector, ivs, (at / cryptoSector) * block, this.#lastOut, 0);
      const out = this.#encipher(sector);
      this.#lastOut = out.subarray(cryptoSector - block);
      sector.set(out);
    }
    into.set(bytes.subarray(0, from.length));
  }

  #cbcBackward(first: number, from: Uint8Array, into: Uint8Array): void {
    const ivs = this.#ivs(first, from.length / cryptoSector);
    const out = this.#decipher(from);
    for (let at = 0; at < from.length; at += cryptoSector) {
      const sector = out.subarray(at, at + cryptoSector);
      if (at === 0) exchange(sector, ivs, 0, this.#lastIn, 0);
      else exchange(sector, ivs, (at / cryptoSector) * block, from, at - block);
    }
    // a copy: the buffer is about to be overwritten, and slices of Node's buffers share their bytes
    this.#lastIn = Uint8Array.from(from.subarray(from.length - block));
    into.set(out);
  }
}

/** Puts the IV at `ivAt` in the place of the chaining value at `oldAt`, in the first block of a sector. */
function exchange(sector: Uint8Array, ivs: Uint8Array, ivAt: number, old: Uint8Array, oldAt: number): void {
  for (let index = 0; index < block; index++) sector[index] = (sector[index] ?? 0) ^ (ivs[ivAt + index] ?? 0) ^ (old[oldAt + index] ?? 0);
}

function mix(words: Uint32Array, mask: Uint32Array, count: number): void {
  for (let index = 0; index < count; index++) words[index] = (words[index] ?? 0) ^ (mask[index] ?? 0);
}

/** From each sector's first tweak those of all of its blocks: each is the one before times x in GF(2^128). */
function spreadTweaks(tweaks: Uint8Array, count: number, mask: Uint32Array): void {
  const view = new DataView(tweaks.buffer, tweaks.byteOffset, tweaks.length);
  let at = 0;
  for (let sector = 0; sector < count; sector++) {
    let a = view.getUint32(sector * block, true);
    let b = view.getUint32(sector * block + 4, true);
    let c = view.getUint32(sector * block + 8, true);
    let d = view.getUint32(sector * block + 12, true);
    for (let index = 0; index < sectorBlocks; index++) {
      mask[at] = a;
      mask[at + 1] = b;
      mask[at + 2] = c;
      mask[at + 3] = d;
      at += 4;
      const carry = -(d >>> 31) & 0x87;
      d = (d << 1) | (c >>> 31);
      c = (c << 1) | (b >>> 31);
      b = (b << 1) | (a >>> 31);
      a = (a << 1) ^ carry;
    }
  }
}
