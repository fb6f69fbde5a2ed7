/*
 * Compressed writes: whole clusters that have no place yet, stored as streams one behind the other. What does not shrink is
 * written as plain data.
 * Rule source: qcow2 specification, compressed clusters; observed packing.
 */

import { BlockError } from '../core/util/errors.ts';
import { isPending, type Maybe } from '../core/util/maybe.ts';
import type { GuestPosition } from '../core/util/offsets.ts';
import { sliceIndexOf } from './address.ts';
import { markDirtyBit, sliceForUpdate, writableSlice } from './allocate.ts';
import { codecOf } from './codec.ts';
import type { ClusterCodec } from './codec-port.ts';
import type { Qcow2Image } from './image.ts';
import { compressedEntry, newEntry, readEntry, writeEntryWords, writeSubclusters } from './l2-entry.ts';
import { allocateBytes, freeClusters } from './refcounts.ts';
import { locked, type Steps, wait } from './steps.ts';
import type { CachedTable } from './table-cache.ts';

/** Writes [guest, guest + from.length), cluster aligned or up to the end of the disk. `writePlain` stores what does not shrink. */
export function* writeCompressed(
  image: Qcow2Image,
  guest: GuestPosition,
  from: Uint8Array,
  writePlain: (guest: GuestPosition, bytes: Uint8Array) => Steps<void>,
): Steps<void> {
  const { clusterSize } = image.geometry;
  if (image.hasDataFile) throw new BlockError('Operation not supported', { code: 'ENOTSUP' });
  const end = guest + from.length;
  if (guest % clusterSize !== 0 || (end % clusterSize !== 0 && end !== image.size)) throw new BlockError('Invalid argument', { code: 'EINVAL' });
  const streams = new Streams(codecOf(image.header.compressionType), from, clusterSize);
  try {
    for (let done = 0; done < from.length; done += clusterSize) {
      const stream = yield* wait(streams.next());
      // what would not be smaller is stored as it is
      if (stream.length >= clusterSize) yield* writePlain(guest + done, from.subarray(done, done + clusterSize));
      else yield* storeStream(image, guest + done, stream);
    }
  } finally {
    // the bytes are the caller's again only when nobody reads them
    yield* streams.quiet();
  }
}

/** Clusters of one request that are compressed before they are stored: work for every core, and a bound of its memory. */
const ahead = 8;

/** The streams of a request's clusters, in order; some of those to come are being made meanwhile. */
class Streams {
  readonly #codec: ClusterCodec;
  readonly #from: Uint8Array;
  readonly #clusterSize: number;
  readonly #begun: Maybe<Uint8Array>[] = [];
  #at = 0;

  constructor(codec: ClusterCodec, from: Uint8Array, clusterSize: number) {
    this.#codec = codec;
    this.#from = from;
    this.#clusterSize = clusterSize;
  }

  next(): Maybe<Uint8Array> {
    while (this.#at < this.#from.length && this.#begun.length < ahead) this.#begin();
    const stream = this.#begun.shift();
    if (stream === undefined) throw new RangeError('no cluster is left');
    return stream;
  }

  *quiet(): Steps<void> {
    for (const stream of this.#begun) {
      if (!isPending(stream)) continue;
      const settled: Promise<unknown> = stream.catch(() => {});
      yield settled;
    }
  }

  #begin(): void {
    let cluster = this.#from.subarray(this.#at, this.#at + this.#clusterSize);
    if (cluster.length < this.#clusterSize) {
      // the last cluster is stored whole
      const whole = new Uint8Array(this.#clusterSize);
      whole.set(cluster);
      cluster = whole;
    }
    this.#at += this.#clusterSize;
    const stream = this.#codec.compress(cluster);
    // its error is told when its turn comes
    if (isPending(stream)) stream.catch(() => {});
    this.#begun.push(stream);
  }
}

function* storeStream(image: Qcow2Image, guest: GuestPosition, stream: Uint8Array): Steps<void> {
  const { geometry } = image;
  const offset = yield* locked(image.mutex, function* () {
    const slice = yield* writableSlice(image, guest);
    const old = readEntry(geometry, slice, sliceIndexOf(geometry, guest), newEntry());
    // nothing is overwritten, not even a place kept for zeros: it would be lost
    if (old.isCopied || old.isCompressed || old.offset !== 0) throw new BlockError('Input/output error', { code: 'EIO' });
    const place = yield* allocateBytes(image, stream.length);
    image.checkOverlap(place, stream.length, 0);
    return place;
  });
  try {
    // a stream is never enciphered, and never lies in another file
    yield* wait(image.raise('write_compressed'));
    yield* wait(image.writeFile(offset, stream));
  } catch (error) {
    yield* locked(image.mutex, () => freeClusters(image, offset, stream.length, 'never'));
    throw error;
  }
  yield* locked(image.mutex, function* () {
    let table: CachedTable;
    try {
      yield* wait(image.raise('l2_update_compressed'));
      yield* markDirtyBit(image);
      table = yield* sliceForUpdate(image, guest, function* () {
        if (image.needsAccurateRefcounts) yield* image.l2Cache.dependOn(image.refcountCache);
        else image.l2Cache.dependOnData();
      });
    } catch (error) {
      // no entry names them yet
      yield* freeClusters(image, offset, stream.length, 'never');
      throw error;
    }
    const index = sliceIndexOf(geometry, guest);
    const { hi, lo } = compressedEntry(geometry, offset, stream.length);
    writeEntryWords(geometry, table, index, hi, lo);
    writeSubclusters(geometry, table, index, 0, 0);
    image.l2Cache.markDirty(table);
  });
}
