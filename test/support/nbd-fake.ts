/* A backend in memory for tests of the NBD server: at once or delayed, with errors on demand, and a record of its calls. */
import type { BlockStatus, Limits } from '../../src/core/block/driver.ts';
import { noLimits } from '../../src/core/block/driver.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import type { Maybe } from '../../src/core/util/maybe.ts';
import type { ExportBackend } from '../../src/nbd/export.ts';

export class FakeBackend implements ExportBackend {
  readOnly = false;
  limits: Limits = noLimits;
  bytes: Uint8Array;
  /** Every call: name, offset, length, flags. */
  readonly calls: (readonly [name: string, offset: number, length: number, flags: number])[] = [];
  /** `now`: answers at once. `later`: in a later turn. `held`: when `letGo` is called. `mixed`: now and later in turns. */
  mode: 'now' | 'later' | 'held' | 'mixed' = 'now';
  /** Fails the calls that it names. */
  fail: (name: string, offset: number) => BlockError | undefined = () => undefined;
  /** Requests that have not been answered. */
  pending = 0;
  #held: (() => void)[] = [];
  #count = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  size(): number {
    return this.bytes.length;
  }

  async truncate(size: number): Promise<void> {
    const grown = new Uint8Array(size);
    grown.set(this.bytes.subarray(0, size));
    this.bytes = grown;
  }

  letGo(): void {
    for (const go of this.#held.splice(0)) go();
  }

  read(offset: number, into: Uint8Array): Maybe<void> {
    return this.#run('read', offset, into.length, 0, () => into.set(this.bytes.subarray(offset, offset + into.length)));
  }

  write(offset: number, from: Uint8Array, flags = 0): Maybe<void> {
    return this.#run('write', offset, from.length, flags, () => this.bytes.set(from, offset));
  }

  zero(offset: number, length: number, flags = 0): Maybe<void> {
    return this.#run('zero', offset, length, flags, () => this.bytes.fill(0, offset, offset + length));
  }

  discard(offset: number, length: number): Maybe<void> {
    return this.#run('discard', offset, length, 0, () => this.bytes.fill(0, offset, offset + length));
  }

  flush(): Maybe<void> {
    return this.#run('flush', 0, 0, 0, () => {});
  }

  /** Pages of 4096 zero bytes are holes. */
  status(offset: number, length: number): Maybe<BlockStatus> {
    let status: BlockStatus | undefined;
    const result = this.#run('status', offset, length, 0, () => {
      const isHole = (at: number): boolean => this.bytes.subarray(at - (at % 4096), at - (at % 4096) + 4096).every((byte) => byte === 0);
      const zero = isHole(offset);
      let end = offset - (offset % 4096) + 4096;
      while (end < offset + length && isHole(end) === zero) end += 4096;
      status = { length: Math.min(end - offset, length), data: !zero, zero, allocated: true };
    });
    const told = (): BlockStatus => status ?? { length, data: true, zero: false, allocated: true };
    return result instanceof Promise ? result.then(told) : told();
  }

  #run(name: string, offset: number, length: number, flags: number, body: () => unknown): Maybe<void> {
    this.calls.push([name, offset, length, flags]);
    const act = (): void => {
      const error = this.fail(name, offset);
      if (error !== undefined) throw error;
      body();
    };
    const isLater = this.mode === 'later' || this.mode === 'held' || (this.mode === 'mixed' && (++this.#count & 1) === 0);
    if (!isLater) {
      act();
      return undefined;
    }
    this.pending++;
    return new Promise<void>((resolve) => {
      if (this.mode === 'held') this.#held.push(resolve);
      else setImmediate(resolve);
    })
      .then(act)
      .finally(() => {
        this.pending--;
      });
  }
}

export function ioError(): BlockError {
  return new BlockError('Input/output error', { code: 'EIO' });
}
