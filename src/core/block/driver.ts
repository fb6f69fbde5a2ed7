/*
 * The contract between the engine and a driver (format, protocol or filter), and the shapes that cross it.
 * A driver sees only requests inside its size, aligned to its limits, never of length zero; it reaches other nodes only
 * through its own Child edges, so that tracking, alignment and permissions are never bypassed.
 * Buffers belong to the caller: a callee touches them until the request settles and never keeps them.
 */

import type { ObjectSource } from '../objects/object.ts';
import type { LockChange, OpenStorage, Prealloc } from '../storage/storage.ts';
import type { Clock } from '../util/clock.ts';
import type { Maybe } from '../util/maybe.ts';
import type { PermBits } from '../util/perm-bits.ts';
import type { Child } from './child.ts';
import type { DebugPoints } from './debug-points.ts';
import type { DirtyBitmap } from './dirty-bitmap.ts';
import type { DriverOptionTable } from './driver-options.ts';
import type { BlockNode, NodeSettings } from './node.ts';
import type { OptionReader, OptionTree } from './options.ts';
import type { BitmapStore, SnapshotInfo, SnapshotStore } from './stores.ts';

/** Request flags (QEMU: BdrvRequestFlags). */
export const reqFlag = {
  none: 0,
  /** On stable storage before the request settles. */
  fua: 1,
  /** A zero write may give the space back. */
  mayUnmap: 2,
  /** A zero write fails with ENOTSUP instead of writing zeros. */
  noFallback: 4,
  /** Waits for overlapping requests on the node and makes later ones wait. */
  serialising: 8,
  /** Does not change what the guest sees (copy on read). */
  writeUnchanged: 16,
  compressed: 32,
} as const;
export type ReqFlags = number;

/** Sizes in bytes; 0 = no limit where a maximum is meant. */
export interface Limits {
  /** Offsets and lengths of reads and writes are multiples of this. */
  readonly requestAlign: number;
  readonly maxTransfer: number;
  /** Zero writes are efficient in multiples of this. */
  readonly zeroAlign: number;
  readonly discardAlign: number;
  /** Allocation unit of the format; 0 = none. Serialising requests are widened to it. */
  readonly clusterSize: number;
  /** Of a medium: what it demands of memory, and what its device carries out in one piece. For information only. */
  readonly medium?: { readonly memoryAlign: number; readonly maxHwTransfer: number; readonly maxHwIov: number };
}

export const noLimits: Limits = { requestAlign: 1, maxTransfer: 0, zeroAlign: 1, discardAlign: 1, clusterSize: 0 };

/** What one run of a node is made of (QEMU: bdrv_co_block_status). */
export interface BlockStatus {
  /** Bytes of equal state, > 0. */
  readonly length: number;
  /** The content comes from a medium. */
  readonly data: boolean;
  /** Reads as zeros. */
  readonly zero: boolean;
  /** This layer decides the content, not its backing. */
  readonly allocated: boolean;
  /** Where the data lie in `child`'s (or the node's own) bytes, when they lie there unchanged. */
  readonly hostOffset?: number | undefined;
  /** The edge that holds the data at hostOffset. */
  readonly child?: Child | undefined;
  /** The state of `child` is to be merged in: holes found below make `zero`. */
  readonly recurse?: boolean | undefined;
  /** The node in whose bytes hostOffset is valid; filled in by block-status.ts. */
  readonly holder?: BlockNode | undefined;
  readonly compressed?: boolean | undefined;
  /** The driver forwards: the answer is the child's at hostOffset, whole (raw, filters). */
  readonly forward?: boolean | undefined;
}

export interface PermRequest {
  readonly perm: PermBits;
  readonly shared: PermBits;
}

/** What an edge is for (QEMU: BDRV_CHILD_*). At least one of data, metadata, filtered, cow. */
export const childRole = { data: 1, metadata: 2, filtered: 4, cow: 8, primary: 16 } as const;
export type ChildRoles = number;

export interface TruncateOptions {
  /** Fail rather than end at another size. */
  readonly exact: boolean;
  readonly prealloc: Prealloc;
}

/** What a driver has made ready. Exactly one of commit and abort is called; both are synchronous and do not fail. */
export interface DriverStep {
  commit(): void;
  abort(): void;
  /** After either, still drained: what needs the permissions that are in force then. What fails in it fails the first change. */
  settle?(): Promise<void>;
}

/** What an image says of its backing file. */
export interface RecordedBacking {
  readonly filename: string;
  readonly format: string | undefined;
}

/** For drivers that keep nothing that depends on settings. */
export const nothingToReopen: DriverStep = { commit: () => {}, abort: () => {} };

/** The open instance of a driver. Called by io.ts and graph.ts of its node and by nobody else. */
export interface DriverState {
  readonly limits: Limits;
  /** Flags that `write` and `zero` carry out natively; others are emulated (fua) or dropped (mayUnmap). */
  readonly writeFlags: ReqFlags;
  /** Size of the node in bytes, known without I/O. */
  size(): number;
  /** Fills all of `into`. */
  read(offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void>;
  /** Absent: the node cannot be written. */
  write?(offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void>;
  /** True: the range now reads as zeros. False: the driver cannot do it better than a write of zeros (also for unaligned fragments). */
  zero?(offset: number, length: number, flags: ReqFlags): Maybe<boolean>;
  /** Gives whole allocation units back; ignores what it cannot. */
  discard?(offset: number, length: number): Maybe<void>;
  /** Hands every settled write to the children's nodes and flushes them down to the medium. Absent: io.ts flushes all children. */
  flush?(): Maybe<void>;
  /** `flush` decides itself what it means that a child cannot be flushed; else io.ts flushes all children behind it. */
  readonly flushesChildren?: boolean;
  /** State of the run that starts at `offset`, at most `length`. `precise` false: holes below data need not be told. Absent: all data. */
  status?(offset: number, length: number, precise: boolean): Maybe<BlockStatus>;
  truncate?(size: number, options: TruncateOptions): Promise<void>;
  /** Takes the permissions outside the process (image locks). Synchronous; throws on conflict. */
  permUpdate?(held: PermBits, unshared: PermBits): LockChange;
  /** The node has its state, and so its size: what belongs to the node itself (dirty bitmaps) is loaded now. */
  opened?(): Promise<void>;
  /**
   * Gets ready to go on with other settings, and with the driver's own `options`, on drained nodes: all that can wait or
   * fail (flush, a new descriptor). Commit puts them into force and abort drops what was made; both are synchronous and do
   * not fail, and exactly one is called. Absent: the driver cannot be reopened.
   */
  reopen?(next: NodeSettings, options: OptionTree): Promise<DriverStep>;
  /**
   * Writes the name and the format of another backing file into the image, or that it has none; abort takes it back. On
   * drained nodes, in the graph turn. Says nothing of the node that is attached. Absent: an image records none.
   */
  writeBacking?(backing: RecordedBacking | undefined): Promise<DriverStep>;
  /** Finishes: writes out metadata and releases what open took; children are detached afterwards by the graph. */
  close(): Promise<void>;
  /**
   * A drained section begins on the node: start no request or timer of one's own until `resume`, and let queued requests
   * through. What is in flight is waited for as far as `node.enter` and `node.leave` count it.
   */
  quiesce?(): void;
  resume?(): void;
  /** Re-reads the size of the medium below (after a truncate from elsewhere). */
  refreshSize?(): Maybe<void>;
  /** Bytes the node occupies on its medium, undefined when it cannot tell; absent: the sum of its data and metadata children. */
  allocatedSize?(): Maybe<number | undefined>;
  // facets, only where the driver has them
  /** Whether a removable medium is there now. */
  isInserted?(): boolean;
  /** Breakpoints on its requests. */
  readonly debug?: DebugPoints;
  info?(): FormatInfo;
  /** The name recorded in the image, whether or not it is the node attached. */
  readonly imageBacking?: RecordedBacking | undefined;
  /** A filename that opens this node again, when the driver has one (file: its path). */
  readonly exactFilename?: string | undefined;
  /** Tells the medium from all others, whatever name it was opened by (file: device and inode). */
  readonly mediumIdentity?: string | undefined;
  /** Options that decide what the guest sees, for json: filenames (file: `filename`; raw: `offset`, `size`). */
  readonly strongOptions?: Readonly<Record<string, unknown>> | undefined;
  /**
   * Changes what the image records of itself, as the driver's `amendOptions` have it. Rejects with the peer's message; what
   * came before the option that cannot be is done. Absent: nothing of it can be changed.
   */
  amend?(values: CreateValues, how: AmendHow): Promise<void>;
  /** Looks for errors in the structure, and repairs what `fix` asks for. Tells findings as they come. */
  check?(fix: { readonly leaks: boolean; readonly errors: boolean }, output: CheckOutput): Promise<CheckResult>;
  snapshots?(): readonly SnapshotInfo[];
  /** Absent: it keeps none. */
  readonly snapshotStore?: SnapshotStore | undefined;
  /** Makes all of it unallocated, so that the backing node shows throughout. Called drained. */
  makeEmpty?(): Promise<void>;
  /** Bitmaps that the driver keeps for itself, newest first: bytes a bit, bytes that are set. */
  ownBitmaps?(): readonly { readonly granularity: number; readonly count: number }[];
  /** Absent: its dirty bitmaps end with the node. */
  readonly bitmapStore?: BitmapStore | undefined;
  /** The frozen view that snapshot-access reads (copy-before-write has it). */
  readonly snapshotView?: SnapshotView | undefined;
}

export interface SnapshotView {
  read(offset: number, into: Uint8Array): Maybe<void>;
  status(offset: number, length: number, precise: boolean): Maybe<BlockStatus>;
  discard(offset: number, length: number): Maybe<void>;
}

/** What `info` prints of a format; data only. */
export interface FormatInfo {
  readonly clusterSize?: number;
  readonly compressed?: boolean;
  readonly encrypted?: boolean;
  readonly dirty?: boolean;
  readonly corrupt?: boolean;
  readonly vmStateOffset?: number;
  /** ImageInfoSpecific as QAPI has it: `{ type: 'qcow2', data: {…} }`, members in QAPI order. */
  readonly specific?: { readonly type: string; readonly data: Readonly<Record<string, unknown>> };
}

/** ImageCheck of QAPI, without filename and format. */
export interface CheckResult {
  corruptions: number;
  leaks: number;
  checkErrors: number;
  corruptionsFixed: number;
  leaksFixed: number;
  imageEndOffset: number;
  totalClusters: number;
  allocatedClusters: number;
  fragmentedClusters: number;
  compressedClusters: number;
}

/** Takes the lines of a check while it goes on: a broken image may have millions. */
export interface CheckOutput {
  /** A line for stderr as it is (`Leaked cluster 5 refcount=1 reference=0`, `ERROR …`). */
  line(text: string): void;
  /** An error that a program tells under its own name. */
  error(text: string): void;
}

/** How a driver wants a child. */
export interface ChildWish {
  readonly optional?: boolean;
  readonly child?: 'file' | 'format';
  /** The file name recorded in the image for this child: passes the gate and is taken when there is no option. */
  readonly recorded?: string | undefined;
}

/** What a driver gets while it opens. */
export interface NodeHost {
  /** The node being opened; `node.readOnly`, `node.backing` and its edges stay current while it lives. */
  readonly node: BlockNode;
  /** The options that the engine has not taken itself. What is left after open is an error, raised by the engine. */
  readonly options: OptionReader;
  readonly openStorage: OpenStorage;
  readonly clock: Clock;
  /** The user's objects: a driver finds secrets and throttle groups by name. */
  readonly objects: ObjectSource;
  /**
   * Opens or references the node that option `key` names (a string = node name, an object = its options) and attaches it.
   * Undefined when there is no such option and `optional` is set; else `A block device must be specified for "file"`.
   */
  openChild(key: string, roles: ChildRoles, how?: ChildWish & { readonly optional?: false }): Promise<Child>;
  openChild(key: string, roles: ChildRoles, how: ChildWish): Promise<Child | undefined>;
  /** The node, or the root node of the block device, with this name. */
  findNode(name: string): BlockNode | undefined;
  /** Whether an image that begins with `head` would be taken for another format than this; absent where the format was given. */
  looksLikeAnother?(head: Uint8Array): boolean;
  /** Raises an event (BLOCK_IMAGE_CORRUPTED …). */
  emit(event: string, data: Readonly<Record<string, unknown>>): void;
}

/** One creation option of a format (qemu-img create -o): drives help, parsing and the "Formatting" line, in this order. */
export interface CreateOption {
  readonly name: string;
  readonly type: 'string' | 'bool' | 'size' | 'number';
  readonly help: string;
  /** Text shown by `-o help` as default, when there is one. */
  readonly defaultText?: string;
}

export type CreateValues = Readonly<Record<string, string | number | boolean | undefined>>;

export interface AmendHow {
  /** Allows what may lose data. */
  readonly force: boolean;
  onProgress(done: number, total: number): void;
}

/** An image that is to be converted, as `measure` looks at it. */
export interface MeasureSource {
  /** In bytes, whole sectors. */
  readonly size: number;
  /** State of the run at `offset` through the whole chain. */
  status(offset: number, length: number): Maybe<{ readonly length: number; readonly data: boolean; readonly zero: boolean }>;
  /** Absent: its format has none that last. */
  readonly bitmaps?: Iterable<DirtyBitmap> | undefined;
}

/** Bytes of a file: needed for the data that are there, and when every cluster has its place. */
export interface Measured {
  readonly required: number;
  readonly fullyAllocated: number;
  /** For the persistent bitmaps of the source; absent where the target or the source has none. */
  readonly bitmaps?: number | undefined;
}

/** What `create` gets to make an image. */
export interface CreateHost {
  readonly clock: Clock;
  /** The user's objects: secrets by name. */
  readonly objects: ObjectSource;
  /** Makes (or empties) the protocol file at `filename` with `size` bytes, `preallocation` applied to it, under a create lock. */
  createFile(filename: string, size: number, prealloc: Prealloc): Promise<void>;
  /** Opens the protocol node of `filename` for writing; its node is closed by `close()`. */
  openFile(filename: string): Promise<CreateTarget>;
  /** Opens an image just made through its own driver (to preallocate or resize it). */
  openImage(filename: string, format: string): Promise<CreateTarget>;
}

export interface CreateTarget {
  write(offset: number, from: Uint8Array): Maybe<void>;
  zero(offset: number, length: number): Maybe<void>;
  truncate(size: number, prealloc: Prealloc): Promise<void>;
  size(): number;
  flush(): Maybe<void>;
  close(): Promise<void>;
  /** Its node's own state, for the driver that made it. */
  readonly state: DriverState;
}

export type DriverKind = 'protocol' | 'format' | 'filter';

/** A driver: stateless, one object a format, protocol or filter. */
export interface BlockDriver {
  readonly name: string;
  readonly kind: DriverKind;
  /** A node of it may have a `backing` child. */
  readonly supportsBacking?: boolean;
  /** A filter that filenames can begin with: it is told of as a protocol. */
  readonly hasProtocolName?: boolean;
  /** It is told of by the filename of the node that it filters, though that opens no filter. */
  readonly hasNameOfChild?: boolean;
  /** Its data lie in several files: a name in an image above it is relative to none of them. */
  readonly hasNoFolder?: boolean;
  /** A file or device of the host: its requests end here. */
  readonly isMedium?: boolean;
  /** The disc in its drive may be taken out: `isInserted` of its state tells. */
  readonly isRemovable?: boolean;
  /** Raw: the driver needs no probing and passes its child through. */
  readonly isFilterLike?: boolean;
  /** A filter that hands compressed writes down. */
  readonly passesCompressed?: boolean;
  open(host: NodeHost): Promise<DriverState>;
  /**
   * What `node` needs of `child` and lets others do there, given what its parents ask in sum; asked while the node opens
   * too. Absent: the default of the child's roles.
   */
  childPerm?(node: BlockNode, child: Child, asked: PermRequest): PermRequest;
  readonly createOptions?: readonly CreateOption[];
  /** What of an image can be changed afterwards, `amend -o`. */
  readonly amendOptions?: readonly CreateOption[];
  /** What an image made with `values` would take: empty, of `values.size` bytes, or with the data of `source`. */
  measure?(values: CreateValues, source: MeasureSource | undefined): Promise<Measured>;
  /** Makes an image. Rejects with the peer's message; the caller removes what a failed create left. */
  create?(host: CreateHost, filename: string, values: CreateValues): Promise<void>;
}

/** What the registry knows of a driver without loading it. */
export interface DriverEntry {
  readonly name: string;
  readonly kind: DriverKind;
  /** Its own options. */
  readonly options: DriverOptionTable;
  /** Options of a protocol that a filename beginning with its name stands for; `parse` gives those of a filename inside it. Absent: option `filename`, as it is. */
  parseFilename?(filename: string, parse: (filename: string) => OptionTree): OptionTree;
  /** 0 – 100, how sure the driver is that an image starting with `head` is its own. */
  probe?(head: Uint8Array, filename: string): number;
  load(): Promise<BlockDriver>;
}
