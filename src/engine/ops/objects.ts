/* object-add and --object: makes the object that a definition asks for. */
import { BlockError, invariant } from '../../core/util/errors.ts';
import { isIdentifier } from '../../core/util/identifier.ts';
import { type ObjectDefinition, objectTypes } from '../object-types.ts';
import type { ObjectStore } from '../objects.ts';

/** Throws for an id that is malformed or taken, or what the type says of its values; nothing is left behind then. */
export function addObject(objects: ObjectStore, definition: ObjectDefinition): void {
  const { 'qom-type': name, id, ...properties } = definition;
  const type = objectTypes.find((candidate) => candidate.name === name);
  invariant(type !== undefined, `object type ${name}`);
  if (!isIdentifier(id)) {
    throw new BlockError("Parameter 'id' expects an identifier", {
      code: 'EINVAL',
      detail: "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
    });
  }
  type.check?.(properties as never);
  objects.checkFree(id);
  objects.add(type.make(id, properties as never, objects));
}
