/* node:crypto, loaded at the first need: most images hold no cipher, and programs should start with little. */
import { BlockError } from '../core/util/errors.ts';

export type NodeCrypto = typeof import('node:crypto');
let loaded: NodeCrypto | undefined;

/** Throws ENOTSUP on machines whose words are big-endian: the arithmetic on tweaks is written for the others. */
export function nodeCrypto(): NodeCrypto {
  if (loaded !== undefined) return loaded;
  if (new Uint8Array(new Uint32Array([1]).buffer)[0] !== 1) throw new BlockError('Encryption is not supported on big-endian machines', { code: 'ENOTSUP' });
  loaded = process.getBuiltinModule('node:crypto');
  return loaded;
}

export function randomBytes(count: number): Uint8Array {
  return nodeCrypto().randomBytes(count);
}
