/*
 * `guest …`: what the simulated guest does to its disks.
 *   guest write|read|flush|discard|zero DISK [OFFSET LENGTH [PATTERN]]
 *   guest run DISK [--workload KIND] [--seed N] [--block-size SIZE] [--depth N] [--requests N]
 *   guest stop [DISK] · guest status
 */
import { BlockError } from '../core/util/errors.ts';
import { parseSize } from '../core/util/size.ts';
import type { Engine } from '../engine/engine.ts';
import type { DiskDevice } from '../machine/disk-device.ts';
import type { Machine } from '../machine/machine.ts';
import { type WorkloadKind, workloadKinds } from '../machine/workload.ts';

const usage =
  'guest write|read|discard|zero DISK OFFSET LENGTH [PATTERN], guest flush DISK, guest run DISK [--workload KIND] [--seed N], guest stop [DISK], guest status';

/** Runs one line; returns what to print. */
export async function runGuest(engine: Engine, words: readonly string[]): Promise<string> {
  const { machine } = engine;
  if (machine === undefined) throw new BlockError('There is no simulated machine here');
  const [verb, disk, ...rest] = words;
  switch (verb) {
    case 'write':
    case 'read':
    case 'discard':
    case 'zero':
      return request(machine, verb, disk, rest);
    case 'flush':
      await runningDisk(machine, disk ?? '').flush();
      return 'flushed\n';
    case 'run':
      return start(machine, disk, rest);
    case 'stop':
      if (disk !== undefined) machine.guestDisk(disk);
      await machine.stopGuest(disk);
      return status(machine);
    case 'status':
      return status(machine);
    default:
      throw new BlockError(`Usage: ${usage}`);
  }
}

async function request(machine: Machine, verb: 'write' | 'read' | 'discard' | 'zero', disk: string | undefined, words: readonly string[]): Promise<string> {
  const [offsetText, lengthText, patternText] = words;
  if (disk === undefined || offsetText === undefined || lengthText === undefined) throw new BlockError(`Usage: ${usage}`);
  const device = runningDisk(machine, disk);
  const offset = parseSize(offsetText, 'offset');
  const length = parseSize(lengthText, 'length');
  if (offset + length > device.size) throw new BlockError('Input/output error', { code: 'EIO' });
  switch (verb) {
    case 'write': {
      const byte = patternText === undefined ? 0xcd : Number(patternText);
      if (!Number.isInteger(byte) || byte < 0 || byte > 255) throw new BlockError(`${patternText} is not a valid pattern byte`);
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
  const disk = machine.guestDisk(id);
  if (machine.runState === 'running') return disk;
  throw new BlockError('The machine is stopped: its guest does nothing', { hint: "'cont' lets it run" });
}

async function inPieces(offset: number, length: number, body: (offset: number, length: number) => Promise<void> | void): Promise<void> {
  const step = 1024 * 1024;
  for (let at = offset; at < offset + length; at += step) await body(at, Math.min(step, offset + length - at));
}

function start(machine: Machine, disk: string | undefined, words: readonly string[]): string {
  if (disk === undefined) throw new BlockError(`Usage: ${usage}`);
  let kind: WorkloadKind = 'mixed';
  let seed = 1;
  const more: { blockSize?: number; depth?: number; requests?: number } = {};
  for (let index = 0; index < words.length; index += 2) {
    const value = words[index + 1] ?? '';
    switch (words[index]) {
      case '--workload': {
        const found = workloadKinds.find((candidate) => candidate === value);
        if (found === undefined) throw new BlockError(`Unknown workload '${value}': ${workloadKinds.join(', ')}`);
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
      default:
        throw new BlockError(`Usage: ${usage}`);
    }
  }
  machine.run(disk, { kind, seed, ...more });
  return `the guest runs '${kind}' on ${disk}, seed ${seed}\n`;
}

function status(machine: Machine): string {
  const lines = machine.disks.map(
    (disk) => `${disk.id}: ${disk.counts.requests} requests, ${disk.counts.writtenBytes} bytes written, ${disk.counts.errors} errors`,
  );
  for (const workload of machine.workloads)
    lines.push(`running on ${workload.disk.id}: ${workload.kind}, seed ${workload.seed}, ${workload.requests} requests`);
  return `${lines.join('\n')}\n`;
}
