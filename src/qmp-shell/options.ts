/* The command line of tsqmp: option table, usage, and the values of --disk and --qmp. */
import { commandHelp } from '../cli/help.ts';
import { defineOptions, type OptionTable, parseOptions } from '../cli/options.ts';
import { BlockError } from '../core/util/errors.ts';
import { isIdentifier } from '../core/util/identifier.ts';
import { parseKeyValues } from '../core/util/key-values.ts';
import { parseTarget } from '../monitor/qmp-client.ts';
import type { QmpAddress } from '../monitor/qmp-server.ts';

const table = defineOptions({
  disk: { arg: 'NAME=FILE[,format=FMT][,readonly=on][,node=NODE]', many: true, help: 'give the machine a disk', complete: 'file' },
  qmp: { arg: 'unix:PATH|tcp:HOST:PORT', many: true, help: 'serve QMP to other clients as well' },
  strict: { help: 'answer exactly as QEMU 11.1 does' },
  command: { short: 'c', arg: 'CMD', many: true, help: 'run CMD and end; may be repeated' },
  hmp: { short: 'H', help: 'lines are human monitor commands' },
  pretty: { short: 'p', help: 'print replies over several lines' },
  verbose: { short: 'v', help: 'show commands as they are sent, and events' },
  noNegotiate: { short: 'N', help: 'do not negotiate capabilities (for other servers)' },
  hints: { help: 'print hints although this is no terminal' },
  help: { short: 'h', stops: true, help: 'print this help and exit' },
  version: { short: 'V', stops: true, help: 'print the version and exit' },
});

/** For help, completion and the check of the manual. */
export const shellTable: OptionTable = table;

export interface ShellArguments {
  readonly disk: readonly string[];
  readonly qmp: readonly string[];
  readonly strict: boolean;
  readonly command: readonly string[];
  readonly hmp: boolean;
  readonly pretty: boolean;
  readonly verbose: boolean;
  readonly noNegotiate: boolean;
  readonly hints: boolean;
}

/** Throws UsageError. */
export function parseShell(argv: readonly string[]): {
  readonly options: ShellArguments;
  readonly operands: readonly string[];
  readonly stoppedAt: string | undefined;
} {
  return parseOptions(argv, table);
}

export function shellHelp(program: string): string {
  return commandHelp({
    command: program,
    usage: ['[OPTIONS] [--disk NAME=FILE]... [run FILE]', '[OPTIONS] SERVER | run FILE SERVER | -c CMD [-c CMD]... SERVER', '--daemon [DAEMON OPTIONS]'],
    summary:
      'A shell for QMP and the human monitor. Without SERVER it starts a machine with the given disks in its own process;\n' +
      'SERVER is the unix socket (a path) or HOST:PORT of a running tsqmp --qmp or of a QEMU.\n' +
      'run FILE carries out a script, and so does input that is no terminal. --daemon takes the options of\n' +
      'qemu-storage-daemon and has no shell.',
    options: table,
  });
}

export interface DiskOption {
  readonly name: string;
  readonly filename: string;
  readonly format: string | undefined;
  readonly readOnly: boolean;
  readonly nodeName: string | undefined;
}

/** `NAME=FILE[,format=…,readonly=…,node=…]`, commas in FILE doubled. Throws BlockError that names the option. */
export function parseDisk(text: string): DiskOption {
  try {
    const equals = text.indexOf('=');
    const name = text.slice(0, Math.max(0, equals));
    if (!isIdentifier(name)) throw new BlockError('NAME=FILE is expected', { code: 'ERR_PARSE' });
    const { file, format, readonly: readOnly, node, ...rest } = parseKeyValues(`file=${text.slice(equals + 1)}`);
    const surplus = Object.keys(rest)[0];
    if (surplus !== undefined) throw new BlockError(`Parameter '${surplus}' is unexpected`, { code: 'ERR_OPTION' });
    const filename = wordOf('file', file);
    if (filename === undefined || filename === '') throw new BlockError('NAME=FILE is expected', { code: 'ERR_PARSE' });
    return {
      name,
      filename,
      format: wordOf('format', format),
      readOnly: switchOf('readonly', wordOf('readonly', readOnly)),
      nodeName: wordOf('node', node),
    };
  } catch (error) {
    throw error instanceof BlockError ? error.prepend(`--disk ${text}: `) : error;
  }
}

function wordOf(name: string, value: unknown): string | undefined {
  if (value === undefined || typeof value === 'string') return value;
  throw new BlockError(`Parameter '${name}' is unexpected`, { code: 'ERR_OPTION' });
}

function switchOf(name: string, word: string | undefined): boolean {
  if (word === undefined || /^(?:off|no|n|false)$/.test(word)) return false;
  if (/^(?:on|yes|y|true)$/.test(word)) return true;
  throw new BlockError(`Parameter '${name}' expects 'on' or 'off'`, { code: 'ERR_OPTION' });
}

/** The value of --qmp. Throws BlockError that names the option. */
export function parseQmpAddress(text: string): QmpAddress {
  try {
    // a plain path is the SERVER of a client: here it would be a file that nobody asked for
    if (!/^unix:.|^tcp:[^/]*:[^:/]*$/s.test(text)) throw new BlockError('unix:PATH or tcp:HOST:PORT is expected', { code: 'ERR_PARSE' });
    const target = parseTarget(text);
    return 'path' in target ? { type: 'unix', path: target.path } : { type: 'tcp', host: target.host, port: target.port };
  } catch (error) {
    throw error instanceof BlockError ? error.prepend(`--qmp ${text}: `) : error;
  }
}
