/*
 * The lines in which `info` tells people what was collected about an image; also the table of
 * snapshots, which `snapshot -l` shares. Pure text. Rule source: observed output of qemu-img 11.1.
 */

import type { ImageInfo } from '../core/block/info.ts';
import type { SnapshotInfo } from '../core/block/stores.ts';
import { jsonKeyOrder } from '../core/util/json-order.ts';
import { formatSize } from '../core/util/size.ts';

/** The lines for people, line ends included. */
export function infoText(info: ImageInfo): string {
  const lines: string[] = [];
  addNode(lines, info, '', false, '');
  return `${lines.join('\n')}\n`;
}

function addNode(lines: string[], info: ImageInfo, margin: string, isBelow: boolean, path: string): void {
  const add = (text: string): unknown => lines.push(margin + text);
  // what lies on a medium below an image is called by other words
  const asFile = isBelow && info.isProtocol;
  add(`${asFile ? 'filename' : 'image'}: ${info.filename}`);
  add(`${asFile ? 'protocol type' : 'file format'}: ${info.format}`);
  add(`${asFile ? 'file length' : 'virtual size'}: ${formatSize(info.virtualSize)} (${info.virtualSize} bytes)`);
  add(`disk size: ${info.actualSize === undefined ? 'unavailable' : formatSize(info.actualSize)}`);
  if (info.isEncrypted) add('encrypted: yes');
  if (info.clusterSize !== undefined) add(`cluster_size: ${info.clusterSize}`);
  if (info.isDirty === true) add('cleanly shut down: no');
  const { backing } = info;
  if (backing !== undefined) {
    const actual = backing.full === undefined ? ' (cannot determine actual path)' : backing.full === backing.filename ? '' : ` (actual path: ${backing.full})`;
    add(`backing file: ${backing.filename}${actual}`);
    if (backing.format !== undefined) add(`backing file format: ${backing.format}`);
  }
  if (info.limits !== undefined) {
    add('Block limits:');
    addMembers(lines, info.limits, `${margin}    `);
  }
  if (info.snapshots.length > 0) for (const line of snapshotTable(info.snapshots)) add(line);
  for (const line of specificLines(info.specific?.data ?? {}, margin)) lines.push(line);
  for (const child of info.children) {
    add(`Child node '${path}/${child.name}':`);
    addNode(lines, child.info, `${margin}    `, true, `${path}/${child.name}`);
  }
}

/** What a format tells of itself, with its heading; nothing when it tells nothing. */
export function specificLines(data: Readonly<Record<string, unknown>>, margin = ''): string[] {
  if (!Object.values(data).some((value) => value !== undefined)) return [];
  const lines = [`${margin}Format specific information:`];
  addMembers(lines, data, `${margin}    `);
  return lines;
}

function addMembers(lines: string[], members: Readonly<Record<string, unknown>>, margin: string): void {
  for (const key of jsonKeyOrder(Object.keys(members).filter((name) => members[name] !== undefined))) {
    addValue(lines, key.replaceAll('-', ' '), members[key], margin);
  }
}

function addValue(lines: string[], label: string, value: unknown, margin: string): void {
  const inner = `${margin}    `;
  if (Array.isArray(value)) {
    lines.push(`${margin}${label}:`);
    value.forEach((element: unknown, index) => {
      addValue(lines, `[${index}]`, element, inner);
    });
  } else if (typeof value === 'object' && value !== null) {
    lines.push(`${margin}${label}:`);
    addMembers(lines, value as Record<string, unknown>, inner);
  } else lines.push(`${margin}${label}: ${String(value)}`);
}

/** The table of snapshots with its heading, one line an element. */
export function snapshotTable(snapshots: readonly SnapshotInfo[]): string[] {
  const rows = [['ID', 'TAG', 'VM_SIZE', 'DATE', 'VM_CLOCK', 'ICOUNT'], ...snapshots.map(snapshotRow)];
  return [
    'Snapshot list:',
    ...rows.map(([id = '', tag = '', size = '', date = '', clock = '', icount = '']) =>
      [id.padEnd(7), tag.padEnd(16), size.padStart(8), date.padStart(19), clock.padStart(15), icount.padStart(10)].join(' '),
    ),
  ];
}

function snapshotRow(snapshot: SnapshotInfo): string[] {
  const milliseconds = snapshot.vmClockNsec / 1_000_000n;
  const seconds = milliseconds / 1000n;
  const clock = `${two(seconds / 3600n, 4)}:${two((seconds / 60n) % 60n)}:${two(seconds % 60n)}.${two(milliseconds % 1000n, 3)}`;
  return [
    snapshot.id,
    snapshot.name,
    formatSize(snapshot.vmStateSize),
    localTime(snapshot.dateSec),
    clock,
    snapshot.icount === undefined ? '--' : String(snapshot.icount),
  ];
}

function two(value: number | bigint, digits = 2): string {
  return String(value).padStart(digits, '0');
}

function localTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
