/*
 * A log of writes as Linux' dm-log-writes keeps it: a superblock that counts the entries, then a sector for each entry with
 * what it wrote behind it. The superblock counts only what the log holds; what it does not count may be there as well.
 * Must not know where the writes come from. Rule source: Linux, Documentation/admin-guide/device-mapper/log-writes.rst.
 */
import type { Child } from '../block/child.ts';
import type { Clock } from '../util/clock.ts';
import { BlockError } from '../util/errors.ts';
import { isPowerOfTwo } from '../util/math.ts';
import { Mutex } from '../util/mutex.ts';

const magic = 0x6a736677736872n;
const version = 1n;
const superLength = 28;
const entryLength = 32;
/** Sectors of logs are shorter. */
const sectorLimit = 2 ** 24;
/** Entries that are read at a time before others have a turn. */
const turn = 4096;

export const logFlag = { none: 0, flush: 1, discard: 4 } as const;
const knownFlags = 15n;

/** What was written: behind it follow its bytes, unless it was a discard or has none. */
export interface LogEntry {
  /** In sectors of the log. */
  readonly sector: number;
  readonly count: number;
  readonly flags: number;
}

export interface LogSettings {
  readonly sectorSize: number;
  /** The superblock is written after so many entries, and after a flush. */
  readonly interval: number;
}

/** Where a log ends: its entries, the sector behind the last. */
export interface LogEnd {
  readonly entries: number;
  readonly next: number;
}

/** Of a log without an entry. */
export const emptyLog: LogEnd = { entries: 0, next: 1 };

/** Throws for what cannot be the sector size of a log. */
export function checkSectorSize(bytes: number): void {
  if (bytes < sectorLimit && bytes >= entryLength && isPowerOfTwo(bytes)) return;
  throw new BlockError(`Invalid log sector size ${bytes}`, { code: 'EINVAL' });
}

export class WriteLog {
  readonly #log: Child;
  readonly #settings: LogSettings;
  #end: LogEnd;
  /** One entry at a time: the superblock counts no entry that is not there. */
  readonly #writing = new Mutex();

  constructor(log: Child, settings: LogSettings, end: LogEnd) {
    this.#log = log;
    this.#settings = settings;
    this.#end = end;
  }

  /** Adds an entry; `data` are its bytes, or that they are zeros. The next one takes the place of an entry that fails. */
  async append(entry: LogEntry, data?: Uint8Array | 'zeros'): Promise<void> {
    await this.#writing.lock();
    try {
      const { sectorSize, interval } = this.#settings;
      const { entries, next } = this.#end;
      const behind = (next + 1) * sectorSize;
      await this.#log.write(next * sectorSize, this.#sectorOf(entry));
      if (data === 'zeros') await this.#log.zero(behind, entry.count * sectorSize);
      else if (data !== undefined) await this.#log.write(behind, data);
      this.#end = { entries: entries + 1, next: next + 1 + (data === undefined ? 0 : entry.count) };
      if ((entry.flags & logFlag.flush) !== 0 || this.#end.entries % interval === 0) await this.#count();
    } finally {
      this.#writing.unlock();
    }
  }

  /** Makes what was added durable. */
  async flush(): Promise<void> {
    await this.#log.flush();
  }

  #sectorOf({ sector, count, flags }: LogEntry): Uint8Array {
    const bytes = new Uint8Array(this.#settings.sectorSize);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt(sector), true);
    view.setBigUint64(8, BigInt(count), true);
    view.setBigUint64(16, BigInt(flags), true);
    return bytes;
  }

  async #count(): Promise<void> {
    const bytes = new Uint8Array(this.#settings.sectorSize);
    // 28 bytes, or a sector that is no shorter
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, magic, true);
    view.setBigUint64(8, version, true);
    view.setBigUint64(16, BigInt(this.#end.entries), true);
    view.setUint32(24, this.#settings.sectorSize, true);
    await this.#log.write(0, bytes);
    await this.#log.flush();
  }
}

/** The sector size and the end of the log that is there; undefined when there is none. Rejects when it is none of ours. */
export async function readLog(log: Child, clock: Clock): Promise<{ readonly sectorSize: number; readonly end: LogEnd } | undefined> {
  if (log.size() === 0) return undefined;
  const bytes = new Uint8Array(superLength);
  await log.read(0, bytes);
  const view = new DataView(bytes.buffer);
  if (view.getBigUint64(0, true) !== magic) throw new BlockError('Invalid log superblock magic', { code: 'EINVAL' });
  const found = view.getBigUint64(8, true);
  if (found !== version) throw new BlockError(`Unsupported log version ${found}`, { code: 'EINVAL' });
  const sectorSize = view.getUint32(24, true);
  checkSectorSize(sectorSize);
  return { sectorSize, end: await findEnd(log, sectorSize, view.getBigUint64(16, true), clock) };
}

async function findEnd(log: Child, sectorSize: number, counted: bigint, clock: Clock): Promise<LogEnd> {
  const entries = checked(counted, sectorSize, 'the superblock');
  const bytes = new Uint8Array(entryLength);
  const view = new DataView(bytes.buffer);
  let next = 1;
  for (let index = 0; index < entries; index++) {
    // behind the end of the file all entries are empty
    if (next * sectorSize >= log.size()) return { entries, next: checked(BigInt(next) + BigInt(entries - index), sectorSize, 'the superblock') };
    if (index % turn === turn - 1) await clock.nextTurn();
    await log.read(next * sectorSize, bytes);
    const flags = view.getBigUint64(16, true);
    if ((flags & ~knownFlags) !== 0n) throw new BlockError(`Invalid flags 0x${flags.toString(16)} in log entry ${index}`, { code: 'EINVAL' });
    const held = (flags & BigInt(logFlag.discard)) === 0n ? view.getBigUint64(8, true) : 0n;
    next = checked(BigInt(next) + 1n + held, sectorSize, `log entry ${index}`);
  }
  return { entries, next };
}

/** A number of sectors that a file can have. */
function checked(sectors: bigint, sectorSize: number, where: string): number {
  if (sectors * BigInt(sectorSize) > BigInt(Number.MAX_SAFE_INTEGER)) throw new BlockError(`Invalid number of sectors in ${where}`, { code: 'EINVAL' });
  return Number(sectors);
}
