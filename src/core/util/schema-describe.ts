/*
 * What people may be told about a schema: the members that an object may have (given what is already known of it), the
 * words that a member accepts, the name of a type. For help and completion. Knows no command.
 */

import { branchFields, type Fields, isOptional, resolved, type Schema } from './schema.ts';
import { isBranchSchema } from './schema-walk.ts';

export interface MemberDescription {
  readonly name: string;
  readonly schema: Schema<unknown>;
  readonly isOptional: boolean;
  /** `string`, `integer`, `BlockdevRef`, `on|off`, … */
  readonly type: string;
  readonly features: readonly string[];
  readonly text: string | undefined;
}

/** The members of an object type, those of a union's branch included once `known` tells which branch it is. */
export function describeMembers(schema: Schema<unknown>, known: Readonly<Record<string, unknown>> = {}): MemberDescription[] {
  const members = new Map<string, Schema<unknown>>();
  collect(schema, known, members);
  return [...members].map(([name, field]) => ({
    name,
    schema: field,
    isOptional: isOptional(field),
    type: typeText(field),
    features: field.features ?? [],
    text: field.text,
  }));
}

function collect(schema: Schema<unknown>, known: Readonly<Record<string, unknown>>, members: Map<string, Schema<unknown>>): void {
  const { node } = resolved(schema);
  if (node.kind === 'alternate') {
    if (node.branches.object !== undefined) collect(node.branches.object, known, members);
  } else if (node.kind === 'struct') {
    if (node.base !== undefined) collect(node.base, known, members);
    addAll(node.fields, members);
  } else if (node.kind === 'union') {
    addAll(node.base, members);
    const tag = known[node.tag];
    const branches = node.branches();
    const branch = typeof tag === 'string' && Object.hasOwn(branches, tag) ? branches[tag] : undefined;
    if (branch === undefined) return;
    if (isBranchSchema(branch)) collect(branch, known, members);
    else addAll(branchFields(branch), members);
  }
}

function addAll(fields: Fields, members: Map<string, Schema<unknown>>): void {
  for (const [name, field] of Object.entries(fields)) members.set(name, field);
}

/** The member at a dotted path (`file.driver`), following what is known; undefined when there is none. */
export function describePath(schema: Schema<unknown>, path: readonly string[], known: unknown = {}): Schema<unknown> | undefined {
  let at: Schema<unknown> | undefined = schema;
  let value: unknown = known;
  for (const step of path) {
    if (at === undefined) return undefined;
    const { node } = resolved(at);
    const object = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
    if (node.kind === 'list') at = /^\d+$/.test(step) ? node.element : undefined;
    else at = describeMembers(at, object).find((member) => member.name === step)?.schema;
    value = Object.hasOwn(object, step) ? object[step] : undefined;
  }
  return at;
}

/** The words that a value may be, where the type limits them; empty when anything goes. */
export function acceptedWords(schema: Schema<unknown>): readonly string[] {
  const { node } = resolved(schema);
  switch (node.kind) {
    case 'enum':
      return node.values();
    case 'bool':
      return ['true', 'false'];
    case 'null':
      return ['null'];
    case 'alternate':
      return Object.values(node.branches).flatMap((branch) => acceptedWords(branch));
    default:
      return [];
  }
}

/** A short name of a type for help. */
export function typeText(schema: Schema<unknown>): string {
  const { node } = resolved(schema);
  switch (node.kind) {
    case 'str':
      return 'string';
    case 'bool':
      return 'boolean';
    case 'num':
      return 'number';
    case 'int':
      return node.isSize ? 'size' : 'integer';
    case 'enum':
      return node.values().length <= 8 ? node.values().join('|') : node.name;
    case 'list':
      return `[${typeText(node.element)}]`;
    case 'alternate':
      return node.name;
    case 'struct':
    case 'union':
      return node.name === '' ? 'object' : node.name;
    default:
      return node.kind;
  }
}
