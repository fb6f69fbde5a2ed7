/*
 * Images whose fields lie: every length, count, offset and pointer of the format at its worst, each at most 16 MiB on the
 * medium. For the memory tests in CI and for scripts/hostile-images.mjs, which compares with the peer.
 */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { constants, deflateRawSync } from 'node:zlib';

const kibi = 1024;
const mebi = kibi * kibi;
const gibi = kibi * mebi;
const copied = 1n << 63n;
const compressed = 1n << 62n;

interface Extension {
  readonly type: number;
  /** Length as told; default: that of `data`. */
  readonly length?: number;
  readonly data: Uint8Array;
}

interface Fields {
  readonly version?: number;
  readonly clusterBits?: number;
  readonly size?: bigint;
  readonly l1Size?: number;
  readonly l1Offset?: bigint;
  readonly refcountTableOffset?: bigint;
  readonly refcountTableClusters?: number;
  readonly snapshotCount?: number;
  readonly snapshotsOffset?: bigint;
  readonly incompatible?: bigint;
  readonly autoclear?: bigint;
  readonly refcountOrder?: number;
  readonly headerLength?: number;
  readonly compressionType?: number;
  readonly cryptMethod?: number;
  readonly extensions?: readonly Extension[];
  readonly backing?: { readonly offset: bigint; readonly length: number };
}

/** A sparse file on its way. */
class Canvas {
  readonly #file: number;
  readonly clusterSize: number;

  constructor(path: string, fields: Fields) {
    this.#file = openSync(path, 'w');
    this.clusterSize = 2 ** (fields.clusterBits ?? 16);
    this.put(0, headerBytes(fields));
    const { clusterSize } = this;
    // what a small image has: a table, a block that counts the first clusters, an empty L1 table
    this.u64(clusterSize, BigInt(2 * clusterSize));
    for (let cluster = 0; cluster < 4; cluster++) this.put(2 * clusterSize + 2 * cluster, Uint8Array.of(0, 1));
    this.length(4 * clusterSize);
  }

  put(offset: number, bytes: Uint8Array): void {
    writeSync(this.#file, bytes, 0, bytes.length, offset);
  }

  u64(offset: number, value: bigint): void {
    this.words(offset, 1, () => value);
  }

  /** `count` words of 64 bits from `offset` on. */
  words(offset: number, count: number, value: (index: number) => bigint): void {
    const bytes = Buffer.alloc(count * 8);
    for (let index = 0; index < count; index++) bytes.writeBigUInt64BE(value(index), index * 8);
    this.put(offset, bytes);
  }

  length(bytes: number): void {
    ftruncateSync(this.#file, bytes);
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }
}

function headerBytes(fields: Fields): Buffer {
  const clusterSize = 2 ** (fields.clusterBits ?? 16);
  const bytes = Buffer.alloc(Math.max(clusterSize, 512));
  const headerLength = fields.headerLength ?? 112;
  bytes.writeUInt32BE(0x514649fb, 0);
  bytes.writeUInt32BE(fields.version ?? 3, 4);
  bytes.writeBigUInt64BE(fields.backing?.offset ?? 0n, 8);
  bytes.writeUInt32BE(fields.backing?.length ?? 0, 16);
  bytes.writeUInt32BE(fields.clusterBits ?? 16, 20);
  bytes.writeBigUInt64BE(fields.size ?? BigInt(mebi), 24);
  bytes.writeUInt32BE(fields.cryptMethod ?? 0, 32);
  bytes.writeUInt32BE(fields.l1Size ?? 1, 36);
  bytes.writeBigUInt64BE(fields.l1Offset ?? BigInt(3 * clusterSize), 40);
  bytes.writeBigUInt64BE(fields.refcountTableOffset ?? BigInt(clusterSize), 48);
  bytes.writeUInt32BE(fields.refcountTableClusters ?? 1, 56);
  bytes.writeUInt32BE(fields.snapshotCount ?? 0, 60);
  bytes.writeBigUInt64BE(fields.snapshotsOffset ?? 0n, 64);
  bytes.writeBigUInt64BE(fields.incompatible ?? 0n, 72);
  bytes.writeBigUInt64BE(fields.autoclear ?? 0n, 88);
  bytes.writeUInt32BE(fields.refcountOrder ?? 4, 96);
  bytes.writeUInt32BE(headerLength, 100);
  bytes[104] = fields.compressionType ?? 0;
  let at = headerLength;
  for (const { type, length, data } of fields.extensions ?? []) {
    bytes.writeUInt32BE(type, at);
    bytes.writeUInt32BE(length ?? data.length, at + 4);
    bytes.set(data, at + 8);
    at += 8 + Math.ceil(data.length / 8) * 8;
  }
  return bytes;
}

interface Snapshot {
  readonly l1Offset?: number;
  readonly l1Size?: number;
  readonly extra?: number;
  readonly id?: number;
  readonly name?: number;
}

/** The head of a snapshot entry; what it says to follow is the file's. */
function snapshotEntry({ l1Offset = 0, l1Size = 0, extra = 16, id = 1, name = 1 }: Snapshot): Buffer {
  const bytes = Buffer.alloc(40);
  bytes.writeBigUInt64BE(BigInt(l1Offset), 0);
  bytes.writeUInt32BE(l1Size, 8);
  bytes.writeUInt16BE(id, 12);
  bytes.writeUInt16BE(name, 14);
  bytes.writeUInt32BE(extra, 36);
  return bytes;
}

/** `count` equal snapshot entries from `offset` on. */
function putSnapshots(canvas: Canvas, offset: number, count: number, entry: (index: number) => Snapshot): void {
  for (let at = offset, index = 0; index < count; index++) {
    const parts = entry(index);
    canvas.put(at, snapshotEntry(parts));
    at += Math.ceil((40 + (parts.extra ?? 16) + (parts.id ?? 1) + (parts.name ?? 1)) / 8) * 8;
  }
}

interface BitmapEntry {
  readonly tableOffset: number;
  readonly entries: number;
  readonly flags: number;
  readonly granularityBits: number;
}

function bitmapsExtension(count: number, directoryOffset: number): Extension {
  const data = Buffer.alloc(24);
  data.writeUInt32BE(count, 0);
  data.writeBigUInt64BE(BigInt(count * 32), 8);
  data.writeBigUInt64BE(BigInt(directoryOffset), 16);
  return { type: 0x23852875, data };
}

function putBitmaps(canvas: Canvas, offset: number, count: number, { tableOffset, entries, flags, granularityBits }: BitmapEntry): void {
  const bytes = Buffer.alloc(count * 32);
  for (let index = 0; index < count; index++) {
    const at = index * 32;
    bytes.writeBigUInt64BE(BigInt(tableOffset), at);
    bytes.writeUInt32BE(entries, at + 8);
    bytes.writeUInt32BE(flags, at + 12);
    bytes[at + 16] = 1;
    bytes[at + 17] = granularityBits;
    bytes.writeUInt16BE(5, at + 18);
    bytes.write(String(index).padStart(5, '0'), at + 24);
  }
  canvas.put(offset, bytes);
}

/** A deflate stream of `bytes` bytes (a multiple of 4 MB), made of blocks that may follow one another. */
function bomb(bytes: number): Buffer {
  const block = deflateRawSync(Buffer.alloc(4_000_000, 90), { level: 9, windowBits: 12, finishFlush: constants.Z_SYNC_FLUSH });
  return Buffer.concat(new Array<Buffer>(bytes / 4_000_000).fill(block));
}

/** A zstd frame of `blocks` blocks of 128 KiB, each one repeated byte; with `says` it tells that content size. */
function zstdBomb(blocks: number, says?: bigint): Buffer {
  const head = Buffer.alloc(says === undefined ? 6 : 14);
  head.writeUInt32LE(0xfd2fb528, 0);
  head[4] = says === undefined ? 0 : 0xc0;
  // window of 128 MiB
  head[5] = 17 << 3;
  if (says !== undefined) head.writeBigUInt64LE(says, 6);
  const block = (isLast: boolean): Buffer => {
    const bytes = Buffer.alloc(4, 90);
    bytes.writeUIntLE((isLast ? 1 : 0) | (1 << 1) | (131072 << 3), 0, 3);
    return bytes;
  };
  return Buffer.concat([head, ...new Array<Buffer>(blocks - 1).fill(block(false)), block(true)]);
}

export interface HostileImage {
  readonly name: string;
  readonly fields?: Fields;
  /** Virtual bytes are few enough that reading them all is fair. */
  readonly isReadable?: boolean;
  /** Takes the peer seconds too: left out of CI. */
  readonly isSlow?: boolean;
  paint?(canvas: Canvas): void;
}

const empty = new Uint8Array(0);
const big = 16 * mebi;

const headers: readonly HostileImage[] = [
  { name: 'header-length-4-gib', fields: { headerLength: 112 }, paint: (canvas) => canvas.put(100, Uint8Array.of(255, 255, 255, 255)) },
  { name: 'header-fills-cluster', fields: { clusterBits: 21, headerLength: 2 * mebi } },
  { name: 'extension-length-4-gib', fields: { extensions: [{ type: 0x1234, length: 0xfffffff0, data: empty }] } },
  { name: 'extensions-130000', fields: { clusterBits: 21, extensions: new Array<Extension>(130_000).fill({ type: 0x1234, data: new Uint8Array(8) }) } },
  {
    name: 'feature-names-2-mib',
    fields: { clusterBits: 21, incompatible: 1n << 40n, extensions: [{ type: 0x6803f857, data: new Uint8Array(2 * mebi - 256).fill(65) }] },
  },
  { name: 'backing-name-4-gib', fields: { backing: { offset: 1024n, length: 0xffffffff } } },
  { name: 'backing-name-at-end', fields: { backing: { offset: 65535n, length: 1023 } } },
  { name: 'data-file-name-60-kib', fields: { incompatible: 4n, extensions: [{ type: 0x44415441, data: new Uint8Array(60_000).fill(97) }] } },
  { name: 'luks-header-2-63', fields: { cryptMethod: 2, extensions: [{ type: 0x0537be77, data: Buffer.from('00000000000100007fffffffffffffff', 'hex') }] } },
  { name: 'aes', fields: { cryptMethod: 1 } },
  { name: 'clusters-512', fields: { clusterBits: 9, l1Size: 32 } },
  { name: 'clusters-2-mib', fields: { clusterBits: 21 } },
  { name: 'refcounts-1-bit', fields: { refcountOrder: 0 } },
  { name: 'refcounts-64-bit', fields: { refcountOrder: 6 } },
  { name: 'corrupt', fields: { incompatible: 2n } },
  { name: 'size-2-60', fields: { clusterBits: 21, size: 1n << 60n, l1Size: 1 << 21, l1Offset: BigInt(big) } },
];

const tables: readonly HostileImage[] = [
  { name: 'l1-4-million-empty', fields: { l1Size: 1 << 22, l1Offset: BigInt(big) } },
  {
    name: 'l1-8192-to-one-l2',
    fields: { l1Size: 8192, size: BigInt(8192 * 512 * mebi) },
    isSlow: true,
    paint: (canvas) => {
      canvas.words(3 * 65536, 8192, () => copied | BigInt(5 * 65536));
      canvas.words(5 * 65536, 8192, () => copied | BigInt(6 * 65536));
      canvas.length(7 * 65536);
    },
  },
  {
    name: 'l1-1024-to-one-l2-dirty',
    fields: { l1Size: 1024, incompatible: 1n },
    isReadable: true,
    // a writable open repairs it: some 10 s of a processor
    isSlow: true,
    paint: (canvas) => {
      canvas.words(3 * 65536, 1024, () => copied | BigInt(5 * 65536));
      canvas.words(5 * 65536, 8192, (index) => copied | BigInt((6 + (index % 16)) * 65536));
      canvas.length(30 * 65536);
    },
  },
  {
    name: 'l1-million-beyond-end',
    fields: { l1Size: 1 << 20, l1Offset: BigInt(big), clusterBits: 9 },
    isSlow: true,
    paint: (canvas) => canvas.words(big, 1 << 20, (index) => copied | (BigInt((index * 7919) % (1 << 20)) * 4096n + (1n << 40n))),
  },
  {
    name: 'l1-million-to-one-l2-small-clusters',
    fields: { l1Size: 1 << 20, l1Offset: BigInt(big), clusterBits: 9 },
    isSlow: true,
    paint: (canvas) => {
      canvas.words(big, 1 << 20, () => copied | 4096n);
      canvas.words(4096, 64, () => copied | 8192n);
    },
  },
  {
    name: 'l2-entries-to-one-cluster',
    paint: (canvas) => {
      canvas.u64(3 * 65536, copied | BigInt(5 * 65536));
      canvas.words(5 * 65536, 8192, () => copied | BigInt(6 * 65536));
      canvas.length(7 * 65536);
    },
    isReadable: true,
  },
  {
    name: 'l2-points-at-itself-and-metadata',
    paint: (canvas) => {
      canvas.u64(3 * 65536, copied | BigInt(3 * 65536));
      canvas.words(3 * 65536 + 8, 100, (index) => copied | BigInt((index % 8) * 65536));
    },
    isReadable: true,
  },
  {
    name: 'l2-spread-over-8-tib',
    fields: { l1Size: 128, l1Offset: BigInt(4 * 65536), size: BigInt(128 * 512 * mebi) },
    isSlow: true,
    paint: (canvas) => {
      canvas.words(4 * 65536, 128, (index) => copied | BigInt((8 + index) * 65536));
      for (let table = 0; table < 128; table++)
        canvas.words((8 + table) * 65536, 8192, (index) => copied | (BigInt(256 + (table * 8192 + index) * 100) * 65536n));
      canvas.length(8192 * gibi);
    },
  },
  {
    name: 'compressed-beyond-end',
    paint: (canvas) => {
      canvas.u64(3 * 65536, copied | BigInt(5 * 65536));
      canvas.words(5 * 65536, 8192, (index) => compressed | (255n << 54n) | (BigInt(index) << 40n));
    },
    isReadable: true,
  },
  {
    name: 'extended-l2-all-bits',
    fields: { incompatible: 16n },
    paint: (canvas) => {
      canvas.u64(3 * 65536, copied | BigInt(5 * 65536));
      canvas.words(5 * 65536, 8192, (index) => (index % 2 === 0 ? copied | BigInt(index * 65536) : (1n << 64n) - 1n));
    },
    isReadable: true,
  },
];

const refcounts: readonly HostileImage[] = [
  {
    name: 'refcount-table-one-block',
    fields: { refcountTableOffset: BigInt(big), refcountTableClusters: 128 },
    isSlow: true,
    paint: (canvas) => canvas.words(big, 1 << 20, () => BigInt(2 * 65536)),
  },
  {
    name: 'refcount-table-distinct-blocks',
    fields: { refcountTableOffset: BigInt(big), refcountTableClusters: 16384, clusterBits: 9 },
    paint: (canvas) => {
      canvas.words(big, 1 << 20, (index) => BigInt(((index * 7919) % (1 << 20)) * 512 + 32 * mebi));
      canvas.length(600 * mebi);
    },
    isSlow: true,
  },
  {
    name: 'refcount-table-unaligned',
    fields: { refcountTableOffset: BigInt(big), refcountTableClusters: 1 },
    paint: (canvas) => canvas.words(big, 8192, () => BigInt(2 * 65536 + 512)),
  },
  { name: 'refcount-table-empty-8-mib', fields: { refcountTableOffset: BigInt(big), refcountTableClusters: 128 } },
  { name: 'refcount-table-is-header', fields: { refcountTableOffset: 0n, refcountTableClusters: 128 } },
  { name: 'file-of-4-tib', paint: (canvas) => canvas.length(4096 * gibi), isSlow: true },
  { name: 'file-of-1-tib-small-clusters', fields: { clusterBits: 9, l1Size: 32 }, paint: (canvas) => canvas.length(1000 * gibi), isSlow: true },
];

const snapshots: readonly HostileImage[] = [
  { name: 'snapshots-65536-zeros', fields: { snapshotCount: 65536, snapshotsOffset: BigInt(big) }, isSlow: true },
  { name: 'snapshots-2-32', fields: { snapshotCount: 0xffffffff, snapshotsOffset: BigInt(big) }, isSlow: true },
  {
    name: 'snapshot-l1-size-2-32',
    fields: { clusterBits: 9, l1Size: 32, snapshotCount: 1, snapshotsOffset: BigInt(big) },
    paint: (canvas) => putSnapshots(canvas, big, 1, () => ({ l1Offset: 32 * mebi, l1Size: 0xffffffff })),
    isReadable: true,
  },
  {
    name: 'snapshots-20000-distinct-l1',
    fields: { clusterBits: 9, l1Size: 32, snapshotCount: 20_000, snapshotsOffset: BigInt(big) },
    paint: (canvas) => putSnapshots(canvas, big, 20_000, (index) => ({ l1Offset: 1 * gibi + ((index * 7919) % 20_000) * 65536, l1Size: 0x400001 })),
    isReadable: true,
  },
  {
    name: 'snapshots-with-long-names',
    fields: { snapshotCount: 400, snapshotsOffset: BigInt(big) },
    paint: (canvas) => putSnapshots(canvas, big, 400, () => ({ id: 65535, name: 65535, extra: 1024 })),
  },
  {
    name: 'snapshot-extra-4-gib',
    fields: { snapshotCount: 1, snapshotsOffset: BigInt(big) },
    paint: (canvas) => canvas.put(big, snapshotEntry({ extra: 0xffffffff })),
  },
];

const bitmaps: readonly HostileImage[] = [
  {
    name: 'bitmaps-400-tables-of-8-mib',
    fields: { clusterBits: 9, l1Size: 32, autoclear: 1n, extensions: [bitmapsExtension(400, big)] },
    paint: (canvas) => {
      putBitmaps(canvas, big, 400, { tableOffset: 32 * mebi, entries: 1 << 20, flags: 1, granularityBits: 16 });
      canvas.length(48 * mebi);
    },
    isReadable: true,
    isSlow: true,
  },
  {
    name: 'bitmaps-65535',
    fields: { autoclear: 1n, extensions: [bitmapsExtension(65_535, big)] },
    paint: (canvas) => putBitmaps(canvas, big, 65_535, { tableOffset: 32 * mebi, entries: 1, flags: 1, granularityBits: 16 }),
    isReadable: true,
    isSlow: true,
  },
  {
    name: 'bitmap-of-512-mib-all-ones',
    fields: { size: 1n << 41n, l1Size: 4096, autoclear: 1n, extensions: [bitmapsExtension(1, 8 * mebi)] },
    paint: (canvas) => {
      putBitmaps(canvas, 8 * mebi, 1, { tableOffset: 9 * mebi, entries: 8192, flags: 0, granularityBits: 9 });
      canvas.words(9 * mebi, 8192, () => 1n);
    },
  },
  {
    name: 'bitmaps-50-of-512-mib-all-ones',
    fields: { size: 1n << 41n, l1Size: 4096, autoclear: 1n, extensions: [bitmapsExtension(50, 8 * mebi)] },
    paint: (canvas) => {
      putBitmaps(canvas, 8 * mebi, 50, { tableOffset: 9 * mebi, entries: 8192, flags: 0, granularityBits: 9 });
      canvas.words(9 * mebi, 8192, () => 1n);
    },
  },
  {
    name: 'bitmap-of-512-mib-one-cluster',
    fields: { size: 1n << 41n, l1Size: 4096, autoclear: 1n, extensions: [bitmapsExtension(1, 8 * mebi)] },
    paint: (canvas) => {
      putBitmaps(canvas, 8 * mebi, 1, { tableOffset: 9 * mebi, entries: 8192, flags: 0, granularityBits: 9 });
      canvas.words(9 * mebi, 8192, () => BigInt(10 * mebi));
      canvas.put(10 * mebi, new Uint8Array(65536).fill(170));
    },
  },
];

/** A table whose entries all name `stream`. */
function streams(name: string, stream: () => Buffer, fields: Fields = {}): HostileImage {
  return {
    name,
    fields: { size: 64n * 65536n, ...fields },
    isReadable: true,
    paint: (canvas) => {
      const bytes = stream();
      canvas.u64(3 * 65536, copied | BigInt(5 * 65536));
      const sectors = BigInt(Math.min(255, Math.ceil(bytes.length / 512) - 1));
      canvas.words(5 * 65536, 64, (index) => compressed | (sectors << 54n) | BigInt(8 * 65536 + index * 524_288));
      for (let index = 0; index < 64; index += 8) canvas.put(8 * 65536 + index * 524_288, bytes.subarray(0, 131_072));
      canvas.length(48 * mebi);
    },
  };
}

const compressedImages: readonly HostileImage[] = [
  streams('deflate-bombs', () => bomb(120_000_000)),
  streams('zstd-bombs', () => zstdBomb(16_000), { incompatible: 8n, compressionType: 1 }),
  streams('zstd-says-2-62', () => zstdBomb(16, 1n << 62n), { incompatible: 8n, compressionType: 1 }),
];

export const hostileImages: readonly HostileImage[] = [...headers, ...tables, ...refcounts, ...snapshots, ...bitmaps, ...compressedImages];

/** Writes the image to `path`. */
export function writeHostile(image: HostileImage, path: string): void {
  using canvas = new Canvas(path, image.fields ?? {});
  image.paint?.(canvas);
}
