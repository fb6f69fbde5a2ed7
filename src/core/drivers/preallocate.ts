/*
 * Filter driver `preallocate`, above the file of a growing image: a write past the end makes the file longer by much more
 * than it needs, so that the host's file system lays it out in few pieces. What was made and not used is cut off when the
 * last writer leaves or the node is closed; nobody above ever sees it.
 * Rule source: QEMU's documentation of the preallocate filter.
 */
import type { Child } from '../block/child.ts';
import {
  type BlockDriver,
  type BlockStatus,
  childRole,
  type DriverState,
  type DriverStep,
  type Limits,
  type NodeHost,
  nothingToReopen,
  type PermRequest,
  type ReqFlags,
  reqFlag,
  type TruncateOptions,
} from '../block/driver.ts';
import type { BlockNode, NodeSettings } from '../block/node.ts';
import { BlockError } from '../util/errors.ts';
import { alignUp } from '../util/math.ts';
import { chain, isPending, type Maybe } from '../util/maybe.ts';
import { perm } from '../util/perm-bits.ts';

const sector = 512;

interface Settings {
  readonly align: number;
  readonly step: number;
}

class PreallocateState implements DriverState {
  readonly writeFlags: ReqFlags = 0xff;
  readonly #file: Child;
  readonly #settings: Settings;
  /** Where the data end: the size that is told. Undefined until something was written past the end of the file. */
  #dataEnd: number | undefined;
  /** The longer file is being made: others write without it. */
  #isGrowing = false;
  /** The medium cannot do it without writing zeros: never tried again. */
  #isHopeless = false;

  constructor(file: Child, settings: Settings) {
    this.#file = file;
    this.#settings = settings;
  }

  /** The file is longer than its data. */
  get hasSurplus(): boolean {
    return this.#dataEnd !== undefined && this.#file.size() > this.#dataEnd;
  }

  get limits(): Limits {
    return this.#file.node.limits;
  }

  size(): number {
    return this.#dataEnd ?? this.#file.size();
  }

  read(offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
    return this.#file.read(offset, into, flags);
  }

  write(offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void> {
    const end = offset + from.length;
    if (end <= this.#file.size()) {
      this.#noteData(end);
      return this.#file.write(offset, from, flags);
    }
    return chain(this.#grow(end), () => {
      this.#noteData(end);
      return this.#file.write(offset, from, flags);
    });
  }

  zero(offset: number, length: number, flags: ReqFlags): Maybe<boolean> {
    this.#noteData(offset + length);
    return chain(this.#file.zero(offset, length, flags), () => true);
  }

  discard(offset: number, length: number): Maybe<void> {
    return this.#file.discard(offset, length);
  }

  status(offset: number, length: number): BlockStatus {
    return { length, data: true, zero: false, allocated: true, hostOffset: offset, child: this.#file, forward: true };
  }

  async truncate(size: number, options: TruncateOptions): Promise<void> {
    await this.#file.truncate(size, options);
    this.#dataEnd = undefined;
  }

  /** What was made and not used goes before the node may lose the right to write. */
  async reopen(next: NodeSettings): Promise<DriverStep> {
    if (next.readOnly) await this.#cutOff();
    return nothingToReopen;
  }

  async close(): Promise<void> {
    await this.#cutOff();
  }

  #noteData(end: number): void {
    if (this.#dataEnd !== undefined && end > this.#dataEnd) this.#dataEnd = end;
  }

  /** Makes the file longer than `end`, as far as the medium does that for nothing. Never fails: the write itself will tell. */
  #grow(end: number): Maybe<void> {
    if (this.#isGrowing || this.#isHopeless) return;
    const start = this.#file.size();
    const until = alignUp(end + this.#settings.step, Math.max(1, this.#settings.align));
    if (!Number.isSafeInteger(until)) return;
    this.#dataEnd ??= start;
    this.#isGrowing = true;
    const over = (): void => {
      this.#isGrowing = false;
    };
    const failed = (error: unknown): void => {
      over();
      if (!(error instanceof BlockError)) throw error;
      this.#isHopeless = true;
    };
    try {
      const grown = this.#file.zero(start, until - start, reqFlag.noFallback);
      if (!isPending(grown)) return over();
      return grown.then(over, failed);
    } catch (error) {
      return failed(error);
    }
  }

  async #cutOff(): Promise<void> {
    const end = this.#dataEnd;
    if (end === undefined || !this.hasSurplus) return;
    await this.#file.truncate(end, { exact: true, prealloc: 'off' });
    this.#dataEnd = undefined;
  }
}

async function open(host: NodeHost): Promise<DriverState> {
  const align = host.options.bytes('prealloc-align') ?? 0;
  const step = host.options.size('prealloc-size') ?? 0;
  if (BigInt(align) % BigInt(sector) !== 0n) {
    throw new BlockError(`prealloc-align parameter of preallocate filter is not aligned to ${sector}`, { code: 'EINVAL' });
  }
  const file = await host.openChild('file', childRole.filtered | childRole.primary, { child: 'format' });
  return new PreallocateState(file, { align: Number(align), step });
}

/** While it may make the file longer, nobody else writes there or changes its size: they would see what is not there. */
function childPerm(node: BlockNode, _child: Child, asked: PermRequest): PermRequest {
  const both = perm.write | perm.resize;
  const mayGrow = (asked.perm & both) === both;
  const mustCut = node.isOpen && node.state instanceof PreallocateState && node.state.hasSurplus;
  if (!mayGrow && !mustCut) return asked;
  return { perm: asked.perm | both, shared: asked.shared & ~both };
}

export const preallocateDriver: BlockDriver = { name: 'preallocate', kind: 'filter', open, childPerm };
