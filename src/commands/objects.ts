/*
 * `--object` of the tools: makes the objects that definitions ask for, `secret,id=ID,data=…` or JSON. Knows no image.
 * Rule source: observed behaviour of qemu-img 11.1.
 */
import { BlockError } from '../core/util/errors.ts';
import { parseOptionArgument } from '../core/util/schema-keyval.ts';
import { objectDefinition } from '../engine/object-types.ts';
import type { ObjectStore } from '../engine/objects.ts';
import { addObject } from '../engine/ops/objects.ts';

/** Throws at the first definition that is wrong. */
export function addObjects(objects: ObjectStore, definitions: readonly string[]): void {
  for (const text of definitions) {
    const definition = parseOptionArgument(objectDefinition, text, 'qom-type');
    // the tools of the peer have no event loops of their own to give away
    if (definition['qom-type'] === 'iothread') throw new BlockError('invalid object type: iothread', { code: 'EINVAL' });
    addObject(objects, definition);
  }
}
