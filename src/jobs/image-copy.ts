/*
 * The copy of whole images into another, as convert does it: asks for extents, skips holes and zeros, reads and writes the
 * rest in order of offset. What to move and how is here; when and how many at once is the machine's (transfer.ts).
 * Knows no format and no command.
 */
import type { BlockBackend } from '../core/block/backend.ts';
import { reqFlag } from '../core/block/driver.ts';
import type { BlockNode } from '../core/block/node.ts';
import { BlockError } from '../core/util/errors.ts';
import { chain, isPending, type Maybe, recover, type YieldBudget } from '../core/util/maybe.ts';
import { type ImageReader, isZeroRange, sector } from './image-reader.ts';
import { type TransferPiece, type TransferPlan, transfer } from './transfer.ts';

/** Bytes moved at once. */
const chunkSize: number = 2 * 1024 * 1024;
/** Zero runs beyond the buffer go in pieces of this, so that progress and cancellation have their turn. */
const maxZero = 1024 * 1024 * 1024;

export interface CopySettings {
  /** Copied one behind the other. */
  readonly sources: readonly ImageReader[];
  /** Data go to the target compressed, in whole clusters of this many bytes. */
  readonly compressedCluster?: number | undefined;
  readonly target: BlockBackend;
  /** Runs of zeros of this many bytes are not written as data; 0: everything is written. A multiple of 512. */
  readonly sparse: number;
  /** The target reads as zeros where nothing is written. */
  readonly isTargetZero: boolean;
  /** Zeros among data are looked for; default true. Without, only areas that the source knows to be zero are. */
  readonly detectsZeros?: boolean | undefined;
  /** Areas that the source takes from its backing file stay unallocated: up to this size the target has its own. */
  readonly targetBackingSize?: number | undefined;
  /** Areas that the source takes from this node or from below it stay as they are. */
  readonly base?: BlockNode | undefined;
  /** Unreadable areas become zeros; told here. */
  readonly onReadError?: ((offset: number, error: BlockError) => void) | undefined;
  /** How an error begins; default: with the offset, as `convert` tells it. */
  readonly failure?: ((what: 'read' | 'write' | 'status', offset: number) => string) | undefined;
  /** `done` of `total` bytes of data. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Transfers in flight where the media make us wait; at least 1. */
  readonly parallel?: number | undefined;
  /** Milliseconds to wait after `bytes` more, and the wait. */
  readonly rate?: { delayFor(bytes: number): number; sleep(ms: number): Promise<void> } | undefined;
  readonly budget: YieldBudget;
}

type Kind = 'data' | 'zero' | 'backing';

interface Extent {
  readonly kind: Kind;
  readonly length: number;
}

/** A piece on its way. */
interface Piece extends TransferPiece {
  readonly kind: Exclude<Kind, 'backing'>;
  /** Offset in the target. */
  readonly offset: number;
  /** What is to be written; absent for zeros that are not written as data. */
  readonly buffer: Buffer | undefined;
}

/** Copies everything; rejects at the first error, which then says where it was. */
export async function copyImages(settings: CopySettings): Promise<void> {
  const copier = new Copier(settings);
  await copier.countData();
  await transfer(copier);
}

class Copier implements TransferPlan<Piece> {
  readonly ordered = true;
  readonly inFlight: number;
  readonly #settings: CopySettings;
  /** Buffers that are not in use; there are never more than pieces in flight. */
  readonly #free: Buffer[] = [];
  /** Unit of the search for zeros: a power of two. */
  readonly #unit: number;
  /** Bytes of a buffer. */
  readonly #chunk: number;
  /** Offset of each source in the target; the last one is the end. */
  readonly #bases: readonly number[];
  #done = 0;
  #total = 0;
  // where the next piece begins
  #index = 0;
  #at = 0;
  #extentKind: Kind = 'backing';
  #extentEnd = 0;

  constructor(settings: CopySettings) {
    this.#settings = settings;
    this.inFlight = settings.parallel ?? 1;
    this.#chunk = Math.max(chunkSize, settings.compressedCluster ?? 0);
    const bases = [0];
    for (const { size } of settings.sources) bases.push((bases.at(-1) ?? 0) + size);
    this.#bases = bases;
    this.#unit = settings.sparse === 0 || settings.detectsZeros === false ? 0 : 2 ** Math.floor(Math.log2(settings.sparse));
  }

  get #end(): number {
    return this.#bases.at(-1) ?? 0;
  }

  /** Counts the bytes that will be read, for progress. */
  async countData(): Promise<void> {
    const { onProgress, sparse } = this.#settings;
    if (onProgress === undefined) return;
    let bytes = 0;
    for (let at = 0, index = 0; at < this.#end; ) {
      if (at >= (this.#bases[index + 1] ?? 0)) {
        index++;
        continue;
      }
      const found = this.#extent(index, at);
      const extent = isPending(found) ? await found : found;
      if (extent.kind === 'data' || (extent.kind === 'zero' && sparse === 0)) bytes += extent.length;
      at += extent.length;
    }
    this.#total = bytes;
  }

  // -- as a plan ------------------------------------------------------------------------------------------------------
  next(): Maybe<Piece | undefined> {
    while (this.#at < this.#end) {
      if (this.#at >= (this.#bases[this.#index + 1] ?? 0)) {
        this.#index++;
        continue;
      }
      if (this.#at < this.#extentEnd) {
        const piece = this.#cut();
        if (piece !== undefined) return piece;
        continue;
      }
      const found = this.#extent(this.#index, this.#at);
      if (isPending(found)) return found.then((extent) => this.#enter(extent)).then(() => this.next());
      this.#enter(found);
    }
    return undefined;
  }

  #enter(extent: Extent): void {
    this.#extentKind = extent.kind;
    this.#extentEnd = this.#at + extent.length;
  }

  /** The next piece of the present extent; undefined when it needs no work. */
  #cut(): Piece | undefined {
    const { sparse, isTargetZero, compressedCluster = 1 } = this.#settings;
    let kind = this.#extentKind;
    const offset = this.#at;
    let length = this.#extentEnd - offset;
    if (length < compressedCluster) {
      // a cluster is written whole, whatever else is in it
      kind = 'data';
      length = Math.min(compressedCluster, this.#end - offset);
    }
    const isWritten = kind === 'data' || (kind === 'zero' && sparse === 0);
    length = Math.min(length, isWritten ? this.#chunk : maxZero);
    if (length > compressedCluster) length -= length % compressedCluster;
    this.#at += length;
    if (kind === 'backing' || (kind === 'zero' && !isWritten && isTargetZero)) return undefined;
    const buffer = isWritten ? (this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#chunk)) : undefined;
    return { kind, offset, length, buffer };
  }

  begin({ kind, offset, length, buffer: whole }: Piece): Maybe<void> {
    if (whole === undefined) return;
    const buffer = whole.subarray(0, length);
    if (kind === 'zero') {
      buffer.fill(0);
      return;
    }
    return this.#read(this.#sourceAt(offset), offset, buffer);
  }

  finish({ offset, length, buffer }: Piece): Maybe<void> {
    if (buffer === undefined) return this.#inPlace('write', offset, () => this.#zero(offset, length));
    this.#count(length);
    const data = buffer.subarray(0, length);
    return this.#inPlace('write', offset, () =>
      this.#settings.compressedCluster === undefined ? this.#write(offset, data, 0) : this.#writeCompressed(offset, data),
    );
  }

  done({ buffer }: Piece): void {
    if (buffer !== undefined) this.#free.push(buffer);
  }

  delayFor(bytes: number): number {
    return this.#settings.rate?.delayFor(bytes) ?? 0;
  }

  async sleep(ms: number): Promise<void> {
    await this.#settings.rate?.sleep(ms);
  }

  tick(bytes: number): Maybe<void> {
    return this.#settings.budget.tick(bytes);
  }

  // -- extents --------------------------------------------------------------------------------------------------------
  /** The run at `offset` of the target, which source `index` fills. */
  #extent(index: number, offset: number): Maybe<Extent> {
    const { targetBackingSize, sources, base } = this.#settings;
    const source = sources[index];
    if (source === undefined) throw new RangeError('no source is left');
    const at = offset - (this.#bases[index] ?? 0);
    const below = base ?? (targetBackingSize === undefined ? undefined : backingBelow(source.node));
    let length = Math.min(maxZero, source.size - at);
    const isPastBacking = targetBackingSize !== undefined && offset >= targetBackingSize;
    if (targetBackingSize !== undefined && !isPastBacking) length = Math.min(length, targetBackingSize - offset);
    const found = this.#inPlace('status', at, () => source.status(at, length, below));
    const classify = (status: { readonly length: number; readonly data: boolean; readonly zero: boolean }): Extent => {
      // past the end of the target's backing file nothing is zero already
      const kind: Kind = status.zero
        ? isPastBacking
          ? 'backing'
          : 'zero'
        : status.data
          ? 'data'
          : below === undefined && targetBackingSize === undefined
            ? 'data'
            : 'backing';
      return { kind, length: Math.min(status.length, length) };
    };
    return isPending(found) ? found.then(classify) : classify(found);
  }

  // -- reading --------------------------------------------------------------------------------------------------------
  #sourceAt(offset: number): number {
    let index = 0;
    while (offset >= (this.#bases[index + 1] ?? Number.POSITIVE_INFINITY)) index++;
    return index;
  }

  /** Fills `into` from `offset` on; a compressed cluster may have its bytes from several sources. */
  #read(index: number, offset: number, into: Buffer): Maybe<void> {
    const source = this.#settings.sources[index];
    if (source === undefined) throw new RangeError('no source is left');
    const end = this.#bases[index + 1] ?? 0;
    const part = offset + into.length <= end ? into : into.subarray(0, end - offset);
    const at = offset - (this.#bases[index] ?? 0);
    const failed = (error: unknown): Promise<void> => this.#readFailed(error, source, offset, at, part);
    const read = recover(() => source.read(at, part), failed);
    return part === into ? read : chain(read, () => this.#read(index + 1, end, into.subarray(part.length)));
  }

  #zero(offset: number, length: number): Maybe<void> {
    return this.#settings.target.zero(offset, length, this.#settings.sparse === 0 ? 0 : reqFlag.mayUnmap);
  }

  async #readFailed(error: unknown, source: ImageReader, offset: number, at: number, buffer: Buffer): Promise<void> {
    if (!(error instanceof BlockError)) throw error;
    if (this.#settings.onReadError === undefined) throw error.prepend(this.#failure('read', offset));
    await this.#salvage(source, offset, at, buffer);
  }

  /** Reads sector by sector; what cannot be read becomes zeros. */
  async #salvage(source: ImageReader, offset: number, at: number, buffer: Buffer): Promise<void> {
    for (let done = 0; done < buffer.length; done += sector) {
      const piece = buffer.subarray(done, done + sector);
      try {
        await source.read(at + done, piece);
      } catch (error) {
        if (!(error instanceof BlockError)) throw error;
        this.#settings.onReadError?.(offset + done, error);
        piece.fill(0);
      }
    }
  }

  #count(bytes: number): void {
    this.#done += bytes;
    this.#settings.onProgress?.(this.#done, this.#total);
  }

  /** Writes whole clusters as streams; only where all of them are zero they may be left out. */
  #writeCompressed(offset: number, data: Buffer): Maybe<void> {
    if (this.#unit !== 0 && isZeroRange(data, 0, data.length)) return this.#zeroRun(offset, data.length);
    return this.#settings.target.write(offset, data, reqFlag.compressed);
  }

  /** Writes the buffer from `from` on, leaving out runs of zeros. */
  #write(offset: number, buffer: Buffer, from: number): Maybe<void> {
    for (let at = from; at < buffer.length; ) {
      const { length, isZero } = this.#run(buffer, at, offset);
      const result = isZero ? this.#zeroRun(offset + at, length) : this.#settings.target.write(offset + at, buffer.subarray(at, at + length));
      at += length;
      const next = at;
      if (isPending(result)) return result.then(() => this.#write(offset, buffer, next));
    }
  }

  #zeroRun(offset: number, length: number): Maybe<void> {
    // with a backing file below, zeros have to be written to hide it
    const isThere = this.#settings.isTargetZero && this.#settings.targetBackingSize === undefined;
    return isThere ? undefined : this.#zero(offset, length);
  }

  /** The run of zeros or of data at `at`; units are aligned to the target's offsets, short runs of zeros count as data. */
  #run(buffer: Buffer, at: number, offset: number): { length: number; isZero: boolean } {
    const unit = this.#unit;
    if (unit === 0) return { length: buffer.length - at, isZero: false };
    const isZero = this.#unitIsZero(buffer, at, offset);
    let end = this.#unitEnd(buffer, at, offset);
    while (end < buffer.length && this.#unitIsZero(buffer, end, offset) === isZero) end = this.#unitEnd(buffer, end, offset);
    if (!isZero || end - at >= this.#settings.sparse || end === buffer.length) return { length: end - at, isZero };
    const data = this.#run(buffer, end, offset);
    return { length: end - at + data.length, isZero: false };
  }

  #unitEnd(buffer: Buffer, at: number, offset: number): number {
    return Math.min(buffer.length, at + this.#unit - ((offset + at) % this.#unit));
  }

  #failure(what: 'read' | 'write' | 'status', offset: number): string {
    return (this.#settings.failure ?? failureAt)(what, offset);
  }

  /** Runs what concerns the piece at `offset`; its errors say so. */
  #inPlace<T>(what: 'write' | 'status', offset: number, start: () => Maybe<T>): Maybe<T> {
    return inPlace(this.#failure(what, offset), start);
  }

  #unitIsZero(buffer: Buffer, at: number, offset: number): boolean {
    return isZeroRange(buffer, at, this.#unitEnd(buffer, at, offset));
  }
}

/** As `convert` begins its errors. */
function failureAt(what: 'read' | 'write' | 'status', offset: number): string {
  if (what === 'status') return `error while reading block status at offset ${offset}: `;
  return `error while ${what === 'read' ? 'reading' : 'writing'} at byte ${offset}: `;
}

function inPlace<T>(place: string, start: () => Maybe<T>): Maybe<T> {
  const tell = (error: unknown): never => {
    throw error instanceof BlockError ? error.prepend(place) : error;
  };
  try {
    const result = start();
    return isPending(result) ? result.catch(tell) : result;
  } catch (error) {
    return tell(error);
  }
}

/** The node from which a source takes what it does not hold itself. */
function backingBelow(node: BlockNode): BlockNode | undefined {
  let at = node;
  while (at.filtered !== undefined && at.backing === undefined) at = at.filtered.node;
  return at.backing?.node;
}

/** Sizes of zero runs are whole sectors. */
export function isValidSparse(bytes: number): boolean {
  return bytes % sector === 0 && bytes <= 16 * 1024 * 1024;
}
