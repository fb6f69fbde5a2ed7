/*
 * Ciphers, modes, IV generators and hashes by QAPI's names, with LUKS's names and node:crypto's. What node:crypto has not is
 * known by name and refused in QEMU's words. Rule source: QAPI QCryptoCipherAlgo and its neighbours; observed messages.
 */
import { BlockError } from '../core/util/errors.ts';
import { nodeCrypto } from './node-crypto.ts';

export interface CipherAlg {
  /** QAPI's name. */
  readonly name: string;
  /** What LUKS headers call it; with the length of the key it is the same as `name`. Absent: they have no word for it. */
  readonly luksName?: string;
  readonly keyBytes: number;
  /** Stem of node:crypto's names; absent: it is not there. */
  readonly node?: string;
  /** Modes; absent: all. */
  readonly modes?: readonly CipherMode[];
}

export const cipherModes = ['ecb', 'cbc', 'xts', 'ctr'] as const;
export type CipherMode = (typeof cipherModes)[number];
export const ivGenerators = ['plain', 'plain64', 'essiv'] as const;
export type IvGenerator = (typeof ivGenerators)[number];
export const hashNames = ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'ripemd160', 'sm3'] as const;
export type HashName = (typeof hashNames)[number];

export const cipherAlgs: readonly CipherAlg[] = [
  { name: 'aes-128', luksName: 'aes', keyBytes: 16, node: 'aes-128' },
  { name: 'aes-192', luksName: 'aes', keyBytes: 24, node: 'aes-192' },
  { name: 'aes-256', luksName: 'aes', keyBytes: 32, node: 'aes-256' },
  { name: 'des', keyBytes: 8 },
  { name: '3des', keyBytes: 24 },
  { name: 'cast5-128', luksName: 'cast5', keyBytes: 16, modes: ['ecb', 'cbc', 'ctr'] },
  { name: 'serpent-128', luksName: 'serpent', keyBytes: 16 },
  { name: 'serpent-192', luksName: 'serpent', keyBytes: 24 },
  { name: 'serpent-256', luksName: 'serpent', keyBytes: 32 },
  { name: 'twofish-128', luksName: 'twofish', keyBytes: 16 },
  { name: 'twofish-192', luksName: 'twofish', keyBytes: 24 },
  { name: 'twofish-256', luksName: 'twofish', keyBytes: 32 },
  { name: 'sm4', luksName: 'sm4', keyBytes: 16, node: 'sm4', modes: ['ecb'] },
];

export const defaultCipher = 'aes-256';

/** How the sectors of a volume are enciphered. */
export interface CipherSpec {
  readonly alg: CipherAlg;
  readonly mode: CipherMode;
  readonly ivgen: IvGenerator;
  /** Hash of essiv. */
  readonly ivHash: HashName | undefined;
}

/** Bytes of the whole key: XTS takes two of the cipher's. */
export function keyBytesOf(alg: CipherAlg, mode: CipherMode): number {
  return mode === 'xts' ? alg.keyBytes * 2 : alg.keyBytes;
}

/** The cipher that a LUKS header means by `name` and the length of its key. */
export function cipherOfHeader(name: string, mode: CipherMode, keyBytes: number): CipherAlg {
  const bytes = mode === 'xts' ? Math.floor(keyBytes / 2) : keyBytes;
  const found = cipherAlgs.find((alg) => alg.luksName === name && alg.keyBytes === bytes);
  if (found !== undefined) return found;
  throw new BlockError(`Algorithm '${name}' with key size ${bytes | 0} bytes not supported`, { code: 'EINVAL' });
}

/** The name in a header that is one of `names`; `what` is the word of the message. */
export function nameOfHeader<T extends string>(what: string, text: string, names: readonly T[]): T {
  const found = names.find((name) => name === text);
  if (found === undefined) throw new BlockError(`${what} '${text}' not supported`, { code: 'EINVAL' });
  return found;
}

export const digestBytes: Readonly<Record<HashName, number>> = { md5: 16, sha1: 20, sha224: 28, sha256: 32, sha384: 48, sha512: 64, ripemd160: 20, sm3: 32 };

/** The cipher that essiv's IVs are enciphered with. Throws where there is none for a key as long as the hash. */
export function essivCipher(alg: CipherAlg, hash: HashName): CipherAlg {
  const families: Readonly<Record<string, string>> = { aes: 'AES', serpent: 'Serpent', twofish: 'Twofish' };
  const family = families[alg.luksName ?? ''];
  if (family === undefined) throw new BlockError(`Cipher ${alg.name} not supported with essiv`, { code: 'EINVAL' });
  const found = cipherAlgs.find(({ luksName, keyBytes }) => luksName === alg.luksName && keyBytes === digestBytes[hash]);
  if (found === undefined) throw new BlockError(`No ${family} cipher with key size ${digestBytes[hash]} available`, { code: 'EINVAL' });
  return found;
}

/** Throws unless node:crypto has what `spec` asks for. */
export function checkCipher({ alg, mode, ivgen, ivHash }: CipherSpec): void {
  if (ivgen === 'essiv' && ivHash !== undefined) essivCipher(alg, ivHash);
  if (alg.modes !== undefined && !alg.modes.includes(mode)) throw new BlockError(`Unsupported cipher mode ${mode}`, { code: 'EINVAL' });
  if (alg.node === undefined || !nodeCrypto().getCiphers().includes(`${alg.node}-ecb`)) throw unsupported(alg.name);
  if (ivHash !== undefined && ivgen === 'essiv') checkHash(ivHash);
}

/** Throws unless node:crypto has this hash. */
export function checkHash(hash: HashName): void {
  if (!nodeCrypto().getHashes().includes(hash)) throw unsupported(hash);
}

function unsupported(name: string): BlockError {
  return new BlockError(`Algorithm '${name}' not supported`, { code: 'ENOTSUP' });
}
