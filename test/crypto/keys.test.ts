/* Keys: stripes, rounds, and how many rounds a time has room for. */
import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type Clock, realClock } from '../../src/core/util/clock.ts';
import { mergeKey, splitKey } from '../../src/crypto/af-split.ts';
import { hashNames } from '../../src/crypto/algorithms.ts';
import { deriveKey, iterationsPerSecond, scaledIterations } from '../../src/crypto/pbkdf.ts';

describe.each(hashNames)('stripes by %s', (hash) => {
  it.each([16, 24, 32, 64])('give a key of %i bytes back, and no other when a byte is lost', (length) => {
    const key = randomBytes(length);
    const split = splitKey(hash, 20, key);
    expect([split.length, Buffer.compare(mergeKey(hash, 20, length, split), key)]).toEqual([20 * length, 0]);
    for (const at of [0, length * 10 + 3, split.length - 1]) {
      split[at] = (split[at] ?? 0) ^ 1;
      expect(Buffer.compare(mergeKey(hash, 20, length, split), key)).not.toBe(0);
      split[at] = (split[at] ?? 0) ^ 1;
    }
  });
});

it('diffuses piece by piece, each with its number', () => {
  // two stripes, zeros and ones: the sum is the diffused first, exclusive or the second
  const split = Uint8Array.from([...new Uint8Array(30), ...new Uint8Array(30).fill(0xff)]);
  const piece = (number: number, length: number): Buffer =>
    createHash('sha1')
      .update(Uint8Array.of(0, 0, 0, number))
      .update(new Uint8Array(length))
      .digest();
  const first = Buffer.concat([piece(0, 20), piece(1, 10).subarray(0, 10)]);
  expect(Buffer.from(mergeKey('sha1', 2, 30, split))).toEqual(first.map((byte) => byte ^ 0xff));
});

describe('rounds', () => {
  it.each([
    [1, '0c60c80f961f0e71f3a9b524af6012062fe037a6'],
    [4096, '4b007901b765489abead49d926f721d065a429c1'],
  ])('%i of them are those of RFC 6070', async (rounds, key) => {
    expect(Buffer.from(await deriveKey('sha1', Buffer.from('password'), Buffer.from('salt'), rounds, 20)).toString('hex')).toBe(key);
  });

  /** A clock on which every look takes `ms`. */
  const slow = (ms: number): Clock => {
    let now = 0;
    return { ...realClock, now: () => (now += ms) };
  };

  it('of a second are measured by the clock that is given', async () => {
    expect(await iterationsPerSecond('sha256', 32, slow(100))).toBe(81920);
    expect(await iterationsPerSecond('sha256', 32, slow(1000))).toBe(8192);
    // too short to be exact: measured again with more
    expect(await iterationsPerSecond('sha256', 32, { ...realClock, now: times(0, 5, 0, 50, 0, 120) })).toBe(Math.floor((196608 * 1000) / 120));
  });

  it('are scaled to the time that is asked for, and never few', () => {
    expect([scaledIterations(1_000_000, 2000), scaledIterations(1_000_000, 2000, 8), scaledIterations(1_000_000, 0)]).toEqual([2_000_000, 250_000, 1000]);
    expect(() => scaledIterations(1_000_000, 2 ** 60)).toThrow('PBKDF iterations 1000000 too large to scale: Numerical result out of range');
    expect(() => scaledIterations(1_000_000, 5_000_000)).toThrow('PBKDF iterations 5000000000 larger than 4294967295: Numerical result out of range');
  });
});

function times(...values: number[]): () => number {
  let at = 0;
  return () => values[at++] ?? 0;
}
