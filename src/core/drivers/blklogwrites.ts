/*
 * Filter driver `blklogwrites`: what is written through it, and when it is flushed, is also written to a log, from which every
 * state that the disk had on its way can be made again.
 * Rule source: QEMU's documentation of blklogwrites; logs that it was seen to write.
 */
import type { Child } from '../block/child.ts';
import { type DerivedLimits, limitsOver } from '../block/derived-limits.ts';
import { type BlockDriver, childRole, type DriverState, type Limits, type NodeHost, type ReqFlags, reqFlag, type TruncateOptions } from '../block/driver.ts';
import type { OptionReader } from '../block/options.ts';
import { BlockError } from '../util/errors.ts';
import { alignDown, alignUp } from '../util/math.ts';
import type { Maybe } from '../util/maybe.ts';
import { checkSectorSize, emptyLog, type LogEntry, logFlag, readLog, WriteLog } from './write-log.ts';

const defaultSectorSize = 512;

class BlklogwritesState implements DriverState {
  readonly writeFlags: ReqFlags = reqFlag.fua | reqFlag.mayUnmap | reqFlag.noFallback;
  readonly strongOptions: Readonly<Record<string, unknown>> | undefined;
  readonly #file: Child;
  readonly #log: WriteLog;
  readonly #sectorSize: number;
  readonly #host: NodeHost;
  /** Something was tried since the last flush that the log has. */
  #isDirty = false;
  readonly #limits: DerivedLimits;

  constructor(file: Child, log: WriteLog, sectorSize: number, host: NodeHost) {
    this.#file = file;
    this.#log = log;
    this.#sectorSize = sectorSize;
    this.#host = host;
    this.#limits = limitsOver(file, (below) => ({ ...below, requestAlign: sectorSize }));
    this.strongOptions = host.options.strong();
  }

  get limits(): Limits {
    return this.#limits.value;
  }

  size(): number {
    return this.#file.size();
  }

  read(offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
    return this.#file.read(offset, into, flags);
  }

  async write(offset: number, from: Uint8Array, flags: ReqFlags): Promise<void> {
    const entry = this.#entryOf(offset, from.length);
    await this.#changing(
      () => this.#file.write(offset, from, flags & ~reqFlag.fua),
      () => this.#log.append(entry, from),
      flags,
    );
  }

  async zero(offset: number, length: number, flags: ReqFlags): Promise<boolean> {
    const entry = this.#entryOf(offset, length);
    await this.#changing(
      () => this.#file.zero(offset, length, flags & ~reqFlag.fua),
      () => this.#log.append(entry, 'zeros'),
      flags,
    );
    return true;
  }

  /** Whole sectors only: the log has no others. */
  async discard(offset: number, length: number): Promise<void> {
    const start = alignUp(offset, this.#sectorSize);
    const end = alignDown(offset + length, this.#sectorSize);
    if (start >= end) return;
    await this.#changing(
      () => this.#file.discard(start, end - start),
      () => this.#log.append(this.#entryOf(start, end - start, logFlag.discard)),
    );
  }

  #entryOf(offset: number, length: number, flags: number = logFlag.none): LogEntry {
    return { sector: offset / this.#sectorSize, count: length / this.#sectorSize, flags };
  }

  /** What must be durable is flushed, its log too; a flush that concerns nothing but the request itself is not logged. */
  async #changing(request: () => Maybe<void>, append: () => Promise<void>, flags: ReqFlags = reqFlag.none): Promise<void> {
    try {
      await both(request, append);
      if ((flags & reqFlag.fua) === 0) return;
      await this.flush();
      await this.#file.flush();
      await this.#log.flush();
    } finally {
      this.#isDirty = true;
    }
  }

  /** Only what was written before belongs into the log: what is durable there is so in the file. */
  async flush(): Promise<void> {
    if (!this.#isDirty || this.#host.node.settings.cache.noFlush) return;
    this.#isDirty = false;
    try {
      await both(
        () => this.#file.flush(),
        () => this.#log.append({ sector: 0, count: 0, flags: logFlag.flush }),
      );
    } catch (error) {
      this.#isDirty = true;
      throw error;
    }
  }

  async truncate(size: number, options: TruncateOptions): Promise<void> {
    await this.#file.truncate(size, options);
    this.#isDirty = true;
  }

  async close(): Promise<void> {}
}

/** The request, then its entry, which it has also when it fails: part of it may have been done. Rejects with the entry's error, else the request's. */
async function both(request: () => Maybe<void>, append: () => Promise<void>): Promise<void> {
  try {
    await request();
  } catch (error) {
    await append();
    throw error;
  }
  await append();
}

async function openLog(host: NodeHost, log: Child): Promise<{ readonly log: WriteLog; readonly sectorSize: number }> {
  const { options } = host;
  const isAppended = options.bool('log-append');
  if (isAppended && options.has('log-sector-size')) {
    throw new BlockError('log-append and log-sector-size are mutually exclusive', { code: 'EINVAL' });
  }
  const found = isAppended ? await readLog(log, host.clock) : undefined;
  const sectorSize = found?.sectorSize ?? options.size('log-sector-size') ?? defaultSectorSize;
  checkSectorSize(sectorSize);
  return { log: new WriteLog(log, { sectorSize, interval: readInterval(options) }, found?.end ?? emptyLog), sectorSize };
}

function readInterval(options: OptionReader): number {
  const interval = options.number('log-super-update-interval') ?? 0;
  if (interval === 0) throw new BlockError('Invalid log superblock update interval 0', { code: 'EINVAL' });
  return interval;
}

async function open(host: NodeHost): Promise<DriverState> {
  const file = await host.openChild('file', childRole.filtered | childRole.primary, { child: 'file' });
  const child = await host.openChild('log', childRole.metadata, { child: 'file' });
  const { log, sectorSize } = await openLog(host, child);
  return new BlklogwritesState(file, log, sectorSize, host);
}

export const blklogwritesDriver: BlockDriver = { name: 'blklogwrites', kind: 'filter', open };
