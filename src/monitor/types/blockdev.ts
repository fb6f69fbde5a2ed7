/*
 * QAPI types of block nodes: what blockdev-add takes, names, members and their order as QEMU 11.1 has them. A driver that
 * this engine lacks is checked like the others and then answers `Unknown driver 'x'`; an unknown word is the enum's error.
 */
import { driverNames } from '../../core/block/driver-names.ts';
import type { DriverOptionTable } from '../../core/block/driver-options.ts';
import { alternate, bool, enumOf, lazy, nullValue, optional, type Schema, str, struct, union } from '../../core/util/schema.ts';
import { driverEntries } from '../../engine/drivers.ts';
import { driverSchema, type NodeTypes } from './driver-schema.ts';
import { otherDrivers } from './other-drivers.ts';

export const blockdevDriver: Schema<string> = enumOf('BlockdevDriver', driverNames);

const cacheOptions = struct('BlockdevCacheOptions', { direct: optional(bool), 'no-flush': optional(bool) });

const blockdevRef: Schema<unknown> = lazy(() => alternate('BlockdevRef', { object: blockdevOptions, string: str }));
const blockdevRefOrNull: Schema<unknown> = lazy(() => alternate('BlockdevRefOrNull', { object: blockdevOptions, string: str, null: nullValue }));

const genericFormat: Schema<object> = struct('BlockdevOptionsGenericFormat', { file: blockdevRef });
const genericCow: Schema<object> = struct('BlockdevOptionsGenericCOWFormat', { backing: optional(blockdevRefOrNull) }, { base: genericFormat });
const types: NodeTypes = { ref: blockdevRef, refOrNull: blockdevRefOrNull, genericFormat, genericCow };

/** One type a table, however many drivers share it. */
const schemas = new Map<DriverOptionTable, Schema<object>>();
function schemaOf(table: DriverOptionTable): Schema<object> {
  const schema = schemas.get(table) ?? driverSchema(table, types);
  schemas.set(table, schema);
  return schema;
}

/** Options of a node, as blockdev-add takes them. */
export const blockdevOptions: Schema<Record<string, unknown>> = lazy(() =>
  union('BlockdevOptions', {
    base: {
      driver: blockdevDriver,
      'node-name': optional(str),
      discard: optional(enumOf('BlockdevDiscardOptions', ['ignore', 'unmap'])),
      cache: optional(cacheOptions),
      active: optional(bool),
      'read-only': optional(bool),
      'auto-read-only': optional(bool),
      'force-share': optional(bool),
      'detect-zeroes': optional(enumOf('BlockdevDetectZeroesOptions', ['off', 'on', 'unmap'])),
    },
    tag: 'driver',
    branches: {
      ...otherDrivers(types),
      ...Object.fromEntries(driverEntries.map(({ name, options }) => [name, schemaOf(options)])),
    },
  }),
);
