/*
 * What a driver says of its own options: a plain table in a small file beside it. From it come blockdev-add's arguments with
 * their checks, completion, help, introspection and the manual, the defaults that the driver reads, and what a reopen may
 * change. Data and types only: looking at tables loads neither a driver nor the schemas.
 */

/** Types by the names that QAPI has for them. */
export type OptionType =
  | 'string'
  | 'bool'
  | 'int'
  | 'uint32'
  | 'size'
  | 'node'
  | 'node or null'
  | EnumType
  | StructType
  | { readonly union: string; readonly tag: EnumType & { readonly name: string }; readonly branches: Readonly<Record<string, StructType>> }
  | { readonly list: OptionType }
  | { readonly alternate: string; readonly object: StructType; readonly string: OptionType };

export interface EnumType {
  /** QAPI's name of the type. */
  readonly enum: string;
  readonly values: readonly string[];
}

export interface StructType {
  /** QAPI's name of the type. */
  readonly struct: string;
  readonly members: readonly DriverOption[];
}

export interface DriverOption {
  readonly name: string;
  readonly type: OptionType;
  readonly isRequired?: boolean;
  /** What the driver takes when nothing is given. */
  readonly default?: string | number | boolean;
  /** blockdev-reopen may change it. */
  readonly mayReopen?: boolean;
  /** It decides what the guest sees: repeated in `json:` names. */
  readonly isStrong?: boolean;
  readonly features?: readonly string[];
  /** A few words. */
  readonly help: string;
}

export interface DriverOptionTable {
  /** QAPI's name of the driver's own options; drivers without any have none. */
  readonly type?: string;
  /** `format`: has `file`; `cow format`: has `file` and `backing`; `protocol`: neither. */
  readonly base: 'protocol' | 'format' | 'cow format';
  readonly own: readonly DriverOption[];
  readonly features?: readonly string[];
}

/** Of a driver that has `file` and nothing of its own. */
export const fileOnly: DriverOptionTable = { base: 'format', own: [] };

/** The option of that name; dotted names lead into structs, also those of unions and alternates. */
export function findOption(options: readonly DriverOption[], name: string): DriverOption | undefined {
  const dot = name.indexOf('.');
  const found = options.find((option) => option.name === (dot < 0 ? name : name.slice(0, dot)));
  if (dot < 0 || found === undefined) return found;
  return findOption(membersOf(found.type), name.slice(dot + 1));
}

/** Members of a type that is an object, or may be one. */
export function membersOf(type: OptionType): readonly DriverOption[] {
  if (typeof type === 'string' || 'enum' in type) return [];
  if ('struct' in type) return type.members;
  if ('list' in type) return [];
  if ('alternate' in type) return type.object.members;
  const { tag, branches } = type;
  return [{ name: tag.name, type: tag, isRequired: true, help: 'which of them' }, ...Object.values(branches).flatMap((branch) => branch.members)];
}
