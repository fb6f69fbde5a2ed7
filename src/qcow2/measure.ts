/*
 * What an image would take, without making it: clusters for the data of a source, and for the tables of an image in which
 * every cluster has its place. Rule source: qcow2 specification (tables), observed figures of `qemu-img measure`.
 */
import type { CreateValues, Measured, MeasureSource } from '../core/block/driver.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp, ceilDiv } from '../core/util/math.ts';
import { isPending } from '../core/util/maybe.ts';
import { readLuksCreation, secretRequired } from '../crypto/luks-values.ts';
import { luksOverhead } from '../crypto/luks-volume.ts';
import { measureBitmaps } from './bitmaps.ts';
import { type CreateSettings, checkCreateValues } from './create-values.ts';
import { maxL1Bytes } from './layout.ts';
import { blocksFor } from './refcount-area.ts';

/** Throws as creation with these values does. */
export async function measureQcow2(values: CreateValues, source: MeasureSource | undefined): Promise<Measured> {
  const settings = checkCreateValues(values);
  const clusterSize = 2 ** settings.clusterBits;
  const overhead = cryptoBytes(settings, values, clusterSize);
  const size = alignUp(source?.size ?? settings.size, clusterSize);
  const entriesPerL2 = clusterSize / (settings.extendedL2 ? 16 : 8);
  if (ceilDiv(size / clusterSize, entriesPerL2) * 8 > maxL1Bytes) {
    throw new BlockError('The image size is too large (try using a larger cluster size)', { code: 'ERR_OPTION' });
  }
  const isFull = settings.preallocation === 'full' || settings.preallocation === 'falloc';
  // how much of a backing file will show through nobody knows
  const needed =
    isFull || (source !== undefined && settings.backingFile !== undefined) ? size : source === undefined ? 0 : await dataBytes(source, clusterSize);
  const fullyAllocated = wholeImage(size, settings) + overhead;
  const bitmaps = settings.version >= 3 && source?.bitmaps !== undefined ? measureBitmaps(source.bitmaps, clusterSize) : undefined;
  return { required: fullyAllocated - size + needed, fullyAllocated, bitmaps };
}

function cryptoBytes({ encryption }: CreateSettings, values: CreateValues, clusterSize: number): number {
  if (encryption !== 'luks') return 0;
  const { spec, keySecret } = readLuksCreation(values, 'encrypt.');
  if (keySecret === undefined) throw secretRequired('encrypt.');
  return alignUp(luksOverhead(spec), clusterSize);
}

/** Bytes of the clusters in which the source has data. */
async function dataBytes(source: MeasureSource, clusterSize: number): Promise<number> {
  let bytes = 0;
  for (let at = 0; at < source.size; ) {
    const found = source.status(at, source.size - at);
    const { length, data, zero } = isPending(found) ? await found : found;
    if (!data || zero) {
      at += length;
      continue;
    }
    // the rest of its last cluster counts, and is not looked at again
    const end = alignUp(at + length, clusterSize);
    bytes += (at % clusterSize) + end - at;
    at = end;
  }
  return bytes;
}

/** The file when every cluster has its place. */
function wholeImage(size: number, { clusterBits, refcountOrder, extendedL2 }: CreateSettings): number {
  const clusterSize = 2 ** clusterBits;
  const entrySize = extendedL2 ? 16 : 8;
  const l2Bytes = alignUp((size / clusterSize) * entrySize, clusterSize);
  const l1Bytes = alignUp((l2Bytes / clusterSize) * 8, clusterSize);
  const bytes = clusterSize + l2Bytes + l1Bytes + size;
  const refcountsPerBlock = (clusterSize * 8) / 2 ** refcountOrder;
  const { blocks, tableClusters } = blocksFor({ clusters: bytes / clusterSize, clusterSize, refcountsPerBlock, isGenerous: false });
  return bytes + (blocks + tableClusters) * clusterSize;
}
