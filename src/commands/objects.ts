/*
 * `--object` of the tools: makes the objects that definitions ask for, `secret,id=ID,data=…` or JSON. Knows no image.
 * Rule source: observed behaviour of qemu-img 11.1.
 */
import { meantValue } from '../core/util/did-you-mean.ts';
import { BlockError } from '../core/util/errors.ts';
import { parseOptionArgument } from '../core/util/schema-keyval.ts';
import { type ObjectDefinition, objectDefinition } from '../engine/object-types.ts';
import type { ObjectStore } from '../engine/objects.ts';
import { addObject } from '../engine/ops/objects.ts';

/** Types that the tools of the peer take. */
const types = ['secret', 'throttle-group'];

function parsed(text: string): ObjectDefinition {
  try {
    return parseOptionArgument(objectDefinition, text, 'qom-type');
  } catch (error) {
    const type = error instanceof BlockError ? /^Parameter 'qom-type' does not accept value '(.*)'$/s.exec(error.message)?.[1] : undefined;
    if (type === undefined || !(error instanceof BlockError)) throw error;
    throw error.with({ hint: meantValue(type, types) });
  }
}

/** Throws at the first definition that is wrong. */
export function addObjects(objects: ObjectStore, definitions: readonly string[]): void {
  for (const text of definitions) {
    const definition = parsed(text);
    // the tools of the peer have no event loops of their own to give away
    if (definition['qom-type'] === 'iothread') throw new BlockError('invalid object type: iothread', { code: 'EINVAL' });
    addObject(objects, definition);
  }
}
