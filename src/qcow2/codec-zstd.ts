/*
 * Clusters as zstd frames: through node:zlib where it has zstd, else through the system's library, else a package in
 * WebAssembly, on one core (docs/adr/0009-zstd.md).
 * Rule source: RFC 8878 (frame and block headers).
 */
import { nativeLibrary } from '../core/storage/native-library.ts';
import { BlockError } from '../core/util/errors.ts';
import { type ClusterCodec, corruptStream, fill } from './codec-port.ts';

/** As the peer compresses. */
const level = 3;

/** What node:zlib has from 22.15 on. */
interface NativeZlib {
  zstdDecompressSync(stream: Uint8Array, options: object): Uint8Array;
  zstdCompress(bytes: Uint8Array, options: object, done: (error: Error | null, stream: Uint8Array) => void): void;
}

/** The codec. Rejects with ENOTSUP where nothing is installed that decompresses. */
export async function zstdCodec(): Promise<ClusterCodec> {
  const zlib: object = process.getBuiltinModule('node:zlib');
  if (hasZstd(zlib)) return builtIn(zlib);
  const library = systemLibrary();
  return library === undefined ? zstdPackage() : fromLibrary(library);
}

function hasZstd(zlib: object): zlib is NativeZlib {
  return 'zstdDecompressSync' in zlib && 'zstdCompress' in zlib;
}

function builtIn(zlib: NativeZlib): ClusterCodec {
  return {
    // handing it to the thread pool takes as long as doing it
    decompress: (stream, into) => {
      const bytes = frameOf(stream, into.length);
      checked(() => fill(into, zlib.zstdDecompressSync(bytes, { maxOutputLength: into.length })));
    },
    // its level is 3 when nothing is said
    compress: (cluster) =>
      new Promise((resolve, reject) => {
        zlib.zstdCompress(cluster, {}, (error, stream) => (error === null ? resolve(stream) : reject(error)));
      }),
  };
}

/** The C library of zstd, as far as it is used here. */
interface ZstdLibrary {
  /** Fills `into`; so many bytes of it, more than it has when they had no room. */
  compress(into: Uint8Array, from: Uint8Array): Promise<number>;
  /** Fills `into`; so many bytes of it, more than it has at an error. */
  decompress(into: Uint8Array, from: Uint8Array): number;
}

/** Undefined where the system has none, or no way to call it. */
function systemLibrary(): ZstdLibrary | undefined {
  const library = nativeLibrary('libzstd.so.1');
  if (library === undefined) return undefined;
  const compress = library.func('size_t ZSTD_compress(void *into, size_t room, const void *from, size_t length, int level)');
  const decompress = library.func('size_t ZSTD_decompress(void *into, size_t room, const void *from, size_t length)');
  return {
    compress: (into, from) =>
      new Promise((resolve, reject) => {
        compress.async(into, into.length, from, from.length, level, (error: Error | null, length: unknown) => {
          if (error === null) resolve(Number(length));
          else reject(error);
        });
      }),
    decompress: (into, from) => Number(decompress(into, into.length, from, from.length)),
  };
}

function fromLibrary(zstd: ZstdLibrary): ClusterCodec {
  return {
    decompress: (stream, into) => {
      if (zstd.decompress(into, frameOf(stream, into.length)) !== into.length) throw corruptStream();
    },
    compress: async (cluster) => {
      const into = Buffer.allocUnsafeSlow(cluster.length);
      const length = await zstd.compress(into, cluster);
      // too little room: it does not shrink
      return length > into.length ? cluster : into.subarray(0, length);
    },
  };
}

/** The codec of the package, whatever the system has. */
export async function zstdPackage(): Promise<ClusterCodec> {
  const wasm = await loadWasm();
  return {
    // it takes memory for what the frame says, else for this much
    decompress: (stream, into) => {
      const bytes = frameOf(stream, into.length);
      checked(() => fill(into, wasm.decompress(bytes, { defaultHeapSize: into.length })));
    },
    compress: (cluster) => wasm.compress(cluster, level),
  };
}

async function loadWasm(): Promise<typeof import('@bokuweb/zstd-wasm')> {
  try {
    const wasm = await import('@bokuweb/zstd-wasm');
    await wasm.init();
    return wasm;
  } catch (error) {
    throw new BlockError('No decoder for zstd compressed clusters is installed (optional package @bokuweb/zstd-wasm)', { code: 'ENOTSUP', cause: error });
  }
}

function checked(decompress: () => void): void {
  try {
    decompress();
  } catch (error) {
    throw corruptStream(error);
  }
}

/**
 * The first zstd frame of `stream`, without what follows it in the sector: decoders dislike that. Throws EIO for a frame that is cut short or says that it holds more than `size` bytes.
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
