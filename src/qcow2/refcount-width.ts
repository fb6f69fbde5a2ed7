/*
 * Counts of another width: a second refcount structure beside the first, filled from it, and durable before the header names
 * it. Only then the first one is given back, so that a cut leaks at worst.
 * Rule source: qcow2 specification, reference counts; observed layout of amended images.
 */
import { isZero } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp } from '../core/util/math.ts';
import type { Qcow2Image } from './image.ts';
import { maxRefcountTableBytes } from './layout.ts';
import { hex } from './mapping.ts';
import { registerRefcountBlocks } from './metadata-places.ts';
import { structure } from './overlap.ts';
import { writeRefcountTable } from './refcount-area.ts';
import { badBlock, exactRefcount, getRefcount, setRefcount } from './refcount-blocks.ts';
import { allocateClusters, freeClusters } from './refcounts.ts';
import { repairWrite } from './repair-write.ts';
import { type Steps, told, wait } from './steps.ts';

export type ReportWork = (done: number, total: number) => void;

/** Blocks of the new structure by index, and where its table lies; 0 = nowhere yet. */
interface NewCounts {
  readonly blocks: number[];
  /** Entries of the table, whole clusters. */
  entries: number;
  tableOffset: number;
  /** Bytes taken at `tableOffset`. */
  tableBytes: number;
}

/** What is done with each block of the new structure: `bytes` are its counts where they are asked for. */
type UseBlock = (index: number, isEmpty: boolean, bytes: Uint8Array) => Steps<void>;

/**
 * Makes all counts `2 ** order` bits wide. For holders of the metadata mutex. Throws the peer's message, the image unchanged,
 * when a count does not fit or the new structure has no place.
 */
export function* changeRefcountWidth(image: Qcow2Image, order: number, report: ReportWork): Steps<void> {
  const { clusterSize } = image.geometry;
  const next: NewCounts = { blocks: [], entries: 0, tableOffset: 0, tableBytes: 0 };
  const table = yield* attempt(image, next, function* () {
    const walks = yield* placeBlocks(image, order, next, report);
    yield* writeBlocks(image, order, next, { index: walks, total: walks + 1, report });
    const offsets = new Float64Array(next.entries);
    offsets.set(next.blocks);
    image.checkOverlap(next.tableOffset, next.tableBytes, 0);
    yield* told('Failed to write the new reftable: ', writeRefcountTable(image, offsets, next.tableOffset));
    yield* image.l2Cache.flush();
    yield* told('Failed to flush the refblock cache: ', image.refcountCache.flush());
    return offsets;
  });
  const old = { table: image.refcountTable, offset: image.header.refcountTableOffset, bytes: image.header.refcountTableClusters * clusterSize };
  // after a failure nobody knows which structure the medium names: both stay counted
  const change = { refcountOrder: order, refcountTableOffset: next.tableOffset, refcountTableClusters: next.tableBytes / clusterSize };
  yield* told('Failed to update the qcow2 header: ', image.updateHeader(change));
  image.refcountTable = table;
  image.changeRefcountBits(2 ** order);
  image.metadata.removeAll(structure.refcountTable);
  image.metadata.add(next.tableOffset, next.tableBytes, structure.refcountTable);
  yield registerRefcountBlocks(image);
  for (const offset of old.table) if (offset !== 0) yield* freeClusters(image, offset, clusterSize, 'other');
  yield* freeClusters(image, old.offset, old.bytes, 'other');
}

/** Carries `body` out; gives back what was taken for the new structure when it fails. */
function* attempt<T>(image: Qcow2Image, next: NewCounts, body: () => Steps<T>): Steps<T> {
  try {
    return yield* body();
  } catch (error) {
    for (const offset of next.blocks) if (offset > 0) yield* freeClusters(image, offset, image.geometry.clusterSize, 'other');
    if (next.tableOffset !== 0) yield* freeClusters(image, next.tableOffset, next.tableBytes, 'other');
    throw error;
  }
}

/** Takes clusters for the new structure until it counts itself too. Returns how many walks over all counts that took. */
function* placeBlocks(image: Qcow2Image, order: number, next: NewCounts, report: ReportWork): Steps<number> {
  const { clusterSize } = image.geometry;
  for (let walks = 0; ; ) {
    let hasTaken = false;
    const place: UseBlock = function* (index, isEmpty) {
      if (isEmpty) return;
      if (index >= next.entries) {
        const entries = alignUp(index + 1, clusterSize / 8);
        if (entries * 8 > maxRefcountTableBytes) {
          const text = 'This operation would make the refcount table grow beyond the maximum size supported by QEMU, aborting';
          throw new BlockError(text, { code: 'ENOTSUP' });
        }
        while (next.blocks.length < entries) next.blocks.push(0);
        next.entries = entries;
      }
      if (next.blocks[index] !== 0) return;
      next.blocks[index] = yield* told('Failed to allocate refblock: ', allocateClusters(image, clusterSize));
      hasTaken = true;
    };
    // at least one walk that takes, one that finds everything taken, and the one that writes
    yield* walkCounts(image, order, place, { index: walks, total: Math.max(walks + 2, 3), report });
    walks++;
    if (!hasTaken) return walks;
    if (next.tableOffset !== 0) yield* freeClusters(image, next.tableOffset, next.tableBytes, 'never');
    next.tableBytes = 0;
    next.tableOffset = yield* told('Failed to allocate the new reftable: ', allocateClusters(image, next.entries * 8));
    next.tableBytes = next.entries * 8;
  }
}

interface Walk {
  readonly index: number;
  readonly total: number;
  readonly report: ReportWork;
}

function* writeBlocks(image: Qcow2Image, order: number, next: NewCounts, walk: Walk): Steps<void> {
  const write: UseBlock = function* (index, isEmpty, bytes) {
    const offset = next.blocks[index] ?? 0;
    if (isEmpty && offset === 0) return;
    yield* told('Failed to write refblock: ', repairWrite(image, offset, bytes, 0));
  };
  yield* walkCounts(image, order, write, walk);
}

/** Goes through all counts and calls `use` for each block of the new structure, when it is complete. */
function* walkCounts(image: Qcow2Image, order: number, use: UseBlock, { index: walk, total, report }: Walk): Steps<void> {
  const { clusterSize, refcountsPerBlock: perOld, refcountBits: oldBits } = image.geometry;
  const newBits = 2 ** order;
  const perNew = (clusterSize * 8) / newBits;
  const bytes = new Uint8Array(clusterSize);
  const view = new DataView(bytes.buffer);
  let index = 0;
  /** Counts of the new block so far. */
  let filled = 0;
  let isEmpty = true;
  const complete = function* (): Steps<void> {
    yield* use(index++, isEmpty, bytes);
    filled = 0;
    isEmpty = true;
    bytes.fill(0);
  };
  // taking clusters may make the table longer
  for (let old = 0; old < image.refcountTable.length; old++) {
    const entries = image.refcountTable.length;
    report(walk * entries + old, total * entries);
    const offset = image.refcountTable[old] ?? 0;
    if (offset % clusterSize !== 0) {
      badBlock(image, offset, old);
      throw new BlockError('Image is corrupt (unaligned refblock offset)', { code: 'EIO' });
    }
    if (offset !== 0) yield* wait(image.budget.tick(clusterSize));
    for (let done = 0; done < perOld; ) {
      if (filled === perNew) yield* complete();
      const end = Math.min(perOld, done + perNew - filled);
      // what a cluster was just taken in may have left the cache
      const block = offset === 0 ? undefined : yield* told('Failed to retrieve refblock: ', image.refcountCache.get(offset));
      if (block === undefined || isZero(block.bytes.subarray((done * oldBits) / 8, (end * oldBits) / 8))) filled += end - done;
      else {
        isEmpty = false;
        for (let at = done; at < end; at++, filled++) {
          const count = getRefcount(block.view, oldBits, at);
          if (count >= 2 ** newBits) throw yield* tooLarge(image, old * perOld + at, { count, newBits });
          setRefcount(view, newBits, filled, count);
        }
      }
      done = end;
    }
  }
  if (filled > 0) yield* complete();
  const entries = image.refcountTable.length;
  report((walk + 1) * entries, total * entries);
}

function* tooLarge(image: Qcow2Image, cluster: number, { count, newBits }: { readonly count: number; readonly newBits: number }): Steps<BlockError> {
  const where = hex(cluster * image.geometry.clusterSize);
  const exact = yield* exactRefcount(image, cluster, count);
  return new BlockError(`Cannot decrease refcount entry width to ${newBits} bits: Cluster at offset ${where} has a refcount of ${exact}`, { code: 'EINVAL' });
}
