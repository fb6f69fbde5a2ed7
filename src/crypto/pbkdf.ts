/*
 * Keys from passphrases, and how many rounds take a given time on this machine. PBKDF2 is node:crypto's, in its thread pool.
 * Rule source: RFC 8018; observed counts of qemu-img 11.1 for iter-time.
 */
import type { Clock } from '../core/util/clock.ts';
import { BlockError } from '../core/util/errors.ts';
import type { HashName } from './algorithms.ts';
import { nodeCrypto } from './node-crypto.ts';

/** No volume is made with fewer. */
export const minIterations = 1000;
const maxIterations = 0xffffffff;
const maxScaled = 2 ** 64;

/** A measurement that took this long is exact enough. */
const measureMs = 100;
const firstRounds = 8192;
/** node:crypto counts in an int. */
const mostRounds = 2 ** 31 - 1;

export function deriveKey(hash: HashName, password: Uint8Array, salt: Uint8Array, iterations: number, length: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    nodeCrypto().pbkdf2(password, salt, iterations, length, hash, (error, key) => (error === null ? resolve(key) : reject(error)));
  });
}

/** Iterations that one second has room for, where `length` bytes are derived. */
export async function iterationsPerSecond(hash: HashName, length: number, clock: Clock): Promise<number> {
  const salt = new Uint8Array(32);
  for (let rounds = firstRounds; ; ) {
    const start = clock.now();
    await deriveKey(hash, salt, salt, rounds, length);
    const passed = clock.now() - start;
    if (passed >= measureMs || rounds === mostRounds) return Math.max(1, Math.floor((rounds * 1000) / Math.max(passed, 1)));
    rounds = Math.min(mostRounds, passed < measureMs / 10 ? rounds * 10 : Math.ceil((rounds * measureMs * 1.2) / passed));
  }
}

/** The count that takes `ms` (divided by `divisor`) at `perSecond`; throws QEMU's words for what does not fit. */
export function scaledIterations(perSecond: number, ms: number, divisor = 1): number {
  const range = (text: string): BlockError => new BlockError(`${text}: Numerical result out of range`, { code: 'ERANGE' });
  if (perSecond * ms > maxScaled) throw range(`PBKDF iterations ${perSecond} too large to scale`);
  const count = Math.floor((perSecond * ms) / 1000 / divisor);
  if (count > maxIterations) throw range(`PBKDF iterations ${count} larger than ${maxIterations}`);
  return Math.max(minIterations, count);
}
