/*
 * The frame of tsimg's subcommands: an option table with texts and a body; the options that several of them share; how
 * they open images by the words of their command line. Must not know any format.
 * Rule source: observed behaviour of qemu-img 11.1.
 */

import { UsageError } from '../cli/getopt.ts';
import type { CommandHelp, OperandHelp } from '../cli/help.ts';
import { type OptionTable, type ParseResult, parseOptions } from '../cli/options.ts';
import { rawWarning } from '../cli/raw-warning.ts';
import type { Reporter } from '../cli/report.ts';
import { relayWarnings } from '../cli/warnings.ts';
import { type BlockBackend, noIoPerms, readerPerms, resizerPerms, soleReaderPerms, writerPerms } from '../core/block/backend.ts';
import type { CacheMode } from '../core/block/cache-mode.ts';
import { nodeFilename } from '../core/block/filename.ts';
import type { BlockNode } from '../core/block/node.ts';
import type { OptionTree } from '../core/block/options.ts';
import { didYouMean } from '../core/util/did-you-mean.ts';
import { BlockError } from '../core/util/errors.ts';
import { type OptionWord, parseOptionWords, unflatten } from '../core/util/key-values.ts';
import { Engine } from '../engine/engine.ts';

export interface CommandContext {
  /** Speaks under the program's name; usage errors under the subcommand's. */
  readonly report: Reporter;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface CommandDefinition<T extends OptionTable> {
  /** Usage lines without the program and subcommand. */
  readonly usage: readonly string[];
  /** One sentence. */
  readonly summary: string;
  readonly options: T;
  readonly operands: readonly OperandHelp[];
  readonly acceptsAsOperand?: (word: string, previous: string | undefined) => boolean;
  /** Checks a value as soon as its option is met, before later words are looked at. */
  readonly check?: (key: keyof T & string, value: string, report: Reporter) => void;
  run(parsed: ParseResult<T>, context: CommandContext): Promise<number>;
}

export interface ImageCommand {
  /** Usage, texts and options, for `--help`, completion and the manual's check. `command`: program and subcommand. */
  help(command: string): CommandHelp;
  /** Parses and runs; the exit code. Throws BlockError for the program to report. */
  execute(argv: readonly string[], context: CommandContext): Promise<number>;
}

export function imageCommand<const T extends OptionTable>(definition: CommandDefinition<T>): ImageCommand {
  const { usage, summary, options, operands } = definition;
  const help = (command: string): CommandHelp => ({ command, usage, summary, options, operands });
  return {
    help,
    execute: async (argv, context) => {
      const parsed = parseOptions(argv, options, {
        env: context.env,
        ...(definition.acceptsAsOperand === undefined ? {} : { acceptsAsOperand: definition.acceptsAsOperand }),
        onOption: (key, value) => definition.check?.(key, value ?? '', context.report),
      });
      if (parsed.stoppedAt !== undefined) {
        const { commandHelp } = await import('../cli/help.ts');
        context.report.print(commandHelp(help(`${context.report.program} ${context.report.command ?? ''}`)));
        return 0;
      }
      return definition.run(parsed, context);
    },
  };
}

// -- shared options -----------------------------------------------------------------------------------------------------
export const imageOptsOption = { help: 'FILE is a list of options (key=value,...) and no filename\n(not together with --format)' } as const;
export const objectOption = { arg: 'OBJDEF', many: true, help: 'make an object, a secret for instance' } as const;
export const quietOption = { short: 'q', help: 'print nothing but errors' } as const;
export const forceShareOption = { short: 'U', help: 'open even if another process is writing to the image' } as const;
export const outputOption = { arg: 'human|json', help: 'form of the output (default: human)', complete: ['human', 'json'] } as const;
export const fileOperand: OperandHelp = { name: 'FILE', help: 'the image: a filename, or options with --image-opts' };

/** Throws for a wrong `--output`. */
export function checkOutput(value: string): void {
  if (value !== 'human' && value !== 'json') {
    throw new UsageError(`--output expects 'human' or 'json', not '${value}'`, { hint: didYouMean(value, ['human', 'json']) });
  }
}

/** Makes the objects of `--object` definitions in the order in which they are met. */
export async function makeObjects(engine: Engine, definitions: readonly string[]): Promise<void> {
  if (definitions.length === 0) return;
  const { addObjects } = await import('./objects.ts');
  addObjects(engine.objects, definitions);
}

// -- opening ------------------------------------------------------------------------------------------------------------
/** The engine of a one-shot program: synchronous file access, nobody else to wait for. */
export function newEngine(): Engine {
  return new Engine({ syncLimit: Number.POSITIVE_INFINITY });
}

export interface OpenImageOptions {
  readonly filename: string;
  readonly format: string | undefined;
  /** `filename` is a list of options. */
  readonly imageOpts: boolean;
  /** A first word of that list without `=` is a flag, and does not name the file's node. */
  readonly hasNoFirstName?: boolean;
  readonly cache?: CacheMode;
  readonly forceShare?: boolean;
  /** What to say when `forceShare` and the options of the image contradict each other. */
  readonly shareConflict?: string;
  readonly writable?: boolean;
  /** Its size will be changed: others that count on it are asked. */
  readonly resizes?: boolean;
  /** Without the backing chain, and without touching the guest's data (info). */
  readonly metadataOnly?: boolean;
  readonly discard?: boolean;
  /** Without the backing chain. */
  readonly noBacking?: boolean;
  /** Nobody may write to it meanwhile. */
  readonly noWriters?: boolean;
  /** Further options of an image that is named by its filename. */
  readonly options?: OptionTree;
  /** What a check can set right is no reason to refuse the image. */
  readonly toCheck?: boolean;
}

/** Opens an image as named on the command line. Errors begin with `Could not open 'FILENAME': `. */
export async function openImage(engine: Engine, report: Reporter, image: OpenImageOptions): Promise<BlockBackend> {
  if (image.imageOpts && image.format !== undefined) throw new BlockError('--image-opts and --format are mutually exclusive', { code: 'ERR_USAGE' });
  try {
    return await openBare(engine, report, image);
  } catch (error) {
    throw error instanceof BlockError && !(error instanceof UsageError) ? error.prepend(`Could not open '${image.filename}': `) : error;
  }
}

/** The same with errors as the engine gives them, for programs that begin them in their own way. */
export async function openBare(engine: Engine, report: Reporter, image: OpenImageOptions): Promise<BlockBackend> {
  relayWarnings(engine.events, report);
  const tree = image.imageOpts ? imageOptions(image.filename, report, image.hasNoFirstName === true ? undefined : 'file') : undefined;
  if (image.forceShare === true && (tree?.['force-share'] ?? 'on') !== 'on')
    throw new UsageError(image.shareConflict ?? '--force-share/-U conflicts with image options', { showTry: false });
  const backend = tree === undefined ? await openByName(engine, image) : await openByOptions(engine, image, tree);
  const node = backend.node;
  if (image.writable === true && node?.isProbed === true && node.driver.name === 'raw') {
    report.stderr.write(rawWarning(nodeFilename(node)));
  }
  return backend;
}

/** The way is ours to choose; what the peer demands of a file for aio=native holds all the same. */
export function checkNativeAio(node: BlockNode | undefined): void {
  let medium = node;
  while (medium?.primary !== undefined) medium = medium.primary.node;
  if (medium?.driver.isMedium !== true || medium.settings.cache.direct) return;
  throw new BlockError('aio=native was specified, but it requires cache.direct=on, which was not specified.', { code: 'ERR_USAGE' });
}

function openByName(engine: Engine, image: OpenImageOptions): Promise<BlockBackend> {
  const { cache } = image;
  return engine.openBackend({
    filename: image.filename,
    format: image.format,
    readOnly: image.writable !== true,
    ...(image.options === undefined ? {} : { options: image.options }),
    ...(image.forceShare === true ? { forceShare: true } : {}),
    ...(image.metadataOnly === true ? { noIo: true } : {}),
    ...(image.toCheck === true ? { toCheck: true } : {}),
    ...(image.noBacking === true ? { noBacking: true } : {}),
    ...(image.noWriters === true ? { perms: soleReaderPerms } : image.resizes === true ? { perms: resizerPerms } : {}),
    ...(image.discard === undefined ? {} : { discard: image.discard }),
    ...(cache === undefined || (!cache.direct && !cache.noFlush) ? {} : { cache }),
  });
}

/** What the command asks for is the default; the options of the image may say otherwise. */
async function openByOptions(engine: Engine, image: OpenImageOptions, tree: OptionTree): Promise<BlockBackend> {
  const options: OptionTree = { ...tree };
  checkFilenameOption(engine, options);
  const writable = image.writable === true;
  options['read-only'] ??= !writable;
  if (writable) options['auto-read-only'] ??= false;
  if (image.forceShare === true) options['force-share'] = true;
  if (image.discard === true) options['discard'] ??= 'unmap';
  if (image.noBacking === true && !Object.keys(options).some((name) => name === 'backing' || name.startsWith('backing.'))) options['backing'] = null;
  const given = options['cache'];
  options['cache'] = { direct: image.cache?.direct ?? false, 'no-flush': image.cache?.noFlush ?? false, ...(typeof given === 'object' ? given : {}) };
  const noIo = image.metadataOnly === true;
  const node = await engine.opener.openNode(options, { noIo, toCheck: image.toCheck === true });
  return engine.attachBackend(
    node,
    noIo ? noIoPerms : image.resizes === true ? resizerPerms : writable ? writerPerms : image.noWriters === true ? soleReaderPerms : readerPerms,
  );
}

/** A filename belongs to a node on a medium; formats take theirs by `file.filename`. */
function checkFilenameOption(engine: Engine, options: OptionTree): void {
  if (options['filename'] === undefined || options['file'] !== undefined) return;
  const { driver } = options;
  if (driver === undefined) throw new BlockError('Must specify either driver or file', { code: 'ERR_USAGE' });
  for (const entry of engine.registry.entries) {
    if (entry.name === driver && entry.kind !== 'protocol') throw new BlockError('A block device must be specified for "file"', { code: 'ERR_USAGE' });
  }
}

/** Tells of an option without a value that it should have one. */
export function warnOfFlag({ name, value, isFlag }: OptionWord, report: Reporter): void {
  if (!isFlag) return;
  report.warning(`short-form boolean option '${value === 'off' ? 'no' : ''}${name}' deprecated`);
  report.stderr.write(`Please use ${name}=${value} instead\n`);
}

/** Options of `--image-opts`, strings throughout; a first word without `=` names the file's node. */
function imageOptions(text: string, report: Reporter, firstName: string | undefined): OptionTree {
  const flat: Record<string, string> = {};
  for (const word of parseOptionWords(text, firstName)) {
    const { name, value } = word;
    warnOfFlag(word, report);
    if (name !== 'id') flat[name] = value;
  }
  return unflatten(flat) as OptionTree;
}

/** Size of an image in whole sectors, as all of its users see it: a ragged end counts as one more sector. */
export function sectorSize(bytes: number): number {
  return Math.ceil(bytes / 512) * 512;
}
