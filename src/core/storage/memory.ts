/* A sparse medium in memory: pages of 64 KiB, holes read as zeros. The base of most unit tests, and of images that need no file. */
import { isZero } from '../util/bytes.ts';
import { checkRange } from './check-range.ts';
import type { Storage, StorageCaps, StorageExtent } from './storage.ts';

const pageSize = 65536;

export class MemoryStorage implements Storage {
  readonly path: string;
  readonly caps: StorageCaps;
  readonly #pages = new Map<number, Uint8Array>();
  #size: number;

  constructor(path = 'memory', options: { readonly size?: number; readonly readOnly?: boolean; readonly align?: number } = {}) {
    this.path = path;
    this.#size = options.size ?? 0;
    this.caps = { kind: 'memory', readOnly: options.readOnly ?? false, align: options.align ?? 1, extents: true, punch: true };
  }

  size(): number {
    return this.#size;
  }

  allocatedSize(): number {
    return this.#pages.size * pageSize;
  }

  read(offset: number, into: Uint8Array): void {
    checkRange(offset, into.length);
    this.#forPages(offset, into.length, (page, at, length, done) => {
      const bytes = this.#pages.get(page);
      if (bytes === undefined) into.fill(0, done, done + length);
      else into.set(bytes.subarray(at, at + length), done);
    });
  }

  write(offset: number, from: Uint8Array): void {
    checkRange(offset, from.length);
    this.#forPages(offset, from.length, (page, at, length, done) => {
      let bytes = this.#pages.get(page);
      if (bytes === undefined) {
        bytes = new Uint8Array(pageSize);
        this.#pages.set(page, bytes);
      }
      bytes.set(from.subarray(done, done + length), at);
    });
    this.#size = Math.max(this.#size, offset + from.length);
  }

  zero(offset: number, length: number, _mayUnmap: boolean): void {
    checkRange(offset, length);
    this.#clear(offset, length);
    this.#size = Math.max(this.#size, offset + length);
  }

  discard(offset: number, length: number): void {
    checkRange(offset, length);
    this.#clear(offset, Math.max(0, Math.min(length, this.#size - offset)));
  }

  extents(offset: number, length: number): StorageExtent {
    checkRange(offset, length);
    const first = Math.floor(offset / pageSize);
    const last = Math.ceil((offset + length) / pageSize);
    const isData = this.#pages.has(first);
    let end = first + 1;
    if (isData || last - first <= this.#pages.size) while (end < last && this.#pages.has(end) === isData) end++;
    else {
      end = last;
      for (const page of this.#pages.keys()) if (page > first && page < end) end = page;
    }
    return { data: isData, length: Math.min(length, end * pageSize - offset) };
  }

  truncate(size: number): void {
    checkRange(size, 0);
    if (size < this.#size) this.#clear(size, this.#size - size);
    this.#size = size;
  }

  flush(): void {}

  async [Symbol.asyncDispose](): Promise<void> {}

  #clear(offset: number, length: number): void {
    if (length / pageSize <= this.#pages.size) {
      this.#forPages(offset, length, (page, at, count) => this.#clearPage(page, at, at + count));
      return;
    }
    // a range may be far longer than all that there is
    for (const page of this.#pages.keys()) {
      const start = Math.max(0, offset - page * pageSize);
      const end = Math.min(pageSize, offset + length - page * pageSize);
      if (start < end) this.#clearPage(page, start, end);
    }
  }

  #clearPage(page: number, start: number, end: number): void {
    const bytes = this.#pages.get(page);
    if (bytes === undefined) return;
    bytes.fill(0, start, end);
    if (end - start === pageSize || isZero(bytes)) this.#pages.delete(page);
  }

  #forPages(offset: number, length: number, visit: (page: number, at: number, length: number, done: number) => void): void {
    for (let done = 0; done < length; ) {
      const at = (offset + done) % pageSize;
      const count = Math.min(pageSize - at, length - done);
      visit((offset + done - at) / pageSize, at, count, done);
      done += count;
    }
  }
}
