/*
 * `--object` of tsimg: checks definitions of secrets, `secret,id=ID,data=…` or JSON. Nothing here is encrypted yet, so the secrets are not read. Knows no image.
 * Rule source: observed behaviour of qemu-img 11.1.
 */
import { BlockError } from '../core/util/errors.ts';
import { parseJson } from '../core/util/json.ts';
import { parseKeyValues } from '../core/util/key-values.ts';

const secretMembers = ['data', 'file', 'format', 'keyid', 'iv', 'loaded'];

/** Throws at the first definition that is wrong. */
export function checkObjects(definitions: readonly string[]): void {
  const ids = new Set<string>();
  for (const definition of definitions) {
    const members = readDefinition(definition);
    const type = take(members, 'qom-type');
    if (type === undefined) throw new BlockError("Parameter 'qom-type' is missing");
    if (type !== 'secret') throw new BlockError(`Parameter 'qom-type' does not accept value '${type}'`);
    const id = take(members, 'id');
    if (id === undefined) throw new BlockError("Parameter 'id' is missing");
    const unexpected = Object.keys(members).find((name) => !secretMembers.includes(name));
    if (unexpected !== undefined) throw new BlockError(`Parameter '${unexpected}' is unexpected`);
    const format = String(members['format'] ?? 'raw');
    if (format !== 'raw' && format !== 'base64') throw new BlockError(`Parameter 'format' does not accept value '${format}'`);
    if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(id)) {
      throw new BlockError("Parameter 'id' expects an identifier", {
        detail: "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
      });
    }
    if (ids.has(id)) throw new BlockError(`attempt to add duplicate property '${id}' to object (type 'container')`);
    ids.add(id);
    checkContent(members);
  }
}

function readDefinition(text: string): Record<string, unknown> {
  if (!text.startsWith('{')) return { ...parseKeyValues(text, 'qom-type') };
  const value = parseJson(text);
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? { ...value } : {};
}

function take(members: Record<string, unknown>, name: string): string | undefined {
  const value = members[name];
  delete members[name];
  return value === undefined ? undefined : String(value);
}

function checkContent(members: Readonly<Record<string, unknown>>): void {
  const { data, file } = members;
  if (data !== undefined && file !== undefined) throw new BlockError("'file' and 'data' are mutually exclusive");
  if (data === undefined && file === undefined) throw new BlockError("Either 'file' or 'data' must be provided");
}
