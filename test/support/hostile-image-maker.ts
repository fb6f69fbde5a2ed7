/*
 * How hostile images are made: a header whose fields say what they like, and a canvas to put tables and streams on.
 */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { constants, deflateRawSync } from 'node:zlib';

export const kibi: number = 1024;
export const mebi: number = kibi * kibi;
export const gibi: number = kibi * mebi;
export const copied: bigint = 1n << 63n;
export const compressed: bigint = 1n << 62n;

export interface Extension {
  readonly type: number;
  /** Length as told; default: that of `data`. */
  readonly length?: number;
  readonly data: Uint8Array;
}

export interface Fields {
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
export class Canvas {
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

export function headerBytes(fields: Fields): Buffer {
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

export interface Snapshot {
  readonly l1Offset?: number;
  readonly l1Size?: number;
  readonly extra?: number;
  readonly id?: number;
  readonly name?: number;
}

/** The head of a snapshot entry; what it says to follow is the file's. */
export function snapshotEntry({ l1Offset = 0, l1Size = 0, extra = 16, id = 1, name = 1 }: Snapshot): Buffer {
  const bytes = Buffer.alloc(40);
  bytes.writeBigUInt64BE(BigInt(l1Offset), 0);
  bytes.writeUInt32BE(l1Size, 8);
  bytes.writeUInt16BE(id, 12);
  bytes.writeUInt16BE(name, 14);
  bytes.writeUInt32BE(extra, 36);
  return bytes;
}

/** `count` equal snapshot entries from `offset` on. */
export function putSnapshots(canvas: Canvas, offset: number, count: number, entry: (index: number) => Snapshot): void {
  for (let at = offset, index = 0; index < count; index++) {
    const parts = entry(index);
    canvas.put(at, snapshotEntry(parts));
    at += Math.ceil((40 + (parts.extra ?? 16) + (parts.id ?? 1) + (parts.name ?? 1)) / 8) * 8;
  }
}

/** A backing file's name behind the header, with the format of its own extension. */
export function named(name: string, format: string): Pick<HostileImage, 'fields' | 'paint'> {
  return {
    fields: { backing: { offset: 4096n, length: Buffer.byteLength(name) }, extensions: [{ type: 0xe2792aca, data: Buffer.from(format) }] },
    paint: (canvas) => canvas.put(4096, Buffer.from(name)),
  };
}

/** `text` below `levels` nodes of driver raw. */
export function wrapped(text: string, levels: number): string {
  return '{"driver":"raw","file":'.repeat(levels) + text + '}'.repeat(levels);
}

export interface BitmapEntry {
  readonly tableOffset: number;
  readonly entries: number;
  readonly flags: number;
  readonly granularityBits: number;
}

export function bitmapsExtension(count: number, directoryOffset: number): Extension {
  const data = Buffer.alloc(24);
  data.writeUInt32BE(count, 0);
  data.writeBigUInt64BE(BigInt(count * 32), 8);
  data.writeBigUInt64BE(BigInt(directoryOffset), 16);
  return { type: 0x23852875, data };
}

export function putBitmaps(canvas: Canvas, offset: number, count: number, { tableOffset, entries, flags, granularityBits }: BitmapEntry): void {
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
export function bomb(bytes: number): Buffer {
  const block = deflateRawSync(Buffer.alloc(4_000_000, 90), { level: 9, windowBits: 12, finishFlush: constants.Z_SYNC_FLUSH });
  return Buffer.concat(new Array<Buffer>(bytes / 4_000_000).fill(block));
}

/** A zstd frame of `blocks` blocks of 128 KiB, each one repeated byte; with `says` it tells that content size. */
export function zstdBomb(blocks: number, says?: bigint): Buffer {
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

export const empty: Uint8Array = new Uint8Array(0);
export const big: number = 16 * mebi;
