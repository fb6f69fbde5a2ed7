/* Secrets: a password or key, given as text, in base64, or in a file. Rule source: observed behaviour of QEMU 11.1. */

import { isUtf8 } from 'node:buffer';
import { readSecretFile } from '../storage/secret-file.ts';
import { BlockError } from '../util/errors.ts';
import { enumOf, type Infer, optional, str, struct } from '../util/schema.ts';
import { type AnyObjectType, defineObjectType, type ObjectSource, type UserObject } from './object.ts';

const properties = struct('SecretProperties', {
  format: optional(enumOf('QCryptoSecretFormat', ['raw', 'base64'])),
  keyid: optional(str),
  iv: optional(str),
  data: optional(str),
  file: optional(str),
});

export class Secret implements UserObject {
  readonly qomType = 'secret';
  readonly id: string;
  readonly bytes: Uint8Array;

  constructor(id: string, bytes: Uint8Array) {
    this.id = id;
    this.bytes = bytes;
  }
}

/** The bytes of the secret with this id. Throws QEMU's message when there is none. */
export function secretBytes(objects: ObjectSource, id: string): Uint8Array {
  const found = objects.find(Secret, id);
  if (found !== undefined) return found.bytes;
  if (objects.typeOf(id) !== undefined) throw new BlockError(`Object with id '${id}' is not a secret`, { code: 'EINVAL' });
  throw new BlockError(`No secret with id '${id}'`, { code: 'ENOENT' });
}

/** The passphrase behind a secret's id: text in UTF-8. Throws QEMU's messages. */
export function passphrase(objects: ObjectSource, id: string): Uint8Array {
  const bytes = secretBytes(objects, id);
  if (bytes.includes(0) || !isUtf8(bytes)) throw new BlockError(`Data from secret ${id} is not valid UTF-8`, { code: 'EINVAL' });
  return bytes;
}

/** Bytes of the key that encrypts other secrets. */
const masterKeySize = 32;

function read({ data, file, format, keyid, iv }: Infer<typeof properties>, others: ObjectSource): Uint8Array {
  if (data !== undefined && file !== undefined) throw new BlockError("'file' and 'data' are mutually exclusive", { code: 'EINVAL' });
  if (data === undefined && file === undefined) throw new BlockError("Either 'file' or 'data' must be provided", { code: 'EINVAL' });
  const bytes = file === undefined ? Buffer.from(data ?? '', 'utf8') : readSecretFile(file);
  if (keyid !== undefined) {
    const key = secretBytes(others, keyid);
    if (key.length !== masterKeySize) throw new BlockError(`Key should be ${masterKeySize} bytes in length`, { code: 'EINVAL' });
    if (iv === undefined) throw new BlockError('IV is required to decrypt secret', { code: 'EINVAL' });
    return decrypt(key, decodeBase64(Buffer.from(iv, 'utf8')), format === 'base64' ? decodeBase64(bytes) : bytes);
  }
  return format === 'base64' ? decodeBase64(bytes) : bytes;
}

function decodeBase64(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[A-Za-z0-9+/=\n]*$/.test(text)) throw new BlockError('Base64 data contains invalid characters', { code: 'EINVAL' });
  return Buffer.from(text, 'base64');
}

const cipherBlock = 16;

/** What an encrypted secret holds: AES-256-CBC, the last byte tells how many were added to fill the last block. */
function decrypt(key: Uint8Array, iv: Uint8Array, sealed: Uint8Array): Uint8Array {
  if (iv.length !== cipherBlock) throw new BlockError(`IV should be ${cipherBlock} bytes in length not ${iv.length}`, { code: 'EINVAL' });
  if (sealed.length % cipherBlock !== 0) throw new BlockError(`Length ${sealed.length} must be a multiple of block size ${cipherBlock}`, { code: 'EINVAL' });
  if (sealed.length === 0) return sealed;
  const plain = process.getBuiltinModule('node:crypto').createDecipheriv('aes-256-cbc', key, iv).setAutoPadding(false).update(sealed);
  const added = plain[plain.length - 1] ?? 0;
  if (added === 0 || added > plain.length) {
    throw new BlockError(`Incorrect number of padding bytes (${added}) found on decrypted data`, { code: 'EINVAL' });
  }
  return plain.subarray(0, plain.length - added);
}

export const secretType: AnyObjectType = defineObjectType({
  name: 'secret',
  properties,
  make: (id, given, others) => new Secret(id, read(given, others)),
});
