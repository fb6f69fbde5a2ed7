/*
 * User-creatable objects: what a user makes by name (a secret, a throttle group) for nodes, exports and programs to find.
 * A type is one definition in one file: its properties (validation, completion, introspection come from the schema) and
 * how one is made. Knows no type. Rule source: observed behaviour of object-add and object-del in QEMU 11.1.
 */
import type { Schema } from '../util/schema.ts';

/** An object in force. Whoever needs one of a kind finds it by its class. */
export interface UserObject {
  readonly id: string;
  /** Name of its type. */
  readonly qomType: string;
  /** What qom-get tells of it beside its type; undefined: no such property. */
  property?(name: string): unknown;
  /** qom-set of a property that it has. Throws when it cannot be. */
  setProperty?(name: string, value: unknown): void;
  /** Throws when it may not go now. Absent: it always may; those who use it keep what they have. */
  checkRemoval?(): void;
  /** The engine ends: nobody is to wait for it any more. */
  ending?(): void;
  /** Gives up what it holds, when it was removed or the engine ends. */
  close?(): void;
}

/** Where drivers and programs find objects. */
export interface ObjectSource {
  /** Whether there is an object of this type with this id. */
  has(qomType: string, id: string): boolean;
  /** Name of the type of the object with this id. */
  typeOf(id: string): string | undefined;
  /** The object with this id when it is of this class. */
  find<T extends UserObject>(type: abstract new (...args: never[]) => T, id: string): T | undefined;
}

export interface ObjectType<P> {
  /** The qom-type. */
  readonly name: string;
  /** A struct as QAPI names it. */
  readonly properties: Schema<P>;
  /** Throws for single values that are out of range: told before a taken id is. */
  check?(properties: P): void;
  /** Throws for values that make no sense; nothing is left behind then. `others` are the objects made before. */
  make(id: string, properties: P, others: ObjectSource): UserObject;
}

/** A definition whose properties have been erased for the list of types. */
export type AnyObjectType = ObjectType<never>;

export function defineObjectType<P>(definition: ObjectType<P>): AnyObjectType {
  return definition as ObjectType<unknown> as AnyObjectType;
}
