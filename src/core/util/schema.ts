/*
 * Builders for the types of command arguments and driver options. One definition serves validation (schema-walk.ts),
 * key=value conversion (schema-keyval.ts), help and completion (schema-describe.ts) and query-qmp-schema
 * (schema-introspect.ts). Knows no command and no driver. Rule source: QEMU's schema language as query-qmp-schema shows it.
 */

import type { Json } from './json.ts';
import { isBranchSchema, walk } from './schema-walk.ts';

/** What an integer turns into for the program: a number (±(2^53 - 1) where it is beyond), the integer itself as a number where that is exact, or a bigint. */
export type IntegerResult = 'limit' | 'integer' | 'bigint';

export type SchemaNode =
  | { readonly kind: 'str' }
  | { readonly kind: 'bool' }
  | { readonly kind: 'num' }
  | { readonly kind: 'null' }
  | { readonly kind: 'any' }
  | IntNode
  | EnumNode
  | { readonly kind: 'list'; readonly element: Schema<unknown> }
  | StructNode
  | UnionNode
  | AlternateNode
  | { readonly kind: 'lazy'; readonly resolve: () => Schema<unknown> };

export interface IntNode {
  readonly kind: 'int';
  readonly signed: boolean;
  readonly bits: 8 | 16 | 32 | 64;
  /** Sizes take suffixes in key=value form. */
  readonly isSize: boolean;
  readonly result: IntegerResult;
}
export interface EnumNode {
  readonly kind: 'enum';
  readonly name: string;
  readonly values: () => readonly string[];
  readonly features: Readonly<Record<string, readonly string[]>>;
}
export interface StructNode {
  readonly kind: 'struct';
  readonly name: string;
  readonly fields: Fields;
  readonly base: Schema<unknown> | undefined;
  /** Features of the type; those of a member that has it are the member's. */
  readonly features: readonly string[];
}
export interface UnionNode {
  readonly kind: 'union';
  readonly name: string;
  /** Fields common to all branches, the tag among them. */
  readonly base: Fields;
  readonly tag: string;
  readonly branches: () => Readonly<Record<string, Branch>>;
}
export interface AlternateNode {
  readonly kind: 'alternate';
  readonly name: string;
  readonly branches: Readonly<Partial<Record<AlternateKind, Schema<unknown>>>>;
}
export type AlternateKind = 'string' | 'object' | 'array' | 'bool' | 'number' | 'null';

/** A type of JSON values whose parsed form is T. Immutable; made by the builders of this file only. */
export interface Schema<T> {
  readonly node: SchemaNode;
  /** `deprecated`, `unstable`, … of the member that has this type. */
  readonly features?: readonly string[];
  /** One line for help. */
  readonly text?: string;
  /** Only for the type checker: never set. */
  readonly type?: T;
}
/** A member that may be absent. */
export interface OptionalSchema<T> extends Schema<T> {
  readonly optional: true;
}

export type Fields = Readonly<Record<string, Schema<unknown>>>;
/** The members that a branch of a union adds: fields, or a named struct or union. */
export type Branch = Fields | Schema<object>;

export type Infer<S> = S extends Schema<infer T> ? T : never;
type Simplify<T> = { [K in keyof T]: T[K] } & {};
type OptionalKeys<F> = { [K in keyof F]: F[K] extends OptionalSchema<unknown> ? K : never }[keyof F];
export type InferFields<F> = Simplify<
  { -readonly [K in Exclude<keyof F, OptionalKeys<F>>]: Infer<F[K]> } & {
    -readonly [K in OptionalKeys<F>]?: Infer<F[K]> | undefined;
  }
>;
type InferBranch<B> = B extends Schema<infer T> ? T : InferFields<B>;
type InferUnion<F, Tag extends string, B> = {
  [K in keyof B & string]: Simplify<Omit<InferFields<F>, Tag> & { [T in Tag]: K } & InferBranch<B[K]>>;
}[keyof B & string];

export const str: Schema<string> = { node: { kind: 'str' } };
export const bool: Schema<boolean> = { node: { kind: 'bool' } };
export const num: Schema<number> = { node: { kind: 'num' } };
export const nullValue: Schema<null> = { node: { kind: 'null' } };
export const any: Schema<Json> = { node: { kind: 'any' } };

function intNode(signed: boolean, bits: 8 | 16 | 32 | 64, isSize = false, result: IntegerResult = 'limit'): IntNode {
  return { kind: 'int', signed, bits, isSize, result };
}
export const int8: Schema<number> = { node: intNode(true, 8) };
export const int64: Schema<number> = { node: intNode(true, 64) };
export const uint16: Schema<number> = { node: intNode(false, 16) };
export const uint32: Schema<number> = { node: intNode(false, 32) };
export const uint64: Schema<number> = { node: intNode(false, 64) };
/** A byte count: like uint64, but key=value forms take suffixes. */
export const size: Schema<number> = { node: intNode(false, 64, true) };

/** An integer of which every 64-bit value matters: parses to bigint. */
export function exact(of: Schema<number>): Schema<bigint> {
  return { ...of, node: intResult(of.node, 'bigint') } as Schema<unknown> as Schema<bigint>;
}
/** An integer that is shown again, or that has a message of its own where it is too large: beyond ±(2^53 - 1) a bigint. */
export function integer(of: Schema<number>): Schema<number | bigint> {
  return { ...of, node: intResult(of.node, 'integer') };
}
function intResult(node: SchemaNode, result: IntegerResult): SchemaNode {
  return node.kind === 'int' ? { ...node, result } : node;
}

export interface EnumOptions {
  /** Features per value. */
  readonly features?: Readonly<Record<string, readonly string[]>>;
}
/** One of a set of words. A function gives a set that is only known later (drivers that register). */
export function enumOf<const V extends string>(name: string, values: readonly V[] | (() => readonly V[]), options: EnumOptions = {}): Schema<V> {
  const list = typeof values === 'function' ? values : (): readonly V[] => values;
  return { node: { kind: 'enum', name, values: list, features: options.features ?? {} } };
}

export function listOf<T>(element: Schema<T>): Schema<T[]> {
  return { node: { kind: 'list', element } };
}

export function optional<T>(schema: Schema<T>): OptionalSchema<T> {
  return { ...schema, optional: true };
}

/** The same type, with features for the member that has it. */
export function withFeatures<S extends Schema<unknown>>(schema: S, features: readonly string[]): S {
  return { ...schema, features };
}
export function deprecated<S extends Schema<unknown>>(schema: S): S {
  return withFeatures(schema, ['deprecated']);
}
/** The same type with a line of help. */
export function described<S extends Schema<unknown>>(schema: S, text: string): S {
  return { ...schema, text };
}

export interface StructOptions<B> {
  readonly base?: Schema<B>;
  readonly features?: readonly string[];
}
/** An object with fixed members, checked in the order given (those of `base` first). Without a name for arguments of commands. */
export function struct<F extends Fields>(fields: F): Schema<InferFields<F>>;
export function struct<F extends Fields, B extends object = Record<never, never>>(
  name: string,
  fields: F,
  options?: StructOptions<B>,
): Schema<Simplify<B & InferFields<F>>>;
export function struct(nameOrFields: string | Fields, fields: Fields = {}, options: StructOptions<unknown> = {}): Schema<unknown> {
  const named = typeof nameOrFields === 'string';
  const node: StructNode = {
    kind: 'struct',
    name: named ? nameOrFields : '',
    fields: named ? fields : nameOrFields,
    base: options.base,
    features: options.features ?? [],
  };
  return { node };
}

/**
 * An object whose member `tag` decides which further members it has. `base` lists the common members; where it does not
 * contain the tag, an enum of the branches' names is put in front. A word of the tag's enum without a branch adds no members.
 * With a function for `branches` (branches that become known later) the parsed type is the base plus unknown members.
 */
export function union<F extends Fields, Tag extends string, B extends Readonly<Record<string, Branch>>>(
  name: string,
  shape: { base: F; tag: Tag; branches: B },
): Schema<InferUnion<F, Tag, B>>;
export function union<F extends Fields, Tag extends string>(
  name: string,
  shape: { base: F; tag: Tag; branches: () => Readonly<Record<string, Branch>> },
): Schema<Simplify<InferFields<F> & { [T in Tag]: string }> & Record<string, unknown>>;
export function union(
  name: string,
  shape: {
    base: Fields;
    tag: string;
    branches: Readonly<Record<string, Branch>> | (() => Readonly<Record<string, Branch>>);
  },
): Schema<unknown> {
  const given = shape.branches;
  const branches = typeof given === 'function' ? (given as () => Readonly<Record<string, Branch>>) : (): Readonly<Record<string, Branch>> => given;
  const base = shape.tag in shape.base ? shape.base : { [shape.tag]: enumOf(`${name}Kind`, () => Object.keys(branches())), ...shape.base };
  return { node: { kind: 'union', name, base, tag: shape.tag, branches } };
}

/** One of several types, told apart by the JSON type of the value. */
export function alternate<B extends Partial<Record<AlternateKind, Schema<unknown>>>>(name: string, branches: B): Schema<Infer<B[keyof B]>> {
  return { node: { kind: 'alternate', name, branches: branches as AlternateNode['branches'] } };
}

/** A type that refers to itself, or is defined further down. */
export function lazy<T>(resolve: () => Schema<T>): Schema<T> {
  return { node: { kind: 'lazy', resolve } };
}

/** The schema behind any `lazy`. */
export function resolved(schema: Schema<unknown>): Schema<unknown> {
  let at = schema;
  while (at.node.kind === 'lazy') at = at.node.resolve();
  return at;
}

export function isOptional(schema: Schema<unknown>): boolean {
  return 'optional' in schema && schema.optional === true;
}

/** All members of a branch as fields; named structs and nested unions contribute their common members. */
export function branchFields(branch: Branch): Fields {
  return isBranchSchema(branch) ? fieldsOf(branch) : branch;
}

/** The members of a struct (base first), or the common members of a union; none for other types. */
export function fieldsOf(schema: Schema<unknown>): Fields {
  const { node } = resolved(schema);
  if (node.kind === 'union') return node.base;
  if (node.kind !== 'struct') return {};
  return node.base === undefined ? node.fields : { ...fieldsOf(node.base), ...node.fields };
}

/** Checks a JSON value against a schema, as QEMU checks arguments of commands, with its words. Throws BlockError. */
export function parse<T>(schema: Schema<T>, value: unknown): T {
  return walk(schema, value, false) as T;
}
