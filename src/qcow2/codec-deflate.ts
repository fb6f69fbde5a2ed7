/* Clusters as raw deflate streams, through node:zlib. */
import { chain, type Maybe } from '../core/util/maybe.ts';
import { type ClusterCodec, corruptStream, fill } from './codec-port.ts';

type Zlib = typeof import('node:zlib');
let loadedZlib: Zlib | undefined;

/** Loaded at the first compressed cluster: most images have none, and programs should start with little. */
function zlib(): Zlib {
  loadedZlib ??= process.getBuiltinModule('node:zlib');
  return loadedZlib;
}

/** Window of the streams that other readers accept: 2^12. */
const windowBits = 12;

export const deflateCodec: ClusterCodec = {
  decompress: (stream, into, aside) => chain(aside ? inflateAside(stream, into.length) : inflate(stream, into.length), (cluster) => fill(into, cluster)),
  compress: (cluster) =>
    new Promise<Uint8Array>((resolve, reject) => {
      zlib().deflateRaw(cluster, { windowBits, memLevel: 9, chunkSize: cluster.length }, (error, stream) => (error === null ? resolve(stream) : reject(error)));
    }),
};

function inflateOptions(size: number): { windowBits: number; finishFlush: number; chunkSize: number; maxOutputLength: number } {
  return { windowBits, finishFlush: zlib().constants.Z_SYNC_FLUSH, chunkSize: size, maxOutputLength: size };
}

/** More than a cluster: the rest does not count. */
function isTooMuch(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE';
}

function inflate(stream: Uint8Array, size: number): Maybe<Uint8Array> {
  try {
    return zlib().inflateRawSync(stream, inflateOptions(size));
  } catch (error) {
    if (isTooMuch(error)) return inflateStart(stream, size);
    throw corruptStream(error);
  }
}

function inflateAside(stream: Uint8Array, size: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    zlib().inflateRaw(stream, inflateOptions(size), (error, cluster) => {
      if (error === null) resolve(cluster);
      else if (isTooMuch(error)) resolve(inflateStart(stream, size));
      else reject(corruptStream(error));
    });
  });
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
    inflater.once('error', (error) => reject(corruptStream(error)));
    inflater.end(stream);
  });
}
