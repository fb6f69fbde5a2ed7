/* What every codec of clusters promises, and the errors they share. */
import { BlockError } from '../core/util/errors.ts';
import type { Maybe } from '../core/util/maybe.ts';

export interface ClusterCodec {
  /**
   * Fills `into`, a whole cluster, from its stream; bytes behind the stream, and what it holds beyond the cluster, do not
   * count and are never unpacked. Throws EIO for a bad or short stream. `aside`: in the thread pool where that pays.
   */
  decompress(stream: Uint8Array, into: Uint8Array, aside: boolean): Maybe<void>;
  /** The stream for a whole cluster, of any length; pending where it is made in the thread pool. */
  compress(cluster: Uint8Array): Maybe<Uint8Array>;
}

/** A stream that is none, or too short. */
export function corruptStream(cause?: unknown): BlockError {
  return cause instanceof BlockError ? cause : new BlockError('Input/output error', { code: 'EIO', cause });
}

/** Fills `into` with `bytes`, which must be as many. */
export function fill(into: Uint8Array, bytes: Uint8Array): void {
  if (bytes.length !== into.length) throw corruptStream();
  into.set(bytes);
}
