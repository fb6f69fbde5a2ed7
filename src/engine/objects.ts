/* User-creatable objects by id: secrets for now. Rule source: observed behaviour of object-add in QEMU 11.1. */
import { readSecretFile } from '../core/storage/secret-file.ts';
import { BlockError } from '../core/util/errors.ts';
import { isIdentifier } from '../core/util/identifier.ts';

export interface SecretOptions {
  readonly 'qom-type': 'secret';
  readonly id: string;
  readonly data?: string | undefined;
  readonly file?: string | undefined;
  readonly format?: 'raw' | 'base64' | undefined;
  readonly keyid?: string | undefined;
  readonly iv?: string | undefined;
}

export class ObjectStore {
  /** The bytes of each secret. */
  readonly #secrets = new Map<string, Uint8Array>();

  add(options: SecretOptions): void {
    const { id } = options;
    if (!isIdentifier(id)) {
      throw new BlockError("Parameter 'id' expects an identifier", {
        detail: "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
      });
    }
    if (this.#secrets.has(id)) throw new BlockError(`attempt to add duplicate property '${id}' to object (type 'container')`);
    this.#secrets.set(id, readSecret(options));
  }

  remove(id: string): void {
    if (!this.#secrets.delete(id)) throw new BlockError(`object '${id}' not found`);
  }

  /** Forgets all of them. */
  close(): void {
    this.#secrets.clear();
  }

  /** The bytes of a secret. */
  secret(id: string): Uint8Array {
    const found = this.#secrets.get(id);
    if (found === undefined) throw new BlockError(`No secret with id '${id}'`);
    return found;
  }
}

function readSecret({ data, file, format, keyid }: SecretOptions): Uint8Array {
  if (data !== undefined && file !== undefined) throw new BlockError("'file' and 'data' are mutually exclusive");
  if (data === undefined && file === undefined) throw new BlockError("Either 'file' or 'data' must be provided");
  const bytes = file === undefined ? Buffer.from(data ?? '', 'utf8') : readSecretFile(file);
  if (keyid !== undefined) throw new BlockError('Secrets that are encrypted themselves are not supported');
  if (format !== 'base64') return bytes;
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[A-Za-z0-9+/=\n]*$/.test(text)) throw new BlockError('Base64 data contains invalid characters');
  return Buffer.from(text, 'base64');
}
