/*
 * Checks values against schemas, in QEMU's order and with its words: members in schema order, common members before
 * those of the branch, depth first, unknown members last. Two dialects: JSON values, and key=value forms in which every
 * scalar is a string. Rule source: observed answers of QEMU 11.1 (monitor and --blockdev).
 */

import { BlockError } from './errors.ts';
import { isJsonObject, JsonDouble } from './json.ts';
import { jsonKeyOrder } from './json-order.ts';
import { limited, narrowed } from './offsets.ts';
import type { AlternateKind, AlternateNode, Branch, Fields, IntNode, Schema, SchemaNode, UnionNode } from './schema.ts';
import { keyvalBool, keyvalInteger, keyvalNumber, keyvalSize } from './schema-scalars.ts';
import { firstUnexpected } from './schema-unexpected.ts';

/** Where a value stands: member names and list indices from the root. */
interface Place {
  readonly parent: Place | undefined;
  readonly step: string | number | undefined;
}

const root: Place = { parent: undefined, step: undefined };

export function walk(schema: Schema<unknown>, value: unknown, isKeyval: boolean): unknown {
  return new Walker(isKeyval).visit(schema.node, value, root);
}

class Walker {
  readonly #isKeyval: boolean;

  constructor(isKeyval: boolean) {
    this.#isKeyval = isKeyval;
  }

  visit(node: SchemaNode, value: unknown, at: Place): unknown {
    switch (node.kind) {
      case 'str':
        return this.#string(value, at);
      case 'bool':
        if (this.#isKeyval) return this.#scalar(value, at, keyvalBool, "'on' or 'off'");
        if (typeof value !== 'boolean') throw this.#wrongType(at, 'boolean');
        return value;
      case 'num':
        return this.#number(value, at);
      case 'null':
        if (value !== null && !(this.#isKeyval && value === '')) throw this.#wrongType(at, 'null');
        return null;
      case 'any':
        return value;
      case 'int':
        return this.#integer(node, value, at);
      case 'enum': {
        const word = this.#string(value, at);
        if (!node.values().includes(word)) {
          throw new BlockError(`Parameter '${lastName(at)}' does not accept value '${word}'`, { code: 'ERR_OPTION' });
        }
        return word;
      }
      case 'list': {
        if (!Array.isArray(value)) throw this.#wrongType(at, 'array');
        const { element } = node;
        return value.map((item: unknown, index) => this.visit(element.node, item, { parent: at, step: index }));
      }
      case 'struct': {
        const members = this.#members(value, at);
        const known: string[] = [];
        const result: Record<string, unknown> = {};
        this.#structFields(node, members, at, result, known);
        this.#refuseUnknown(members, known, at);
        return result;
      }
      case 'union': {
        const members = this.#members(value, at);
        const known: string[] = [];
        const result: Record<string, unknown> = {};
        this.#unionFields(node, members, at, result, known);
        this.#refuseUnknown(members, known, at);
        return result;
      }
      case 'alternate': {
        const branch = this.#alternateBranch(node, value);
        if (branch === undefined) {
          throw new BlockError(`Invalid parameter type for '${lastName(at)}', expected: ${node.name}`, { code: 'ERR_OPTION' });
        }
        return this.visit(branch.node, value, at);
      }
      case 'lazy':
        return this.visit(node.resolve().node, value, at);
    }
  }

  #members(value: unknown, at: Place): Record<string, unknown> {
    if (!isJsonObject(value)) throw this.#wrongType(at, 'object');
    return value;
  }

  #structFields(
    node: Extract<SchemaNode, { kind: 'struct' }>,
    members: Record<string, unknown>,
    at: Place,
    result: Record<string, unknown>,
    known: string[],
  ): void {
    if (node.base !== undefined) this.#schemaFields(node.base, members, at, result, known);
    this.#fields(node.fields, members, at, result, known);
  }

  #unionFields(node: UnionNode, members: Record<string, unknown>, at: Place, result: Record<string, unknown>, known: string[]): void {
    this.#fields(node.base, members, at, result, known);
    const tag = result[node.tag];
    if (typeof tag !== 'string') return;
    const branches: Readonly<Record<string, Branch>> = node.branches();
    const branch = Object.hasOwn(branches, tag) ? branches[tag] : undefined;
    if (branch === undefined) return;
    if (isBranchSchema(branch)) this.#schemaFields(branch, members, at, result, known);
    else this.#fields(branch, members, at, result, known);
  }

  /** Adds the members of a struct or union to the object being read. */
  #schemaFields(schema: Schema<unknown>, members: Record<string, unknown>, at: Place, result: Record<string, unknown>, known: string[]): void {
    const { node } = schema;
    if (node.kind === 'lazy') this.#schemaFields(node.resolve(), members, at, result, known);
    else if (node.kind === 'struct') this.#structFields(node, members, at, result, known);
    else if (node.kind === 'union') this.#unionFields(node, members, at, result, known);
  }

  #fields(fields: Fields, members: Record<string, unknown>, at: Place, result: Record<string, unknown>, known: string[]): void {
    for (const name in fields) {
      const field = fields[name];
      if (field === undefined) continue;
      const place: Place = { parent: at, step: name };
      const value = Object.hasOwn(members, name) ? members[name] : undefined;
      if (value === undefined) {
        if ('optional' in field) continue;
        throw new BlockError(`Parameter '${this.#fullName(place)}' is missing`, { code: 'ERR_OPTION' });
      }
      known.push(name);
      result[name] = this.visit(field.node, value, place);
    }
  }

  #refuseUnknown(members: Record<string, unknown>, known: readonly string[], at: Place): void {
    const names = Object.keys(members).filter((name) => members[name] !== undefined);
    if (names.length === known.length) return;
    const name = firstUnexpected(jsonKeyOrder(names), known);
    if (name === undefined) return;
    throw new BlockError(`Parameter '${this.#fullName({ parent: at, step: name })}' is unexpected`, { code: 'ERR_OPTION' });
  }

  #alternateBranch(node: AlternateNode, value: unknown): Schema<unknown> | undefined {
    const kind = jsonKind(value);
    if (kind === undefined) return undefined;
    const branch = node.branches[kind];
    // in key=value forms a scalar is a string whatever is meant
    if (branch === undefined && this.#isKeyval && kind === 'string') return node.branches.bool ?? node.branches.number;
    return branch;
  }

  #string(value: unknown, at: Place): string {
    if (typeof value === 'string') return value;
    throw this.#isKeyval ? this.#notScalar(at) : this.#wrongType(at, 'string');
  }

  #number(value: unknown, at: Place): number {
    if (this.#isKeyval) return this.#scalar(value, at, keyvalNumber, 'number');
    if (typeof value === 'number') return value;
    if (typeof value === 'bigint') return Number(value);
    if (value instanceof JsonDouble) return value.value;
    throw this.#wrongType(at, 'number');
  }

  #scalar<T>(value: unknown, at: Place, read: (text: string) => T | undefined, what: string): T {
    const result = read(this.#string(value, at));
    if (result === undefined) throw this.#expects(at, what);
    return result;
  }

  #integer(node: IntNode, value: unknown, at: Place): number | bigint {
    let integer: bigint;
    if (this.#isKeyval) {
      integer = node.isSize ? this.#scalar(value, at, keyvalSize, 'size') : this.#scalar(value, at, (text) => keyvalInteger(text, node.signed), 'integer');
    } else if (typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))) {
      if (node.bits !== 64 || typeof value === 'bigint') integer = BigInt(value);
      else if (value >= 0 || node.signed) return node.result === 'bigint' ? BigInt(value) : value;
      else integer = BigInt(value);
    } else if (!node.signed) {
      throw this.#expects(at, 'uint64');
    } else {
      throw this.#wrongType(at, 'integer');
    }
    if (node.signed && integer >= 2n ** 63n) throw this.#wrongType(at, 'integer');
    if (!node.signed && integer < 0n) integer = BigInt.asUintN(64, integer);
    const low = node.signed ? -(2n ** BigInt(node.bits - 1)) : 0n;
    const high = 2n ** BigInt(node.signed ? node.bits - 1 : node.bits) - 1n;
    if (integer < low || integer > high) {
      throw new BlockError(`Parameter '${lastName(at)}' expects ${node.signed ? '' : 'u'}int${node.bits}_t`, { code: 'ERR_OPTION' });
    }
    if (node.result === 'bigint') return integer;
    return node.result === 'integer' ? narrowed(integer) : limited(integer);
  }

  #wrongType(at: Place, type: string): BlockError {
    return new BlockError(`Invalid parameter type for '${this.#fullName(at)}', expected: ${type}`, { code: 'ERR_OPTION' });
  }

  #expects(at: Place, what: string): BlockError {
    return new BlockError(`Parameter '${this.#fullName(at)}' expects ${what}`, { code: 'ERR_OPTION' });
  }

  #notScalar(at: Place): BlockError {
    return new BlockError(`Parameters '${this.#fullName(at)}.*' are unexpected`, { code: 'ERR_OPTION' });
  }

  #fullName(at: Place): string {
    if (at.step === undefined) return '<anonymous>';
    let name = '';
    for (let place: Place | undefined = at; place?.step !== undefined; place = place.parent) {
      if (typeof place.step === 'number' && !this.#isKeyval) name = `[${place.step}]${name}`;
      else name = `.${place.step}${name}`;
    }
    return name.startsWith('.') ? name.slice(1) : name;
  }
}

/** Some messages name only the last component; elements of lists have no name. */
function lastName(at: Place): string {
  return typeof at.step === 'string' ? at.step : 'null';
}

/** Whether a branch of a union is a schema of its own rather than a list of fields. */
export function isBranchSchema(branch: Branch): branch is Schema<object> {
  const node: unknown = (branch as { node?: unknown }).node;
  return typeof node === 'object' && node !== null && 'kind' in node && typeof node.kind === 'string';
}

function jsonKind(value: unknown): AlternateKind | undefined {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  switch (typeof value) {
    case 'string':
      return 'string';
    case 'boolean':
      return 'bool';
    case 'number':
    case 'bigint':
      return 'number';
    case 'object':
      return value instanceof JsonDouble ? 'number' : 'object';
    default:
      return undefined;
  }
}
