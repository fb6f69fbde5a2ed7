/*
 * Which host clusters hold metadata, so that no write of ours can land on them: the last line of defence against a corrupt
 * image. A map from cluster number to structure kinds, kept up to date by whoever allocates or frees a structure.
 * Rule source: the peer's documented overlap checks (option overlap-check).
 */
export const structure = {
  header: 1,
  activeL1: 2,
  activeL2: 4,
  refcountTable: 8,
  refcountBlock: 16,
  snapshotTable: 32,
  inactiveL1: 64,
  inactiveL2: 128,
  bitmapDirectory: 256,
} as const;
export type StructureBits = number;

const names: readonly string[] = [
  'qcow2_header',
  'active L1 table',
  'active L2 table',
  'refcount table',
  'refcount block',
  'snapshot table',
  'inactive L1 table',
  'inactive L2 table',
  'bitmap directory',
];

/** Option names in the order of the bits. */
export const structureOptions: readonly string[] = [
  'main-header',
  'active-l1',
  'active-l2',
  'refcount-table',
  'refcount-block',
  'snapshot-table',
  'inactive-l1',
  'inactive-l2',
  'bitmap-directory',
];

const constantChecks = structure.header | structure.activeL1 | structure.refcountTable | structure.snapshotTable | structure.bitmapDirectory;
const cachedChecks = constantChecks | structure.activeL2 | structure.refcountBlock | structure.inactiveL1;
export const overlapTemplates: Readonly<Record<string, StructureBits>> = {
  none: 0,
  constant: constantChecks,
  cached: cachedChecks,
  all: cachedChecks | structure.inactiveL2,
};

const minRoom = 16;

/**
 * Kinds by cluster as pieces: piece i begins at cluster `#starts[i]` and ends where the next one begins. So a structure costs
 * the same however long an image says that it is.
 */
export class MetadataMap {
  readonly #clusterSize: number;
  #starts: Float64Array = new Float64Array(minRoom);
  #kinds: Uint16Array = new Uint16Array(minRoom);
  #count = 1;
  /** Kinds that are looked at. */
  enabled: StructureBits = cachedChecks;

  constructor(clusterSize: number) {
    this.#clusterSize = clusterSize;
  }

  add(offset: number, length: number, kind: StructureBits): void {
    this.#change(offset, length, kind, 0);
  }

  remove(offset: number, length: number, kind: StructureBits): void {
    this.#change(offset, length, 0, kind);
  }

  /**
   * Adds many structures of one kind; `starts` and `ends` in clusters, in any order, are sorted in place. Costs one pass over
   * the whole map.
   */
  addMany(starts: Float64Array, ends: Float64Array, kind: StructureBits): void {
    if (starts.length === 0) return;
    starts.sort();
    ends.sort();
    const room = this.#count + 2 * starts.length;
    const merged = { starts: new Float64Array(room), kinds: new Uint16Array(room), count: 0 };
    const put = (start: number, kinds: StructureBits): void => {
      if (merged.count > 0 && merged.kinds[merged.count - 1] === kinds) return;
      merged.starts[merged.count] = start;
      merged.kinds[merged.count++] = kinds;
    };
    // how many of the new structures hold a cluster: those that began up to it less those that ended
    let begun = 0;
    let ended = 0;
    let piece = 0;
    let old: StructureBits = 0;
    while (piece < this.#count || ended < ends.length) {
      const at = Math.min(piece < this.#count ? this.#start(piece) : Infinity, starts[begun] ?? Infinity, ends[ended] ?? Infinity);
      while (piece < this.#count && this.#start(piece) === at) old = this.#kinds[piece++] ?? 0;
      while (starts[begun] === at) begun++;
      while (ends[ended] === at) ended++;
      put(at, begun > ended ? old | kind : old);
    }
    this.#starts = merged.starts;
    this.#kinds = merged.kinds;
    this.#count = merged.count;
  }

  /** Forgets all structures of a kind. */
  removeAll(kind: StructureBits): void {
    for (let piece = 0; piece < this.#count; piece++) this.#kinds[piece] = (this.#kinds[piece] ?? 0) & ~kind;
    this.#join(0, this.#count);
  }

  /** Name of the structure that [offset, offset + length) overlaps, apart from `ignored` kinds; of several the first kind. */
  find(offset: number, length: number, ignored: StructureBits): string | undefined {
    if (length <= 0) return undefined;
    const end = Math.ceil((offset + length) / this.#clusterSize);
    const mask = this.enabled & ~ignored;
    let hit = 0;
    for (let piece = this.#pieceOf(Math.floor(offset / this.#clusterSize)); piece < this.#count && this.#start(piece) < end; piece++) {
      hit |= (this.#kinds[piece] ?? 0) & mask;
    }
    return hit === 0 ? undefined : names[31 - Math.clz32(hit & -hit)];
  }

  #start(piece: number): number {
    return this.#starts[piece] ?? 0;
  }

  /** The piece that `cluster` is in: the last one that begins at or before it. */
  #pieceOf(cluster: number): number {
    const starts = this.#starts;
    let low = 0;
    let high = this.#count - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((starts[middle] ?? 0) <= cluster) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #change(offset: number, length: number, set: StructureBits, clear: StructureBits): void {
    const start = Math.floor(offset / this.#clusterSize);
    const end = Math.ceil((offset + length) / this.#clusterSize);
    if (end <= start) return;
    const from = this.#cut(start);
    const to = this.#cut(end);
    for (let piece = from; piece < to; piece++) this.#kinds[piece] = ((this.#kinds[piece] ?? 0) & ~clear) | set;
    this.#join(from, to);
  }

  /** Makes a piece begin at `cluster`. Returns its index. */
  #cut(cluster: number): number {
    const piece = this.#pieceOf(cluster);
    if (this.#start(piece) === cluster) return piece;
    if (this.#count === this.#starts.length) {
      const starts = new Float64Array(2 * this.#count);
      const kinds = new Uint16Array(2 * this.#count);
      starts.set(this.#starts);
      kinds.set(this.#kinds);
      this.#starts = starts;
      this.#kinds = kinds;
    }
    this.#starts.copyWithin(piece + 2, piece + 1, this.#count);
    this.#kinds.copyWithin(piece + 2, piece + 1, this.#count);
    this.#count++;
    this.#starts[piece + 1] = cluster;
    this.#kinds[piece + 1] = this.#kinds[piece] ?? 0;
    return piece + 1;
  }

  /** Makes one of neighbours in [from, to] that hold the same. */
  #join(from: number, to: number): void {
    const last = Math.min(to, this.#count - 1);
    let kept = Math.max(1, from);
    for (let piece = kept; piece <= last; piece++) {
      if (this.#kinds[piece] === this.#kinds[kept - 1]) continue;
      this.#starts[kept] = this.#start(piece);
      this.#kinds[kept++] = this.#kinds[piece] ?? 0;
    }
    if (kept > last) return;
    this.#starts.copyWithin(kept, last + 1, this.#count);
    this.#kinds.copyWithin(kept, last + 1, this.#count);
    this.#count -= last + 1 - kept;
  }
}
