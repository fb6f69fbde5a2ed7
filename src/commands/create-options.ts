/*
 * `-o` lists of create and convert: parsed against the options of a format and of files, listed by `-o help`, and shown
 * in the line "Formatting …". Knows no format: the options come from its driver.
 * Rule source: observed behaviour of qemu-img 11.1.
 */

import type { Reporter } from '../cli/report.ts';
import type { BlockDriver, CreateOption, CreateValues } from '../core/block/driver.ts';
import { hasProtocol, type OptionTree } from '../core/block/options.ts';
import { didYouMean, meantValue } from '../core/util/did-you-mean.ts';
import { BlockError } from '../core/util/errors.ts';
import { escapeCommas, hasHelpWord, isValidOptionList, parseOptionWords, unflatten } from '../core/util/key-values.ts';
import { parseNumberOption } from '../core/util/schema-scalars.ts';
import { parseSizeOption } from '../core/util/size.ts';
import { driverEntries, imageFormats } from '../engine/drivers.ts';
import type { Engine } from '../engine/engine.ts';
import { creatorOf } from '../engine/protocol-creators.ts';

/** Formats that exist but that nobody can make images of. */
const readOnlyFormats = ['bochs', 'cloop', 'dmg'];

/** Options of files under any format. */
const fileOptions: readonly CreateOption[] = [
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'nocow', type: 'bool', help: 'Turn off copy-on-write (valid only on btrfs)' },
  { name: 'preallocation', type: 'string', help: 'Preallocation mode (allowed values: off, falloc, full)' },
  { name: 'extent_size_hint', type: 'size', help: 'Extent size hint for the image file, 0 to disable' },
];

/** The lists of several `-o` as one. Throws for what is no list. */
export function joinOptionLists(lists: readonly string[]): string | undefined {
  return lists.length === 0 ? undefined : lists.join(',');
}

/** Throws at an empty list, and at one that begins or ends with a comma of its own. */
export function checkOptionList(text: string): void {
  if (!isValidOptionList(text)) throw new BlockError(`Invalid option list: ${text}`, { code: 'ERR_PARSE' });
}

export function asksForHelp(list: string | undefined): boolean {
  return list !== undefined && hasHelpWord(list);
}

/** The driver that makes images of `format`. */
export async function creatingDriver(engine: Engine, format: string, filename?: string): Promise<BlockDriver> {
  const isKnown = driverEntries.some(({ name }) => name === format);
  if (!isKnown && !readOnlyFormats.includes(format)) throw unknownFormat(format);
  const protocol = filename === undefined ? undefined : protocolOf(filename);
  if (protocol !== undefined && engine.registry.entry(protocol)?.parseFilename === undefined)
    throw new BlockError(`Unknown protocol '${protocol}'`, { code: 'ENOTSUP' });
  const driver = isKnown ? await creatorOf(engine, format) : undefined;
  if (driver?.createOptions === undefined) throw new BlockError(`Format driver '${format}' does not support image creation`, { code: 'ENOTSUP' });
  // a protocol as format takes the name for its own
  if (protocol !== undefined && driver.kind !== 'protocol')
    throw new BlockError(`Protocol driver '${protocol}' does not support image creation`, { code: 'ENOTSUP' });
  return driver;
}

/** The driver of an image of `format`. */
export async function knownDriver(engine: Engine, format: string): Promise<BlockDriver> {
  if (!driverEntries.some(({ name }) => name === format)) throw unknownFormat(format);
  return engine.registry.load(format);
}

function unknownFormat(format: string): BlockError {
  return new BlockError(`Unknown file format '${format}'`, { code: 'ENOTSUP', hint: meantValue(format, imageFormats) });
}

/** What a filename begins with, when it is no file. */
function protocolOf(filename: string): string | undefined {
  if (filename.startsWith('file:') || !hasProtocol(filename)) return undefined;
  return filename.slice(0, filename.indexOf(':'));
}

/** Options of the format in its own order, then those of the file below it. */
function allOptions(driver: BlockDriver): readonly CreateOption[] {
  // raw is nothing but its file
  if (driver.isFilterLike === true) return fileOptions;
  const own = driver.createOptions ?? [];
  if (driver.kind === 'protocol') return own;
  return [...own, ...fileOptions.filter(({ name }) => !own.some((option) => option.name === name))];
}

/** Prints what `-o help` shows; without a filename the options of the file are left out. */
export function printOptionHelp(report: Reporter, driver: BlockDriver, hasFilename: boolean): void {
  const onlyOwn = driver.kind === 'protocol' ? allOptions(driver) : driver.isFilterLike === true ? fileOptions.slice(0, 1) : (driver.createOptions ?? []);
  const lines = optionLines(hasFilename ? allOptions(driver) : onlyOwn);
  if (hasFilename) report.print(`Supported options:\n${lines}\n`);
  else
    report.print(
      `Supported ${driver.name} options:\n${lines}\n\nThe protocol level may support further options.\nSpecify the target filename to include those options.\n`,
    );
}

/** Prints what `amend -o help` shows. */
export function printAmendHelp(report: Reporter, driver: BlockDriver): void {
  report.print(`Amend options for '${driver.name}':\n${optionLines(driver.amendOptions ?? [])}\n`);
}

function optionLines(options: readonly CreateOption[]): string {
  const types = { string: 'str', bool: 'bool (on/off)', size: 'size', number: 'num' } as const;
  const lines = [...options].sort((a, b) => (a.name < b.name ? -1 : 1));
  return lines.map(({ name, type, help }) => `${`  ${name}=<${types[type]}>`.padEnd(24)} - ${help}`).join('\n');
}

/** Values of creation options, as given and parsed. */
export class CreationOptions {
  readonly #driver: BlockDriver;
  readonly #options: readonly CreateOption[];
  /** Text of booleans and strings; sizes and numbers as integers. */
  readonly #values = new Map<string, string | bigint>();

  constructor(driver: BlockDriver, options: readonly CreateOption[] = allOptions(driver)) {
    this.#driver = driver;
    this.#options = options;
  }

  /** Takes over a `-o` list. Throws at a wrong name or value. */
  parse(list: string): void {
    for (const { name, value, isFlag } of parseOptionWords(list)) {
      const option = this.#options.find((candidate) => candidate.name === name) ?? this.#options.find((candidate) => isFlag && candidate.name === `no${name}`);
      if (option === undefined) throw this.#unknown(name);
      this.set(option.name, option.name === name ? value : 'on');
    }
  }

  has(name: string): boolean {
    return this.#options.some((option) => option.name === name);
  }

  /** Throws when the value does not fit the option's type. */
  set(name: string, value: string | bigint): void {
    const option = this.#options.find((candidate) => candidate.name === name);
    if (option === undefined) throw this.#unknown(name);
    this.#values.set(name, typeof value === 'bigint' ? value : parseValue(option, value));
  }

  #unknown(name: string): BlockError {
    const names = this.#options.map((option) => option.name);
    return new BlockError(`Invalid parameter '${name}'`, {
      code: 'ERR_OPTION',
      hint: didYouMean(name, names) || `'-o help' lists the options of ${this.#driver.name}`,
    });
  }

  /** The text of a string option. */
  text(name: string): string | undefined {
    const value = this.#values.get(name);
    return typeof value === 'bigint' ? String(value) : value;
  }

  integer(name: string): bigint | undefined {
    const value = this.#values.get(name);
    return typeof value === 'bigint' ? value : undefined;
  }

  isOn(name: string): boolean {
    const value = this.#values.get(name);
    return typeof value === 'string' && isTrue(value);
  }

  /** `size=1048576 lazy_refcounts=off`: what was given and what has a default, in the format's order. */
  formatting(): string {
    const words: string[] = [];
    for (const { name, type, defaultText } of this.#options) {
      const value = this.#values.get(name) ?? defaultText;
      if (value === undefined) continue;
      words.push(`${name}=${typeof value === 'bigint' ? (type === 'number' ? BigInt.asIntN(64, value) : value) : escapeCommas(value)}`);
    }
    return words.join(' ');
  }

  /** For the driver: booleans, numbers and strings. */
  forDriver(): CreateValues {
    const values: Record<string, string | number | boolean> = {};
    for (const { name, type } of this.#options) {
      const value = this.#values.get(name);
      if (value === undefined) continue;
      values[name] = typeof value === 'bigint' ? (name === 'size' ? this.sizeOf(value) : this.numberOf(value)) : type === 'bool' ? isTrue(value) : value;
    }
    return values;
  }

  /** Images are made in whole sectors, whatever was asked for. */
  protected sizeOf(size: bigint): number {
    return Number(((size + 511n) / 512n) * 512n);
  }

  protected numberOf(value: bigint): number {
    return Number(value);
  }

  /** Options that open what was made: the secrets that it was made with. */
  keySecrets(): OptionTree {
    const given = this.#options.filter(({ name }) => name.endsWith('key-secret')).map(({ name }) => [name, this.#values.get(name)] as const);
    return unflatten(Object.fromEntries(given.filter(([, value]) => value !== undefined).map(([name, value]) => [name, String(value)]))) as OptionTree;
  }

  get driver(): BlockDriver {
    return this.#driver;
  }
}

function isTrue(text: string): boolean {
  return ['on', 'yes', 'true', 'y'].includes(text);
}

function parseValue(option: CreateOption, text: string): string | bigint {
  switch (option.type) {
    case 'size':
      return parseSizeOption(option.name, text);
    case 'number':
      return parseNumberOption(option.name, text);
    case 'bool':
      if (!isTrue(text) && !['off', 'no', 'false', 'n'].includes(text))
        throw new BlockError(`Parameter '${option.name}' expects 'on' or 'off'`, { code: 'ERR_OPTION' });
      return text;
    default:
      return text;
  }
}

/** Values of options that change an image. */
export class AmendOptions extends CreationOptions {
  constructor(driver: BlockDriver) {
    super(driver, driver.amendOptions ?? []);
  }

  /** Takes over a `-o` list. Throws at a wrong name or value; tells of a list that is one for creation. */
  override parse(list: string): void {
    try {
      super.parse(list);
    } catch (error) {
      const { createOptions = [] } = this.driver;
      if (!(error instanceof BlockError) || createOptions.length === 0) throw error;
      try {
        new CreationOptions(this.driver, [...(this.driver.amendOptions ?? []), ...createOptions]).parse(list);
      } catch {
        throw error;
      }
      throw error.with({ detail: 'This option is only supported for image creation' });
    }
  }

  /** As given: what no image can have is refused by the driver. */
  protected override sizeOf(size: bigint): number {
    return Number(BigInt.asIntN(64, size));
  }

  protected override numberOf(value: bigint): number {
    return Number(BigInt.asIntN(64, value));
  }
}

/** `-b` and its format into the options of the image. Throws where the format has no backing files. */
export function setBacking(values: CreationOptions, format: string, backing: string | undefined, backingFormat: string | undefined): void {
  if (backing !== undefined) {
    if (!values.has('backing_file')) throw new BlockError(`Backing file not supported for file format '${format}'`, { code: 'ENOTSUP' });
    values.set('backing_file', backing);
  }
  if (backingFormat === undefined) return;
  if (!values.has('backing_fmt')) throw new BlockError(`Backing file format not supported for file format '${format}'`, { code: 'ENOTSUP' });
  values.set('backing_fmt', backingFormat);
}
