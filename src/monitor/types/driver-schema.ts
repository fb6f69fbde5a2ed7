/*
 * The QAPI types of drivers' options, derived from the tables beside the drivers (core/block/driver-options.ts): what
 * blockdev-add checks, what query-qmp-schema tells, what help and completion know.
 */
import { type DriverOption, type DriverOptionTable, membersOf, type OptionType, type StructType } from '../../core/block/driver-options.ts';
import {
  alternate,
  bool,
  described,
  enumOf,
  int64,
  integer,
  listOf,
  optional,
  type Schema,
  size,
  str,
  struct,
  uint32,
  union,
  withFeatures,
} from '../../core/util/schema.ts';

/** The types that tables refer to and that refer to drivers' options themselves. */
export interface NodeTypes {
  readonly ref: Schema<unknown>;
  readonly refOrNull: Schema<unknown>;
  readonly genericFormat: Schema<object>;
  readonly genericCow: Schema<object>;
}

/** The members that a driver adds to blockdev-add's arguments. */
export function driverSchema({ type, base, own, features }: DriverOptionTable, types: NodeTypes): Schema<object> {
  const below = { protocol: undefined, format: types.genericFormat, 'cow format': types.genericCow }[base];
  if (type === undefined) return below ?? struct({});
  return struct(type, fieldsOf(own, types), { ...(below === undefined ? {} : { base: below }), ...(features === undefined ? {} : { features }) });
}

function fieldsOf(options: readonly DriverOption[], types: NodeTypes): Record<string, Schema<unknown>> {
  return Object.fromEntries(options.map((option) => [option.name, memberOf(option, types)]));
}

function memberOf({ type, isRequired, features, help }: DriverOption, types: NodeTypes): Schema<unknown> {
  const named = described(schemaOf(type, types), help);
  const member = isRequired === true ? named : optional(named);
  return features === undefined ? member : withFeatures(member, features);
}

function schemaOf(type: OptionType, types: NodeTypes): Schema<unknown> {
  switch (type) {
    case 'string':
      return str;
    case 'bool':
      return bool;
    case 'int':
      return integer(int64);
    case 'uint32':
      return uint32;
    case 'size':
      return integer(size);
    case 'node':
      return types.ref;
    case 'node or null':
      return types.refOrNull;
    default:
  }
  if ('enum' in type) return enumOf(type.enum, type.values);
  if ('struct' in type) return structOf(type, types);
  if ('list' in type) return listOf(schemaOf(type.list, types));
  if ('alternate' in type) return alternate(type.alternate, { object: structOf(type.object, types), string: schemaOf(type.string, types) });
  const branches = Object.fromEntries(Object.entries(type.branches).map(([name, branch]) => [name, structOf(branch, types)]));
  return union(type.union, { base: { [type.tag.name]: enumOf(type.tag.enum, type.tag.values) }, tag: type.tag.name, branches });
}

function structOf(type: StructType, types: NodeTypes): Schema<object> {
  return struct(type.struct, fieldsOf(membersOf(type), types));
}
