/*
 * Compressed clusters: deflate through node:zlib, zstd through node:zlib where it has it or an optional package. The last
 * decompressed clusters stay at hand, since guests read a cluster in pieces. Corrupt streams fail with EIO and say nothing
 * about the image.
 * Rule source: qcow2 specification, compressed clusters (raw deflate with a 4 KiB window, or one zstd frame).
 */
import { BlockError } from '../core/util/errors.ts';
import { chain, type Maybe } from '../core/util/maybe.ts';
import type { Qcow2Image } from './image.ts';
import { compressedExtent } from './l2-entry.ts';
import { compressionType } from './layout.ts';

type Zlib = typeof import('node:zlib');
let loadedZlib: Zlib | undefined;

/** Loaded at the first compressed cluster: most images have none, and programs should start with little. */
function zlib(): Zlib {
  loadedZlib ??= process.getBuiltinModule('node:zlib');
  return loadedZlib;
}

/** Window of the deflate streams that other readers accept: 2^12. */
const windowBits = 12;
const keepClusters = 2;

/** Decompressed clusters by the host offset of their stream, most recent last. */
export class CompressedCache {
  readonly #clusters = new Map<number, Uint8Array>();
  #generation = 0;

  get(offset: number): Uint8Array | undefined {
    return this.#clusters.get(offset);
  }

  get generation(): number {
    return this.#generation;
  }

  /** Keeps `cluster`, unless something was given up since `generation` was read. */
  set(offset: number, cluster: Uint8Array, generation: number): void {
    if (generation !== this.#generation) return;
    this.#clusters.set(offset, cluster);
    if (this.#clusters.size > keepClusters) for (const oldest of this.#clusters.keys()) return void this.#clusters.delete(oldest);
  }

  clear(): void {
    this.#generation++;
    this.#clusters.clear();
  }
}

interface ZstdCodec {
  decompress(stream: Uint8Array, size: number): Uint8Array;
  compress?(cluster: Uint8Array): Uint8Array;
}

let zstd: ZstdCodec | undefined;

/** Loads the zstd decoder; called while an image with zstd opens, so that reading needs no promise. */
export async function loadZstd(): Promise<void> {
  if (zstd !== undefined) return;
  const native = zlib() as unknown as {
    zstdDecompressSync?: (stream: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;
    zstdCompressSync?: (cluster: Uint8Array, options?: object) => Uint8Array;
  };
  const { zstdDecompressSync, zstdCompressSync } = native;
  if (zstdDecompressSync !== undefined && zstdCompressSync !== undefined) {
    zstd = {
      decompress: (stream, size) => zstdDecompressSync(frameOf(stream, size), { maxOutputLength: size }),
      compress: (cluster) => zstdCompressSync(cluster),
    };
    return;
  }
  try {
    const wasm = await import('@bokuweb/zstd-wasm');
    await wasm.init();
    zstd = {
      // it takes memory for what the frame says, else for this much
      decompress: (stream, size) => wasm.decompress(frameOf(stream, size), { defaultHeapSize: size }),
      compress: (cluster) => wasm.compress(cluster, 3),
    };
  } catch (error) {
    throw new BlockError('No decoder for zstd compressed clusters is installed (optional package @bokuweb/zstd-wasm)', { code: 'ENOTSUP', cause: error });
  }
}

/**
 * Cuts `stream` behind its first zstd frame: decoders dislike what follows it in the sector. Throws EIO for a frame that is
 * cut short or says that it holds more than `size` bytes.
 */
export function frameOf(stream: Uint8Array, size: number): Uint8Array {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.length);
  if (stream.length < 6 || view.getUint32(0, true) !== 0xfd2fb528) throw corruptStream();
  const descriptor = view.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0;
  const sizeAt = 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes;
  if (contentSize(view, sizeAt, sizeBytes) > size) throw corruptStream();
  let at = sizeAt + sizeBytes;
  for (let isLast = false; !isLast; ) {
    if (at + 3 > stream.length) throw corruptStream();
    const block = view.getUint8(at) | (view.getUint8(at + 1) << 8) | (view.getUint8(at + 2) << 16);
    isLast = (block & 1) !== 0;
    // a block of one repeated byte is stored as that byte
    at += 3 + (((block >>> 1) & 3) === 1 ? 1 : block >>> 3);
  }
  if ((descriptor & 4) !== 0) at += 4;
  if (at > stream.length) throw corruptStream();
  return stream.subarray(0, at);
}

/** What the frame's header says of its content; 0 when it says nothing. */
function contentSize(view: DataView, at: number, bytes: number): number {
  if (at + bytes > view.byteLength) throw corruptStream();
  switch (bytes) {
    case 1:
      return view.getUint8(at);
    case 2:
      return view.getUint16(at, true) + 256;
    case 4:
      return view.getUint32(at, true);
    case 8:
      return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
    default:
      return 0;
  }
}

function corruptStream(): BlockError {
  return new BlockError('Input/output error', { code: 'EIO' });
}

/**
 * The `size` bytes of a cluster from its stream; bytes behind the stream, and what a deflate stream holds beyond `size`, are
 * ignored and never unpacked. Throws EIO for a bad or short stream. Pending only for a deflate stream that is too long.
 */
export function decompress(type: number, stream: Uint8Array, size: number): Maybe<Uint8Array> {
  if (type !== compressionType.zstd) return inflate(stream, size);
  try {
    return wholeCluster(decompressZstd(stream, size), size);
  } catch (error) {
    throw asCorrupt(error);
  }
}

function wholeCluster(bytes: Uint8Array, size: number): Uint8Array {
  if (bytes.length !== size) throw corruptStream();
  return bytes;
}

function asCorrupt(error: unknown): BlockError {
  return error instanceof BlockError ? error : new BlockError('Input/output error', { code: 'EIO', cause: error });
}

function inflate(stream: Uint8Array, size: number): Maybe<Uint8Array> {
  const options = { windowBits, finishFlush: zlib().constants.Z_SYNC_FLUSH, chunkSize: size, maxOutputLength: size };
  try {
    return wholeCluster(zlib().inflateRawSync(stream, options), size);
  } catch (error) {
    // more than a cluster: the rest does not count
    if (error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE') return inflateStart(stream, size);
    throw asCorrupt(error);
  }
}

/** The first `size` bytes of a stream that holds more. One chunk of output is asked for, so the rest stays packed. */
function inflateStart(stream: Uint8Array, size: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const inflater = zlib().createInflateRaw({ windowBits, chunkSize: size });
    inflater.once('data', (chunk: Uint8Array) => {
      inflater.destroy();
      if (chunk.length < size) reject(corruptStream());
      else resolve(chunk);
    });
    inflater.once('error', (error) => reject(asCorrupt(error)));
    inflater.end(stream);
  });
}

function decompressZstd(stream: Uint8Array, size: number): Uint8Array {
  if (zstd === undefined) throw new BlockError('Operation not supported', { code: 'ENOTSUP' });
  return zstd.decompress(stream, size);
}

/** The stream for a whole cluster, or undefined when it would not be smaller. */
export function compress(type: number, cluster: Uint8Array): Maybe<Uint8Array | undefined> {
  const fits = (stream: Uint8Array): Uint8Array | undefined => (stream.length < cluster.length ? stream : undefined);
  if (type === compressionType.zstd) {
    if (zstd?.compress === undefined) throw new BlockError('Operation not supported', { code: 'ENOTSUP' });
    return fits(zstd.compress(cluster));
  }
  // in the thread pool: it is the costliest thing this driver does
  return new Promise<Uint8Array>((resolve, reject) => {
    zlib().deflateRaw(cluster, { windowBits, memLevel: 9 }, (error, stream) => (error === null ? resolve(stream) : reject(error)));
  }).then(fits);
}

/** Fills `into` from byte `inside` of the compressed cluster behind an entry. */
export function readCompressed(image: Qcow2Image, hi: number, lo: number, inside: number, into: Uint8Array): Maybe<void> {
  const { clusterSize } = image.geometry;
  const { offset, length } = compressedExtent(image.geometry, hi, lo);
  const known = image.compressedCache.get(offset);
  if (known !== undefined) {
    into.set(known.subarray(inside, inside + into.length));
    return;
  }
  const generation = image.compressedCache.generation;
  const stream = new Uint8Array(length);
  const deliver = (cluster: Uint8Array): void => {
    image.compressedCache.set(offset, cluster, generation);
    into.set(cluster.subarray(inside, inside + into.length));
  };
  return chain(image.readFile(offset, stream), () => chain(decompress(image.header.compressionType, stream, clusterSize), deliver));
}
