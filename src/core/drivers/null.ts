/* Protocol drivers `null-co` and `null-aio`: a disk that keeps nothing; they differ only by name. Reads give zeros with `read-zeroes`, else undefined bytes. */

import { type BlockDriver, type BlockStatus, type DriverState, type DriverStep, type NodeHost, noLimits, nothingToReopen, reqFlag } from '../block/driver.ts';
import type { Clock } from '../util/clock.ts';
import { errnoText } from '../util/errno.ts';
import { BlockError } from '../util/errors.ts';
import { alignUp } from '../util/math.ts';
import type { Maybe } from '../util/maybe.ts';
import { isOffset, limited } from '../util/offsets.ts';

const defaultSize = 1024 ** 3;

class NullState implements DriverState {
  readonly limits = noLimits;
  readonly writeFlags = reqFlag.fua | reqFlag.mayUnmap;
  readonly exactFilename: string | undefined;
  readonly strongOptions: Readonly<Record<string, unknown>>;
  readonly #size: number;
  readonly #readZeroes: boolean;
  readonly #latencyNs: number;
  readonly #clock: Clock;

  constructor(name: string, size: number, readZeroes: boolean, latencyNs: number, strong: Readonly<Record<string, unknown>>, clock: Clock) {
    this.#size = size;
    this.#readZeroes = readZeroes;
    this.#latencyNs = latencyNs;
    this.#clock = clock;
    this.strongOptions = strong;
    if (Object.keys(strong).length === 0) this.exactFilename = `${name}://`;
  }

  size(): number {
    return this.#size;
  }

  read(_offset: number, into: Uint8Array): Maybe<void> {
    if (this.#readZeroes) into.fill(0);
    return this.#settle();
  }

  write(): Maybe<void> {
    return this.#settle();
  }

  zero(): Maybe<boolean> {
    const settled = this.#settle();
    return settled === undefined ? true : settled.then(() => true);
  }

  discard(): Maybe<void> {
    return this.#settle();
  }

  flush(): Maybe<void> {
    return this.#settle();
  }

  status(offset: number, length: number): BlockStatus {
    // without read-zeroes nothing is known of the content, not even that it is there
    return { length, data: false, zero: this.#readZeroes, allocated: this.#readZeroes, hostOffset: offset };
  }

  allocatedSize(): number {
    return 0;
  }

  async reopen(): Promise<DriverStep> {
    return nothingToReopen;
  }

  async close(): Promise<void> {}

  #settle(): Promise<void> | undefined {
    return this.#latencyNs === 0 ? undefined : this.#clock.sleep(this.#latencyNs / 1e6);
  }
}

/** Disks are whole sectors, as QEMU has them; what cannot be told exactly is too large. */
function wholeDisk(size: number | bigint): number {
  const whole = alignUp(Number(size), 512);
  if (isOffset(whole)) return whole;
  throw new BlockError(`Could not refresh total sector count: ${errnoText('EFBIG')}`, { code: 'EFBIG' });
}

async function open(name: string, host: NodeHost): Promise<DriverState> {
  const { options } = host;
  const size = options.bytes('size') ?? defaultSize;
  const readZeroes = options.bool('read-zeroes');
  const latency = options.integer('latency-ns') ?? 0;
  if (latency >= 2n ** 63n) throw new BlockError('latency-ns is invalid', { code: 'EINVAL' });
  return new NullState(name, wholeDisk(size), readZeroes, limited(latency), options.strong() ?? {}, host.clock);
}

function named(name: string): BlockDriver {
  return { name, kind: 'protocol', open: (host) => open(name, host) };
}

export const nullDriver: BlockDriver = named('null-co');
export const nullAioDriver: BlockDriver = named('null-aio');
