/*
 * The command line of tsnbd: the option table, its help text, and the settings it gives. Values are checked in the order
 * in which they stand, before later words are looked at. Knows no image and no server.
 * Rule source: observed behaviour of qemu-nbd 11.1.
 */
import { UsageError } from '../cli/getopt.ts';
import { completionOption, defineOptions, longName, type OptionTable, parseOptions } from '../cli/options.ts';
import { readInteger } from '../core/util/c-integer.ts';
import { meantValue } from '../core/util/did-you-mean.ts';
import { BlockError } from '../core/util/errors.ts';
import { versionLines } from './version.ts';

const cacheModes: readonly string[] = ['none', 'off', 'writeback', 'writethrough', 'directsync', 'unsafe'];

const connection = defineOptions({
  port: { short: 'p', arg: 'PORT', help: "port to listen on (default '10809')" },
  bind: { short: 'b', arg: 'IFACE', help: "address to bind to (default '0.0.0.0')" },
  socket: { short: 'k', arg: 'PATH', help: 'unix socket to listen on instead', complete: 'file' },
  shared: { short: 'e', arg: 'NUM', help: "clients served at once, 0 = any (default '1')" },
  persistent: { short: 't', help: 'go on when the last client has left' },
  verbose: { short: 'v', help: 'keep messages visible after --fork' },
  exportName: { short: 'x', arg: 'NAME', help: 'name of the export (default: empty)' },
  description: { short: 'D', arg: 'TEXT', help: 'text about the export for people' },
  handshakeLimit: { arg: 'N', help: 'seconds a client has to negotiate (default 10)' },
});

const part = defineOptions({
  offset: { short: 'o', arg: 'OFFSET', help: 'export what follows this byte of the image' },
  allocationDepth: { short: 'A', help: 'offer the depth of allocation' },
  bitmap: { short: 'B', arg: 'NAME', many: true, help: 'offer a dirty bitmap of the image' },
});

const general = defineOptions({
  list: { short: 'L', help: 'list the exports of a server (not in this version)' },
  object: { arg: 'type,id=ID,...', many: true, help: 'define an object, a secret for instance' },
  tlsCreds: { arg: 'ID', help: 'encrypt with the credentials of this object (not in this version)' },
  tlsAuthz: { arg: 'ID', help: 'admit whom this object admits' },
  tlsHostname: { arg: 'HOSTNAME', help: 'name that the certificate must carry' },
  trace: { short: 'T', arg: '[[enable=]<pattern>][,events=<file>][,file=<file>]', many: true, help: 'trace points to follow' },
  fork: { help: 'run in the background, return when it serves' },
  pidFile: { arg: 'PATH', help: 'write the process id to this file', complete: 'file' },
  selinuxLabel: { arg: 'LABEL', help: 'label of the listening socket (not in this version)' },
});

const kernel = defineOptions({
  connect: { short: 'c', arg: 'DEV', help: "connect FILE to the kernel's device DEV (not in this version)" },
  disconnect: { short: 'd', help: 'disconnect DEV (not in this version)' },
});

const image = defineOptions({
  format: { short: 'f', arg: 'FORMAT', help: 'format of the image (raw, qcow2, ...)', complete: 'format' },
  readOnly: { short: 'r', help: 'export without writing' },
  snapshot: { short: 's', help: 'keep writes in a temporary overlay' },
  loadSnapshot: { short: 'l', arg: 'SNAPSHOT_PARAM', help: 'export a snapshot inside the image, an ID or a name' },
  nocache: { short: 'n', help: "do without the host's cache (--cache=none)" },
  cache: { arg: 'MODE', help: 'none, writeback, writethrough, directsync, unsafe', complete: ['none', 'writeback', 'writethrough', 'directsync', 'unsafe'] },
  aio: { arg: 'MODE', help: 'threads, native, io_uring', complete: ['threads', 'native', 'io_uring'] },
  discard: { arg: 'MODE', help: 'ignore, unmap', complete: ['ignore', 'unmap'] },
  detectZeroes: { arg: 'MODE', help: 'off, on, unmap', complete: ['off', 'on', 'unmap'] },
  imageOpts: { help: 'FILE is a list of options and no filename' },
});

const standard = defineOptions({
  help: { short: 'h', stops: true, help: 'print this help and exit' },
  version: { short: 'V', stops: true, help: 'print the version and exit' },
});

// the order in which the peer names the candidates of an ambiguous abbreviation
const table = {
  ...standard,
  bind: connection.bind,
  port: connection.port,
  socket: connection.socket,
  ...part,
  ...kernel,
  list: general.list,
  snapshot: image.snapshot,
  loadSnapshot: image.loadSnapshot,
  nocache: image.nocache,
  cache: image.cache,
  aio: image.aio,
  discard: image.discard,
  detectZeroes: image.detectZeroes,
  shared: connection.shared,
  format: image.format,
  persistent: connection.persistent,
  verbose: connection.verbose,
  object: general.object,
  exportName: connection.exportName,
  description: connection.description,
  handshakeLimit: connection.handshakeLimit,
  tlsCreds: general.tlsCreds,
  tlsHostname: general.tlsHostname,
  tlsAuthz: general.tlsAuthz,
  trace: general.trace,
  fork: general.fork,
  pidFile: general.pidFile,
  selinuxLabel: general.selinuxLabel,
  readOnly: image.readOnly,
  imageOpts: image.imageOpts,
} as const;

/** All options, for completion and the manual's check. */
export const nbdOptions: OptionTable = table;

const groups: readonly (readonly [title: string, options: OptionTable])[] = [
  ['Connection properties:', connection],
  ['Exposing part of the image:', part],
  ['General purpose options:', general],
  ['Kernel NBD client support:', kernel],
  ['Block device options:', image],
];

export function helpText(program: string): string {
  const lines = [`Usage: ${program} [OPTIONS] FILE`, 'Serves a disk image to NBD clients', '', ...optionLines({ ...standard, completion: completionOption })];
  for (const [title, options] of groups) lines.push('', title, ...optionLines(options));
  lines.push('', 'The manual page tsnbd(1) tells more.');
  return `${lines.join('\n')}\n`;
}

function optionLines(options: OptionTable): string[] {
  return Object.entries(options).flatMap(([key, spec]) => {
    const short = spec.short === undefined ? '    ' : `-${spec.short}, `;
    const isApart = spec.arg?.startsWith('[') === true || key === 'object' || key === 'completion';
    const argument = spec.arg === undefined ? '' : `${isApart ? ' ' : '='}${spec.arg}`;
    const heading = `  ${short}--${longName(key, spec)}${argument}`;
    const [first = '', ...rest] = spec.help.split('\n').map((line) => `${' '.repeat(28)}${line}`);
    return heading.length < 27 ? [heading.padEnd(28) + first.trimStart(), ...rest] : [heading, first, ...rest];
  });
}

export function versionText(program: string): string {
  return `${versionLines(program).join('\n')}\n`;
}

export interface NbdSettings {
  readonly file: string;
  readonly format: string | undefined;
  readonly imageOpts: boolean;
  readonly readOnly: boolean;
  /** Writes go to a temporary overlay. */
  readonly snapshot: boolean;
  /** The snapshot that is exported in place of the disk: an ID, a name, or `snapshot.…` options. */
  readonly loadSnapshot: string | undefined;
  readonly port: string | undefined;
  readonly bind: string | undefined;
  readonly socket: string | undefined;
  /** 0 = any number. */
  readonly shared: number;
  readonly persistent: boolean;
  readonly verbose: boolean;
  readonly exportName: string;
  readonly description: string | undefined;
  readonly handshakeSeconds: number;
  /** May be above 2^53. */
  readonly offset: bigint;
  readonly fork: boolean;
  readonly pidFile: string | undefined;
  readonly cache: string;
  readonly aio: string | undefined;
  readonly discard: boolean;
  readonly detectZeroes: 'off' | 'on' | 'unmap';
  readonly bitmaps: readonly string[];
  readonly allocationDepth: boolean;
  readonly objects: readonly string[];
  readonly traces: readonly string[];
}

/**
 * The settings, or the option (`help`, `version`) that asks for a text instead. Throws BlockError in qemu-nbd's words;
 * `complain` prints a message that precedes it.
 */
export function readSettings(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  complain: (text: string) => void,
): NbdSettings | 'help' | 'version' {
  const check = new ValueChecks(complain);
  const { options, operands, stoppedAt } = parseOptions(argv, table, { env, onOption: (key, value) => check.option(key, value ?? '') });
  if (stoppedAt === 'help' || stoppedAt === 'version') return stoppedAt;
  if (options.list) checkList(options, operands);
  if (options.tlsAuthz !== undefined && options.tlsCreds === undefined)
    throw new BlockError('--tls-authz is not permitted without --tls-creds', { code: 'ERR_USAGE' });
  if (options.tlsHostname !== undefined && options.tlsCreds === undefined)
    throw new BlockError('--tls-hostname is not permitted without --tls-creds', { code: 'ERR_USAGE' });
  if (options.tlsHostname !== undefined && !options.list) throw new BlockError('TLS hostname is only supported with export list', { code: 'ENOTSUP' });
  if (options.list) {
    throw new BlockError("The option '--list' is not part of this version, which has no NBD client", {
      code: 'ERR_ABSENT',
      hint: 'list the exports with nbdinfo --list',
    });
  }
  const [file, ...more] = operands;
  if (file === undefined || more.length > 0) throw new UsageError('Invalid number of arguments');
  if (options.imageOpts && options.format !== undefined) throw new BlockError('--image-opts and -f are mutually exclusive', { code: 'ERR_USAGE' });
  if (options.selinuxLabel !== undefined && options.socket === undefined)
    throw new BlockError('--selinux-label is not permitted without --socket', { code: 'ERR_USAGE' });
  refuseMissing(options);
  return {
    file,
    format: options.format,
    imageOpts: options.imageOpts,
    // a snapshot never changes
    readOnly: options.readOnly || options.loadSnapshot !== undefined,
    loadSnapshot: options.loadSnapshot,
    snapshot: options.snapshot,
    port: options.port,
    bind: options.bind,
    socket: options.socket,
    shared: check.shared,
    persistent: options.persistent,
    verbose: options.verbose,
    exportName: options.exportName ?? '',
    description: options.description,
    handshakeSeconds: check.handshakeSeconds,
    offset: check.offset,
    fork: options.fork,
    pidFile: options.pidFile,
    cache: options.nocache ? 'none' : (options.cache ?? 'writeback'),
    aio: options.aio,
    discard: check.discard,
    detectZeroes: check.detectZeroes,
    // the last one named is offered first
    bitmaps: options.bitmap.toReversed(),
    allocationDepth: options.allocationDepth,
    objects: options.object,
    traces: options.trace,
  };
}

type NbdOptions = ReturnType<typeof parseOptions<typeof table>>['options'];

function checkList(options: NbdOptions, operands: readonly string[]): void {
  if (operands.length > 0) throw new BlockError('List mode is incompatible with a file name', { code: 'ERR_USAGE' });
  const perDevice = [
    options.exportName,
    options.description,
    options.offset,
    options.connect,
    options.format,
    options.loadSnapshot,
    options.aio,
    options.discard,
    options.cache,
  ];
  if (perDevice.some((value) => value !== undefined) || options.disconnect || options.bitmap.length > 0 || options.allocationDepth || options.nocache) {
    throw new BlockError('List mode is incompatible with per-device settings', { code: 'ERR_USAGE' });
  }
  if (options.fork) throw new BlockError('List mode is incompatible with forking', { code: 'ERR_USAGE' });
  if (options.tlsAuthz !== undefined) throw new BlockError('TLS authorization is incompatible with export list', { code: 'ERR_USAGE' });
}

/** Options of qemu-nbd that this version has not. */
function refuseMissing(options: NbdOptions): void {
  if (options.connect !== undefined || options.disconnect) {
    throw new BlockError("The kernel's NBD devices are not supported", {
      code: 'ERR_ABSENT',
      hint: 'serve the image on a socket (-k) and connect an NBD client to it',
    });
  }
  const missing: readonly (readonly [boolean, string])[] = [[options.selinuxLabel !== undefined, '--selinux-label']];
  for (const [isGiven, name] of missing) if (isGiven) throw new BlockError(`The option '${name}' is not part of this version`, { code: 'ERR_ABSENT' });
  if (options.tlsCreds !== undefined)
    throw new BlockError(`Failed to get TLS creds: No TLS credentials with id '${options.tlsCreds}'`, { code: 'ERR_NOT_FOUND' });
}

/** Checks that are made where an option stands, and the values they give. */
class ValueChecks {
  shared = 1;
  handshakeSeconds = 10;
  offset = 0n;
  discard = false;
  detectZeroes: 'off' | 'on' | 'unmap' = 'off';
  readonly #seen = new Set<string>();
  readonly #complain: (text: string) => void;

  constructor(complain: (text: string) => void) {
    this.#complain = complain;
  }

  option(key: string, value: string): void {
    switch (key) {
      case 'nocache':
      case 'cache':
        if (this.#seen.has('cache')) throw new BlockError('-n and --cache can only be specified once', { code: 'ERR_USAGE' });
        this.#seen.add('cache');
        if (key === 'cache' && !cacheModes.includes(value)) {
          throw new BlockError(`Invalid cache mode \`${value}'`, { code: 'ERR_OPTION', hint: meantValue(value, cacheModes) });
        }
        return;
      case 'aio':
        this.#once(key);
        if (!['threads', 'native', 'io_uring'].includes(value))
          throw new BlockError(`Invalid aio mode '${value}'`, { code: 'ERR_OPTION', hint: meantValue(value, ['threads', 'native', 'io_uring']) });
        return;
      case 'discard':
        this.#once(key);
        if (!['ignore', 'off', 'unmap', 'on'].includes(value)) {
          throw new BlockError(`Invalid discard mode \`${value}'`, { code: 'ERR_OPTION', hint: meantValue(value, ['ignore', 'off', 'unmap', 'on']) });
        }
        this.discard = value === 'unmap' || value === 'on';
        return;
      case 'detectZeroes':
        this.detectZeroes = this.#zeroMode(value);
        return;
      case 'socket':
        if (!value.startsWith('/')) throw new BlockError('socket path must be absolute', { code: 'ERR_USAGE' });
        return;
      case 'shared': {
        const count = parseInteger(value);
        if (count === undefined || count < 0n || count > 2147483647n) throw new BlockError(`Invalid shared device number '${value}'`, { code: 'ERR_OPTION' });
        this.shared = Number(count);
        return;
      }
      case 'handshakeLimit': {
        const seconds = parseInteger(value);
        if (seconds === undefined || seconds < 0n || seconds > 4294967295n) throw new BlockError(`Invalid handshake limit '${value}'`, { code: 'ERR_OPTION' });
        this.handshakeSeconds = Number(seconds);
        return;
      }
      case 'offset': {
        const offset = parseInteger(value);
        if (offset === undefined) throw new BlockError(`Invalid offset '${value}'`, { code: 'ERR_OPTION' });
        this.offset = BigInt.asUintN(64, offset);
        return;
      }
      case 'exportName':
        if (Buffer.byteLength(value) > 4096) throw new BlockError(`export name '${value}' too long`, { code: 'ERR_NAME' });
        return;
      case 'description':
        if (Buffer.byteLength(value) > 4096) throw new BlockError(`export description '${value}' too long`, { code: 'ERR_OPTION' });
        return;
      case 'loadSnapshot':
        checkSnapshotParam(value, this.#complain);
        return;
      default:
        return;
    }
  }

  #once(key: string): void {
    if (this.#seen.has(key)) throw new BlockError(`--${key} can only be specified once`, { code: 'ERR_USAGE' });
    this.#seen.add(key);
  }

  #zeroMode(value: string): 'off' | 'on' | 'unmap' {
    if (value !== 'off' && value !== 'on' && value !== 'unmap') {
      throw new BlockError(`Failed to parse detect_zeroes mode: invalid parameter value: ${value}`, {
        code: 'ERR_PARSE',
        hint: meantValue(value, ['off', 'on', 'unmap']),
      });
    }
    // as with the peer, --discard has to come first
    if (value === 'unmap' && !this.discard)
      throw new BlockError('setting detect-zeroes to unmap is not allowed without setting discard operation to unmap', { code: 'ERR_USAGE' });
    return value;
  }
}

function checkSnapshotParam(value: string, complain: (text: string) => void): void {
  if (!value.startsWith('snapshot.')) return;
  for (const word of value.split(',')) {
    const name = word.split('=')[0] ?? '';
    if (name === 'snapshot.id' || name === 'snapshot.name') continue;
    complain(`Invalid parameter '${name}'`);
    throw new BlockError(`Failed in parsing snapshot param \`${value}'`, { code: 'ERR_PARSE' });
  }
}

/** An integer in C's notation that 64 bits hold; undefined for anything else. */
function parseInteger(text: string): bigint | undefined {
  const value = readInteger(text);
  return value === undefined || value >= 1n << 64n || value <= -(1n << 64n) ? undefined : value;
}
