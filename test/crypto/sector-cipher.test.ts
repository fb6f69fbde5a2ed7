/* Sectors through every cipher and mode: beside node:crypto's own modes, one object a sector, over many sectors and odd buffers. */
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type CipherSpec, checkCipher, cipherAlgs, essivCipher, keyBytesOf } from '../../src/crypto/algorithms.ts';
import { SectorCipher } from '../../src/crypto/sector-cipher.ts';

const sector = 512;

function algNamed(name: string): CipherSpec['alg'] {
  const found = cipherAlgs.find((alg) => alg.name === name);
  if (found === undefined) throw new Error(name);
  return found;
}

function ivOf(spec: CipherSpec, key: Uint8Array, number: number): Uint8Array {
  const iv = Buffer.alloc(16);
  if (spec.ivgen === 'plain') iv.writeUInt32LE(number % 2 ** 32, 0);
  else iv.writeBigUInt64LE(BigInt(number), 0);
  if (spec.ivgen !== 'essiv' || spec.ivHash === undefined) return iv;
  const salt = createHash(spec.ivHash).update(key).digest();
  return createCipheriv(`${essivCipher(spec.alg, spec.ivHash).node}-ecb`, salt, null)
    .setAutoPadding(false)
    .update(iv);
}

/** One cipher object a sector, modes as node:crypto has them. */
function plainly(spec: CipherSpec, key: Uint8Array, first: number, data: Uint8Array): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < data.length; at += sector) {
    const iv = spec.mode === 'ecb' ? null : ivOf(spec, key, first + at / sector);
    const cipher = createCipheriv(`${spec.alg.node}-${spec.mode}`, key, iv).setAutoPadding(false);
    parts.push(cipher.update(data.subarray(at, at + sector)));
  }
  return Buffer.concat(parts);
}

const specs: readonly CipherSpec[] = [
  ...(['aes-128', 'aes-256'] as const).flatMap((name): CipherSpec[] => [
    { alg: algNamed(name), mode: 'xts', ivgen: 'plain64', ivHash: undefined },
    { alg: algNamed(name), mode: 'xts', ivgen: 'plain', ivHash: undefined },
    { alg: algNamed(name), mode: 'xts', ivgen: 'essiv', ivHash: 'sha256' },
  ]),
  ...(['aes-128', 'aes-192', 'aes-256'] as const).flatMap((name): CipherSpec[] => [
    { alg: algNamed(name), mode: 'cbc', ivgen: 'plain64', ivHash: undefined },
    { alg: algNamed(name), mode: 'cbc', ivgen: 'essiv', ivHash: 'sha256' },
    { alg: algNamed(name), mode: 'ctr', ivgen: 'plain64', ivHash: undefined },
    { alg: algNamed(name), mode: 'ctr', ivgen: 'essiv', ivHash: 'md5' },
    { alg: algNamed(name), mode: 'ecb', ivgen: 'plain64', ivHash: undefined },
  ]),
  { alg: algNamed('sm4'), mode: 'ecb', ivgen: 'plain', ivHash: undefined },
];

describe.each(specs.map((spec) => [`${spec.alg.name} ${spec.mode} ${spec.ivgen}`, spec] as const))('%s', (_name, spec) => {
  it.each([0, 2 ** 32 - 3, 2 ** 40])('is what node:crypto makes of each sector, from sector %i on', (first) => {
    checkCipher(spec);
    const key = randomBytes(keyBytesOf(spec.alg, spec.mode));
    const cipher = new SectorCipher(spec, key);
    const data = randomBytes(300 * sector);
    const sealed = new Uint8Array(data.length + 1).subarray(1);
    cipher.encrypt(first, data, sealed);
    expect(Buffer.compare(sealed, plainly(spec, key, first, data))).toBe(0);
    // in place, in pieces, in another order than they were written
    for (const [from, to] of [
      [150, 300],
      [0, 1],
      [1, 150],
    ] as const) {
      const part = sealed.subarray(from * sector, to * sector);
      cipher.decrypt(first + from, part, part);
    }
    expect(Buffer.compare(sealed, data)).toBe(0);
  });
});

it('has the vector of IEEE 1619 for AES-128', () => {
  // vector 4: a unit of 512 bytes, numbered 0
  const key = Buffer.from('2718281828459045235360287471352631415926535897932384626433832795', 'hex');
  const plain = Uint8Array.from({ length: sector }, (_, index) => index % 256);
  const out = new Uint8Array(sector);
  new SectorCipher({ alg: algNamed('aes-128'), mode: 'xts', ivgen: 'plain64', ivHash: undefined }, key).encrypt(0, plain, out);
  expect(Buffer.from(out.subarray(0, 16)).toString('hex')).toBe('27a7479befa1d476489f308cd4cfa6e2');
});

it('has XTS over AES-192, which node:crypto has not', () => {
  const spec: CipherSpec = { alg: algNamed('aes-192'), mode: 'xts', ivgen: 'plain64', ivHash: undefined };
  const cipher = new SectorCipher(spec, randomBytes(48));
  const data = randomBytes(3 * sector);
  const sealed = new Uint8Array(data.length);
  cipher.encrypt(9, data, sealed);
  cipher.decrypt(9, sealed, sealed);
  expect(Buffer.compare(sealed, data)).toBe(0);
});

describe('ciphers that are refused', () => {
  it.each([
    ['serpent-256', 'xts', "Algorithm 'serpent-256' not supported"],
    ['twofish-128', 'cbc', "Algorithm 'twofish-128' not supported"],
    ['cast5-128', 'cbc', "Algorithm 'cast5-128' not supported"],
    ['cast5-128', 'xts', 'Unsupported cipher mode xts'],
    ['des', 'cbc', "Algorithm 'des' not supported"],
    ['3des', 'ecb', "Algorithm '3des' not supported"],
    ['sm4', 'cbc', 'Unsupported cipher mode cbc'],
  ] as const)('%s %s', (name, mode, message) => {
    expect(() => checkCipher({ alg: algNamed(name), mode, ivgen: 'plain64', ivHash: undefined })).toThrow(message);
  });

  it.each([
    ['aes-256', 'sha1', 'No AES cipher with key size 20 available'],
    ['serpent-256', 'sha512', 'No Serpent cipher with key size 64 available'],
    ['sm4', 'sha256', 'Cipher sm4 not supported with essiv'],
  ] as const)('essiv with %s and %s', (name, ivHash, message) => {
    expect(() => checkCipher({ alg: algNamed(name), mode: 'ecb', ivgen: 'essiv', ivHash })).toThrow(message);
  });
});
