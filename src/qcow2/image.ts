/*
 * The state of one open image that all parts of the driver share: header, L1 table, refcount table, caches, locks, edges,
 * and what happens when the image turns out to be corrupt. Holds no algorithm: mapping, allocation and so on are functions
 * over it. Everything that yields here is written for holders of the metadata mutex, unless it says otherwise.
 */
import type { Child } from '../core/block/child.ts';
import type { DebugEvent } from '../core/block/debug-events.ts';
import { debugEvent } from '../core/block/debug-points.ts';
import type { ReqFlags } from '../core/block/driver.ts';
import type { BlockNode } from '../core/block/node.ts';
import { setU32, setU64Big } from '../core/util/bytes.ts';
import { BlockError, invariant } from '../core/util/errors.ts';
import { alignDown } from '../core/util/math.ts';
import { chain, isPending, type Maybe, YieldBudget } from '../core/util/maybe.ts';
import { Mutex } from '../core/util/mutex.ts';
import { type GuestPosition, type HostPosition, hostOffset, isHostOffset } from '../core/util/offsets.ts';
import { RangeLock } from '../core/util/range-lock.ts';
import { ScratchPool } from '../core/util/scratch.ts';
import type { Geometry } from './address.ts';
import { CompressedCache } from './compressed.ts';
import type { DataArea } from './data-area.ts';
import { DiscardQueue } from './discard-queue.ts';
import type { Encryption } from './encryption.ts';
import { encodeHeader, type Header } from './header.ts';
import { encodeFields, type FixedFields } from './header-fields.ts';
import { COPIED_HI, headerField, incompatible, OFFSET_HI, OFFSET_LO, two32 } from './layout.ts';
import { MetadataMap, type StructureBits, structure } from './overlap.ts';
import type { SnapshotRecord } from './snapshots.ts';
import { type Steps, wait } from './steps.ts';
import { TableCache, type TableMedium } from './table-cache.ts';

/** Options in force while the image is open. */
export interface ImageOptions {
  readonly passDiscardRequest: boolean;
  readonly passDiscardSnapshot: boolean;
  readonly passDiscardOther: boolean;
  /** Discards keep the cluster as preallocated zeros. */
  readonly discardNoUnref: boolean;
  /** Refcounts may lag behind while the dirty bit is set. */
  readonly lazyRefcounts: boolean;
  readonly overlapChecks: StructureBits;
  readonly l2CacheTables: number;
  readonly refcountCacheTables: number;
}

export interface ImageParts {
  readonly node: BlockNode;
  readonly file: Child;
  /** Holds guest data: `file`, or the external data file. */
  readonly data: Child;
  /** The way to the guest data in it; undefined where nobody may read them: the image is encrypted and only looked at. */
  readonly area: DataArea | undefined;
  readonly encryption: Encryption | undefined;
  readonly header: Header;
  readonly geometry: Geometry;
  readonly options: ImageOptions;
  emit(event: string, data: Readonly<Record<string, unknown>>): void;
}

export class Qcow2Image {
  readonly node: BlockNode;
  readonly file: Child;
  readonly data: Child;
  readonly encryption: Encryption | undefined;
  readonly header: Header;
  /** Changed by the methods below only, as the options and the caches are. */
  geometry: Geometry;
  options: ImageOptions;
  readonly hasDataFile: boolean;
  readonly mutex: Mutex = new Mutex();
  /** Guest ranges of requests that became pending; synchronous ones leave nothing behind. See io.ts for who holds what. */
  readonly ranges: RangeLock = new RangeLock();
  l2Cache: TableCache;
  refcountCache: TableCache;
  readonly metadata: MetadataMap;
  readonly compressedCache: CompressedCache = new CompressedCache();
  readonly scratch: ScratchPool = new ScratchPool();
  /** For loops over metadata that may be long: they `tick`, so that others get their turns. */
  readonly budget: YieldBudget = new YieldBudget();
  /** The active L1 table as on disk. */
  l1: Uint8Array = new Uint8Array(0);
  l1View: DataView = new DataView(this.l1.buffer);
  /** Host offsets of refcount blocks; 0 = none. */
  refcountTable: Float64Array = new Float64Array(0);
  snapshots: SnapshotRecord[] = [];
  /** Length of the snapshot table in bytes. */
  snapshotTableBytes = 0;
  /** Where the search for free clusters goes on. */
  freeIndex = 0;
  /** Where the next compressed cluster may go on inside a cluster; 0 = nowhere. */
  freeByte = 0;
  /** Host ranges to give back to the file once the operation that freed them is through. */
  readonly discards: DiscardQueue = new DiscardQueue();
  /** Many clusters hold no data (preallocation.ts); undefined until somebody has to know. */
  isPreallocated: boolean | undefined;
  /** Something was written to the children since their last flush. */
  isUnflushed = false;
  /** Set once the image was found corrupt while writable: every later request fails with it. */
  broken: BlockError | undefined;
  #hasWarnedCorrupt = false;
  readonly #area: DataArea | undefined;
  readonly #emit: ImageParts['emit'];

  constructor(parts: ImageParts) {
    this.node = parts.node;
    this.file = parts.file;
    this.data = parts.data;
    this.#area = parts.area;
    this.encryption = parts.encryption;
    this.header = parts.header;
    this.geometry = parts.geometry;
    this.options = parts.options;
    this.#emit = parts.emit;
    this.hasDataFile = (parts.header.incompatible & incompatible.dataFile) !== 0n;
    this.metadata = new MetadataMap(parts.geometry.clusterSize);
    this.metadata.enabled = parts.options.overlapChecks;
    this.l2Cache = this.#newCache(structure.activeL2, parts.geometry.sliceSize, parts.options.l2CacheTables);
    this.refcountCache = this.#newCache(structure.refcountBlock, parts.geometry.clusterSize, parts.options.refcountCacheTables);
  }

  #newCache(own: StructureBits, tableSize: number, tables: number): TableCache {
    const isL2 = own === structure.activeL2;
    const medium: TableMedium = {
      read: (offset, into) => chain(this.raise(isL2 ? 'l2_load' : 'refblock_load'), () => this.readFile(offset, into)),
      write: (offset, from) => chain(this.raise(isL2 ? 'l2_update' : 'refblock_update_part'), () => this.writeFile(offset, from)),
      flush: () => this.flushMedium(),
      checkWrite: (offset, length) => this.checkOverlap(offset, length, own),
    };
    return new TableCache(medium, tableSize, tables);
  }

  /** Goes on with other options, and with L2 slices of `sliceSize` bytes, when nothing is in flight and no table is dirty. */
  reconfigure(options: ImageOptions, sliceSize: number): void {
    invariant(!this.l2Cache.isDirty && !this.refcountCache.isDirty, 'tables that are to be forgotten are written');
    this.geometry = { ...this.geometry, sliceSize, sliceEntries: sliceSize / this.geometry.entrySize };
    this.options = options;
    this.metadata.enabled = options.overlapChecks;
    this.l2Cache = this.#newCache(structure.activeL2, sliceSize, options.l2CacheTables);
    this.refcountCache = this.#newCache(structure.refcountBlock, this.geometry.clusterSize, options.refcountCacheTables);
  }

  /** Goes on as the version that the medium is by now. */
  changeVersion(version: number): void {
    this.geometry = { ...this.geometry, version };
    if (version < 3) this.options = { ...this.options, lazyRefcounts: false };
  }

  /** Goes on with counts of another width, which the medium has by now; no table is dirty. */
  changeRefcountBits(refcountBits: number): void {
    invariant(!this.l2Cache.isDirty && !this.refcountCache.isDirty, 'tables that are to be forgotten are written');
    const { clusterSize } = this.geometry;
    this.geometry = { ...this.geometry, refcountBits, refcountsPerBlock: (clusterSize * 8) / refcountBits };
    this.refcountCache = this.#newCache(structure.refcountBlock, clusterSize, this.options.refcountCacheTables);
  }

  /** Goes on with or without refcounts that may lag behind. */
  changeLazyRefcounts(lazyRefcounts: boolean): void {
    this.options = { ...this.options, lazyRefcounts };
  }

  /** Virtual size in bytes, whole sectors. */
  get size(): number {
    return alignDown(this.header.size, 512);
  }

  get isReadOnly(): boolean {
    return this.node.readOnly;
  }

  /** Refcounts must be on the medium before pointers (false while the dirty bit says that they may be wrong). */
  get needsAccurateRefcounts(): boolean {
    return (this.header.incompatible & incompatible.dirty) === 0n;
  }

  // -- L1 -----------------------------------------------------------------------------------------------------------
  setL1(bytes: Uint8Array): void {
    this.l1 = bytes;
    this.l1View = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get l1Entries(): number {
    return this.l1.length / 8;
  }

  /** Host offset of the L2 table behind entry `index`; 0 = none, also beyond the table's end. */
  l2TableOf(index: number): HostPosition {
    const at = index * 8;
    if (at >= this.l1.length) return 0;
    return (this.l1View.getUint32(at) & OFFSET_HI) * two32 + ((this.l1View.getUint32(at + 4) & OFFSET_LO) >>> 0);
  }

  isL2Copied(index: number): boolean {
    return (this.l1View.getUint32(index * 8) & COPIED_HI) !== 0;
  }

  /** Writes entry `index` through to the medium, durably. */
  /** Points entry `index` at `offset`, a table that is ours alone: on the medium, durably, then in memory. */
  *updateL1Entry(index: number, offset: number): Steps<void> {
    yield* this.updateL1Words(index, (Math.floor(offset / two32) | COPIED_HI) >>> 0, (offset % two32) >>> 0);
  }

  /** Like `updateL1Entry`, for an entry as two halves. */
  *updateL1Words(index: number, hi: number, lo: number): Steps<void> {
    const entry = new Uint8Array(8);
    setU32(entry, 0, hi);
    setU32(entry, 4, lo);
    const at = this.header.l1Offset + index * 8;
    yield* wait(this.raise('l1_update'));
    this.checkOverlap(at, 8, structure.activeL1);
    yield* this.writeThrough(at, entry, this.l1.slice(index * 8, index * 8 + 8));
    this.l1.set(entry, index * 8);
  }

  /** Somebody debugs the image file: requests raise events. */
  get isDebugged(): boolean {
    return this.file.node.state.debug !== undefined;
  }

  /** Tells whoever debugs the image file that `event` is due; settles when it may go on. */
  raise(event: DebugEvent): Maybe<void> {
    return debugEvent(this.file.node, event);
  }

  // -- the medium ---------------------------------------------------------------------------------------------------
  // The way to both children for whatever an image names: offsets pass the gate here and nowhere else. What cannot be a
  // position lies behind the end of any file: it reads as zeros, as with the peer, and is never written (EFBIG).

  readFile(offset: HostPosition, into: Uint8Array): Maybe<void> {
    if (isHostOffset(offset)) return this.file.read(offset, into);
    into.fill(0);
  }

  /** Guest data. Throws QEMU's words where nobody gave the key of an encrypted image. */
  get area(): DataArea {
    if (this.#area === undefined) throw new BlockError("Parameter 'encrypt.key-secret' is required for cipher", { code: 'ERR_OPTION' });
    return this.#area;
  }

  /** Reads guest data at a host offset, which the guest sees at `guest`. */
  readData(offset: HostPosition, guest: GuestPosition, into: Uint8Array): Maybe<void> {
    if (isHostOffset(offset)) return this.area.read(offset, guest, into);
    into.fill(0);
  }

  /** Makes the data file at a host offset read as zeros. */
  zeroData(offset: HostPosition, length: number, flags: ReqFlags): Maybe<void> {
    this.isUnflushed = true;
    const result = this.area.zero(hostOffset(offset), length, flags);
    if (isPending(result)) return this.#markAfter(result);
  }

  writeFile(offset: HostPosition, from: Uint8Array): Maybe<void> {
    this.isUnflushed = true;
    const result = this.file.write(hostOffset(offset), from);
    if (isPending(result)) return this.#markAfter(result);
  }

  /** Writes guest data at a host offset, which the guest sees at `guest`. */
  writeData(offset: HostPosition, guest: GuestPosition, from: Uint8Array): Maybe<void> {
    this.isUnflushed = true;
    const result = this.area.write(hostOffset(offset), guest, from);
    if (isPending(result)) return this.#markAfter(result);
  }

  /** A flush that began meanwhile did not cover this write. */
  async #markAfter(pending: Promise<void>): Promise<void> {
    await pending;
    this.isUnflushed = true;
  }

  /** Makes everything written so far durable; no-op when nothing was. */
  flushMedium(): Maybe<void> {
    if (!this.isUnflushed) return;
    this.isUnflushed = false;
    const failed = (error: unknown): never => {
      this.isUnflushed = true;
      throw error;
    };
    try {
      const flushed = chain(this.hasDataFile ? this.data.flush() : undefined, () => this.file.flush());
      if (isPending(flushed)) return flushed.catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  // -- changes in place ---------------------------------------------------------------------------------------------
  /**
   * Writes `next` over `before` at `offset`, durably: for what is changed in place and named by nothing new. The caller
   * assigns to its model once this is through. After a failure nobody knows which of both the medium holds: `before` is put
   * back before anything is taken, changed in place or called flushed again.
   */
  *writeThrough(offset: number, next: Uint8Array, before: Uint8Array): Steps<void> {
    yield* this.settle();
    try {
      yield* wait(this.writeFile(offset, next));
      yield* wait(this.flushMedium());
    } catch (error) {
      this.#unsettled = { offset, bytes: before };
      throw error;
    }
  }

  /** Puts the medium right after a change in place that failed; nothing to do otherwise. */
  *settle(): Steps<void> {
    if (this.#unsettled === undefined) return;
    yield* wait(this.writeFile(this.#unsettled.offset, this.#unsettled.bytes));
    yield* wait(this.flushMedium());
    this.#unsettled = undefined;
  }

  get isSettled(): boolean {
    return this.#unsettled === undefined;
  }

  #unsettled: { readonly offset: number; readonly bytes: Uint8Array } | undefined;

  /** Changes fields of the header that lie in its fixed part: on the medium, durably, then in the model. */
  *updateFields(change: Partial<FixedFields>): Steps<void> {
    const { offset, next, before } = encodeFields(this.header, change);
    yield* this.writeThrough(offset, next, before);
    Object.assign(this.header, change);
  }

  /** Changes anything in the header: the whole first cluster is written anew, durably, then the model changes. */
  *updateHeader(change: Partial<Header>): Steps<void> {
    yield* this.writeThrough(0, encodeHeader({ ...this.header, ...change }), encodeHeader(this.header));
    Object.assign(this.header, change);
  }

  /** Takes back a change that `updateHeader` made: in the model at once, on the medium before anything else is written. */
  takeBack(before: Partial<Header>): void {
    Object.assign(this.header, before);
    this.#unsettled = { offset: 0, bytes: encodeHeader(this.header) };
  }

  // -- corruption ---------------------------------------------------------------------------------------------------
  /** Throws EIO, marking the image corrupt, when the range holds metadata of another kind than `own`. */
  checkOverlap(offset: number, length: number, own: StructureBits): void {
    const hit = this.metadata.find(offset, length, own);
    if (hit === undefined) return;
    throw this.reportCorruption(`Preventing invalid write on metadata (overlaps with ${hit})`, { isFatal: true, offset, length });
  }

  /**
   * Reports a corrupt image once: raises BLOCK_IMAGE_CORRUPTED and, when the image is writable and the finding is fatal,
   * sets the corrupt bit and makes every later request fail. Returns the EIO to throw.
   */
  reportCorruption(text: string, where: { readonly isFatal: boolean; readonly offset?: number; readonly length?: number }): BlockError {
    const isFatal = where.isFatal && !this.isReadOnly;
    const error = new BlockError('Input/output error', { code: 'EIO' });
    if (this.broken !== undefined || (!isFatal && this.#hasWarnedCorrupt)) return error;
    const tail = isFatal ? 'further corruption events will be suppressed' : 'further non-fatal corruption events will be suppressed';
    this.#hasWarnedCorrupt = true;
    this.#emit('BLOCK_IMAGE_CORRUPTED', {
      device: this.node.deviceName ?? '',
      'node-name': this.node.name,
      msg: text,
      ...(where.offset === undefined ? {} : { offset: where.offset }),
      ...(where.length === undefined ? {} : { size: where.length }),
      fatal: isFatal,
    });
    this.warn(`qcow2: ${isFatal ? 'Marking image as corrupt' : 'Image is corrupt'}: ${text}; ${tail}`);
    if (isFatal) {
      this.broken = new BlockError('No medium found', { code: 'ENOMEDIUM' });
      this.#markCorrupt();
    }
    return error;
  }

  /** Set by open: lines that a program prints on stderr. */
  warn: (line: string, how?: { readonly isError: boolean }) => void = () => {};

  #markCorrupt(): void {
    if (this.header.version < 3) return;
    this.header.incompatible |= incompatible.corrupt;
    const bytes = new Uint8Array(8);
    setU64Big(bytes, 0, this.header.incompatible);
    // best effort: the image is refused from here on whether or not the bit got there
    try {
      const done = chain(this.file.write(headerField.incompatible, bytes), () => this.file.flush());
      if (isPending(done)) this.corruptMark = done.catch(() => {});
    } catch {
      this.corruptMark = undefined;
    }
  }

  /** The write of the corrupt bit, while it is pending; close waits for it. */
  corruptMark: Promise<void> | undefined;
}
