/* `guest …`: what the simulated guest does to its disks. `guestUsages` says which lines there are. */
import { didYouMean } from '../core/util/did-you-mean.ts';
import { BlockError } from '../core/util/errors.ts';
import { formatSize, parseSize } from '../core/util/size.ts';
import type { Engine } from '../engine/engine.ts';
import type { DiskDevice } from '../machine/disk-device.ts';
import type { Machine } from '../machine/machine.ts';
import { type WorkloadKind, workloadKinds } from '../machine/workload.ts';

/** Every line that there is, and what it does. */
export const guestUsages: readonly (readonly [usage: string, text: string])[] = [
  ['guest write DISK OFFSET LENGTH [PATTERN]', 'write LENGTH bytes PATTERN (0 to 255, default 0xcd)'],
  ['guest read DISK OFFSET LENGTH', 'read, and tell which bytes were found how often'],
  ['guest zero DISK OFFSET LENGTH', 'write zeros'],
  ['guest discard DISK OFFSET LENGTH', 'discard'],
  ['guest flush DISK', 'flush'],
  [
    `guest run DISK [--workload ${workloadKinds.join('|')}] [--seed N] [--block-size SIZE] [--depth N] [--rate SIZE] [--requests N]`,
    'keep the guest writing: requests of at most SIZE bytes (64k), N at once (1), SIZE bytes a second (no limit), until N requests or guest stop',
  ],
  ['guest stop [DISK]', 'end what guest run began'],
  ['guest status', 'what the guest has done, and is doing; also while the machine is stopped'],
];

function usage(verb: string | undefined): BlockError {
  const found = guestUsages.find(([text]) => text.split(' ')[1] === verb)?.[0];
  if (found !== undefined) return new BlockError(`Usage: ${found}`, { code: 'ERR_USAGE', hint: "'help guest' tells more" });
  const verbs = guestUsages.map(([text]) => text.split(' ')[1] ?? '');
  const meant = verb === undefined ? '' : didYouMean(verb, verbs);
  return new BlockError(`Usage: guest ${verbs.join('|')} …`, { code: 'ERR_USAGE', hint: meant || "'help guest' tells more" });
}

/** Runs one line; returns what to print. */
export async function runGuest(engine: Engine, words: readonly string[]): Promise<string> {
  const { machine } = engine;
  if (machine === undefined) throw new BlockError('There is no simulated machine here', { code: 'ERR_STATE' });
  const [verb, disk, ...rest] = words;
  switch (verb) {
    case 'write':
    case 'read':
    case 'discard':
    case 'zero':
      return request(machine, verb, disk, rest);
    case 'flush':
      if (disk === undefined || rest.length > 0) throw usage(verb);
      await runningDisk(machine, disk).flush();
      return 'flushed\n';
    case 'run':
      return start(machine, disk, rest);
    case 'stop':
      if (disk !== undefined) findDisk(machine, disk);
      await machine.stopGuest(disk);
      return status(machine);
    case 'status':
      return status(machine);
    default:
      throw usage(verb);
  }
}

async function request(machine: Machine, verb: 'write' | 'read' | 'discard' | 'zero', disk: string | undefined, words: readonly string[]): Promise<string> {
  const [offsetText, lengthText, patternText, ...surplus] = words;
  if (disk === undefined || offsetText === undefined || lengthText === undefined || surplus.length > 0) throw usage(verb);
  const device = runningDisk(machine, disk);
  const offset = parseSize(offsetText, 'offset');
  const length = parseSize(lengthText, 'length');
  if (offset + length > device.size) {
    throw new BlockError(`Disk '${disk}' has ${formatSize(device.size)} (${device.size} bytes): ${length} bytes at offset ${offset} do not lie on it`, {
      code: 'EIO',
    });
  }
  if (verb !== 'read' && device.isReadOnly) throw new BlockError(`Disk '${disk}' is read-only`, { code: 'EROFS' });
  switch (verb) {
    case 'write': {
      const byte = patternText === undefined ? 0xcd : Number(patternText);
      if (!Number.isInteger(byte) || byte < 0 || byte > 255) throw new BlockError(`${patternText} is not a valid pattern byte`, { code: 'ERR_OPTION' });
      await inPieces(offset, length, (at, piece) => device.write(at, new Uint8Array(piece).fill(byte)));
      break;
    }
    case 'read': {
      const counts = new Map<number, number>();
      await inPieces(offset, length, async (at, piece) => {
        const bytes = new Uint8Array(piece);
        await device.read(at, bytes);
        for (const byte of bytes) counts.set(byte, (counts.get(byte) ?? 0) + 1);
      });
      const parts = [...counts]
        .sort((a, b) => b[1] - a[1])
        .slice(0, 8)
        .map(([byte, count]) => `0x${byte.toString(16).padStart(2, '0')}: ${count}`);
      return `read ${length} bytes at offset ${offset}: ${parts.join(', ')}${counts.size > 8 ? ', …' : ''}\n`;
    }
    case 'discard':
      await device.discard(offset, length);
      break;
    default:
      await device.zero(offset, length);
  }
  const past = { write: 'wrote', discard: 'discarded', zero: 'zeroed' }[verb];
  return `${past} ${length} bytes at offset ${offset}\n`;
}

/** A guest that stands still asks for nothing. */
function runningDisk(machine: Machine, id: string): DiskDevice {
  const disk = findDisk(machine, id);
  if (disk.node === undefined) throw new BlockError(`Disk '${id}' has no medium`, { code: 'ENOMEDIUM' });
  if (machine.runState === 'running') return disk;
  throw new BlockError('The machine is stopped: its guest does nothing', { code: 'ERR_STATE', hint: "'cont' lets it run" });
}

/** Throws an error that names the disks there are. */
function findDisk(machine: Machine, id: string): DiskDevice {
  try {
    return machine.guestDisk(id);
  } catch (error) {
    const names = machine.disks.filter((disk) => disk.isAttached).map((disk) => disk.id);
    const hint = didYouMean(id, names) || (names.length === 0 ? '--disk NAME=FILE gives the machine a disk' : `its disks are ${names.join(', ')}`);
    throw error instanceof BlockError ? error.with({ hint }) : error;
  }
}

async function inPieces(offset: number, length: number, body: (offset: number, length: number) => Promise<void> | void): Promise<void> {
  const step = 1024 * 1024;
  for (let at = offset; at < offset + length; at += step) await body(at, Math.min(step, offset + length - at));
}

function start(machine: Machine, disk: string | undefined, words: readonly string[]): string {
  if (disk === undefined) throw usage('run');
  findDisk(machine, disk);
  let kind: WorkloadKind = 'mixed';
  let seed = 1;
  const more: { blockSize?: number; depth?: number; requests?: number; rate?: number } = {};
  for (let index = 0; index < words.length; index += 2) {
    const value = words[index + 1] ?? '';
    switch (words[index]) {
      case '--workload': {
        const found = workloadKinds.find((candidate) => candidate === value);
        if (found === undefined) {
          const hint = didYouMean(value, workloadKinds);
          throw new BlockError(`Unknown workload '${value}': ${workloadKinds.join(', ')}`, { code: 'ERR_USAGE', ...(hint === '' ? {} : { hint }) });
        }
        kind = found;
        break;
      }
      case '--seed':
        seed = parseSize(value, 'seed');
        break;
      case '--block-size':
        more.blockSize = parseSize(value, 'block size', { max: 16777216n });
        break;
      case '--depth':
        more.depth = Math.max(1, Math.min(64, parseSize(value, 'depth')));
        break;
      case '--requests':
        more.requests = parseSize(value, 'requests');
        break;
      case '--rate':
        more.rate = parseSize(value, 'rate', { min: 1n });
        break;
      default:
        throw usage('run');
    }
  }
  machine.run(disk, { kind, seed, ...more });
  return `the guest runs '${kind}' on ${disk}, seed ${seed}\n`;
}

function status(machine: Machine): string {
  const isStopped = machine.runState !== 'running';
  const lines = machine.disks.map(
    (disk) => `${disk.id}: ${disk.counts.requests} requests, ${disk.counts.writtenBytes} bytes written, ${disk.counts.errors} errors`,
  );
  for (const { disk, kind, seed, rate, requests } of machine.workloads) {
    const limit = rate === undefined ? '' : `, at most ${formatSize(rate)}/s`;
    lines.push(`${isStopped ? 'stopped' : 'running'} on ${disk.id}: ${kind}, seed ${seed}${limit}, ${requests} requests`);
  }
  if (isStopped) lines.push("the machine is stopped, and its guest with it: 'cont' lets both run");
  return `${lines.join('\n')}\n`;
}
