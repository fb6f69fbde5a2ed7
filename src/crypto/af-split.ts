/*
 * The anti-forensic splitter: a key spread over many stripes, all of which are needed to get it back, so that overwriting
 * any of them loses it. Rule source: LUKS on-disk format 1.2, section 2.4.
 */
import { setU32 } from '../core/util/bytes.ts';
import { digestBytes, type HashName } from './algorithms.ts';
import { nodeCrypto, randomBytes } from './node-crypto.ts';

/** `key` as `stripes` times its length of bytes. */
export function splitKey(hash: HashName, stripes: number, key: Uint8Array): Uint8Array {
  const { length } = key;
  const out = new Uint8Array(length * stripes);
  out.set(randomBytes(length * (stripes - 1)));
  const sum = foldStripes(hash, out, length, stripes - 1);
  mixInto(sum, key);
  out.set(sum, length * (stripes - 1));
  return out;
}

/** The key of `length` bytes that `split` holds. */
export function mergeKey(hash: HashName, stripes: number, length: number, split: Uint8Array): Uint8Array {
  const sum = foldStripes(hash, split, length, stripes - 1);
  mixInto(sum, split.subarray(length * (stripes - 1), length * stripes));
  return sum;
}

function foldStripes(hash: HashName, stripes: Uint8Array, length: number, count: number): Uint8Array {
  const sum = new Uint8Array(length);
  for (let index = 0; index < count; index++) {
    mixInto(sum, stripes.subarray(index * length, (index + 1) * length));
    diffuse(hash, sum);
  }
  return sum;
}

function mixInto(sum: Uint8Array, from: Uint8Array): void {
  for (let index = 0; index < sum.length; index++) sum[index] = (sum[index] ?? 0) ^ (from[index] ?? 0);
}

/** Every piece as long as the hash becomes the hash of its number and itself. */
function diffuse(hash: HashName, bytes: Uint8Array): void {
  const { createHash } = nodeCrypto();
  const piece = digestBytes[hash];
  const number = new Uint8Array(4);
  for (let at = 0; at < bytes.length; at += piece) {
    setU32(number, 0, at / piece);
    const part = bytes.subarray(at, at + piece);
    part.set(createHash(hash).update(number).update(part).digest().subarray(0, part.length));
  }
}
