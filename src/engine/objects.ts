/* The user-creatable objects of one engine, by id, whatever their types. Types are in object-types.ts. */
import type { ObjectSource, UserObject } from '../core/objects/object.ts';
import { BlockError } from '../core/util/errors.ts';

export class ObjectStore implements ObjectSource {
  readonly #objects = new Map<string, UserObject>();

  /** Throws when an object has this id. */
  checkFree(id: string): void {
    if (this.#objects.has(id)) throw new BlockError(`attempt to add duplicate property '${id}' to object (type 'container')`, { code: 'EEXIST' });
  }

  /** Takes in an object whose id is free. */
  add(object: UserObject): void {
    this.checkFree(object.id);
    this.#objects.set(object.id, object);
  }

  /** Throws when there is none, or when it is in use and its type minds. */
  remove(id: string): void {
    const object = this.#objects.get(id);
    if (object === undefined) throw new BlockError(`object '${id}' not found`, { code: 'ENOENT' });
    object.checkRemoval?.();
    this.#objects.delete(id);
    object.close?.();
  }

  has(qomType: string, id: string): boolean {
    return this.#objects.get(id)?.qomType === qomType;
  }

  typeOf(id: string): string | undefined {
    return this.#objects.get(id)?.qomType;
  }

  /** By id, or by the path of one. */
  get(path: string): UserObject | undefined {
    return this.#objects.get(path.replace(/^\/?objects\//, ''));
  }

  find<T extends UserObject>(type: abstract new (...args: never[]) => T, id: string): T | undefined {
    const object = this.#objects.get(id);
    return object instanceof type ? object : undefined;
  }

  /** The end begins: those that make somebody wait do so no longer. */
  ending(): void {
    for (const object of this.#objects.values()) object.ending?.();
  }

  /** The end of all of them, newest first, in use or not: their users are gone. */
  close(): void {
    const all = [...this.#objects.values()].reverse();
    this.#objects.clear();
    for (const object of all) object.close?.();
  }
}
