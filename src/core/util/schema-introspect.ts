/*
 * query-qmp-schema: commands, events and the types that they use, in the form that QEMU gives: types other than the
 * built-in ones carry numbers instead of names, each type appears once, in the order in which it was first met.
 * Rule source: QEMU's documentation of client schema introspection, observed output of 11.1.
 */

import { type Branch, type Fields, fieldsOf, isOptional, resolved, type Schema, type SchemaNode, struct } from './schema.ts';
import { isBranchSchema } from './schema-walk.ts';

export interface CommandInfo {
  readonly name: string;
  readonly args?: Schema<unknown> | undefined;
  readonly returns?: Schema<unknown> | undefined;
  readonly features?: readonly string[] | undefined;
  readonly allowOob?: boolean | undefined;
}
export interface EventInfo {
  readonly name: string;
  readonly data?: Schema<unknown> | undefined;
  readonly features?: readonly string[] | undefined;
}

interface MemberInfo {
  readonly name: string;
  readonly type: string;
  /** null, for members that may be absent. */
  readonly default?: null;
  readonly features?: readonly string[];
}
interface EnumValueInfo {
  readonly name: string;
  readonly features?: readonly string[];
}
/** One entry of query-qmp-schema's answer. */
export interface SchemaInfo {
  readonly name: string;
  readonly 'meta-type': 'command' | 'event' | 'object' | 'enum' | 'array' | 'alternate' | 'builtin';
  readonly features?: readonly string[];
  readonly 'arg-type'?: string;
  readonly 'ret-type'?: string;
  readonly 'allow-oob'?: boolean;
  readonly members?: readonly (MemberInfo | EnumValueInfo | { readonly type: string })[];
  readonly values?: readonly string[];
  readonly tag?: string;
  readonly variants?: readonly { readonly case: string; readonly type: string }[];
  readonly 'element-type'?: string;
  readonly 'json-type'?: string;
}

const empty: Schema<unknown> = struct({});
const builtins: Readonly<Partial<Record<SchemaNode['kind'], readonly [name: string, jsonType: string]>>> = {
  str: ['str', 'string'],
  bool: ['bool', 'boolean'],
  num: ['number', 'number'],
  null: ['null', 'null'],
  any: ['any', 'value'],
  int: ['int', 'int'],
};

export function introspect(commands: readonly CommandInfo[], events: readonly EventInfo[]): SchemaInfo[] {
  const types = new TypeList();
  const infos: SchemaInfo[] = [];
  for (const command of commands) {
    infos.push({
      name: command.name,
      'meta-type': 'command',
      'arg-type': types.use(command.args ?? empty),
      'ret-type': types.use(command.returns ?? empty),
      ...(command.allowOob === true ? { 'allow-oob': true } : {}),
      ...featuresOf(command),
    });
  }
  for (const event of events) {
    infos.push({ name: event.name, 'meta-type': 'event', 'arg-type': types.use(event.data ?? empty), ...featuresOf(event) });
  }
  return [...infos, ...types.infos()];
}

function featuresOf(of: { readonly features?: readonly string[] | undefined }): { features?: readonly string[] } {
  return of.features === undefined || of.features.length === 0 ? {} : { features: of.features };
}

/** The types met so far. A named type is one type wherever its definition is repeated; an unnamed one is itself only. */
class TypeList {
  readonly #names = new Map<string | object, string>();
  readonly #queue: { readonly name: string; readonly schema: Schema<unknown> }[] = [];
  #count = 0;

  /** The name of a type in the answer; a type met for the first time is queued. */
  use(of: Schema<unknown>): string {
    const schema = resolved(of);
    const { node } = schema;
    const builtin = builtins[node.kind];
    const key = builtin?.[0] ?? this.#key(schema);
    const known = this.#names.get(key);
    if (known !== undefined) return known;
    let name: string;
    if (builtin !== undefined) {
      [name] = builtin;
      this.#names.set(key, name);
      this.#queue.push({ name, schema });
    } else if (node.kind === 'list') {
      // queued before its element, whose number it carries
      const place = this.#queue.length;
      name = `[${this.use(node.element)}]`;
      this.#names.set(key, name);
      this.#queue.splice(place, 0, { name, schema });
    } else {
      name = String(this.#count++);
      this.#names.set(key, name);
      this.#queue.push({ name, schema });
    }
    return name;
  }

  /** Descriptions of all types; describing one may meet further ones. */
  infos(): SchemaInfo[] {
    const infos: SchemaInfo[] = [];
    for (let i = 0; i < this.#queue.length; i++) {
      const entry = this.#queue[i];
      if (entry !== undefined) infos.push(this.#describe(entry.name, entry.schema));
    }
    return infos;
  }

  #key(schema: Schema<unknown>): string | object {
    const { node } = schema;
    if (node.kind === 'list') {
      const element = resolved(node.element);
      return `list of ${builtins[element.node.kind]?.[0] ?? this.#keyText(this.#key(element))}`;
    }
    if (node.kind === 'struct' && node.name === '' && Object.keys(fieldsOf(schema)).length === 0) return empty;
    if ('name' in node && node.name !== '') return `${node.kind} ${node.name}`;
    return node;
  }

  readonly #objectIds = new Map<object, number>();
  #keyText(key: string | object): string {
    if (typeof key === 'string') return key;
    const id = this.#objectIds.get(key) ?? this.#objectIds.size;
    this.#objectIds.set(key, id);
    return `#${id}`;
  }

  #describe(name: string, schema: Schema<unknown>): SchemaInfo {
    const { node } = schema;
    switch (node.kind) {
      case 'enum': {
        const values = node.values();
        const members = values.map((value) => ({ name: value, ...featuresOf({ features: node.features[value] }) }));
        return { name, 'meta-type': 'enum', members, values };
      }
      case 'list':
        return { name, 'meta-type': 'array', 'element-type': this.use(node.element) };
      case 'struct':
        return { name, 'meta-type': 'object', members: this.#members(fieldsOf(schema)), ...featuresOf(node) };
      case 'union': {
        const members = this.#members(node.base);
        const branches = node.branches();
        const variants = tagValues(node.base, node.tag).map((value) => ({
          case: value,
          type: this.#branch(Object.hasOwn(branches, value) ? branches[value] : undefined),
        }));
        return { name, 'meta-type': 'object', members, tag: node.tag, variants };
      }
      case 'alternate': {
        const members = Object.values(node.branches).map((branch) => ({ type: this.use(branch) }));
        return { name, 'meta-type': 'alternate', members };
      }
      default:
        return { name, 'meta-type': 'builtin', 'json-type': builtins[node.kind]?.[1] ?? 'value' };
    }
  }

  #members(fields: Fields): MemberInfo[] {
    return Object.entries(fields).map(([name, field]) => ({
      name,
      type: this.use(field),
      ...(isOptional(field) ? { default: null } : {}),
      ...featuresOf(field),
    }));
  }

  readonly #branchSchemas = new WeakMap<object, Schema<unknown>>();
  #branch(branch: Branch | undefined): string {
    if (branch === undefined) return this.use(empty);
    if (isBranchSchema(branch)) return this.use(branch);
    const schema = this.#branchSchemas.get(branch) ?? struct(branch);
    this.#branchSchemas.set(branch, schema);
    return this.use(schema);
  }
}

function tagValues(base: Fields, tag: string): readonly string[] {
  const field = base[tag];
  const node = field === undefined ? undefined : resolved(field).node;
  return node?.kind === 'enum' ? node.values() : [];
}
