/*
 * Options of a node while it opens: a nested object whose values are typed (QMP) or strings (command lines). Each reader
 * takes what it knows; what is left at the end is an error. Filenames in all their forms become such objects here.
 */
import { meantValue } from '../util/did-you-mean.ts';
import { BlockError, invariant } from '../util/errors.ts';
import { type Json, JsonDouble, type JsonObject, parseJson } from '../util/json.ts';
import { writeJson } from '../util/json-write.ts';
import { unflatten } from '../util/key-values.ts';
import { limited, narrowed } from '../util/offsets.ts';
import { parseNumberOption } from '../util/schema-scalars.ts';
import { parseSizeOption } from '../util/size.ts';
import type { DriverEntry } from './driver.ts';
import { type DriverOption, findOption, membersOf } from './driver-options.ts';

export type OptionValue = Json | OptionTree | undefined;
export interface OptionTree {
  [key: string]: OptionValue;
}

/** Takes options by dotted key, removing what was taken, and keeps what it was read as. */
export class OptionReader {
  readonly #tree: OptionTree;
  /** As it was given. */
  readonly #given: OptionTree;
  readonly #values: Record<string, string | number | boolean> = {};
  #table: readonly DriverOption[] | undefined;

  /** Copies `tree`; the caller's object stays as it is. */
  constructor(tree: OptionTree) {
    this.#given = tree;
    this.#tree = structuredCloneTree(tree);
  }

  /** From here on the driver reads: only what its table has, with the table's defaults. */
  useTable(table: readonly DriverOption[]): void {
    this.#table = table;
  }

  has(key: string): boolean {
    return this.#find(key, false) !== undefined;
  }

  /** The raw value, left where it is. */
  peek(key: string): OptionValue {
    return this.#find(key, false);
  }

  /** The raw value, removed from what is left. */
  take(key: string): OptionValue {
    return this.#find(key, true);
  }

  string(key: string): string | undefined {
    const value = this.#valueOf(key);
    if (value === undefined || value === null) return undefined;
    if (typeof value === 'object') throw new BlockError(`Invalid parameter type for '${key}', expected: string`, { code: 'ERR_OPTION' });
    return this.#keep(key, String(value));
  }

  /** `fallback` where nothing is given and the driver's table has no default. */
  bool(key: string, fallback = false): boolean {
    const value = this.#valueOf(key) ?? fallback;
    if (typeof value === 'boolean') return this.#keep(key, value);
    if (value === 'on' || value === 'yes' || value === 'true' || value === 'y') return this.#keep(key, true);
    if (value === 'off' || value === 'no' || value === 'false' || value === 'n') return this.#keep(key, false);
    throw new BlockError(`Parameter '${key}' expects 'on' or 'off'`, { code: 'ERR_OPTION' });
  }

  /** Bytes, with the suffixes of QEMU's sizes when given as text. More than 2^53 - 1 count as that: for limits. */
  size(key: string): number | undefined {
    const bytes = this.bytes(key);
    return bytes === undefined ? undefined : limited(bytes);
  }

  /** The same, exactly: for what is an offset, or is repeated in messages. */
  bytes(key: string): number | bigint | undefined {
    return this.#exact(key, parseSizeOption);
  }

  /** An integer from 0 on, where a minus counts back from 2^64. Beyond 2^53 - 1 it counts as that. */
  number(key: string): number | undefined {
    const value = this.integer(key);
    return value === undefined ? undefined : limited(value);
  }

  /** The same, exactly. */
  integer(key: string): number | bigint | undefined {
    return this.#exact(key, parseNumberOption);
  }

  /** QEMU too reads numbers of JSON as the texts that they print as. */
  #exact(key: string, parse: (key: string, text: string) => bigint): number | bigint | undefined {
    const value = this.#valueOf(key);
    if (value === undefined || value === null) return undefined;
    const isNumber = typeof value === 'number' || typeof value === 'bigint' || value instanceof JsonDouble;
    const exact = narrowed(parse(key, typeof value === 'string' ? value : isNumber ? writeJson(value) : ''));
    this.#keep(key, limited(exact));
    return exact;
  }

  /** One of `values`; `fallback` as with `bool`. */
  enum<T extends string>(key: string, values: readonly T[], fallback?: T): T {
    const value = this.#valueOf(key) ?? fallback;
    const found = values.find((candidate) => candidate === value);
    if (found === undefined) throw new BlockError(`invalid parameter value: ${String(value)}`, { code: 'ERR_OPTION', hint: meantValue(String(value), values) });
    return this.#keep(key, found);
  }

  /** What was read, defaults among it, by dotted key. */
  values(): Readonly<Record<string, string | number | boolean>> {
    return Object.freeze({ ...this.#values });
  }

  /** The options that decide what the guest sees, as they were given; undefined when none of them was. */
  strong(): Readonly<Record<string, unknown>> | undefined {
    const entries = (this.#table ?? []).filter(({ name, isStrong }) => isStrong === true && this.#given[name] !== undefined);
    return entries.length === 0 ? undefined : Object.fromEntries(entries.map(({ name }) => [name, this.#given[name]]));
  }

  #valueOf(key: string): OptionValue {
    const value = this.take(key);
    if (this.#table === undefined) return value;
    const option = findOption(this.#table, key);
    invariant(option !== undefined, `option '${key}' is not in the driver's table`);
    return value ?? option.default;
  }

  #keep<T extends string | number | boolean>(key: string, value: T): T {
    this.#values[key] = value;
    return value;
  }

  /** What the driver takes, as dotted keys. */
  known(): string[] {
    return (this.#table ?? []).flatMap((option) => [option.name, ...membersOf(option.type).map(({ name }) => `${option.name}.${name}`)]);
  }

  /** What nobody took, as dotted keys. */
  remaining(): string[] {
    return flatKeys(this.#tree, '');
  }

  #find(key: string, remove: boolean): OptionValue {
    let at: OptionTree = this.#tree;
    const parts = key.split('.');
    const last = parts.pop() ?? key;
    for (const part of parts) {
      const next = at[part];
      if (next === null || typeof next !== 'object') return undefined;
      // elements of a list are found by their index
      at = next as unknown as OptionTree;
    }
    const value = at[last];
    if (remove && !Array.isArray(at)) delete at[last];
    return value;
  }
}

function structuredCloneTree(tree: OptionTree): OptionTree {
  const copy: OptionTree = {};
  for (const [key, value] of Object.entries(tree)) {
    if (value === undefined) continue;
    copy[key] = isPlainTree(value) ? structuredCloneTree(value as OptionTree) : value;
  }
  return copy;
}

function isPlainTree(value: OptionValue): boolean {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

function flatKeys(tree: OptionTree, prefix: string): string[] {
  return Object.entries(tree).flatMap(([key, value]) => {
    if (value === undefined) return [];
    return isPlainTree(value) ? flatKeys(value as OptionTree, `${prefix}${key}.`) : [prefix + key];
  });
}

/** True when `filename` starts with `protocol:` (a colon before the first slash). */
export function hasProtocol(filename: string): boolean {
  const colon = filename.indexOf(':');
  const slash = filename.indexOf('/');
  return colon >= 0 && (slash < 0 || colon < slash);
}

/** `filename` without its `file:` (or another protocol); what is left stays a path, whatever colons it holds. */
export function stripProtocol(filename: string, protocol = 'file'): string {
  if (!filename.startsWith(`${protocol}:`)) return filename;
  const path = filename.slice(protocol.length + 1);
  return hasProtocol(path) ? `./${path}` : path;
}

/** What filenames can mean. */
export interface FilenameContext {
  driver(name: string): DriverEntry | undefined;
  /** Whether a device of the host has this path. */
  isDevice(path: string): boolean;
  /** Whether that is a drive for discs. */
  isDiscDrive(path: string): boolean;
}

/** The members of a nested option; none when it is no tree. */
export function asTree(value: OptionValue): OptionTree {
  return isPlainTree(value) ? (value as OptionTree) : {};
}

/** `base` with `over` laid over it, member by member at each level. */
export function mergeOptions(base: OptionTree, over: OptionTree): OptionTree {
  const merged: OptionTree = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key];
    merged[key] = isPlainTree(below) && isPlainTree(value) ? mergeOptions(asTree(below), asTree(value)) : value;
  }
  return merged;
}

/** Options of the file or device at `path`, a name and nothing else. */
export function fileOptions(path: string, context: FilenameContext): OptionTree {
  if (!context.isDevice(path)) return { driver: 'file', filename: path };
  return { driver: context.isDiscDrive(path) ? 'host_cdrom' : 'host_device', filename: path };
}

/** Options of a node of the protocol `driver` that `filename` names: only that protocol's own prefix means something. */
export function protocolOptions(driver: string, filename: string, context: FilenameContext): OptionTree {
  return { driver, ...(context.driver(driver)?.parseFilename?.(filename, (inner) => optionsOfFilename(inner, context).tree) ?? { filename }) };
}

/**
 * Options of the node that `filename` names: `json:{…}` as written, else the protocol node (`file:` is dropped).
 * Throws `Unknown protocol 'x'` for a prefix that is no driver.
 */
export function optionsOfFilename(filename: string, context: FilenameContext): { readonly tree: OptionTree; readonly isJson: boolean } {
  if (filename.startsWith('json:')) {
    let value: Json;
    try {
      value = parseJson(filename.slice('json:'.length));
    } catch (error) {
      if (error instanceof BlockError) throw error.prepend('Could not parse the JSON options: ');
      throw error;
    }
    if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new BlockError('Invalid JSON object given', { code: 'ERR_PARSE' });
    return { tree: unflatten(value as JsonObject) as OptionTree, isJson: true };
  }
  if (!hasProtocol(filename)) return { tree: fileOptions(filename, context), isJson: false };
  const protocol = filename.slice(0, filename.indexOf(':'));
  if (context.driver(protocol)?.parseFilename === undefined) throw new BlockError(`Unknown protocol '${protocol}'`, { code: 'ENOTSUP' });
  return { tree: protocolOptions(protocol, filename, context), isJson: false };
}

/** A name that stands for different files seen from different folders. */
export function isRelativeName(name: string): boolean {
  return name !== '' && !name.startsWith('/') && !name.startsWith('json:') && !hasProtocol(name);
}

/** A backing name as recorded in an image, seen from the directory of the image. */
export function combineFilename(imageFilename: string, backing: string): string {
  if (!isRelativeName(backing)) return backing;
  // what stands before a colon counts as a protocol here too
  const colon = hasProtocol(imageFilename) ? imageFilename.indexOf(':') : -1;
  return imageFilename.slice(0, Math.max(colon, imageFilename.lastIndexOf('/')) + 1) + backing;
}
