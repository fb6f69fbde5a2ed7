/*
 * How often each host cluster is referenced, as a check finds out. Takes memory for the references that there are, not for
 * the length of the file: an image of a few KiB can say that it has 2^31 clusters, and name ranges as long.
 */
import { ceilDiv } from '../core/util/math.ts';
import type { Findings } from './check-findings.ts';
import { maxRefcount } from './refcount-blocks.ts';

/** Clusters of a page, the unit in which counts are kept. */
const pageClusters = 16;
/** Pages that are allocated at once. */
const poolPages = 32768;
/** A range of more clusters than this is kept as a range. */
const longRange = 4096;
/** A count of a page that went beyond 16 bits: the rest of it is in a map. */
const spilled = 0xffff;
const emptySlot = 0xffffffff;

export class ReferenceCounts {
  /** Clusters that the walk covers: those of the file, and those of structures behind its end. */
  clusters: number;
  /** Bytes of the image file. */
  fileSize: number;
  readonly #limit: number;
  readonly #clusterSize: number;
  /** Open addressing: page numbers, and where their counts are. */
  #slots: Uint32Array = new Uint32Array(1024).fill(emptySlot);
  #pages: Uint32Array = new Uint32Array(1024);
  readonly #pools: Uint16Array[] = [];
  #pageCount = 0;
  readonly #spilled = new Map<number, number>();
  readonly #ranges: { readonly start: number; readonly end: number }[] = [];
  // the page that was looked at last: references come in runs
  #lastPage = -1;
  #lastPool: Uint16Array = new Uint16Array(0);
  #lastAt = 0;

  constructor(clusterSize: number, fileSize: number, refcountBits: number) {
    this.#clusterSize = clusterSize;
    this.fileSize = fileSize;
    this.#limit = Math.min(maxRefcount(refcountBits), 0xffffffff);
    this.clusters = ceilDiv(fileSize, clusterSize);
  }

  /** Counts a reference to every cluster of the range. `shown` is the exact offset where a number cannot hold it. */
  add(offset: number, length: number, findings: Findings, shown?: bigint): void {
    if (length <= 0) return;
    if (offset + length - this.fileSize >= this.#clusterSize) {
      const place = `offset 0x${(shown ?? BigInt(offset)).toString(16)} size 0x${length.toString(16)}`;
      findings.corruption(`ERROR: counting reference for region exceeding the end of the file by one cluster or more: ${place}`);
      return;
    }
    const first = Math.floor(offset / this.#clusterSize);
    const end = Math.floor((offset + length - 1) / this.#clusterSize) + 1;
    this.grow(end);
    if (end - first > longRange) {
      this.#ranges.push({ start: first, end });
      return;
    }
    for (let cluster = first; cluster < end; cluster++) {
      const count = this.get(cluster);
      if (count < this.#limit) {
        this.#setPaged(cluster, this.#paged(cluster) + 1);
        continue;
      }
      findings.corruption(`ERROR: overflow cluster offset=0x${(cluster * this.#clusterSize).toString(16)}`);
      findings.say(
        'Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing',
      );
    }
  }

  get(cluster: number): number {
    let count = this.#paged(cluster);
    for (const { start, end } of this.#ranges) if (start <= cluster && cluster < end) count++;
    return Math.min(count, this.#limit);
  }

  /** Sets [start, end) to `count`: clusters that no structure named so far. */
  fill(count: number, start: number, end: number): void {
    for (let cluster = start; cluster < end; cluster++) this.#setPaged(cluster, count);
  }

  grow(clusters: number): void {
    this.clusters = Math.max(this.clusters, clusters);
  }

  /** Windows of `size` clusters (a multiple of 64) in which something is referenced, ascending, each once. */
  *windows(size: number): Generator<number> {
    const pages = this.#slots.filter((page) => page !== emptySlot).sort();
    const ranges = [...this.#ranges].sort((a, b) => a.start - b.start);
    let nextPage = 0;
    let nextRange = 0;
    let covered = 0;
    for (let window = 0; ; window++) {
      const start = window * size;
      while (nextPage < pages.length && (pages[nextPage] ?? 0) * pageClusters < start) nextPage++;
      for (; nextRange < ranges.length && (ranges[nextRange]?.start ?? 0) < start + size; nextRange++) covered = Math.max(covered, ranges[nextRange]?.end ?? 0);
      if (covered <= start) {
        const page = nextPage < pages.length ? Math.floor(((pages[nextPage] ?? 0) * pageClusters) / size) : Infinity;
        const range = nextRange < ranges.length ? Math.floor((ranges[nextRange]?.start ?? 0) / size) : Infinity;
        const next = Math.min(page, range);
        if (next === Infinity) return;
        if (next > window) {
          window = next - 1;
          continue;
        }
      }
      yield window;
    }
  }

  /** The first cluster in [cluster, end) that may be referenced, or `end`: whole pages without references are passed over. */
  nextPaged(cluster: number, end: number): number {
    if (this.#ranges.length > 0) return cluster;
    let at = cluster;
    while (at < end && !this.#findPage(Math.floor(at / pageClusters))) at += pageClusters - (at % pageClusters);
    return Math.min(at, end);
  }

  #paged(cluster: number): number {
    if (!this.#findPage(Math.floor(cluster / pageClusters))) return 0;
    const count = this.#lastPool[this.#lastAt + (cluster % pageClusters)] ?? 0;
    return count === spilled ? (this.#spilled.get(cluster) ?? spilled) : count;
  }

  #setPaged(cluster: number, count: number): void {
    const page = Math.floor(cluster / pageClusters);
    if (!this.#findPage(page)) this.#makePage(page);
    this.#lastPool[this.#lastAt + (cluster % pageClusters)] = Math.min(count, spilled);
    if (count >= spilled) this.#spilled.set(cluster, count);
  }

  #findPage(page: number): boolean {
    if (page === this.#lastPage) return true;
    const slot = this.#slotOf(page);
    if (this.#slots[slot] !== page) return false;
    this.#turnTo(page, this.#pages[slot] ?? 0);
    return true;
  }

  #turnTo(page: number, index: number): void {
    this.#lastPage = page;
    this.#lastPool = this.#pools[Math.floor(index / poolPages)] ?? this.#lastPool;
    this.#lastAt = (index % poolPages) * pageClusters;
  }

  /** The slot of a page, or the empty one where it belongs. */
  #slotOf(page: number): number {
    const mask = this.#slots.length - 1;
    let slot = (Math.imul(page, 0x9e3779b1) >>> 7) & mask;
    while (this.#slots[slot] !== page && this.#slots[slot] !== emptySlot) slot = (slot + 1) & mask;
    return slot;
  }

  #makePage(page: number): void {
    if (this.#pageCount * 4 >= this.#slots.length * 3) this.#growSlots();
    const index = this.#pageCount++;
    if (index % poolPages === 0) this.#pools.push(new Uint16Array(poolPages * pageClusters));
    const slot = this.#slotOf(page);
    this.#slots[slot] = page;
    this.#pages[slot] = index;
    this.#turnTo(page, index);
  }

  #growSlots(): void {
    const { length } = this.#slots;
    const [slots, pages] = [this.#slots, this.#pages];
    this.#slots = new Uint32Array(2 * length).fill(emptySlot);
    this.#pages = new Uint32Array(2 * length);
    for (let slot = 0; slot < length; slot++) {
      const page = slots[slot] ?? emptySlot;
      if (page === emptySlot) continue;
      const to = this.#slotOf(page);
      this.#slots[to] = page;
      this.#pages[to] = pages[slot] ?? 0;
    }
  }
}
