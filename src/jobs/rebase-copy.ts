/*
 * What an overlay needs so that it reads the same over another backing chain: where it holds nothing itself, and old and new
 * chain differ, the old data are written into it. When and how many at once is the machine's (transfer.ts). Knows no format.
 */
import type { BlockBackend } from '../core/block/backend.ts';
import { chainStatus, nodeStatus } from '../core/block/block-status.ts';
import { reqFlag } from '../core/block/driver.ts';
import type { BlockNode } from '../core/block/node.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignDown, alignUp } from '../core/util/math.ts';
import { chain, isPending, type Maybe, recover, type YieldBudget } from '../core/util/maybe.ts';
import { type TransferPiece, type TransferPlan, transfer } from './transfer.ts';

/** Bytes compared at once. */
const chunkSize: number = 2 * 1024 * 1024;

export interface RebaseSettings {
  /** A writer of the overlay. */
  readonly overlay: BlockBackend;
  /** Readers of the chains; undefined: there is none, zeros show. */
  readonly from: BlockBackend | undefined;
  readonly to: BlockBackend | undefined;
  /** A node of the old chain that is the new chain: what is not allocated above it is the same in both. */
  readonly common?: BlockNode | undefined;
  /** Unit of what is written, a power of two: that of the overlay, or whole clusters when they are compressed. */
  readonly unit: number;
  readonly isCompressed: boolean;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  readonly budget: YieldBudget;
}

interface Piece extends TransferPiece {
  readonly offset: number;
  readonly before: Buffer;
  readonly after: Buffer;
}

/** Rejects at the first error; the overlay reads the same over the old chain then, whatever was written. */
export async function copyDifferences(settings: RebaseSettings): Promise<void> {
  await transfer(new Differences(settings));
}

class Differences implements TransferPlan<Piece> {
  readonly ordered = true;
  readonly inFlight = 4;
  readonly #settings: RebaseSettings;
  readonly #node: BlockNode;
  readonly #size: number;
  readonly #free: Pick<Piece, 'before' | 'after'>[] = [];
  readonly #chunk: number;
  #at = 0;

  constructor(settings: RebaseSettings) {
    this.#settings = settings;
    const { node } = settings.overlay;
    if (node === undefined) throw new BlockError('No medium found', { code: 'ENOMEDIUM' });
    this.#node = node;
    this.#size = settings.overlay.size();
    this.#chunk = Math.max(chunkSize, settings.unit);
  }

  next(): Maybe<Piece | undefined> {
    while (this.#at < this.#size) {
      const found = this.#needed();
      if (isPending(found)) return found.then((length) => this.#take(length) ?? this.next());
      const piece = this.#take(found);
      if (piece !== undefined) return piece;
    }
    return undefined;
  }

  /** Bytes from here on that have to be compared; negative: bytes that need not be. */
  #needed(): Maybe<number> {
    const { unit, common, from } = this.#settings;
    const at = this.#at;
    const most = Math.min(this.#chunk, this.#size - at);
    return inPlace(`error while reading image metadata: `, () =>
      chain(nodeStatus(this.#node, at, most, false), (own) => {
        const length = this.#whole(Math.min(most, own.length), unit);
        if (own.allocated) return -length;
        if (common === undefined || from?.node === undefined || at >= from.size()) return length;
        const inside = Math.min(length, from.size() - at);
        return chain(chainStatus(from.node, common, at, inside, false), (above) => {
          const part = this.#whole(Math.min(inside, above.length), unit);
          return above.data || above.zero ? part : -part;
        });
      }),
    );
  }

  /** In whole units where there are any: less than one stays as it is. */
  #whole(length: number, unit: number): number {
    return length > unit ? length - (length % unit) : length;
  }

  #take(length: number): Piece | undefined {
    const offset = this.#at;
    this.#at += Math.abs(length);
    this.#settings.onProgress?.(this.#at, this.#size);
    if (length < 0) return undefined;
    const buffers = this.#free.pop() ?? { before: Buffer.allocUnsafeSlow(this.#chunk), after: Buffer.allocUnsafeSlow(this.#chunk) };
    return { offset, length, ...buffers };
  }

  begin({ offset, length, before, after }: Piece): Maybe<void> {
    const { from, to } = this.#settings;
    const old = readChain(from, offset, before.subarray(0, length), 'old');
    const next = readChain(to, offset, after.subarray(0, length), 'new');
    if (!isPending(old) && !isPending(next)) return;
    return Promise.all([old, next]).then(() => {});
  }

  finish({ offset, length, before, after }: Piece): Maybe<void> {
    return this.#write(offset, before.subarray(0, length), after.subarray(0, length), 0);
  }

  done({ before, after }: Piece): void {
    this.#free.push({ before, after });
  }

  tick(bytes: number): Maybe<void> {
    return this.#settings.budget.tick(bytes);
  }

  #write(offset: number, before: Buffer, after: Buffer, start: number): Maybe<void> {
    const { overlay, from, isCompressed } = this.#settings;
    for (let at = start; at < before.length; ) {
      const { length, isSame } = this.#run(offset, before, after, at);
      const place = offset + at;
      at += length;
      if (isSame) continue;
      const data = before.subarray(at - length, at);
      // behind the end of the old chain there is nothing to copy
      const isBehind = from === undefined || place >= from.size();
      const written = inPlace('Error while writing to COW image: ', () =>
        isBehind ? overlay.zero(place, length) : overlay.write(place, data, isCompressed ? reqFlag.compressed : reqFlag.none),
      );
      const next = at;
      if (isPending(written)) return written.then(() => this.#write(offset, before, after, next));
    }
  }

  /** The run of units from `at` on that are all the same in both, or all different. */
  #run(offset: number, before: Buffer, after: Buffer, at: number): { readonly length: number; readonly isSame: boolean } {
    const { unit } = this.#settings;
    const endOf = (from: number): number => Math.min(before.length, alignUp(offset + from + 1, unit) - offset);
    const isEqual = (from: number, to: number): boolean => before.compare(after, from, to, from, to) === 0;
    let end = endOf(at);
    const isSame = isEqual(at, end);
    while (end < before.length && isEqual(end, endOf(end)) === isSame) end = endOf(end);
    return { length: end - at, isSame };
  }
}

/** What a chain shows; behind its end zeros. */
function readChain(chainTop: BlockBackend | undefined, offset: number, into: Buffer, which: 'old' | 'new'): Maybe<void> {
  const inside = Math.max(0, Math.min(into.length, (chainTop?.size() ?? 0) - offset));
  into.fill(0, inside);
  if (chainTop === undefined || inside === 0) return;
  return inPlace(`error while reading from ${which} backing file: `, () => chainTop.read(offset, into.subarray(0, inside)));
}

function inPlace<T>(place: string, start: () => Maybe<T>): Maybe<T> {
  return recover(start, (error: unknown) => {
    throw error instanceof BlockError ? error.prepend(place) : error;
  });
}

/** The unit in which an overlay is to be written: its own, at least a sector. */
export function unitOf(node: BlockNode, isCompressed: boolean): number {
  const { zeroAlign, clusterSize } = node.limits;
  return Math.max(512, alignDown(isCompressed ? clusterSize : zeroAlign, 512));
}
