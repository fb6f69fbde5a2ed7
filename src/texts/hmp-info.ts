/* What `info …` of the human monitor prints, from facts that were collected. Pure text. Rule source: observed output of QEMU 11.1. */
import type { DeviceStats } from '../core/block/device-info.ts';
import type { ImageInfo } from '../core/block/info.ts';
import type { SnapshotInfo } from '../core/block/stores.ts';
import { infoText, snapshotTable } from './image-info.ts';

/** A device or a node as `info block` shows it. */
export interface BlockFacts {
  readonly name: string;
  /** Undefined: a device without a medium. */
  readonly medium: MediumFacts | undefined;
  /** Undefined for a node. */
  readonly device: { readonly id: string; readonly isAttached: boolean } | undefined;
}

export interface MediumFacts {
  readonly nodeName: string;
  readonly filename: string;
  readonly driver: string;
  readonly isReadOnly: boolean;
  readonly isEncrypted: boolean;
  readonly isDirect: boolean;
  readonly ignoresFlushes: boolean;
  readonly detectZeroes: string;
  readonly backing: { readonly filename: string; readonly depth: number } | undefined;
  /** With -v: the chain, top first. */
  readonly images: readonly ImageInfo[] | undefined;
}

const label = (text: string): string => `    ${text.padEnd(18)}`;

export function blockText({ name, medium, device }: BlockFacts): string {
  let text: string;
  if (medium === undefined) text = `${name}: [not inserted]\n`;
  else {
    const title = device === undefined ? name : `${name} (${medium.nodeName})`;
    text = `${title}: ${medium.filename} (${medium.driver}${medium.isReadOnly ? ', read-only' : ''}${medium.isEncrypted ? ', encrypted' : ''})\n`;
  }
  if (device?.isAttached === true) text += `${label('Attached to:')}${device.id}\n`;
  if (device?.isAttached === false) text += `${label('Removable device:')}not locked, tray closed\n`;
  if (medium === undefined) return text;
  text += `${label('Cache mode:')}writeback${medium.isDirect ? ', direct' : ''}${medium.ignoresFlushes ? ', ignore flushes' : ''}\n`;
  if (medium.backing !== undefined) text += `${label('Backing file:')}${medium.backing.filename} (chain depth: ${medium.backing.depth})\n`;
  if (medium.detectZeroes !== 'off') text += `${label('Detect zeroes:')}${medium.detectZeroes}\n`;
  if (medium.images !== undefined) text += `\nImages:\n${medium.images.map((image) => infoText({ ...image, children: [] })).join('')}`;
  return text;
}

export interface JobFacts {
  readonly type: string;
  readonly id: string;
  readonly current: number;
  readonly total: number;
  readonly speed: number | bigint;
}

export function jobsText(jobs: readonly JobFacts[]): string {
  if (jobs.length === 0) return 'No active jobs\n';
  return jobs.map((job) => `Type ${job.type}, device ${job.id}: Completed ${job.current} of ${job.total} bytes, speed limit ${job.speed} bytes/s\n`).join('');
}

export function statsText(devices: readonly { readonly name: string; readonly stats: DeviceStats }[]): string {
  return devices.map(statsTable).join('\n');
}

function statsTable({ name, stats }: { readonly name: string; readonly stats: DeviceStats }): string {
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
export function snapshotsText(disks: readonly { readonly id: string; readonly snapshots: readonly SnapshotInfo[] }[]): string {
  const parts = disks.flatMap(({ id, snapshots }) => {
    if (snapshots.length === 0) return [];
    const [, ...table] = snapshotTable(snapshots);
    return [`\nList of partial (non-loadable) snapshots on '${id}':\n${table.join('\n')}\n`];
  });
  return parts.length === 0 ? 'There is no snapshot available.\n' : `List of snapshots present on all disks:\nNone\n${parts.join('')}`;
}

export function statusText(runState: string): string {
  return `VM status: ${runState}\n`;
}

export function versionText(version: { readonly major: number; readonly minor: number; readonly micro: number }, packageText: string): string {
  return `${version.major}.${version.minor}.${version.micro}${packageText}\n`;
}
