/*
 * Reading compressed clusters. The last decompressed ones stay at hand, since guests read a cluster in pieces. Corrupt
 * streams fail with EIO and say nothing about the image. How streams are made and undone: codec.ts.
 */
import { chain, type Maybe } from '../core/util/maybe.ts';
import { codecOf } from './codec.ts';
import type { Qcow2Image } from './image.ts';
import { compressedExtent } from './l2-entry.ts';

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

/** Fills `into` from byte `inside` of the compressed cluster behind an entry; a whole cluster in the thread pool, beside others. */
export function readCompressed(image: Qcow2Image, hi: number, lo: number, inside: number, into: Uint8Array): Maybe<void> {
  const { clusterSize } = image.geometry;
  const { offset, length } = compressedExtent(image.geometry, hi, lo);
  const known = image.compressedCache.get(offset);
  if (known !== undefined) {
    into.set(known.subarray(inside, inside + into.length));
    return;
  }
  const codec = codecOf(image.header.compressionType);
  const stream = new Uint8Array(length);
  // who reads whole clusters does not come back for the rest
  if (into.length === clusterSize) return chain(image.readFile(offset, stream), () => codec.decompress(stream, into, true));
  const generation = image.compressedCache.generation;
  const cluster = new Uint8Array(clusterSize);
  const deliver = (): void => {
    image.compressedCache.set(offset, cluster, generation);
    into.set(cluster.subarray(inside, inside + into.length));
  };
  return chain(image.readFile(offset, stream), () => chain(codec.decompress(stream, cluster, false), deliver));
}
