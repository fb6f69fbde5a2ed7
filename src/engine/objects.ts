/* User-creatable objects by id: secrets for now. Rule source: observed behaviour of object-add in QEMU 11.1. */
import { BlockError } from '../core/util/errors.ts';

export interface SecretOptions {
  readonly 'qom-type': 'secret';
  readonly id: string;
  readonly data?: string | undefined;
  readonly format?: 'raw' | 'base64' | undefined;
}

export class ObjectStore {
  readonly #objects = new Map<string, SecretOptions>();

  add(options: SecretOptions): void {
    if (!/^[A-Za-z][A-Za-z0-9\-._]*$/.test(options.id)) {
      throw new BlockError("Parameter 'id' expects an identifier", {
        detail: "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
      });
    }
    if (this.#objects.has(options.id)) throw new BlockError(`attempt to add duplicate property '${options.id}' to object (type 'container')`);
    this.#objects.set(options.id, options);
  }

  remove(id: string): void {
    if (!this.#objects.delete(id)) throw new BlockError(`object '${id}' not found`);
  }

  /** The bytes of a secret. */
  secret(id: string): Uint8Array {
    const found = this.#objects.get(id);
    if (found === undefined) throw new BlockError(`No secret with id '${id}'`);
    return Buffer.from(found.data ?? '', found.format === 'base64' ? 'base64' : 'utf8');
  }
}
