/*
 * A small qcow2 image as bytes, taken apart and changed without the driver: internal snapshots are taken and read back, and
 * damage is done. Standard L2 entries, 16-bit refcounts, clusters that the file's refcount blocks can count.
 */
import type { Random } from './random.ts';

const copied = 1n << 63n;
const compressed = 1n << 62n;
const offsetMask = 0x00fffffffffffe00n;

/** Content of a snapshot's entry that `qemu-img snapshot` leaves, and less of it. */
export interface SnapshotShape {
  readonly id?: string;
  readonly name: Uint8Array;
  /** Bytes of extra data; fewer than 16 have to be repaired in version 3. */
  readonly extra?: number;
}

export class ImageBytes {
  #bytes: Uint8Array;
  #view: DataView;
  readonly clusterSize: number;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes.slice();
    this.#view = new DataView(this.#bytes.buffer);
    this.clusterSize = 2 ** this.u32(20);
    this.#grow(Math.ceil(bytes.length / this.clusterSize) * this.clusterSize);
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get clusters(): number {
    return this.#bytes.length / this.clusterSize;
  }

  u32(at: number): number {
    return this.#view.getUint32(at);
  }

  /** 0 behind the end. */
  u64(at: number): bigint {
    return at + 8 > this.#bytes.length ? 0n : this.#view.getBigUint64(at);
  }

  setU32(at: number, value: number): void {
    this.#view.setUint32(at, value);
  }

  setU64(at: number, value: bigint): void {
    this.#view.setBigUint64(at, value);
  }

  /** Places of the entries of the active L1 table, or of a snapshot's, that name a table. */
  l1Places(offset: number = Number(this.u64(40)), entries: number = this.u32(36)): number[] {
    return Array.from({ length: entries }, (_, index) => offset + index * 8).filter((at) => (this.u64(at) & offsetMask) !== 0n);
  }

  /** Places of the L2 entries of the active disk that name a cluster. */
  l2Places(): number[] {
    return this.l1Places().flatMap((at) => this.#entries(Number(this.u64(at) & offsetMask)));
  }

  offsetAt(place: number): number {
    return Number(this.u64(place) & offsetMask);
  }

  refcount(cluster: number): number {
    const place = this.#countPlace(cluster);
    return place === undefined ? 0 : this.#view.getUint16(place);
  }

  setRefcount(cluster: number, count: number): void {
    const place = this.#countPlace(cluster);
    if (place === undefined) throw new Error(`cluster ${cluster} has no refcount block`);
    this.#view.setUint16(place, count);
  }

  /** Clusters behind the file's end, in use from now on. Returns their offset. */
  append(length: number): number {
    const offset = this.#bytes.length;
    const clusters = Math.ceil(length / this.clusterSize);
    this.#grow(offset + clusters * this.clusterSize);
    for (let at = 0; at < clusters; at++) this.setRefcount(offset / this.clusterSize + at, 1);
    return offset;
  }

  /** Takes internal snapshots of the disk as it is, in one new table. */
  takeSnapshots(shapes: readonly SnapshotShape[]): void {
    const entries = this.u32(36);
    const old = Number(this.u64(40));
    const heads = shapes.map((shape, index) => {
      const l1 = this.append(entries * 8);
      this.#bytes.copyWithin(l1, old, old + entries * 8);
      for (const at of this.l1Places(l1, entries)) {
        this.setU64(at, this.u64(at) & ~copied);
        this.#count(this.offsetAt(at), 1);
      }
      return snapshotEntry(shape, { index, l1, entries, size: this.u64(24) });
    });
    for (const at of this.l1Places()) {
      this.setU64(at, this.u64(at) & ~copied);
      for (const place of this.#entries(this.offsetAt(at))) {
        this.setU64(place, this.u64(place) & ~copied);
        // each table counts what it names, whoever shares the table
        this.#count(this.offsetAt(place), shapes.length);
      }
    }
    const table = Buffer.concat(heads);
    const offset = this.append(table.length);
    this.#bytes.set(table, offset);
    this.setU32(60, shapes.length);
    this.setU64(64, BigInt(offset));
  }

  /** Name and content of every snapshot that the header names. */
  snapshots(backing: Uint8Array): { readonly name: string; readonly content: Uint8Array }[] {
    let at = Number(this.u64(64));
    return Array.from({ length: this.u32(60) }, () => {
      at = Math.ceil(at / 8) * 8;
      const [idLength, nameLength, extra] = [this.#view.getUint16(at + 12), this.#view.getUint16(at + 14), this.u32(at + 36)];
      const names = at + 40 + extra + idLength;
      const size = extra >= 16 ? this.u64(at + 48) : this.u64(24);
      const content = this.#contentOf(Number(this.u64(at)), this.u32(at + 8), new Uint8Array(Number(size)), backing);
      at = names + nameLength;
      return { name: Buffer.from(this.#bytes.subarray(names, at)).toString('latin1'), content };
    });
  }

  #contentOf(l1: number, entries: number, content: Uint8Array, backing: Uint8Array): Uint8Array {
    const perTable = this.clusterSize / 8;
    for (let at = 0; at < content.length; at += this.clusterSize) {
      const index = at / this.clusterSize;
      const l1Index = Math.floor(index / perTable);
      const table = l1Index < entries ? this.offsetAt(l1 + l1Index * 8) : 0;
      const entry = table === 0 ? 0n : this.u64(table + (index % perTable) * 8);
      const length = Math.min(this.clusterSize, content.length - at);
      if ((entry & 1n) !== 0n) continue;
      const from = Number(entry & offsetMask);
      content.set(from === 0 ? backing.subarray(at, at + length) : this.#bytes.subarray(from, from + length), at);
    }
    return content;
  }

  #entries(table: number): number[] {
    const places = Array.from({ length: this.clusterSize / 8 }, (_, index) => table + index * 8);
    return places.filter((at) => (this.u64(at) & offsetMask) !== 0n && (this.u64(at) & compressed) === 0n);
  }

  #count(offset: number, more: number): void {
    const cluster = Math.floor(offset / this.clusterSize);
    this.setRefcount(cluster, this.refcount(cluster) + more);
  }

  #countPlace(cluster: number): number | undefined {
    const perBlock = this.clusterSize / 2;
    const block = Number(this.u64(Number(this.u64(48)) + Math.floor(cluster / perBlock) * 8));
    return block === 0 ? undefined : block + (cluster % perBlock) * 2;
  }

  #grow(length: number): void {
    const more = new Uint8Array(length);
    more.set(this.#bytes);
    this.#bytes = more;
    this.#view = new DataView(more.buffer);
  }
}

function snapshotEntry(shape: SnapshotShape, at: { index: number; l1: number; entries: number; size: bigint }): Buffer {
  const { id = String(at.index + 1), name, extra = 24 } = shape;
  const length = 40 + extra + id.length + name.length;
  const bytes = Buffer.alloc(Math.ceil(length / 8) * 8);
  bytes.writeBigUInt64BE(BigInt(at.l1), 0);
  bytes.writeUInt32BE(at.entries, 8);
  bytes.writeUInt16BE(id.length, 12);
  bytes.writeUInt16BE(name.length, 14);
  bytes.writeUInt32BE(extra, 36);
  if (extra >= 16) bytes.writeBigUInt64BE(at.size, 48);
  if (extra >= 24) bytes.writeBigUInt64BE(2n ** 64n - 1n, 56);
  bytes.write(id, 40 + extra, 'latin1');
  bytes.set(name, 40 + extra + id.length);
  return bytes;
}

/** Something of `list`. */
function any(list: readonly number[], random: Random): number {
  return list[random(list.length)] ?? 0;
}

/** What can be wrong with an image, each as damage of a sound one. */
export const damages = {
  /** Clusters that are counted, and that nothing names. */
  leak(image: ImageBytes, random: Random): void {
    const first = image.clusters;
    image.append((2 + random(20)) * image.clusterSize);
    for (let cluster = first + 1; cluster < image.clusters; cluster++) image.setRefcount(cluster, random(4));
  },
  /** A cluster counted too often. */
  highCount(image: ImageBytes, random: Random): void {
    const cluster = image.offsetAt(any(image.l2Places(), random)) / image.clusterSize;
    image.setRefcount(cluster, image.refcount(cluster) + 1 + random(3));
  },
  /** Two entries that name one cluster, which is counted once. */
  sharedCluster(image: ImageBytes, random: Random): void {
    const places = image.l2Places();
    image.setU64(any(places, random), image.u64(any(places, random)));
  },
  /** A cluster in use that is not counted: the refcount structure has to be rebuilt. */
  uncounted(image: ImageBytes, random: Random): void {
    image.setRefcount(Math.floor(image.offsetAt(any(image.l2Places(), random)) / image.clusterSize), 0);
  },
  /** A refcount block that the table does not name any more. */
  lostBlock(image: ImageBytes): void {
    image.setU64(Number(image.u64(48)), 0n);
  },
  blockBeyondEnd(image: ImageBytes, random: Random): void {
    image.setU64(Number(image.u64(48)) + 8, BigInt((image.clusters + random(20)) * image.clusterSize));
  },
  copiedFlags(image: ImageBytes, random: Random): void {
    for (const at of [...image.l1Places(), ...image.l2Places()]) if (random(3) === 0) image.setU64(at, image.u64(at) ^ copied);
  },
  /** A place that no cluster can have, for a cluster of zeros; the disk reads as before where it was zero. */
  misplacedZeros(image: ImageBytes, random: Random): void {
    for (const at of image.l2Places()) if (random(4) === 0) image.setU64(at, (image.u64(at) & ~copied) | 513n);
  },
} as const;
