/*
 * The command line of tsio: the option table, its help text, and the settings it gives. Values are checked in the order
 * in which they stand. Knows no image. Rule source: observed behaviour of qemu-io 11.1.
 */
import { completionOption, defineOptions, longName, type OptionTable, type ParseResult, parseOptions } from '../cli/options.ts';
import { type CacheMode, parseCache } from '../core/block/cache-mode.ts';
import { meantValue } from '../core/util/did-you-mean.ts';
import { BlockError } from '../core/util/errors.ts';
import type { Given } from '../engine/io/parse.ts';

const table = defineOptions({
  help: { short: 'h', stops: true, help: 'print this help and exit' },
  version: { short: 'V', stops: true, help: 'print the version and exit' },
  cmd: { short: 'c', arg: 'STRING', many: true, help: 'run this command; may be given again' },
  format: { short: 'f', arg: 'FMT', help: 'format of FILE (default: found by its content)', complete: 'format' },
  readOnly: { short: 'r', help: 'open without writing' },
  snapshot: { short: 's', help: 'write to a temporary overlay' },
  nocache: { short: 'n', help: "do without the host's cache (-t none)" },
  copyOnRead: { short: 'C', help: 'copy what is read from backing images' },
  misalign: { short: 'm', help: 'misalign buffers (changes nothing here)' },
  nativeAio: { short: 'k', help: 'short for -i native' },
  aio: { short: 'i', arg: 'MODE', help: 'threads, native, io_uring', complete: ['threads', 'native', 'io_uring'] },
  cache: { short: 't', arg: 'MODE', help: 'cache mode (default: writethrough)', complete: 'cache' },
  discard: { short: 'd', arg: 'MODE', help: 'ignore, unmap', complete: ['ignore', 'unmap'] },
  trace: { short: 'T', arg: '[[enable=]<pattern>][,events=<file>][,file=<file>]', many: true, help: 'trace points to follow' },
  forceShare: { short: 'U', help: 'open even if another process is writing' },
  object: { arg: 'OBJDEF', many: true, help: 'make an object, a secret for instance' },
  imageOpts: { help: 'FILE is a list of options and no filename' },
});

/** All options, for completion and the manual's check. */
export const ioOptions: OptionTable = table;

/** How an image is to be opened. */
export interface OpenSettings {
  readonly filename: string | undefined;
  readonly format: string | undefined;
  /** `key=value,...`; with --image-opts all that there is. */
  readonly options: string | undefined;
  readonly readOnly: boolean;
  readonly snapshot: boolean;
  readonly copyOnRead: boolean;
  readonly forceShare: boolean;
  readonly nativeAio: boolean;
  readonly cache: CacheMode;
  readonly discard: boolean;
}

/** The command line as far as it was read: up to `--help` or `--version`. */
export interface IoArguments {
  readonly stoppedAt: string | undefined;
  readonly commands: readonly string[];
  readonly traces: readonly string[];
  readonly objects: readonly string[];
  readonly files: readonly string[];
  readonly isMixed: boolean;
  /** Of the first file. */
  readonly image: OpenSettings;
}

/** Throws UsageError and, for wrong values, BlockError. */
export function readArguments(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): IoArguments {
  const parsed = parseOptions(argv, table, {
    env,
    onOption: (key, value = '') => {
      if (key === 'cache') parseCache(value, 'Invalid cache option');
      else if (key === 'discard') discardMode(value);
      else if (key === 'aio') checkAio(value);
    },
  });
  const { options, operands, stoppedAt } = parsed;
  return {
    stoppedAt,
    commands: options.cmd,
    traces: options.trace,
    objects: options.object,
    files: operands,
    isMixed: options.imageOpts && options.format !== undefined,
    image: settingsOf(parsed),
  };
}

/** What the options of the program say of FILE. */
function settingsOf({ options, operands, order }: ParseResult<typeof table>): OpenSettings {
  const [file] = operands;
  return {
    filename: options.imageOpts ? undefined : file,
    format: options.format,
    options: options.imageOpts ? file : undefined,
    readOnly: options.readOnly,
    snapshot: options.snapshot,
    copyOnRead: options.copyOnRead,
    forceShare: options.forceShare,
    nativeAio: options.nativeAio || options.aio === 'native',
    cache: cacheOf(order.flatMap(({ key, value }) => (key === 'nocache' ? ['none'] : key === 'cache' ? [value ?? ''] : []))),
    discard: discardMode(options.discard ?? 'unmap'),
  };
}

/** What the words of the command `open` say. */
export function settingsOfWords({ flags, operands }: Given): OpenSettings {
  const aio = flags.get('i');
  if (aio !== undefined) checkAio(aio);
  return {
    filename: operands[0],
    format: undefined,
    options: flags.get('o'),
    readOnly: flags.has('r'),
    snapshot: flags.has('s'),
    copyOnRead: flags.has('C'),
    forceShare: flags.has('U'),
    nativeAio: flags.has('k') || aio === 'native',
    cache: cacheOf([flags.has('n') ? 'none' : undefined, flags.get('t')].filter((name) => name !== undefined)),
    discard: discardMode(flags.get('d') ?? 'unmap'),
  };
}

/** The last one wins. */
function cacheOf(names: readonly string[]): CacheMode {
  // each write is on stable storage before it is answered, unless something else is asked for
  return parseCache(names.at(-1) ?? 'writethrough', 'Invalid cache option');
}

function discardMode(name: string): boolean {
  if (name === 'unmap' || name === 'on') return true;
  if (name === 'ignore' || name === 'off') return false;
  throw new BlockError(`Invalid discard option: ${name}`, { code: 'ERR_USAGE', hint: meantValue(name, ['ignore', 'unmap']) });
}

function checkAio(name: string): void {
  const modes = ['threads', 'native', 'io_uring'];
  if (!modes.includes(name)) throw new BlockError(`Invalid aio option: ${name}`, { code: 'ERR_USAGE', hint: meantValue(name, modes) });
}

export function helpText(program: string): string {
  const lines = [`Usage: ${program} [OPTIONS]... [-c STRING]... [FILE]`, 'Runs reads, writes and other requests on a disk image', ''];
  for (const [key, spec] of Object.entries<OptionTable[string]>({ ...table, completion: completionOption })) {
    const short = spec.short === undefined ? '    ' : `-${spec.short}, `;
    const isApart = spec.arg?.startsWith('[') === true || ['object', 'cmd', 'format', 'completion'].includes(key);
    const heading = `  ${short}--${longName(key, spec)}${spec.arg === undefined ? '' : `${isApart ? ' ' : '='}${spec.arg}`}`;
    const [first = '', ...rest] = spec.help.split('\n').map((line) => `${' '.repeat(25)}${line}`);
    lines.push(...(heading.length < 24 ? [heading.padEnd(25) + first.trimStart()] : [heading, first]), ...rest);
  }
  lines.push('', `'${program} -c help' lists the commands, the manual page tsio(1) tells more.`);
  return `${lines.join('\n')}\n`;
}
