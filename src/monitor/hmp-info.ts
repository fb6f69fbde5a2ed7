/* What `info …` of the human monitor prints. Rule source: observed output of QEMU 11.1. */

import { chainImages, type DeviceStats } from '../core/block/device-info.ts';
import { nodeFilename } from '../core/block/filename.ts';
import { imageInfo } from '../core/block/info.ts';
import { infoText, snapshotTable } from '../core/block/info-text.ts';
import type { BlockNode } from '../core/block/node.ts';
import type { Engine } from '../engine/engine.ts';
import type { DiskDevice } from '../machine/disk-device.ts';
import type { HmpCommand } from './hmp-command.ts';
import { versionInfo } from './monitor.ts';

export const infoCommands: readonly HmpCommand[] = [
  {
    name: 'block',
    flags: 'nv',
    args: [{ name: 'device', type: 'B', isOptional: true }],
    params: '[-n] [-v] [device]',
    help: 'show info of one block device or all block devices (-n: show named nodes; -v: show details)',
    run: (given, { engine }) => infoBlock(engine, { isNodes: given.has('n'), isVerbose: given.has('v'), device: given.optional('device') }),
  },
  { name: 'block-jobs', params: '', help: 'show progress of ongoing block device operations', run: (_given, { engine }) => infoBlockJobs(engine) },
  { name: 'blockstats', params: '', help: 'show block device statistics', run: (_given, { engine }) => infoBlockStats(engine) },
  { name: 'snapshots', params: '', help: 'show the currently saved VM snapshots', run: (_given, { engine }) => infoSnapshots(engine) },
  {
    name: 'status',
    params: '',
    help: 'show the current VM status (running|paused)',
    run: (_given, { engine }) => `VM status: ${engine.machine?.runState ?? 'running'}\n`,
  },
  { name: 'version', params: '', help: 'show the version of QEMU', run: () => infoVersion() },
];

interface Shown {
  readonly name: string;
  readonly node: BlockNode | undefined;
  readonly disk: DiskDevice | undefined;
}

const label = (text: string): string => `    ${text.padEnd(18)}`;

/** A blank line stands between entries, and before the one asked for when others came before it. */
async function infoBlock(
  engine: Engine,
  options: { readonly isNodes: boolean; readonly isVerbose: boolean; readonly device: string | undefined },
): Promise<string> {
  const all: Shown[] = options.isNodes
    ? [...engine.graph.nodes].reverse().map((node) => ({ name: node.name, node, disk: undefined }))
    : (engine.machine?.disks ?? []).map((disk) => ({ name: disk.id, node: disk.node, disk }));
  let text = '';
  for (const [index, shown] of all.entries()) {
    const isAsked = options.device === undefined || (shown.name === options.device && (shown.disk?.hasDrive ?? true));
    if (isAsked) text += `${index > 0 ? '\n' : ''}${await describe(shown, options.isVerbose)}`;
  }
  return text;
}

async function describe({ name, node, disk }: Shown, isVerbose: boolean): Promise<string> {
  let text: string;
  if (node === undefined) text = `${name}: [not inserted]\n`;
  else {
    const title = disk === undefined ? name : `${name} (${node.name})`;
    text = `${title}: ${nodeFilename(node)} (${node.driver.name}${node.readOnly ? ', read-only' : ''})\n`;
  }
  if (disk?.isAttached === true) text += `${label('Attached to:')}${disk.id}\n`;
  if (disk?.isAttached === false) text += `${label('Removable device:')}not locked, tray closed\n`;
  if (node === undefined) return text;
  const { direct, noFlush } = node.settings.cache;
  text += `${label('Cache mode:')}writeback${direct ? ', direct' : ''}${noFlush ? ', ignore flushes' : ''}\n`;
  const images = chainImages(node);
  if (node.backing !== undefined) text += `${label('Backing file:')}${nodeFilename(node.backing.node)} (chain depth: ${images.length - 1})\n`;
  if (node.settings.detectZeroes !== 'off') text += `${label('Detect zeroes:')}${node.settings.detectZeroes}\n`;
  if (!isVerbose) return text;
  text += '\nImages:\n';
  for (const image of images) text += infoText({ ...(await imageInfo(image, true)), children: [] });
  return text;
}

function infoBlockJobs(engine: Engine): string {
  const jobs = engine.jobs.blockJobs();
  if (jobs.length === 0) return 'No active jobs\n';
  return jobs.map((job) => `Type ${job.type}, device ${job.id}: Completed ${job.current} of ${job.total} bytes, speed limit ${job.speed} bytes/s\n`).join('');
}

function infoBlockStats(engine: Engine): string {
  return (engine.machine?.disks ?? []).map((disk) => statsTable(disk.hasDrive ? disk.id : '', disk.stats)).join('\n');
}

function statsTable(name: string, stats: DeviceStats): string {
  const row = (title: string, bytes: number | undefined, operations: number, merged: boolean): string =>
    `${title.padEnd(7)}${(bytes === undefined ? '' : String(bytes)).padStart(24)}${String(operations).padStart(17)}${'0'.padStart(25)}${merged ? '0'.padStart(11) : ''}\n`;
  return (
    `${name}: idle_time_ns=0\n` +
    `${''.padEnd(26)}bytes       operations            total_time_ns     merged\n` +
    row('Read:', stats.readBytes, stats.readOperations, true) +
    row('Write:', stats.writeBytes, stats.writeOperations, true) +
    row('Flush:', undefined, stats.flushOperations, false)
  );
}

/** Snapshots hold no machine state here: whatever a disk has is partial. */
function infoSnapshots(engine: Engine): string {
  const parts = (engine.machine?.disks ?? []).flatMap((disk) => {
    const snapshots = disk.node?.state.snapshots?.() ?? [];
    if (snapshots.length === 0) return [];
    const [, ...table] = snapshotTable(snapshots);
    return [`\nList of partial (non-loadable) snapshots on '${disk.id}':\n${table.join('\n')}\n`];
  });
  return parts.length === 0 ? 'There is no snapshot available.\n' : `List of snapshots present on all disks:\nNone\n${parts.join('')}`;
}

function infoVersion(): string {
  const { qemu, package: packageText } = versionInfo() as { qemu: { major: number; minor: number; micro: number }; package: string };
  return `${qemu.major}.${qemu.minor}.${qemu.micro}${packageText}\n`;
}
