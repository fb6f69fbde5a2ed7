/*
 * Driver `blklogwrites`: whatever changes the node below is written to a log too, in the order in which it is done there, for
 * tools that play it back and stop anywhere.
 * Rule source: Linux's dm-log-writes (head, entries and flags of the log, little endian); observed logs.
 */
import type { Child } from '../block/child.ts';
import { type BlockDriver, childRole, type DriverState, type Limits, type NodeHost, type ReqFlags, reqFlag } from '../block/driver.ts';
import { BlockError } from '../util/errors.ts';
import { alignUp, isPowerOfTwo } from '../util/math.ts';
import { isPending, type Maybe } from '../util/maybe.ts';

const magic = 0x6a736677736872n;
const version = 1n;
const headLength = 28;
const entryLength = 32;
const maxSectorSize = 1 << 23;
const minSectorSize = 512;

/** Flags of an entry. */
const flag = { none: 0n, flush: 1n, discard: 4n, known: 15n } as const;

interface Place {
  readonly sectorSize: number;
  /** Where the next entry goes, in sectors of the log. */
  next: number;
  entries: number;
}

/** The log: its head in sector 0, then entries, each a sector and its data. */
class Log {
  readonly #child: Child;
  readonly #place: Place;
  readonly #interval: number;

  constructor(child: Child, place: Place, interval: number) {
    this.#child = child;
    this.#place = place;
    this.#interval = interval;
  }

  get sectorSize(): number {
    return this.#place.sectorSize;
  }

  /** Appends an entry for [offset, offset + length) with its data, if it has some. The place is taken at once. */
  async append(flags: bigint, offset: number, length: number, data: Uint8Array | number | undefined): Promise<void> {
    const place = this.#place;
    const { sectorSize } = place;
    const at = place.next * sectorSize;
    const dataLength = typeof data === 'number' ? data : (data?.length ?? 0);
    place.next += 1 + alignUp(dataLength, sectorSize) / sectorSize;
    const count = ++place.entries;
    const head = new Uint8Array(sectorSize);
    const view = new DataView(head.buffer);
    view.setBigUint64(0, BigInt(offset / sectorSize), true);
    view.setBigUint64(8, BigInt(length / sectorSize), true);
    view.setBigUint64(16, flags, true);
    await this.#child.write(at, head, 0);
    if (data instanceof Uint8Array) await this.#child.write(at + sectorSize, data, 0);
    else if (dataLength > 0) await this.#child.zero(at + sectorSize, dataLength, 0);
    if ((flags & flag.flush) !== 0n || count % this.#interval === 0) await this.#writeHead();
  }

  /** What is in the log is on stable storage with its head. */
  async #writeHead(): Promise<void> {
    const { sectorSize, entries } = this.#place;
    const head = new Uint8Array(sectorSize);
    const view = new DataView(head.buffer);
    view.setBigUint64(0, magic, true);
    view.setBigUint64(8, version, true);
    view.setBigUint64(16, BigInt(entries), true);
    view.setUint32(24, sectorSize, true);
    await this.#child.write(0, head, 0);
    await this.#child.flush();
  }
}

class BlklogwritesState implements DriverState {
  /** The node below is asked for it; the log has no word of that. */
  readonly writeFlags: ReqFlags = reqFlag.fua | reqFlag.mayUnmap;
  readonly flushesChildren = true;
  readonly strongOptions: Readonly<Record<string, unknown>> | undefined;
  readonly #file: Child;
  readonly #log: Log;
  /** Changes that were logged, and how many of them a flush was logged behind. */
  #changes = 0;
  #flushed = 0;
  #limits: Limits | undefined;
  #fileLimits: Limits | undefined;

  constructor(file: Child, log: Log, strongOptions: BlklogwritesState['strongOptions']) {
    this.#file = file;
    this.#log = log;
    this.strongOptions = strongOptions;
  }

  /** Requests are whole sectors of the log. */
  get limits(): Limits {
    const { limits } = this.#file.node;
    if (this.#limits === undefined || this.#fileLimits !== limits) {
      this.#fileLimits = limits;
      this.#limits = { ...limits, requestAlign: Math.max(limits.requestAlign, this.#log.sectorSize) };
    }
    return this.#limits;
  }

  size(): number {
    return this.#file.size();
  }

  read(offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
    return this.#file.read(offset, into, flags);
  }

  async write(offset: number, from: Uint8Array, flags: ReqFlags): Promise<void> {
    await this.#file.write(offset, from, flags);
    await this.#log.append(flag.none, offset, from.length, from);
    this.#changes++;
  }

  async zero(offset: number, length: number, flags: ReqFlags): Promise<boolean> {
    await this.#file.zero(offset, length, flags & ~reqFlag.fua);
    await this.#log.append(flag.none, offset, length, length);
    if ((flags & reqFlag.fua) !== 0) await this.flush();
    // counted behind that flush, as a log of the peer shows it
    this.#changes++;
    return true;
  }

  async discard(offset: number, length: number): Promise<void> {
    await this.#file.discard(offset, length);
    await this.#log.append(flag.discard, offset, length, undefined);
    this.#changes++;
  }

  async flush(): Promise<void> {
    const changes = this.#changes;
    await this.#file.flush();
    if (changes === this.#flushed) return;
    this.#flushed = changes;
    await this.#log.append(flag.flush, 0, 0, undefined);
  }

  async close(): Promise<void> {}
}

// -- opening ----------------------------------------------------------------------------------------------------------------------

async function readAt(log: Child, offset: number, length: number): Promise<DataView> {
  const bytes = new Uint8Array(length);
  const read = log.read(offset, bytes, 0);
  if (isPending(read)) await read;
  return new DataView(bytes.buffer);
}

function checkSectorSize(size: number): void {
  if (size < minSectorSize || size > maxSectorSize || !isPowerOfTwo(size)) throw new BlockError(`Invalid log sector size ${size}`, { code: 'EINVAL' });
}

/** Where the log that is there ends. */
async function findEnd(log: Child): Promise<Place> {
  const head = await readAt(log, 0, headLength);
  if (head.getBigUint64(0, true) !== magic) throw new BlockError('Invalid log superblock magic', { code: 'EINVAL' });
  if (head.getBigUint64(8, true) !== version) throw new BlockError(`Unsupported log version ${head.getBigUint64(8, true)}`, { code: 'EINVAL' });
  const sectorSize = head.getUint32(24, true);
  checkSectorSize(sectorSize);
  const entries = Number(head.getBigUint64(16, true));
  const last = log.size() / sectorSize;
  let next = 1;
  for (let index = 0; index < entries; index++) {
    const broken = new BlockError('Invalid log entry', { code: 'EINVAL' });
    if (next > last) throw broken;
    const entry = await readAt(log, next * sectorSize, entryLength);
    const flags = entry.getBigUint64(16, true);
    if ((flags & ~flag.known) !== 0n) throw new BlockError(`Invalid flags 0x${flags.toString(16)} in log entry ${index}`, { code: 'EINVAL' });
    const sectors = Number(entry.getBigUint64(8, true));
    next += 1 + ((flags & flag.discard) === 0n ? sectors : 0);
  }
  return { sectorSize, next, entries };
}

async function open(host: NodeHost): Promise<DriverState> {
  const { options } = host;
  const strong = options.strong();
  const isAppended = options.bool('log-append');
  const hasSectorSize = options.has('log-sector-size');
  const sectorSize = options.size('log-sector-size') ?? minSectorSize;
  const interval = options.number('log-super-update-interval') ?? 4096;
  const file = await host.openChild('file', childRole.filtered | childRole.primary, { child: 'file' });
  const log = await host.openChild('log', childRole.data, { child: 'file' });
  if (file === undefined || log === undefined) throw new BlockError('A block device must be specified for "log"', { code: 'ERR_OPTION' });
  if (isAppended && hasSectorSize) throw new BlockError('log-append and log-sector-size are mutually exclusive', { code: 'EINVAL' });
  checkSectorSize(sectorSize);
  if (interval < 1) throw new BlockError(`Invalid log superblock update interval ${interval}`, { code: 'EINVAL' });
  const place = isAppended && log.size() > 0 ? await findEnd(log) : { sectorSize, next: 1, entries: 0 };
  return new BlklogwritesState(file, new Log(log, place, interval), strong);
}

export const blklogwritesDriver: BlockDriver = { name: 'blklogwrites', kind: 'filter', open };
