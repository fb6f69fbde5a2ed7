/*
 * Driver `blkverify`: each request goes to two nodes, one of which is known to be right. Where they differ, in data or in how
 * they answer, the program ends: from there on nothing that it does can be trusted.
 * Rule source: QEMU's documentation of blkverify; observed messages.
 */
import type { Child } from '../block/child.ts';
import { type BlockDriver, childRole, type DriverState, type Limits, type NodeHost, type ReqFlags } from '../block/driver.ts';
import { exactFilename } from '../block/filename.ts';
import { errnoNumber } from '../util/errno.ts';
import { BlockError } from '../util/errors.ts';
import { chain, type Maybe, recover } from '../util/maybe.ts';

/** A request that both nodes have answered. */
interface Answered {
  readonly kind: 'read' | 'write';
  readonly offset: number;
  readonly length: number;
}

class BlkverifyState implements DriverState {
  readonly writeFlags: ReqFlags = 0;
  readonly #raw: Child;
  readonly #test: Child;
  readonly #end: (message: string) => void;

  constructor(raw: Child, test: Child, end: (message: string) => void) {
    this.#raw = raw;
    this.#test = test;
    this.#end = end;
  }

  get exactFilename(): string | undefined {
    const [raw, test] = [exactFilename(this.#raw.node), exactFilename(this.#test.node)];
    return raw === undefined || test === undefined ? undefined : `blkverify:${raw}:${test}`;
  }

  get limits(): Limits {
    return this.#raw.node.limits;
  }

  size(): number {
    return this.#test.size();
  }

  allocatedSize(): undefined {}

  async read(offset: number, into: Uint8Array): Promise<void> {
    const expected = new Uint8Array(into.length);
    const request: Answered = { kind: 'read', offset, length: into.length };
    await this.#both(
      request,
      () => this.#test.read(offset, into),
      () => this.#raw.read(offset, expected),
    );
    const at = into.findIndex((byte, index) => byte !== expected[index]);
    if (at >= 0) this.#differs(request, `contents mismatch at offset ${offset + at}`);
  }

  async write(offset: number, from: Uint8Array, flags: ReqFlags): Promise<void> {
    await this.#both(
      { kind: 'write', offset, length: from.length },
      () => this.#test.write(offset, from, flags),
      () => this.#raw.write(offset, from, flags),
    );
  }

  /** Carries out both, and compares how they end. Rejects with the error that both have. */
  async #both(request: Answered, test: () => Maybe<void>, raw: () => Maybe<void>): Promise<void> {
    const [tested, known] = await Promise.all([errorOf(test), errorOf(raw)]);
    const [first, second] = [numberOf(tested), numberOf(known)];
    if (first !== second) this.#differs(request, `return value mismatch ${first} != ${second}`);
    if (tested !== undefined) throw tested;
  }

  #differs({ kind, offset, length }: Answered, what: string): never {
    const message = `blkverify: ${kind} offset=${offset} bytes=${length} ${what}`;
    this.#end(message);
    throw new BlockError(message, { code: 'EIO' });
  }

  async close(): Promise<void> {}
}

/** What a request ends with that does not end well. */
function errorOf(request: () => Maybe<void>): Maybe<unknown> {
  return recover<unknown>(
    () => chain(request(), () => undefined),
    (error) => error,
  );
}

/** The negative number of an error of a request; 0 for none. */
function numberOf(error: unknown): number {
  if (error === undefined) return 0;
  if (!(error instanceof BlockError)) throw error;
  return -(errnoNumber(error.code) ?? errnoNumber('EIO') ?? 5);
}

async function open(host: NodeHost): Promise<DriverState> {
  const raw = await host.openChild('raw', childRole.filtered | childRole.primary, { child: 'file' });
  const test = await host.openChild('test', childRole.data, { child: 'format' });
  return new BlkverifyState(raw, test, (message) => host.emit('TSIMG_FATAL', { message }));
}

export const blkverifyDriver: BlockDriver = { name: 'blkverify', kind: 'filter', hasProtocolName: true, hasNoFolder: true, open };
