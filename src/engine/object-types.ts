/* All types of user-creatable objects, in QAPI's order, and the union of their definitions: object-add's arguments and --object. */
import { iothreadType } from '../core/objects/iothread.ts';
import type { AnyObjectType } from '../core/objects/object.ts';
import { secretType } from '../core/objects/secret.ts';
import { throttleGroupType } from '../core/objects/throttle-group.ts';
import { enumOf, type Schema, str, union } from '../core/util/schema.ts';

export const objectTypes: readonly AnyObjectType[] = [iothreadType, secretType, throttleGroupType];

/** A definition whose shape was checked: the members beside these two are the type's properties. */
export interface ObjectDefinition {
  readonly 'qom-type': string;
  readonly id: string;
}

export const objectDefinition: Schema<ObjectDefinition> = union('ObjectOptions', {
  base: {
    'qom-type': enumOf(
      'ObjectType',
      objectTypes.map(({ name }) => name),
    ),
    id: str,
  },
  tag: 'qom-type',
  branches: () => Object.fromEntries(objectTypes.map(({ name, properties }) => [name, properties as Schema<object>])),
});
