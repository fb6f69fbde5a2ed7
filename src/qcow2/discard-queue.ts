/*
 * Host ranges that were freed and that the file below may be told of. A cluster leaves the queue the moment somebody takes it
 * again: a discard that is passed on later must never hit a cluster in use. The queue lives under the metadata mutex.
 */

interface Range {
  offset: number;
  length: number;
}

export class DiscardQueue {
  #ranges: Range[] = [];
  #needsOrder = false;

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }

  /** What is queued may go only once the L2 tables are on stable storage: see `orderBehindTables`. */
  get needsOrder(): boolean {
    return this.#needsOrder;
  }

  /**
   * Something queued was shared by several pointers (compressed clusters in one host cluster): those that went before are
   * not the current request's, and a power cut may bring them back.
   */
  orderBehindTables(): void {
    if (this.#ranges.length > 0) this.#needsOrder = true;
  }

  add(offset: number, length: number): void {
    const last = this.#ranges.at(-1);
    if (last !== undefined && last.offset + last.length === offset) last.length += length;
    else this.#ranges.push({ offset, length });
  }

  /** Somebody uses [offset, offset + length) again. */
  take(offset: number, length: number): void {
    if (this.#ranges.length === 0) return;
    const end = offset + length;
    const kept: Range[] = [];
    for (const range of this.#ranges) {
      const rangeEnd = range.offset + range.length;
      if (rangeEnd <= offset || range.offset >= end) {
        kept.push(range);
        continue;
      }
      if (range.offset < offset) kept.push({ offset: range.offset, length: offset - range.offset });
      if (rangeEnd > end) kept.push({ offset: end, length: rangeEnd - end });
    }
    this.#ranges = kept;
  }

  /** All that is queued, in the order it came; the queue is empty after. */
  drain(): readonly Readonly<Range>[] {
    const all = this.#ranges;
    this.#ranges = [];
    this.#needsOrder = false;
    return all;
  }
}
