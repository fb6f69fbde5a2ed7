/*
 * The qcow2 driver: opens an image and glues mapping, I/O, resize, check and creation to the engine's contract. Owns no
 * algorithm. What few users of an image need (check, repair, resize, creation) loads at first use.
 * Rule source: qcow2 specification; order of open-time checks as observed.
 */
import type { Child } from '../core/block/child.ts';
import {
  type AmendHow,
  type BlockDriver,
  type BlockStatus,
  type CheckOutput,
  type CheckResult,
  type CreateHost,
  type CreateValues,
  childRole,
  type DriverState,
  type DriverStep,
  type FormatInfo,
  type Limits,
  type Measured,
  type MeasureSource,
  type NodeHost,
  noLimits,
  type RecordedBacking,
  type ReqFlags,
  reqFlag,
  type TruncateOptions,
} from '../core/block/driver.ts';
import type { NodeSettings } from '../core/block/node.ts';
import type { OptionReader, OptionTree } from '../core/block/options.ts';
import type { BitmapStore, SnapshotInfo, SnapshotStore } from '../core/block/stores.ts';
import { BlockError, invariant } from '../core/util/errors.ts';
import type { Maybe } from '../core/util/maybe.ts';
import { cryptoSector } from '../crypto/sector-size.ts';
import { type Geometry, makeGeometry } from './address.ts';
import { Bitmaps } from './bitmaps-store.ts';
import { loadZstd } from './codec.ts';
import { amendOptions, createOptions } from './create-options.ts';
import { PlainArea } from './data-area.ts';
import type { Encryption } from './encryption.ts';
import { checkHeaderStart, decodeHeader, type Header } from './header.ts';
import { Qcow2Image } from './image.ts';
import { describeImage } from './info.ts';
import { readGuest, writeGuest } from './io.ts';
import { autoclear, compressionType, cryptMethod, fullHeaderLength, incompatible } from './layout.ts';
import { readMetadata } from './read-metadata.ts';
import { decodeRefcountTable } from './refcount-blocks.ts';
import { readRuntimeOptions } from './runtime-options.ts';
import { listSnapshots, loadSnapshots } from './snapshots.ts';
import { statusOf } from './status.ts';
import { run as carryOut, locked } from './steps.ts';
import { Writer, writeTables } from './writer.ts';
import { discardGuest, zeroGuest } from './zero-discard.ts';

class Qcow2State implements DriverState {
  readonly writeFlags: ReqFlags = reqFlag.mayUnmap | reqFlag.compressed;
  readonly limits: Limits;
  readonly strongOptions: Readonly<Record<string, unknown>> | undefined;
  readonly #image: Qcow2Image;
  readonly #bitmaps: Bitmaps;
  readonly #writer: Writer;

  constructor(image: Qcow2Image, bitmaps: Bitmaps, writer: Writer, strongOptions: Qcow2State['strongOptions']) {
    this.strongOptions = strongOptions;
    this.#image = image;
    this.#bitmaps = bitmaps;
    this.#writer = writer;
    const { clusterSize, subclusterSize } = image.geometry;
    const requestAlign = image.encryption === undefined ? 1 : cryptoSector;
    this.snapshotStore = {
      isSupported: !image.hasDataFile,
      create: async (details) => (await this.#snapshots()).createSnapshot(this.#image, details),
      apply: async (snapshot) => (await this.#snapshots()).applySnapshot(this.#image, snapshot),
      remove: async (snapshot) => (await this.#snapshots()).removeSnapshot(this.#image, snapshot),
      show: async (snapshot) => (await import('./snapshot-operations.ts')).showSnapshot(this.#image, snapshot),
    };
    this.limits = { ...noLimits, requestAlign, zeroAlign: subclusterSize, discardAlign: clusterSize, clusterSize };
  }

  get image(): Qcow2Image {
    return this.#image;
  }

  async writeBacking(backing: RecordedBacking | undefined): Promise<DriverStep> {
    const { writeBacking } = await import('./backing.ts');
    await this.#writer.begin();
    return writeBacking(this.#image, backing);
  }

  get imageBacking(): RecordedBacking | undefined {
    const { backingFile, backingFormat } = this.#image.header;
    return backingFile === undefined || backingFile === '' ? undefined : { filename: backingFile, format: backingFormat === '' ? undefined : backingFormat };
  }

  size(): number {
    return this.#image.size;
  }

  read(offset: number, into: Uint8Array): Maybe<void> {
    return readGuest(this.#image, offset, into);
  }

  write(offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void> {
    if (!this.#writer.isReady) return this.#whenReady(() => writeGuest(this.#image, offset, from, flags));
    return writeGuest(this.#image, offset, from, flags);
  }

  zero(offset: number, length: number, flags: ReqFlags): Maybe<boolean> {
    if (!this.#writer.isReady) return this.#whenReady(() => zeroGuest(this.#image, offset, length, flags));
    return zeroGuest(this.#image, offset, length, flags);
  }

  discard(offset: number, length: number): Maybe<void> {
    if (!this.#writer.isReady) return this.#whenReady(() => discardGuest(this.#image, offset, length));
    return discardGuest(this.#image, offset, length);
  }

  async #whenReady<T>(body: () => Maybe<T>): Promise<T> {
    await this.#writer.begin();
    return body();
  }

  flush(): Maybe<void> {
    const image = this.#image;
    if (image.broken !== undefined) throw image.broken;
    if (!image.l2Cache.isDirty && !image.refcountCache.isDirty && image.isSettled) return;
    return carryOut(locked(image.mutex, () => writeTables(image, image.needsAccurateRefcounts)));
  }

  status(offset: number, length: number, precise: boolean): Maybe<BlockStatus> {
    return statusOf(this.#image, offset, length, precise);
  }

  async truncate(size: number, options: TruncateOptions): Promise<void> {
    const { resizeImage } = await import('./resize.ts');
    await this.#writer.begin();
    await resizeImage(this.#image, size, options, this.#bitmaps);
  }

  async makeEmpty(): Promise<void> {
    const { emptyImage } = await import('./empty.ts');
    await this.#writer.begin();
    await emptyImage(this.#image);
  }

  info(): FormatInfo {
    return describeImage(this.#image, this.#bitmaps.describe());
  }

  snapshots(): readonly SnapshotInfo[] {
    return listSnapshots(this.#image);
  }

  readonly snapshotStore: SnapshotStore;

  /** The operations that change the image, which may change then. */
  async #snapshots(): Promise<typeof import('./snapshot-operations.ts')> {
    const operations = await import('./snapshot-operations.ts');
    await this.#writer.begin();
    return operations;
  }

  async check(fix: { readonly leaks: boolean; readonly errors: boolean }, output: CheckOutput): Promise<CheckResult> {
    const { checkImage } = await import('./check.ts');
    return checkImage(this.#image, fix, output);
  }

  async amend(values: CreateValues, how: AmendHow): Promise<void> {
    const { amendImage } = await import('./amend.ts');
    await this.#writer.begin();
    await amendImage(this.#image, this.#writer, values, how);
  }

  get bitmapStore(): BitmapStore {
    return this.#writer;
  }

  async opened(): Promise<void> {
    const image = this.#image;
    const { noIo, toCheck } = image.node.settings;
    if (!image.isReadOnly || !(noIo || toCheck)) await this.#bitmaps.load();
    if (!image.isReadOnly) await this.#writer.begin();
  }

  reopen(next: NodeSettings, options: OptionTree): Promise<DriverStep> {
    return this.#writer.reopen(next, options);
  }

  async close(): Promise<void> {
    const image = this.#image;
    await image.corruptMark;
    if (image.isReadOnly || image.broken !== undefined) return;
    await this.#writer.close();
  }
}

async function readHeader(settings: NodeSettings, file: Child): Promise<Header> {
  const head = new Uint8Array(fullHeaderLength);
  await readMetadata('Could not read qcow2 header', file, 0, head);
  const cluster = new Uint8Array(2 ** checkHeaderStart(head));
  await readMetadata('Could not read qcow2 header', file, 0, cluster);
  return decodeHeader(cluster, { readOnly: settings.readOnly, toCheck: settings.toCheck ?? false, noIo: settings.noIo });
}

async function openDataFile(host: NodeHost, header: Header, file: Child): Promise<Child> {
  if (host.node.settings.noIo) {
    // metadata is shown without the data, whatever the options say of it
    host.options.take('data-file');
    return file;
  }
  const isExternal = (header.incompatible & incompatible.dataFile) !== 0n;
  if (!isExternal) {
    if (host.options.has('data-file')) throw new BlockError("'data-file' can only be set for images with an external data file", { code: 'ERR_OPTION' });
    if ((header.autoclear & autoclear.rawDataFile) !== 0n) throw new BlockError('data-file-raw requires a data file', { code: 'ERR_FORMAT' });
    return file;
  }
  const data = await host.openChild('data-file', childRole.data, { optional: true, recorded: header.dataFile });
  if (data !== undefined) return data;
  throw new BlockError("'data-file' is required for this image", { code: 'ERR_OPTION' });
}

/** Options that decide what the guest sees, by the dotted names that QEMU gives them. */
function strongOptionsOf(options: OptionReader): Readonly<Record<string, unknown>> | undefined {
  const name = 'encrypt.key-secret';
  return options.has(name) ? { [name]: options.peek(name) } : undefined;
}

/** The encryption of the image, where it has one. */
async function readEncryption(host: NodeHost, header: Header, file: Child): Promise<Encryption | undefined> {
  if (header.cryptMethod !== cryptMethod.none) {
    const { openEncryption } = await import('./encryption.ts');
    return openEncryption(host, header, file);
  }
  const format = host.options.string('encrypt.format');
  if (format !== undefined) throw new BlockError(`No encryption in image header, but options specified format '${format}'`, { code: 'EINVAL' });
  host.options.string('encrypt.key-secret');
  return undefined;
}

async function open(host: NodeHost): Promise<DriverState> {
  const file = await host.openChild('file', childRole.data | childRole.metadata | childRole.primary);
  const header = await readHeader(host.node.settings, file);
  const strongOptions = strongOptionsOf(host.options);
  const encryption = await readEncryption(host, header, file);
  const data = await openDataFile(host, header, file);
  const { node } = host;
  const runtime = readRuntimeOptions(host.options, header, node.settings.discard);
  const geometry: Geometry = makeGeometry({
    clusterBits: header.clusterBits,
    isExtended: (header.incompatible & incompatible.extendedL2) !== 0n,
    refcountOrder: header.refcountOrder,
    version: header.version,
    sliceSize: runtime.sliceSize,
  });
  const image = new Qcow2Image({
    node,
    file,
    data,
    area: encryption === undefined ? new PlainArea(data) : encryption.area(data),
    encryption,
    header,
    geometry,
    options: runtime.options,
    emit: (event, details) => host.emit(event, details),
  });
  image.warn = (line, how) => host.emit('TSIMG_WARNING', { message: line, ...(how?.isError === true ? how : { isPlain: true }) });
  for (const { text, hint } of header.warnings) host.emit('TSIMG_WARNING', { message: text, hint });
  if (header.compressionType === compressionType.zstd) await loadZstd();
  await loadTables(image);
  const bitmaps = await Bitmaps.read(image);
  const writer = new Writer(image, bitmaps);
  if (!node.readOnly) await writer.prepareMedium();
  return new Qcow2State(image, bitmaps, writer, strongOptions);
}

async function loadTables(image: Qcow2Image): Promise<void> {
  const { header, file, geometry } = image;
  const table = new Uint8Array(header.refcountTableClusters * geometry.clusterSize);
  await image.raise('reftable_load');
  await readMetadata('Could not initialize refcount handling', file, header.refcountTableOffset, table);
  image.refcountTable = decodeRefcountTable(table);
  const l1 = new Uint8Array(header.l1Size * 8);
  if (l1.length > 0) await readMetadata('Could not read L1 table', file, header.l1Offset, l1);
  image.setL1(l1);
  // a check reads the snapshot table itself, and goes on where others cannot
  if (image.node.settings.toCheck !== true) await loadSnapshots(image);
}

/** The image behind a state of this driver. */
function imageOf(state: DriverState): Qcow2Image {
  invariant(state instanceof Qcow2State, 'an image of this driver');
  return state.image;
}

async function create(host: CreateHost, filename: string, values: CreateValues): Promise<void> {
  const { createQcow2 } = await import('./create.ts');
  await createQcow2(host, filename, values, imageOf);
}

async function measure(values: CreateValues, source: MeasureSource | undefined): Promise<Measured> {
  const { measureQcow2 } = await import('./measure.ts');
  return measureQcow2(values, source);
}

export const qcow2Driver: BlockDriver = { name: 'qcow2', kind: 'format', supportsBacking: true, open, createOptions, create, measure, amendOptions };
