/*
 * The two ways in which a cluster is compressed, behind one port (codec-port.ts). The work is done in the thread pool where a request has
 * several clusters of it, at once where a guest waits for a single one.
 * Rule source: qcow2 specification, compressed clusters (raw deflate with a 4 KiB window, or one zstd frame).
 */
import { BlockError } from '../core/util/errors.ts';
import { deflateCodec } from './codec-deflate.ts';
import type { ClusterCodec } from './codec-port.ts';
import { compressionType } from './layout.ts';

let zstd: ClusterCodec | undefined;

/** Loads what images with zstd need; called while one opens, so that reading needs no promise. Throws ENOTSUP where nothing is installed. */
export async function loadZstd(): Promise<void> {
  zstd ??= await (await import('./codec-zstd.ts')).zstdCodec();
}

/** The codec of an image by its compression type. */
export function codecOf(type: number): ClusterCodec {
  if (type !== compressionType.zstd) return deflateCodec;
  if (zstd === undefined) throw new BlockError('Operation not supported', { code: 'ENOTSUP' });
  return zstd;
}
