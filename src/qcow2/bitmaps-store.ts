/*
 * The life of persistent dirty bitmaps between open and close: they are loaded into the node's dirty bitmaps; a writer marks
 * them in use on the medium, so that a cut leaves them inconsistent, never wrong, and stores them anew when it ends.
 * Rule source: qcow2 specification, bitmaps; observed life of a bitmap between open and close.
 */
import { type DirtyBitmap, useObstacles } from '../core/block/dirty-bitmap.ts';
import { isZero, setU64 } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { isPending } from '../core/util/maybe.ts';
import { encodeName } from '../core/util/name-codec.ts';
import { isHostOffset } from '../core/util/offsets.ts';
import { encodeDirectory, entryBytes, forTable, readDirectory, type StoredBitmap } from './bitmaps.ts';
import type { BitmapsExtension } from './bitmaps-extension.ts';
import type { Qcow2Image } from './image.ts';
import type { BitmapDescription } from './info.ts';
import {
  autoclear,
  bitmapFlag,
  maxBitmapBytes,
  maxBitmapDirectoryBytes,
  maxBitmapGranularityBits,
  maxBitmapNameLength,
  maxBitmaps,
  minBitmapGranularityBits,
} from './layout.ts';
import { structure } from './overlap.ts';
import { allocateClusters, type FreeReason, freeClusters } from './refcounts.ts';
import { run as carryOut, locked, type Steps, told, wait } from './steps.ts';

/** Bytes of clusters that bitmaps of one image name again, beyond what pages can share: no writer names one twice. */
const maxRepeatedBytes = 64 * 1024 * 1024;

/** What the bitmaps of an image have named so far while they are loaded. */
class Repetitions {
  readonly #seen = new Set<number>();
  #bytes = 0;

  /** Throws once what was named before costs more than a writer's image ever does: a small one would cost any amount of memory. */
  count(name: string, offset: number, length: number): void {
    if (!this.#seen.has(offset)) this.#seen.add(offset);
    else this.#bytes += length;
    if (this.#bytes > maxRepeatedBytes) throw new BlockError(`Could not read bitmap '${name}' from image: Cannot allocate memory`, { code: 'ENOMEM' });
  }
}

interface TakenClusters {
  readonly offset: number;
  length: number;
  readonly reason: FreeReason;
}

export class Bitmaps {
  readonly #image: Qcow2Image;
  #stored: readonly StoredBitmap[];
  /** What was read from the medium is with the node now. */
  #isLoaded = false;
  /** What the node holds goes beyond what is stored. */
  #isInUse = false;

  constructor(image: Qcow2Image, stored: readonly StoredBitmap[]) {
    this.#image = image;
    this.#stored = stored;
  }

  static async read(image: Qcow2Image): Promise<Bitmaps> {
    return new Bitmaps(image, await readDirectory(image));
  }

  describe(): BitmapDescription[] {
    return this.#stored.map(({ name, granularityBits, flags }) => ({
      name,
      granularity: 2 ** granularityBits,
      flags: [...((flags & bitmapFlag.inUse) !== 0 ? ['in-use'] : []), ...((flags & bitmapFlag.auto) !== 0 ? ['auto'] : [])],
    }));
  }

  /** Gives the bitmaps to the node, once it knows its size: those of a reader cannot record. */
  async load(): Promise<void> {
    const { node } = this.#image;
    const repetitions = new Repetitions();
    for (const stored of this.#stored) {
      const isInconsistent = (stored.flags & bitmapFlag.inUse) !== 0;
      const isEnabled = (stored.flags & bitmapFlag.auto) !== 0;
      const bitmap = node.dirtyBitmaps.add({
        name: stored.name,
        granularity: 2 ** stored.granularityBits,
        isEnabled: isEnabled && !isInconsistent,
        isPersistent: true,
        isInconsistent,
        isReadOnly: true,
      });
      if (!isInconsistent) await this.#fill(bitmap, stored, repetitions);
      const pause = this.#image.budget.tick(0);
      if (isPending(pause)) await pause;
    }
    this.#isLoaded = true;
  }

  /** Lets the bitmaps record: a writer's are in use on the medium, whatever becomes of it. */
  async markInUse(): Promise<void> {
    if (!this.#isLoaded || this.#isInUse) return;
    const marked = this.#stored.map((stored) => ({ ...stored, flags: stored.flags | bitmapFlag.inUse }));
    if (this.#stored.some(({ flags }) => (flags & bitmapFlag.inUse) === 0)) await carryOut(locked(this.#image.mutex, () => this.#rewriteDirectory(marked)));
    this.#stored = marked;
    this.#isInUse = true;
    for (const bitmap of this.#image.node.dirtyBitmaps) bitmap.isReadOnly = false;
  }

  /** The node cannot record any more, and what it holds is stored. */
  setReadOnly(): void {
    for (const bitmap of this.#image.node.dirtyBitmaps) if (bitmap.isPersistent) bitmap.isReadOnly = true;
  }

  // -- what commands ask for (BitmapStore of the driver contract) --------------------------------------------------------------------------------------------
  check(name: string, granularity: number): void {
    const { geometry, node } = this.#image;
    const reason = geometry.version < 3 ? 'Cannot store dirty bitmaps in qcow2 v2 files' : this.#reasonAgainst(name, granularity);
    if (reason !== undefined) throw new BlockError(`Can't make bitmap '${name}' persistent in '${node.displayName}': ${reason}`, { code: 'ENOTSUP' });
  }

  /** What an image of this size cannot hold of a bitmap: nobody would open it again. */
  #unfit(name: string, granularity: number): string | undefined {
    if (granularity > 2 ** maxBitmapGranularityBits) return `Granularity exceeds maximum (${2 ** maxBitmapGranularityBits} bytes)`;
    if (granularity < 2 ** minBitmapGranularityBits) return `Granularity is under minimum (${2 ** minBitmapGranularityBits} bytes)`;
    if (encodeName(name).length > maxBitmapNameLength) return `Name length exceeds maximum (${maxBitmapNameLength} characters)`;
    if (this.#image.size > maxBitmapBytes * 8 * granularity) return 'Too much space will be occupied by the bitmap. Use larger granularity';
    return undefined;
  }

  #reasonAgainst(name: string, granularity: number): string | undefined {
    const { node } = this.#image;
    const unfit = this.#unfit(name, granularity);
    if (unfit !== undefined) return unfit;
    const nameLength = encodeName(name).length;
    const names = new Set(this.#stored.map((stored) => stored.name));
    for (const bitmap of node.dirtyBitmaps) if (bitmap.isPersistent && bitmap.name !== undefined) names.add(bitmap.name);
    if (names.size >= maxBitmaps) return 'Maximum number of persistent bitmaps is already reached';
    let bytes = entryBytes(nameLength);
    for (const other of names) bytes += entryBytes(encodeName(other).length);
    return bytes > maxBitmapDirectoryBytes ? 'Not enough space in the bitmap directory' : undefined;
  }

  /** Takes a bitmap from the medium, whether or not the node still has it; one that is not there is not missed. */
  async remove(name: string): Promise<void> {
    const gone = this.#stored.find((stored) => stored.name === name);
    if (gone === undefined) return;
    await this.#checkTable(gone);
    const next = this.#stored.filter((stored) => stored !== gone);
    await carryOut(locked(this.#image.mutex, () => this.#replaceDirectory(() => wait<readonly StoredBitmap[]>(next), [gone])));
  }

  /** Many entries of a hostile table may name one cluster, or ones: what is there already costs nothing again. */
  async #fill(bitmap: DirtyBitmap, stored: StoredBitmap, repetitions: Repetitions): Promise<void> {
    const image = this.#image;
    const { clusterSize } = image.geometry;
    const bytes = new Uint8Array(clusterSize);
    /** Where the cluster at a host offset was taken first. */
    const known = new Map<number, number>();
    let onesFrom: number | undefined;
    const take = function* (value: number, start: number): Steps<void> {
      const first = known.get(value);
      if (first === undefined || !bitmap.deserialiseAgain(start, first, clusterSize)) {
        repetitions.count(stored.name, value, clusterSize);
        const part = bytes.subarray(0, Math.min(clusterSize, bitmap.byteLength - start));
        yield* wait(image.readFile(value, part));
        bitmap.deserialise(start, part);
        if (first === undefined) known.set(value, start);
      }
      yield* wait(image.budget.tick(clusterSize));
    };
    await carryOut(
      forTable(image, stored, (value, index) => {
        const start = index * clusterSize;
        if (onesFrom !== undefined && value !== 1) {
          bitmap.deserialiseOnes(onesFrom, start);
          onesFrom = undefined;
        }
        if (value === 0 || start >= bitmap.byteLength) return;
        if (value === 1) {
          onesFrom ??= start;
          return;
        }
        return take(value, start);
      }),
    );
    if (onesFrom !== undefined) bitmap.deserialiseOnes(onesFrom, bitmap.byteLength);
  }

  /** Throws when a bitmap stands in the way of a new size. */
  checkResize(): void {
    for (const { name } of this.#stored) {
      const held = this.#isLoaded ? this.#image.node.dirtyBitmaps.find(name) : undefined;
      held?.check(useObstacles);
      if (held !== undefined) continue;
      throw new BlockError(`Cannot resize: bitmap '${name}' is inconsistent`, {
        code: 'ENOTSUP',
        detail: 'Try block-dirty-bitmap-remove to delete this bitmap from disk',
      });
    }
  }

  /** Stores what the node has of persistent bitmaps and takes the marks away. */
  async store(): Promise<void> {
    if (!this.#isInUse) return;
    const held = [...this.#image.node.dirtyBitmaps].filter((bitmap) => bitmap.isPersistent && !bitmap.isInconsistent && bitmap.name !== undefined);
    const isGone = this.#stored.some(({ name }) => this.#image.node.dirtyBitmaps.find(name) === undefined);
    if (held.length === 0 && !isGone) {
      this.#isInUse = false;
      return;
    }
    this.#checkHeld(held);
    const names = new Set(held.map(({ name }) => name));
    const former = [
      ...this.#stored.filter(({ name }) => names.has(name)),
      ...this.#stored.filter(({ name }) => this.#image.node.dirtyBitmaps.find(name) === undefined),
    ];
    for (const stored of former) await this.#checkTable(stored);
    await carryOut(locked(this.#image.mutex, () => this.#storeSteps(held, former)));
    this.#isInUse = false;
  }

  /** Throws for what the medium cannot hold: the disk may have got another size since the bitmap was made. */
  #checkHeld(held: readonly DirtyBitmap[]): void {
    for (const { name = '', granularity } of held) {
      const unfit = this.#unfit(name, granularity);
      if (unfit !== undefined) throw new BlockError(`Bitmap '${name}' doesn't satisfy the constraints: ${unfit}`, { code: 'ENOTSUP' });
    }
    // a table of no entries is none
    if (held.some(({ byteLength }) => byteLength === 0)) throw new BlockError('No memory', { code: 'ENOMEM' });
  }

  /** Throws for a table that cannot be read, while nothing has been changed. */
  async #checkTable(stored: StoredBitmap): Promise<void> {
    await carryOut(forTable(this.#image, stored, () => undefined));
  }

  /** Frees where a bitmap lay. Its table is read once more: a hostile one names more clusters than there is memory for a list. */
  *#free(stored: StoredBitmap): Steps<void> {
    const image = this.#image;
    const { clusterSize } = image.geometry;
    const free = function* (offset: number): Steps<void> {
      yield* freeClusters(image, offset, clusterSize, 'always');
      yield* wait(image.budget.tick(0));
    };
    yield* forTable(image, stored, (offset) => (offset > 1 && isHostOffset(offset) ? free(offset) : undefined));
    yield* freeClusters(image, stored.tableOffset, stored.tableEntries * 8, 'other');
  }

  /** Everything anew: data, tables, a directory; the old clusters go once the header names the new ones. */
  *#storeSteps(held: readonly DirtyBitmap[], former: readonly StoredBitmap[]): Steps<void> {
    yield* this.#replaceDirectory((taken) => this.#writeBitmaps(held, taken), former);
  }

  *#writeBitmaps(held: readonly DirtyBitmap[], taken: TakenClusters[]): Steps<readonly StoredBitmap[]> {
    const image = this.#image;
    const next: StoredBitmap[] = [];
    const byName = new Map(held.map((bitmap) => [bitmap.name, bitmap]));
    for (const stored of this.#stored) {
      const bitmap = byName.get(stored.name);
      if (bitmap !== undefined) next.push(yield* this.#writeNew(bitmap, stored.nameBytes, taken));
      else if (image.node.dirtyBitmaps.find(stored.name) !== undefined) next.push(stored);
    }
    // newest first, as the peer does
    const known = new Set(this.#stored.map(({ name }) => name));
    for (const bitmap of held) {
      if (known.has(bitmap.name ?? '')) continue;
      next.push(yield* this.#writeNew(bitmap, encodeName(bitmap.name ?? ''), taken));
    }
    return next;
  }

  /** Another directory, of what `write` has written; the old one, and the clusters of `former`, go once the header names the new one. */
  *#replaceDirectory(write: (taken: TakenClusters[]) => Steps<readonly StoredBitmap[]>, former: readonly StoredBitmap[]): Steps<void> {
    const image = this.#image;
    const old = image.header.bitmaps;
    const taken: TakenClusters[] = [];
    let next: readonly StoredBitmap[];
    let extension: BitmapsExtension | undefined;
    try {
      next = yield* write(taken);
      extension = yield* told('Failed to update bitmap extension: ', this.#writeDirectory(next, taken));
    } catch (error) {
      for (const { offset, length, reason } of taken) yield* freeClusters(image, offset, length, reason);
      throw error;
    }
    const bits = image.header.autoclear & ~autoclear.bitmaps;
    // from here on the medium may name what is new
    const change = { bitmaps: extension, autoclear: extension === undefined ? bits : bits | autoclear.bitmaps };
    yield* told('Failed to update bitmap extension: ', image.updateHeader(change));
    // whatever becomes of the old ones: a second try must not free them again
    this.#stored = next;
    if (old !== undefined) {
      image.metadata.remove(old.directoryOffset, old.directorySize, structure.bitmapDirectory);
      yield* freeClusters(image, old.directoryOffset, old.directorySize, 'other');
    }
    for (const stored of former) yield* this.#free(stored);
    yield* image.refcountCache.flush();
  }

  /** Writes a new directory, durably, for the header to name; none when there are no bitmaps. */
  *#writeDirectory(bitmaps: readonly StoredBitmap[], taken: TakenClusters[]): Steps<BitmapsExtension | undefined> {
    const image = this.#image;
    const directory = encodeDirectory(bitmaps);
    let extension: BitmapsExtension | undefined;
    if (bitmaps.length > 0) {
      const directoryOffset = yield* this.#take(directory.length, 'other', taken);
      yield* wait(image.writeFile(directoryOffset, directory));
      extension = { count: bitmaps.length, directorySize: directory.length, directoryOffset };
    }
    yield* image.refcountCache.flush();
    return extension;
  }

  *#take(length: number, reason: FreeReason, taken: TakenClusters[]): Steps<number> {
    const offset = yield* allocateClusters(this.#image, length);
    const last = taken.at(-1);
    // a bitmap of many clusters is one run as a rule
    if (last !== undefined && last.reason === reason && last.offset + last.length === offset) last.length += length;
    else taken.push({ offset, length, reason });
    this.#image.checkOverlap(offset, length, 0);
    return offset;
  }

  /** Writes a bitmap's data and table into new clusters. */
  #writeNew(bitmap: DirtyBitmap, nameBytes: Uint8Array, taken: TakenClusters[]): Steps<StoredBitmap> {
    return told(`Failed to write bitmap '${bitmap.name ?? ''}' to file: `, this.#writeParts(bitmap, nameBytes, taken));
  }

  *#writeParts(bitmap: DirtyBitmap, nameBytes: Uint8Array, taken: TakenClusters[]): Steps<StoredBitmap> {
    const image = this.#image;
    const { clusterSize } = image.geometry;
    const table = new Uint8Array(Math.ceil(bitmap.byteLength / clusterSize) * 8);
    const cluster = new Uint8Array(clusterSize);
    for (let start = 0; start < bitmap.byteLength; start += clusterSize) {
      bitmap.serialise(start, cluster);
      yield* wait(image.budget.tick(clusterSize));
      if (isZero(cluster)) continue;
      const offset = yield* this.#take(clusterSize, 'always', taken);
      yield* wait(image.writeFile(offset, cluster));
      setU64(table, (start / clusterSize) * 8, offset);
    }
    const tableOffset = yield* this.#take(table.length, 'other', taken);
    yield* wait(image.writeFile(tableOffset, table));
    return {
      name: bitmap.name ?? '',
      nameBytes,
      granularityBits: Math.log2(bitmap.granularity),
      flags: bitmap.isEnabled ? bitmapFlag.auto : 0,
      tableOffset,
      tableEntries: table.length / 8,
    };
  }

  /** Writes the directory in place; meanwhile the header says that bitmaps are not to be trusted. */
  *#rewriteDirectory(bitmaps: readonly StoredBitmap[]): Steps<void> {
    const image = this.#image;
    const { bitmaps: extension } = image.header;
    if (extension === undefined) return;
    yield* image.updateHeader({ autoclear: image.header.autoclear & ~autoclear.bitmaps });
    yield* wait(image.writeFile(extension.directoryOffset, encodeDirectory(bitmaps)));
    yield* wait(image.flushMedium());
    yield* image.updateHeader({ autoclear: image.header.autoclear | autoclear.bitmaps });
  }
}
