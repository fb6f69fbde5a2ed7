/*
 * What the system tells of block devices: size, sector, and the limits of their queue. Never found out by trying: a read
 * that fails says nothing about where a device ends. Rule sources: lseek(2), BLKSSZGET, and Linux's sysfs-block.
 */
import { fstatSync, readFileSync, readSync, type Stats } from 'node:fs';
import { errnoText } from '../util/errno.ts';
import { BlockError } from '../util/errors.ts';
import type { DeviceLimits } from './storage.ts';
import type { Syscalls } from './syscalls.ts';
import { systemFailure } from './system-error.ts';

/** The size of a device, or of a file of the system that has none by fstat. Throws what the system says. */
export function endOffset(fd: number, calls: Syscalls | undefined): number {
  if (calls !== undefined) {
    const end = calls.seekEnd(fd);
    if (end >= 0) return end;
    throw systemFailure(-end);
  }
  const stat = fstatSync(fd);
  // regular files are asked only when they are empty: what can be read of them then has no size
  if (stat.isFile() && readSync(fd, new Uint8Array(1), 0, 1, 0) > 0) throw new BlockError(errnoText('EINVAL'), { code: 'EINVAL' });
  if (!stat.isBlockDevice()) return 0;
  const sectors = readNumber(`${sysfsFolder(stat)}/size`);
  // sysfs counts in 512 bytes, whatever the sector
  if (sectors !== undefined) return sectors * 512;
  throw new BlockError('the size of a device cannot be told here', { code: 'ENOTSUP', hint: 'install the optional package koffi' });
}

/** Bytes in a sector of the device; undefined where nobody tells. */
export function sectorSize(fd: number, calls: Syscalls | undefined): number | undefined {
  if (calls !== undefined) return calls.sectorSize(fd);
  const stat = fstatSync(fd);
  if (!stat.isBlockDevice()) return undefined;
  // a partition has the queue of its disk
  return queueValue(stat, 'logical_block_size') ?? readNumber(`${sysfsFolder(stat)}/../queue/logical_block_size`);
}

/** The limits of a block device's queue. */
export function deviceLimits(fd: number, calls: Syscalls | undefined): DeviceLimits {
  const stat = fstatSync(fd);
  return {
    zeroAlign: sectorSize(fd, calls) ?? 1,
    discardAlign: queueValue(stat, 'discard_granularity') ?? 1,
    maxHwTransfer: (queueValue(stat, 'max_sectors_kb') ?? 0) * 1024,
    maxHwIov: queueValue(stat, 'max_segments') ?? 0,
    isReadOnly: calls?.isReadOnlyDevice(fd) ?? readNumber(`${sysfsFolder(stat)}/ro`) === 1,
  };
}

function queueValue(stat: Stats, name: string): number | undefined {
  return readNumber(`${sysfsFolder(stat)}/queue/${name}`);
}

function sysfsFolder({ rdev }: Stats): string {
  const low = rdev % 2 ** 32;
  const high = Math.floor(rdev / 2 ** 32);
  const major = (high & ~0xfff) | ((low >>> 8) & 0xfff);
  const minor = ((low >>> 12) & ~0xff) | (low & 0xff);
  return `/sys/dev/block/${major}:${minor >>> 0}`;
}

function readNumber(path: string): number | undefined {
  try {
    const value = Number(readFileSync(path, 'latin1').trim());
    return Number.isSafeInteger(value) ? value : undefined;
  } catch {
    // no sysfs here, or no such value of this device
    return undefined;
  }
}
