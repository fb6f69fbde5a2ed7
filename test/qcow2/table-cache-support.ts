/* A cache of tables over a medium that keeps its calls. */
import { BlockError } from '../../src/core/util/errors.ts';
import { isPending, type Maybe } from '../../src/core/util/maybe.ts';
import { run, type Steps } from '../../src/qcow2/steps.ts';
import { type CachedTable, TableCache } from '../../src/qcow2/table-cache.ts';

export const size = 16;

/** A medium that keeps its calls; pending where it is told to be. */
export class Medium {
  readonly bytes: Uint8Array = new Uint8Array(64 * size).map((_, at) => Math.floor(at / size));
  readonly calls: string[] = [];
  isPending = false;
  fail: (call: string) => boolean = () => false;
  refuse: number | undefined;

  read(offset: number, into: Uint8Array): Maybe<void> {
    return this.#answer(`read ${offset}`, () => into.set(this.bytes.subarray(offset, offset + into.length)));
  }

  write(offset: number, from: Uint8Array): Maybe<void> {
    return this.#answer(`write ${offset}`, () => this.bytes.set(from, offset));
  }

  flush(): Maybe<void> {
    return this.#answer('flush', () => {});
  }

  checkWrite(offset: number): void {
    if (offset === this.refuse) throw new BlockError('overlaps', { code: 'EIO' });
  }

  #answer(call: string, body: () => void): Maybe<void> {
    this.calls.push(call);
    const go = (): void => {
      if (this.fail(call)) throw new BlockError('Input/output error', { code: 'EIO' });
      body();
    };
    return this.isPending ? Promise.resolve().then(go) : go();
  }

  take(): string[] {
    return this.calls.splice(0);
  }
}

export function made(capacity = 4): { medium: Medium; cache: TableCache } {
  const medium = new Medium();
  return { medium, cache: new TableCache(medium, size, capacity) };
}

export function now<T>(steps: Steps<T>): T {
  const result = run(steps);
  if (isPending(result)) throw new Error('pending');
  return result;
}

export function changed(cache: TableCache, offset: number, value: number): CachedTable {
  const table = now(cache.get(offset));
  table.bytes.fill(value);
  cache.markDirty(table);
  return table;
}
