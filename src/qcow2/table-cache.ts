/*
 * Cached metadata tables of one kind (L2 slices or refcount blocks): lookup without a promise on a hit, dirty tables, and
 * write-back in an order that survives a power cut: a cache that depends on another writes only after the other one is on
 * stable storage. Tables change, and are written back, only by holders of the image's metadata mutex; loading needs none.
 * Must not know what an entry means.
 * Rule source: write ordering of qcow2 (refcounts before pointers, new tables before the entries that name them).
 */
import { isPending, type Maybe } from '../core/util/maybe.ts';
import { type Steps, wait } from './steps.ts';

/** A loaded table. `bytes` and `view` are the same memory. */
export class CachedTable {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  isDirty = false;
  /** Looked at since eviction last passed by. */
  isUsed = true;

  constructor(offset: number, bytes: Uint8Array) {
    this.offset = offset;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }
}

/** How a cache reaches the image file. */
export interface TableMedium {
  read(offset: number, into: Uint8Array): Maybe<void>;
  write(offset: number, from: Uint8Array): Maybe<void>;
  /** Everything written before is on stable storage after. */
  flush(): Maybe<void>;
  /** Throws when a table at `offset` would overwrite other metadata. */
  checkWrite(offset: number, length: number): void;
}

export class TableCache {
  readonly tableSize: number;
  readonly capacity: number;
  readonly #medium: TableMedium;
  readonly #tables = new Map<number, CachedTable>();
  readonly #loads = new Map<number, Promise<void>>();
  readonly #dirty = new Set<CachedTable>();
  #dependsOn: TableCache | undefined;
  #needsFlush = false;

  constructor(medium: TableMedium, tableSize: number, capacity: number) {
    this.#medium = medium;
    this.tableSize = tableSize;
    this.capacity = Math.max(2, capacity);
  }

  get isDirty(): boolean {
    return this.#dirty.size > 0;
  }

  get dependency(): TableCache | undefined {
    return this.#dependsOn;
  }

  /** The table at `offset` if it is loaded. */
  peek(offset: number): CachedTable | undefined {
    const table = this.#tables.get(offset / this.tableSize);
    if (table !== undefined) table.isUsed = true;
    return table;
  }

  /** Makes `peek(offset)` find the table, if nothing changes meanwhile: callers look again after waiting. */
  load(offset: number): Maybe<void> {
    const key = offset / this.tableSize;
    const loading = this.#loads.get(key);
    if (loading !== undefined) return loading;
    if (this.#tables.has(key)) return;
    const table = new CachedTable(offset, new Uint8Array(this.tableSize));
    const read = this.#medium.read(offset, table.bytes);
    if (!isPending(read)) {
      this.#insert(key, table);
      return;
    }
    const promise = this.#finishLoad(key, table, read);
    this.#loads.set(key, promise);
    return promise;
  }

  async #finishLoad(key: number, table: CachedTable, read: Promise<void>): Promise<void> {
    try {
      await read;
    } catch (error) {
      this.#loads.delete(key);
      throw error;
    }
    // forgotten or replaced while it was read: the caller's next look decides
    if (this.#loads.delete(key) && !this.#tables.has(key)) this.#insert(key, table);
  }

  /** The table at `offset`, loaded. For holders of the metadata mutex. */
  *get(offset: number): Steps<CachedTable> {
    for (;;) {
      const table = this.peek(offset);
      if (table !== undefined) return table;
      yield* this.makeRoom();
      const loading = this.load(offset);
      if (isPending(loading)) yield loading;
    }
  }

  /** A new table of zeros at `offset`, dirty, in place of whatever is cached there. */
  create(offset: number): CachedTable {
    this.forget(offset, this.tableSize);
    const table = new CachedTable(offset, new Uint8Array(this.tableSize));
    this.#insert(offset / this.tableSize, table);
    this.markDirty(table);
    return table;
  }

  markDirty(table: CachedTable): void {
    if (table.isDirty) return;
    table.isDirty = true;
    this.#dirty.add(table);
  }

  /** Gives up what is cached of the range, written or not: the clusters belong to nobody now. */
  forget(offset: number, length: number): void {
    for (let at = offset; at < offset + length; at += this.tableSize) {
      const key = at / this.tableSize;
      this.#loads.delete(key);
      const table = this.#tables.get(key);
      if (table === undefined) continue;
      table.isDirty = false;
      this.#dirty.delete(table);
      this.#tables.delete(key);
    }
  }

  /** What is dirty here must not reach the medium before all that is dirty in `on` now. */
  *dependOn(on: TableCache): Steps<void> {
    // a cycle is cut by writing one side first
    if (on.#dependsOn !== undefined) yield* on.settleOrder();
    if (this.#dependsOn !== undefined && this.#dependsOn !== on) yield* this.settleOrder();
    this.#dependsOn = on;
  }

  /** What is dirty here must not reach the medium before the data written so far is on stable storage. */
  dependOnData(): void {
    this.#needsFlush = true;
  }

  /** Makes durable what has to be before the first table of this cache is written. After a failure it still has to be. */
  *settleOrder(): Steps<void> {
    const on = this.#dependsOn;
    if (on !== undefined) {
      yield* on.flush();
      this.#dependsOn = undefined;
      this.#needsFlush = false;
    } else if (this.#needsFlush) {
      this.#needsFlush = false;
      try {
        yield* wait(this.#medium.flush());
      } catch (error) {
        this.#needsFlush = true;
        throw error;
      }
    }
  }

  /** Writes all dirty tables back, after what they depend on. Not durable until the medium is flushed. */
  *write(): Steps<void> {
    if (this.#dirty.size === 0) return;
    yield* this.settleOrder();
    for (const table of [...this.#dirty].sort((a, b) => a.offset - b.offset)) if (table.isDirty) yield* this.#writeOne(table);
  }

  /** Writes all dirty tables back and makes them durable. */
  *flush(): Steps<void> {
    yield* this.write();
    yield* wait(this.#medium.flush());
  }

  *#writeOne(table: CachedTable): Steps<void> {
    this.#medium.checkWrite(table.offset, table.bytes.length);
    const written = this.#medium.write(table.offset, table.bytes);
    if (isPending(written)) yield written;
    table.isDirty = false;
    this.#dirty.delete(table);
  }

  /** Makes room for one more table; writes dirty ones back when nothing clean is left to drop. Holders of the mutex only. */
  *makeRoom(): Steps<void> {
    while (this.#tables.size >= this.capacity) {
      if (this.#dropClean()) continue;
      // one group of writes for many evictions: the flushes between groups are what costs
      yield* this.write();
    }
  }

  #insert(key: number, table: CachedTable): void {
    // not behind the insertion: among dirty tables the new one would be the first to go
    if (this.#tables.size >= this.capacity) this.#dropClean();
    this.#tables.set(key, table);
  }

  /** Drops a clean table that was not used for long (second chance). False when all are dirty. */
  #dropClean(): boolean {
    if (this.#dirty.size >= this.#tables.size) return false;
    // a table passed over moves to the end, so that the next search starts behind it
    let left = 2 * this.#tables.size;
    for (const [key, table] of this.#tables) {
      if (left-- === 0) break;
      this.#tables.delete(key);
      if (!table.isDirty && !table.isUsed) return true;
      table.isUsed = false;
      this.#tables.set(key, table);
    }
    return false;
  }
}
