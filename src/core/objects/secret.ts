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
  if (found === undefined) throw new BlockError(`No secret with id '${id}'`, { code: 'ENOENT' });
  return found.bytes;
}

/** The passphrase behind a secret's id: text in UTF-8. Throws QEMU's messages. */
export function passphrase(objects: ObjectSource, id: string): Uint8Array {
  const bytes = secretBytes(objects, id);
  if (bytes.includes(0) || !isUtf8(bytes)) throw new BlockError(`Data from secret ${id} is not valid UTF-8`, { code: 'EINVAL' });
  return bytes;
}

/** Bytes of the key that encrypts other secrets. */
const masterKeySize = 32;

function read({ data, file, format, keyid }: Infer<typeof properties>, others: ObjectSource): Uint8Array {
  if (data !== undefined && file !== undefined) throw new BlockError("'file' and 'data' are mutually exclusive", { code: 'EINVAL' });
  if (data === undefined && file === undefined) throw new BlockError("Either 'file' or 'data' must be provided", { code: 'EINVAL' });
  const bytes = file === undefined ? Buffer.from(data ?? '', 'utf8') : readSecretFile(file);
  if (keyid !== undefined) {
    if (secretBytes(others, keyid).length !== masterKeySize) throw new BlockError(`Key should be ${masterKeySize} bytes in length`, { code: 'EINVAL' });
    throw new BlockError('Secrets that are encrypted themselves are not supported', { code: 'ENOTSUP' });
  }
  if (format !== 'base64') return bytes;
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[A-Za-z0-9+/=\n]*$/.test(text)) throw new BlockError('Base64 data contains invalid characters', { code: 'EINVAL' });
  return Buffer.from(text, 'base64');
}

export const secretType: AnyObjectType = defineObjectType({
  name: 'secret',
  properties,
  make: (id, given, others) => new Secret(id, read(given, others)),
});
