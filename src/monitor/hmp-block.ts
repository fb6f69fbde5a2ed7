/* The block commands of the human monitor. Rule source: observed behaviour of QEMU 11.1. */
import { BlockBackend } from '../core/block/backend.ts';
import { BlockError } from '../core/util/errors.ts';
import { perm } from '../core/util/perm-bits.ts';
import { engineHost } from '../engine/io/host.ts';
import { type IoResult, runIoCommand } from '../engine/io/run.ts';
import { addDriveByOptions, addNodeByOptions } from '../engine/ops/drive-options.ts';
import { deleteDriveOrNode, ejectMedium } from '../engine/ops/drives.ts';
import { addDeviceExport, nbdAddress, startNbdServer } from '../engine/ops/exports.ts';
import { cancelJob, completeJob } from '../engine/ops/jobs.ts';
import { lookupNode } from '../engine/ops/lookup.ts';
import { resizeNode } from '../engine/ops/nodes.ts';
import type { CommandContext } from './command.ts';
import type { HmpArgument, HmpCommand, HmpGiven } from './hmp-command.ts';

const device: HmpArgument = { name: 'device', type: 'B' };

export const blockCommands: readonly HmpCommand[] = [
  {
    name: 'block_job_cancel',
    flags: 'f',
    args: [device],
    params: '[-f] device',
    help: 'stop an active background block operation (-f: at once, also when it could still end well)',
    run: (given, { engine }) => cancelJob(engine, engine.jobs.findBlockJob(given.text('device')), given.has('f')),
  },
  {
    name: 'block_job_complete',
    args: [device],
    params: 'device',
    help: 'stop an active background block operation',
    run: async (given, context) => {
      const job = context.engine.jobs.findBlockJob(given.text('device'));
      if (await completeJob(context.engine, job)) context.note("block_job_complete: a backup with sync=none is ended by 'block_job_cancel' today; done");
    },
  },
  {
    name: 'block_job_pause',
    args: [device],
    params: 'device',
    help: 'pause an active background block operation',
    run: (given, { engine }) => engine.jobs.findBlockJob(given.text('device')).userPause(),
  },
  {
    name: 'block_job_resume',
    args: [device],
    params: 'device',
    help: 'resume a paused background block operation',
    run: (given, { engine }) => engine.jobs.findBlockJob(given.text('device')).userResume(),
  },
  {
    name: 'block_job_set_speed',
    args: [device, { name: 'speed', type: 'o' }],
    params: 'device speed',
    help: 'set maximum speed for a background block operation',
    run: (given, { engine }) => engine.jobs.findBlockJob(given.text('device')).setSpeed(given.size('speed')),
  },
  {
    name: 'block_resize',
    args: [device, { name: 'size', type: 'o' }],
    params: 'device size',
    help: 'resize a block image',
    run: (given, { engine }) => resizeNode(engine, lookupNode(engine, { device: given.text('device') }), given.size('size')),
  },
  {
    name: 'drive_add',
    flags: 'n',
    args: [
      { name: 'pci_addr', type: 's' },
      { name: 'opts', type: 's' },
    ],
    params: '[-n] [[<domain>:]<bus>:]<slot> options',
    help: 'add a drive; -n: add a block node instead',
    run: async (given, { engine }) => {
      if (given.has('n')) return addNodeByOptions(engine, given.text('opts'));
      return addDriveByOptions(engine, given.text('opts'));
    },
  },
  {
    name: 'drive_del',
    args: [{ name: 'id', type: 'B' }],
    params: 'device',
    help: 'remove host block device',
    run: (given, { engine }) => deleteDriveOrNode(engine, given.text('id')),
  },
  {
    name: 'eject',
    flags: 'f',
    args: [device],
    params: '[-f] device',
    help: 'eject a removable medium (use -f to force it)',
    run: (given, { engine }) => ejectMedium(engine, { device: given.text('device') }),
  },
  {
    name: 'nbd_server_add',
    flags: 'w',
    args: [device, { name: 'name', type: 'B', isOptional: true }],
    params: 'nbd_server_add [-w] device [name]',
    help: 'export a block device via NBD',
    run: (given, { engine }) => addDeviceExport(engine, { device: given.text('device'), name: given.optional('name'), writable: given.has('w') }),
  },
  {
    name: 'nbd_server_remove',
    flags: 'f',
    args: [{ name: 'name', type: 'B' }],
    params: 'nbd_server_remove [-f] name',
    help: 'remove an export previously exposed via NBD',
    run: (given, { engine }) => engine.exports.remove(given.text('name'), given.has('f') ? 'hard' : 'safe'),
  },
  {
    name: 'nbd_server_start',
    flags: 'aw',
    args: [{ name: 'uri', type: 's' }],
    params: 'nbd_server_start [-a] [-w] host:port',
    help: 'serve block devices on the given host and port',
    run: (given, context) => startServer(given, context),
  },
  {
    name: 'nbd_server_stop',
    params: 'nbd_server_stop',
    help: 'stop serving block devices using the NBD protocol',
    run: (_given, { engine }) => engine.exports.stopServer(),
  },
  {
    name: 'qemu-io',
    flags: 'd',
    args: [device, { name: 'command', type: 's' }],
    params: '[-d] [device] "[command]"',
    help: 'run a qemu-io command on a block device (-d: of the device with this id)',
    run: (given, context) => qemuIo(given, context),
  },
];

async function startServer(given: HmpGiven, { engine }: CommandContext): Promise<void> {
  const isWritable = given.has('w');
  const isAll = given.has('a');
  if (isWritable && !isAll) throw new BlockError('-w only valid together with -a', { code: 'ERR_USAGE' });
  const uri = given.text('uri');
  const colon = uri.lastIndexOf(':');
  if (colon < 0) throw new BlockError(`error parsing address '${uri}'`, { code: 'ERR_PARSE' });
  const address = uri.startsWith('unix:')
    ? { type: 'unix', path: uri.slice('unix:'.length) }
    : { type: 'inet', host: uri.slice(0, colon), port: uri.slice(colon + 1) };
  await startNbdServer(engine, { addr: nbdAddress(address) });
  if (!isAll) return;
  try {
    for (const disk of engine.machine?.disks ?? []) {
      if (disk.node === undefined || !disk.hasDrive) continue;
      await addDeviceExport(engine, { device: disk.id, writable: isWritable });
    }
  } catch (error) {
    await engine.exports.stopServer();
    throw error;
  }
}

/** Runs one qemu-io command; its output goes to the process's standard output, as QEMU's does. */
async function qemuIo(given: HmpGiven, { engine, monitor }: CommandContext): Promise<string> {
  const name = given.text('device');
  const line = given.text('command');
  const host = { ...engineHost(engine), out: monitor.print };
  const disk = given.has('d') ? engine.machine?.findDevice(name) : engine.machine?.findDrive(name);
  if (given.has('d') && disk === undefined) throw new BlockError(`Device '${name}' not found`, { code: 'ERR_NOT_FOUND' });
  if (disk !== undefined) return answerOf(await runIoCommand(disk.backend, line, host));
  const node = lookupNode(engine, { nodeName: name });
  // the command takes the permissions that it needs
  const backend = new BlockBackend(engine.graph, { perm: perm.none, shared: perm.all });
  backend.insert(node);
  try {
    return answerOf(await runIoCommand(backend, line, host));
  } finally {
    await backend.remove();
  }
}

function answerOf({ said, error }: IoResult): string {
  if (error === undefined) return said;
  return `${said}${error.message}\n${error.detail === undefined ? '' : `${error.detail}\n`}`;
}
