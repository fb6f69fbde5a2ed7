/*
 * The command language of qemu-io, as HMP's `qemu-io` runs it on a drive or node. What the peer prints on its standard
 * output and error goes to `out`; what it says to the monitor is the result.
 * Rule source: observed output of qemu-io 11.1 and of the human monitor's qemu-io.
 */
import type { BlockBackend } from '../core/block/backend.ts';
import { nodeStatus } from '../core/block/block-status.ts';
import type { Prealloc } from '../core/storage/storage.ts';
import type { Clock } from '../core/util/clock.ts';
import { BlockError } from '../core/util/errors.ts';
import { type PermBits, perm } from '../core/util/perm-bits.ts';
import { byteCount, failureText, parseWords, shortSize, UsageError } from './io-parse.ts';
import { discard, type IoContext, read, waitForBackground, write } from './io-requests.ts';

interface IoCommand {
  readonly name: string;
  readonly short?: string;
  readonly usage: string;
  readonly help: string;
  /** What the backend has to hold for it. */
  readonly perm?: PermBits;
  /** Short options; a colon after one that takes a value. */
  readonly options?: string;
  /** Words after the name, options included. */
  readonly words: readonly [min: number, max: number];
  /** Operands left after the options. */
  readonly operands?: readonly [min: number, max: number];
  /** True or text for the monitor; false: it failed and said so. */
  run(context: IoContext): Promise<boolean | string>;
}

const many = Number.POSITIVE_INFINITY;

const commands: readonly IoCommand[] = [
  {
    name: 'aio_discard',
    usage: '[-Cq] off len',
    help: 'asynchronously discards a number of bytes',
    perm: perm.write,
    options: 'Cq',
    words: [2, many],
    operands: [2, 2],
    run: discard,
  },
  {
    name: 'aio_flush',
    usage: '',
    help: 'completes all outstanding aio requests',
    words: [0, 0],
    run: async ({ backend }) => {
      await waitForBackground(backend);
      return true;
    },
  },
  {
    name: 'aio_read',
    usage: '[-Ciqrv] [-P pattern] off len [len..]',
    help: 'asynchronously reads a number of bytes',
    options: 'CiP:qrv',
    words: [2, many],
    operands: [2, many],
    run: read,
  },
  {
    name: 'aio_write',
    usage: '[-Cfiqruz] [-P pattern] off len [len..]',
    help: 'asynchronously writes a number of bytes',
    perm: perm.write,
    options: 'CfiP:qruz',
    words: [2, many],
    operands: [2, many],
    run: write,
  },
  { name: 'alloc', usage: 'offset [count]', help: 'checks if offset is allocated in the file', words: [1, 2], operands: [1, 2], run: allocated },
  {
    name: 'discard',
    short: 'd',
    usage: '[-Cq] off len',
    help: 'discards a number of bytes at a specified offset',
    perm: perm.write,
    options: 'Cq',
    words: [2, many],
    operands: [2, 2],
    run: discard,
  },
  { name: 'flush', short: 'f', usage: '', help: 'flush all in-core file state to disk', words: [0, 0], run: flush },
  { name: 'help', short: '?', usage: '[command]', help: 'help for one or all commands', words: [0, 1], operands: [0, 1], run: help },
  { name: 'info', short: 'i', usage: '', help: 'prints information about the current file', words: [0, 0], run: info },
  {
    name: 'length',
    short: 'l',
    usage: '',
    help: 'gets the length of the current file',
    words: [0, 0],
    run: async ({ backend, out }) => {
      out(`${shortSize(backend.size())}\n`);
      return true;
    },
  },
  { name: 'map', usage: '', help: 'prints the allocated areas of a file', words: [0, 0], run: map },
  {
    name: 'read',
    short: 'r',
    usage: '[-abCqrv] [-P pattern [-s off] [-l len]] off len',
    help: 'reads a number of bytes at a specified offset',
    options: 'abCl:pP:qrs:v',
    words: [2, many],
    operands: [2, 2],
    run: read,
  },
  {
    name: 'readv',
    short: 'rv',
    usage: '[-Cqrv] [-P pattern] off len [len..]',
    help: 'reads a number of bytes at a specified offset',
    options: 'CP:qrv',
    words: [2, many],
    operands: [2, many],
    run: read,
  },
  { name: 'sleep', usage: '', help: 'waits for the given value in milliseconds', words: [1, 1], operands: [1, 1], run: sleep },
  {
    name: 'truncate',
    usage: '[-m prealloc_mode] off',
    help: 'truncates the current file at the given offset',
    perm: perm.write | perm.resize,
    options: 'm:',
    words: [1, 3],
    operands: [1, 1],
    run: truncate,
  },
  {
    name: 'write',
    short: 'w',
    usage: '[-bcCfnqruz] [-P pattern | -s source_file] off len',
    help: 'writes a number of bytes at a specified offset',
    perm: perm.write,
    options: 'bcCfnpP:qrs:uz',
    words: [2, many],
    operands: [2, 2],
    run: write,
  },
  {
    name: 'writev',
    short: 'wv',
    usage: '[-Cfqr] [-P pattern] off len [len..]',
    help: 'writes a number of bytes at a specified offset',
    perm: perm.write,
    options: 'CfP:qr',
    words: [2, many],
    operands: [2, many],
    run: write,
  },
];

export interface IoHost {
  readonly clock: Clock;
  out(text: string): void;
  readonly readFile?: (path: string) => Promise<Uint8Array>;
}

/**
 * Runs one line. The backend gets the permissions that the command needs, and keeps them. Settles with what is said to
 * the monitor (usually nothing); failures of the command are text too, only bugs of ours reject.
 */
export async function runIoCommand(backend: BlockBackend, line: string, host: IoHost): Promise<string> {
  const { out } = host;
  const [name, ...words] = line.split(' ').filter((word) => word !== '');
  if (name === undefined) return '';
  const command = commands.find((candidate) => candidate.name === name || candidate.short === name);
  if (command === undefined) {
    out(`command "${name}" not found\n`);
    return '';
  }
  const [min, max] = command.words;
  if (words.length < min || words.length > max) {
    const expected = max === many ? `at least ${min}` : min === max ? `${min}` : `between ${min} and ${max}`;
    out(`bad argument count ${words.length} to ${command.name}, expected ${expected} arguments\n`);
    return '';
  }
  const before = backend.perms;
  try {
    if (command.perm !== undefined) backend.setPerm(before.perm | command.perm, before.shared);
  } catch (error) {
    return `${failureText(error)}\n${error instanceof BlockError && error.detail !== undefined ? `${error.detail}\n` : ''}`;
  }
  return parseAndRun(command, words, { ...host, backend });
}

async function parseAndRun(command: IoCommand, words: readonly string[], host: Omit<IoContext, 'given' | 'name'>): Promise<string> {
  const usage = `${describe(command)}\n`;
  try {
    const given = parseWords(command.name, command.options ?? '', words);
    const [min, max] = command.operands ?? [0, 0];
    const needsPattern = command.name === 'read' && (given.flags.has('s') || given.flags.has('l')) && !given.flags.has('P');
    if (given.operands.length < min || given.operands.length > max || needsPattern) {
      host.out(usage);
      return '';
    }
    const said = await command.run({ ...host, given, name: command.name });
    return typeof said === 'string' ? said : '';
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    host.out(`${error.message}\n`);
    if (/^\w+: (invalid option|option requires)/.test(error.message)) host.out(usage);
    return '';
  }
}

function describe({ name, usage, help: text }: IoCommand): string {
  return name === 'map' ? `${name}  -- ${text}` : `${name}${usage === '' ? '' : ` ${usage}`} -- ${text}`;
}

async function help({ given, out }: IoContext): Promise<boolean> {
  const [name] = given.operands;
  if (name === undefined) {
    out(`${commands.map((command) => `${describe(command)}\n`).join('')}\nUse 'help commandname' for extended help.\n`);
    return true;
  }
  const command = commands.find((candidate) => candidate.name === name || candidate.short === name);
  out(command === undefined ? `command ${name} not found\n` : `${describe(command)}\n`);
  return command !== undefined;
}

async function flush({ backend, out }: IoContext): Promise<boolean> {
  try {
    await backend.flush();
    return true;
  } catch (error) {
    out(`flush failed: ${failureText(error)}\n`);
    return false;
  }
}

async function sleep({ given, clock }: IoContext): Promise<boolean> {
  const [text = ''] = given.operands;
  if (!/^\d+$/.test(text)) throw new UsageError(`${text} is not a valid number`);
  await clock.sleep(Number(text));
  return true;
}

async function truncate({ backend, given }: IoContext): Promise<boolean | string> {
  const size = byteCount(given.operands[0] ?? '');
  const mode = given.flags.get('m') ?? 'off';
  const modes: readonly string[] = ['off', 'metadata', 'falloc', 'full'];
  if (!modes.includes(mode)) return `Invalid preallocation mode '${mode}'\n`;
  try {
    await backend.truncate(size, { exact: false, prealloc: mode as Prealloc });
    return true;
  } catch (error) {
    return `${failureText(error)}\n`;
  }
}

async function info({ backend, out }: IoContext): Promise<boolean | string> {
  const { node } = backend;
  if (node === undefined) return true;
  // a protocol has two names, the same twice
  out(`format name: ${node.driver.name}\n`.repeat(node.driver.kind === 'protocol' ? 2 : 1));
  if (node.driver.kind === 'protocol' && node.driver.isMedium !== true) return true;
  const format = node.state.info?.();
  out(`cluster size: ${shortSize(format?.clusterSize ?? 0)}\nvm state offset: ${shortSize(format?.vmStateOffset ?? 0)}\n`);
  const members = Object.entries(format?.specific?.data ?? {}).filter(([, value]) => value !== undefined);
  if (members.length === 0) return true;
  return `Format specific information:\n${members.map(([key, value]) => `    ${key.replaceAll('-', ' ')}: ${String(value)}\n`).join('')}`;
}

/** The run of equal allocation in the top layer at `offset`. */
async function allocationAt(backend: BlockBackend, offset: number, length: number): Promise<{ readonly isAllocated: boolean; readonly length: number }> {
  const { node } = backend;
  if (node === undefined) throw new BlockError('No medium found', { code: 'ENOMEDIUM' });
  let found: boolean | undefined;
  let total = 0;
  while (total < length) {
    const status = await nodeStatus(node, offset + total, length - total, false);
    if (found !== undefined && found !== status.allocated) break;
    found = status.allocated;
    total += status.length;
  }
  return { isAllocated: found ?? false, length: total };
}

async function allocated({ backend, given, out }: IoContext): Promise<boolean> {
  const [offsetText = '', countText = '512'] = given.operands;
  const offset = byteCount(offsetText);
  const count = Math.max(0, Math.min(byteCount(countText), backend.size() - offset));
  let sum = 0;
  for (let at = 0; at < count; ) {
    const run = await allocationAt(backend, offset + at, count - at);
    if (run.isAllocated) sum += run.length;
    at += run.length;
  }
  out(`${sum}/${count} bytes allocated at offset ${shortSize(offset)}\n`);
  return true;
}

async function map({ backend, out }: IoContext): Promise<boolean> {
  const size = backend.size();
  const hex = (value: number): string => `(0x${value.toString(16)})`;
  for (let at = 0; at < size; ) {
    const run = await allocationAt(backend, at, size - at);
    out(`${shortSize(run.length)} ${hex(run.length)} bytes ${run.isAllocated ? '    ' : 'not '}allocated at offset ${shortSize(at)} ${hex(at)}\n`);
    at += run.length;
  }
  return true;
}
