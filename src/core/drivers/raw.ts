/* Format driver `raw`: the bytes of its file, or a window of them (options `offset` and `size`, bytes). */

import type { Child } from '../block/child.ts';
import { type DerivedLimits, limitsOver } from '../block/derived-limits.ts';
import {
  type BlockDriver,
  type BlockStatus,
  type CreateHost,
  type CreateOption,
  type CreateValues,
  childRole,
  type DriverState,
  type DriverStep,
  type Limits,
  type Measured,
  type MeasureSource,
  type NodeHost,
  nothingToReopen,
  type ReqFlags,
  type TruncateOptions,
} from '../block/driver.ts';
import { isPrealloc } from '../storage/storage.ts';
import { BlockError } from '../util/errors.ts';
import { alignUp } from '../util/math.ts';
import { chain, type Maybe } from '../util/maybe.ts';

const sector = 512;

class RawState implements DriverState {
  readonly #file: Child;
  readonly #offset: number;
  readonly #fixedSize: number | undefined;
  /** Set where the format was found by probing: what the guest writes must not make the next probe find another. */
  readonly #looksLikeAnother: ((head: Uint8Array) => boolean) | undefined;
  readonly strongOptions: Readonly<Record<string, unknown>> | undefined;
  /** Where `#looksLikeAnother` judges the first sector, which is written whole then. */
  readonly #limits: DerivedLimits;

  constructor(file: Child, offset: number, fixedSize: number | undefined, more: Pick<RawState, 'strongOptions'> & Pick<NodeHost, 'looksLikeAnother'>) {
    this.#file = file;
    this.#offset = offset;
    this.#fixedSize = fixedSize;
    this.strongOptions = more.strongOptions;
    this.#looksLikeAnother = more.looksLikeAnother;
    this.#limits = limitsOver(file, (below) => ({ ...below, requestAlign: Math.max(sector, below.requestAlign) }));
  }

  get limits(): Limits {
    return this.#looksLikeAnother === undefined ? this.#file.node.limits : this.#limits.value;
  }

  get writeFlags(): ReqFlags {
    // the child's own request path emulates what its driver lacks
    return 0xff;
  }

  size(): number {
    if (this.#offset === 0 && this.#fixedSize === undefined) return this.#file.size();
    return Math.min(this.#fixedSize ?? Number.POSITIVE_INFINITY, Math.max(0, wholeSize(this.#file) - this.#offset));
  }

  read(offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
    return this.#file.read(offset + this.#offset, into, flags);
  }

  write(offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void> {
    this.#checkEnd(offset + from.length);
    if (offset === 0 && this.#looksLikeAnother?.(from.subarray(0, sector)) === true) throw new BlockError('Operation not permitted', { code: 'EPERM' });
    return this.#file.write(offset + this.#offset, from, flags);
  }

  zero(offset: number, length: number, flags: ReqFlags): Maybe<boolean> {
    this.#checkEnd(offset + length);
    return chain(this.#file.zero(offset + this.#offset, length, flags), () => true);
  }

  discard(offset: number, length: number): Maybe<void> {
    return this.#file.discard(offset + this.#offset, length);
  }

  status(offset: number, length: number): BlockStatus {
    return { length, data: true, zero: false, allocated: true, hostOffset: offset + this.#offset, child: this.#file, forward: true };
  }

  async truncate(size: number, options: TruncateOptions): Promise<void> {
    if (this.#fixedSize !== undefined) throw new BlockError('Cannot resize fixed-size raw disks', { code: 'ENOTSUP' });
    if (this.#offset > 0 && size > Number.MAX_SAFE_INTEGER - this.#offset)
      throw new BlockError('Disk size too large for the chosen offset', { code: 'EINVAL' });
    await this.#file.truncate(size + this.#offset, options);
  }

  async reopen(): Promise<DriverStep> {
    return nothingToReopen;
  }

  async close(): Promise<void> {}

  #checkEnd(end: number): void {
    if (this.#fixedSize !== undefined && end > this.#fixedSize) throw new BlockError('No space left on device', { code: 'ENOSPC' });
  }
}

/** Files are told in whole sectors to whoever takes a part of them. */
function wholeSize(file: Child): number {
  return alignUp(file.size(), sector);
}

async function open(host: NodeHost): Promise<DriverState> {
  // exact, so that what is too large is told as it was given
  const offset = host.options.bytes('offset') ?? 0;
  const size = host.options.bytes('size');
  const isWindow = offset !== 0 || size !== undefined;
  const file = await host.openChild('file', (isWindow ? childRole.data : childRole.filtered) | childRole.primary);
  if (isWindow) {
    const present = wholeSize(file);
    if (present < offset) throw new BlockError(`Offset (${offset}) cannot be greater than size of the containing file (${present})`, { code: 'EINVAL' });
    if (size !== undefined && present - Number(offset) < size) {
      throw new BlockError(
        `The sum of offset (${offset}) and size (${size}) has to be smaller or equal to the  actual size of the containing file (${present})`,
        { code: 'EINVAL' },
      );
    }
    if (size !== undefined && Number(size) % sector !== 0) throw new BlockError('Specified size is not multiple of 512', { code: 'EINVAL' });
  }
  return new RawState(file, Number(offset), size === undefined ? undefined : Number(size), {
    strongOptions: host.options.strong(),
    ...(host.node.readOnly || host.looksLikeAnother === undefined ? {} : { looksLikeAnother: host.looksLikeAnother }),
  });
}

const createOptions: readonly CreateOption[] = [
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'preallocation', type: 'string', help: 'Preallocation mode (allowed values: off, falloc, full)' },
];

async function create(host: CreateHost, filename: string, values: CreateValues): Promise<void> {
  const size = Number(values['size'] ?? 0);
  const preallocation = values['preallocation'] ?? 'off';
  if (!isPrealloc(preallocation)) throw new BlockError(`invalid parameter value: ${preallocation}`, { code: 'ERR_OPTION' });
  await host.createFile(filename, size, preallocation);
}

async function measure(values: CreateValues, source: MeasureSource | undefined): Promise<Measured> {
  const bytes = source?.size ?? Number(values['size'] ?? 0);
  return { required: bytes, fullyAllocated: bytes };
}

export const rawDriver: BlockDriver = { name: 'raw', kind: 'format', isFilterLike: true, open, createOptions, create, measure };
