/*
 * The human monitor: a line in, text out. Commands are thin calls on the operations that QMP uses; their errors are text
 * (`Error: …`), never QMP errors. Lines end CR LF. Rule source: observed behaviour of QEMU 11.1.
 */
import { BlockBackend } from '../core/block/backend.ts';
import type { OpenStorage } from '../core/storage/storage.ts';
import { BlockError } from '../core/util/errors.ts';
import { perm } from '../core/util/perm-bits.ts';
import { readSize } from '../core/util/size.ts';
import { type IoHost, runIoCommand } from '../engine/io-commands.ts';
import { deleteDriveOrNode, ejectMedium } from '../engine/ops/drives.ts';
import { nbdAddress, startNbdServer } from '../engine/ops/exports.ts';
import { cancelJob, completeJob } from '../engine/ops/jobs.ts';
import { lookupEither, lookupNode } from '../engine/ops/lookup.ts';
import { resizeNode } from '../engine/ops/nodes.ts';
import type { CommandContext } from './command.ts';
import { infoBlock, infoBlockJobs, infoStatus, infoVersion } from './hmp-info.ts';
import { versionInfo } from './monitor.ts';

/** B = block device name, s = word, o = size in MiB, l = integer, S = the rest of the line. A `?` makes it optional. */
type ArgType = 'B' | 's' | 'o' | 'l' | 'S';

interface HmpArgument {
  readonly name: string;
  readonly type: ArgType;
  readonly isOptional?: boolean;
}

interface HmpCommand {
  readonly names: readonly string[];
  /** Letters of flags that may stand before the arguments. */
  readonly flags: string;
  readonly args: readonly HmpArgument[];
  readonly params: string;
  readonly help: string;
  run(given: HmpGiven, context: CommandContext): Promise<string | undefined> | string | undefined;
}

interface HmpGiven {
  readonly flags: ReadonlySet<string>;
  text(name: string): string;
  optional(name: string): string | undefined;
  number(name: string): number;
}

const device: HmpArgument = { name: 'device', type: 'B' };

const infoCommands: readonly HmpCommand[] = [
  {
    names: ['block'],
    flags: 'nv',
    args: [{ ...device, isOptional: true }],
    params: '[-n] [-v] [device]',
    help: 'show info of one block device or all block devices (-n: show named nodes; -v: show details)',
    run: (given, { system }) => infoBlock(system, { isNodes: given.flags.has('n'), isVerbose: given.flags.has('v'), device: given.optional('device') }),
  },
  {
    names: ['block-jobs'],
    flags: '',
    args: [],
    params: '',
    help: 'show progress of ongoing block device operations',
    run: (_given, { system }) => infoBlockJobs(system),
  },
  { names: ['status'], flags: '', args: [], params: '', help: 'show the current VM status (running|paused)', run: (_given, { system }) => infoStatus(system) },
  { names: ['version'], flags: '', args: [], params: '', help: 'show the version of QEMU', run: () => infoVersion(versionInfo()) },
];

const hmpCommands: readonly HmpCommand[] = [
  {
    names: ['block_job_cancel'],
    flags: 'f',
    args: [device],
    params: '[-f] device',
    help: 'stop an active background block operation',
    run: async (given, { system }) => void (await cancelJob(system, system.jobs.findBlockJob(given.text('device')), given.flags.has('f'))),
  },
  {
    names: ['block_job_complete'],
    flags: '',
    args: [device],
    params: 'device',
    help: 'stop an active background block operation',
    run: async (given, { system }) => void (await completeJob(system, system.jobs.findBlockJob(given.text('device')))),
  },
  {
    names: ['block_job_pause'],
    flags: '',
    args: [device],
    params: 'device',
    help: 'pause an active background block operation',
    run: async (given, { system }) => void (await system.jobs.findBlockJob(given.text('device')).userPause()),
  },
  {
    names: ['block_job_resume'],
    flags: '',
    args: [device],
    params: 'device',
    help: 'resume a paused background block operation',
    run: (given, { system }) => void system.jobs.findBlockJob(given.text('device')).userResume(),
  },
  {
    names: ['block_job_set_speed'],
    flags: '',
    args: [device, { name: 'speed', type: 'o' }],
    params: 'device speed',
    help: 'set maximum speed for a background block operation',
    run: (given, { system }) => void system.jobs.findBlockJob(given.text('device')).setSpeed(given.number('speed')),
  },
  {
    names: ['block_resize'],
    flags: '',
    args: [device, { name: 'size', type: 'o' }],
    params: 'device size',
    help: 'resize a block image',
    run: async (given, { system }) => void (await resizeNode(system, lookupNode(system, { device: given.text('device') }), given.number('size'))),
  },
  {
    names: ['cont', 'c'],
    flags: '',
    args: [],
    params: '',
    help: 'resume emulation',
    run: (_given, { system }) => void system.machine?.cont(),
  },
  {
    names: ['drive_del'],
    flags: '',
    args: [{ name: 'id', type: 'B' }],
    params: 'device',
    help: 'remove host block device',
    run: async (given, { system }) => void (await deleteDriveOrNode(system, given.text('id'))),
  },
  {
    names: ['eject'],
    flags: 'f',
    args: [device],
    params: '[-f] device',
    help: 'eject a removable medium (use -f to force it)',
    run: (given, { system }) => void ejectMedium(system, { device: given.text('device') }),
  },
  {
    names: ['help', '?'],
    flags: '',
    args: [{ name: 'name', type: 'S', isOptional: true }],
    params: '[cmd]',
    help: 'show the help',
    run: (given) => help(given.optional('name')),
  },
  {
    names: ['info'],
    flags: '',
    args: [{ name: 'item', type: 'S', isOptional: true }],
    params: '[subcommand]',
    help: 'show various information about the system state',
    run: () => help('info'),
  },
  {
    names: ['nbd_server_add'],
    flags: 'w',
    args: [device, { name: 'name', type: 'B', isOptional: true }],
    params: 'nbd_server_add [-w] device [name]',
    help: 'export a block device via NBD',
    run: async (given, { system }) => {
      const node = lookupEither(system, given.text('device'));
      const name = given.optional('name') ?? given.text('device');
      await system.exports.add({ id: name, node, name, writable: given.flags.has('w') && !node.readOnly });
    },
  },
  {
    names: ['nbd_server_remove'],
    flags: 'f',
    args: [{ name: 'name', type: 'B' }],
    params: 'nbd_server_remove [-f] name',
    help: 'remove an export previously exposed via NBD',
    run: async (given, { system }) => void (await system.exports.remove(given.text('name'), given.flags.has('f') ? 'hard' : 'safe')),
  },
  {
    names: ['nbd_server_start'],
    flags: 'aw',
    args: [{ name: 'uri', type: 's' }],
    params: 'nbd_server_start [-a] [-w] host:port',
    help: 'serve block devices on the given host and port',
    run: async (given, context) => startServer(given, context),
  },
  {
    names: ['nbd_server_stop'],
    flags: '',
    args: [],
    params: 'nbd_server_stop',
    help: 'stop serving block devices using the NBD protocol',
    run: async (_given, { system }) => void (await system.exports.stopServer()),
  },
  {
    names: ['qemu-io'],
    flags: 'd',
    args: [device, { name: 'command', type: 's' }],
    params: '[-d] [device] "[command]"',
    help: 'run a qemu-io command on a block device',
    run: async (given, context) => qemuIo(given, context),
  },
  { names: ['quit', 'q'], flags: '', args: [], params: '', help: 'quit the emulator', run: async (_given, { monitor }) => void (await monitor.quit()) },
  { names: ['stop', 's'], flags: '', args: [], params: '', help: 'stop emulation', run: async (_given, { system }) => void (await system.machine?.stop()) },
];

/** Names of the human monitor's commands, for completion and for the shell, which sends those that QMP lacks here. */
export const hmpNames: readonly string[] = hmpCommands.flatMap((command) => command.names);

/** Runs one line; the text of its answer, lines ended by CR LF. Never rejects for what the user typed. */
export async function runHmp(line: string, context: CommandContext): Promise<string> {
  return (await answer(line, context)).replace(/\r?\n/g, '\r\n');
}

async function answer(line: string, context: CommandContext): Promise<string> {
  const words = splitLine(line);
  const [name, ...rest] = words;
  if (name === undefined) return '';
  let command = hmpCommands.find((candidate) => candidate.names.includes(name));
  let shown = name;
  let args = rest;
  if (name === 'info' && rest[0] !== undefined) {
    command = infoCommands.find((candidate) => candidate.names.includes(rest[0] ?? ''));
    shown = `info ${rest[0]}`;
    args = rest.slice(1);
  }
  if (command === undefined) return `unknown command: '${shown}'\n`;
  const bare = command.names[0] ?? name;
  const tryHelp = `Try "help ${shown}" for more information\n`;
  const given = parseArguments(command, args, bare);
  if (typeof given === 'string') return given + tryHelp;
  try {
    return (await command.run(given, context)) ?? '';
  } catch (error) {
    if (error instanceof BlockError) return `Error: ${error.message}\n${error.detail === undefined ? '' : `${error.detail}\n`}`;
    throw error;
  }
}

/** Words, with double quotes around those that contain blanks. */
function splitLine(line: string): string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map((match) => match[1]?.replace(/\\(.)/g, '$1') ?? match[2] ?? '');
}

function parseArguments(command: HmpCommand, words: readonly string[], name: string): HmpGiven | string {
  const flags = new Set<string>();
  const left = [...words];
  while (/^-[A-Za-z]$/.test(left[0] ?? '') && command.flags !== '') {
    const letter = left[0]?.[1] ?? '';
    if (!command.flags.includes(letter)) return `${name}: unsupported option -${letter}\n`;
    flags.add(letter);
    left.shift();
  }
  const values = new Map<string, string | number>();
  for (const { name: key, type, isOptional } of command.args) {
    if (type === 'S') {
      if (left.length > 0) values.set(key, left.splice(0).join(' '));
      continue;
    }
    const word = left.shift();
    if (word === undefined) {
      if (isOptional) break;
      return missing(name, type);
    }
    if (type === 'o') {
      const bytes = readSize(/^\d+(\.\d+)?$/.test(word) ? `${word}M` : word);
      if (typeof bytes === 'string') return `invalid size\n`;
      values.set(key, Number(bytes));
    } else if (type === 'l') {
      if (!/^-?\d+$/.test(word)) return 'invalid char in expression\n';
      values.set(key, Number(word));
    } else values.set(key, word);
  }
  if (left.length > 0) return `${name}: extraneous characters at the end of line\n`;
  const text = (key: string): string => String(values.get(key) ?? '');
  return { flags, text, optional: (key) => (values.has(key) ? text(key) : undefined), number: (key) => Number(values.get(key) ?? 0) };
}

function missing(name: string, type: ArgType): string {
  if (type === 'B') return `${name}: block device name expected\n`;
  if (type === 's') return `${name}: string expected\n`;
  return type === 'o' ? 'invalid size\n' : 'unexpected end of expression\n';
}

function help(name: string | undefined): string {
  const describe = (command: HmpCommand, prefix = ''): string => `${prefix}${command.names.join('|')} ${command.params} -- ${command.help}\n`;
  if (name === undefined) return hmpCommands.map((command) => describe(command)).join('');
  if (name === 'info') return infoCommands.map((command) => describe(command, 'info ')).join('');
  const isInfo = name.startsWith('info ');
  const bare = isInfo ? name.slice('info '.length) : name;
  const found = (isInfo ? infoCommands : hmpCommands).find((command) => command.names.includes(bare));
  return found === undefined ? `unknown command: '${name}'\n` : describe(found, isInfo ? 'info ' : '');
}

async function startServer(given: HmpGiven, { system }: CommandContext): Promise<undefined> {
  const isWritable = given.flags.has('w');
  const isAll = given.flags.has('a');
  if (isWritable && !isAll) throw new BlockError('-w only valid together with -a');
  const uri = given.text('uri');
  const colon = uri.lastIndexOf(':');
  if (colon < 0) throw new BlockError(`error parsing address '${uri}'`);
  const address = uri.startsWith('unix:')
    ? { type: 'unix', path: uri.slice('unix:'.length) }
    : { type: 'inet', host: uri.slice(0, colon), port: uri.slice(colon + 1) };
  await startNbdServer(system, { addr: nbdAddress(address) });
  if (!isAll) return;
  try {
    for (const disk of system.machine?.disks ?? []) {
      if (disk.node === undefined || !disk.hasDrive) continue;
      await system.exports.add({ id: disk.id, node: disk.node, name: disk.id, writable: isWritable && !disk.node.readOnly });
    }
  } catch (error) {
    await system.exports.stopServer();
    throw error;
  }
}

/** Runs one qemu-io command; its output goes to the process's standard output, as QEMU's does. */
async function qemuIo(given: HmpGiven, { system, monitor }: CommandContext): Promise<string> {
  const name = given.text('device');
  const line = given.text('command');
  const host: IoHost = { out: monitor.print, readFile: (path) => readPattern(system.engine.openStorage, path) };
  const disk = given.flags.has('d') ? system.machine?.findDevice(name) : system.machine?.findDrive(name);
  if (given.flags.has('d') && disk === undefined) throw new BlockError(`Device '${name}' not found`);
  if (disk?.node !== undefined) return runIoCommand(disk.backend, line, host);
  const node = lookupNode(system, { nodeName: name });
  // the command takes the permissions that it needs
  const backend = new BlockBackend(system.engine.graph, { perm: perm.none, shared: perm.all });
  backend.insert(node);
  try {
    return await runIoCommand(backend, line, host);
  } finally {
    await backend.remove();
  }
}

async function readPattern(openStorage: OpenStorage, path: string): Promise<Uint8Array> {
  await using file = await openStorage(path, { readOnly: true, create: 'never', direct: false, noFlush: false, locking: 'off' });
  const bytes = new Uint8Array(await file.size());
  await file.read(0, bytes);
  return bytes;
}
