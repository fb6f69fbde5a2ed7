/*
 * Key=value forms against schemas: values are strings (objects and lists come from dotted keys), converted on the way.
 * Rule source: observed answers of qemu-storage-daemon 11.1 (--blockdev, --export, --object).
 */

import { parseJson } from './json.ts';
import { type KeyValues, parseKeyValues } from './key-values.ts';
import { parse, type Schema } from './schema.ts';
import { walk } from './schema-walk.ts';

/** Checks and converts what parseKeyValues made. Throws BlockError. */
export function parseKeyval<T>(schema: Schema<T>, values: KeyValues): T {
  return walk(schema, values, true) as T;
}

/** The argument of an option that takes either `{json}` or key=value words. `impliedKey` names a first word without `=`. Throws BlockError. */
export function parseOptionArgument<T>(schema: Schema<T>, text: string, impliedKey?: string): T {
  if (!text.startsWith('{')) return parseKeyval(schema, parseKeyValues(text, impliedKey));
  return parse(schema, parseJson(text));
}
