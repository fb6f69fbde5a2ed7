/*
 * Options of an open image: cache sizes, discard passing, overlap checks, lazy refcounts; with the peer's messages.
 * Rule source: observed option checks.
 */
import type { OptionReader } from '../core/block/options.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp, ceilDiv, isPowerOfTwo } from '../core/util/math.ts';
import { limited } from '../core/util/offsets.ts';
import type { Header } from './header.ts';
import type { ImageOptions } from './image.ts';
import { compatible, incompatible } from './layout.ts';
import { overlapTemplates, structureOptions } from './overlap.ts';

const maxDefaultL2Cache = 32 * 1024 * 1024;
const minRefcountTables = 4;
const defaultSlice = 4096;
/** The least that caches hold. */
const minL2Tables = 2;
/** Small tables are cheap to keep: unless told otherwise, enough of them that images with small clusters do not read them over and over. */
const defaultTables = 16;
const defaultBytes = 1024 * 1024;
/** QEMU counts them in an int. */
const maxTables = 0x7fffffff;

export interface RuntimeOptions {
  readonly options: ImageOptions;
  /** Bytes of an L2 slice. */
  readonly sliceSize: number;
}

export function readRuntimeOptions(reader: OptionReader, header: Header, isDiscarding: boolean): RuntimeOptions {
  const clusterSize = 2 ** header.clusterBits;
  const caches = readCacheSizes(reader, header, clusterSize);
  const cleanInterval = reader.number('cache-clean-interval');
  if (cleanInterval !== undefined && cleanInterval > 0xffffffff) throw new BlockError('Cache clean interval too big', { code: 'ERR_OPTION' });
  const lazyRefcounts = reader.bool('lazy-refcounts', (header.compatible & compatible.lazyRefcounts) !== 0n);
  if (lazyRefcounts && header.version < 3) {
    throw new BlockError('Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level', { code: 'ERR_OPTION' });
  }
  const discardNoUnref = reader.bool('discard-no-unref');
  if (discardNoUnref && header.version < 3) throw new BlockError('discard-no-unref is only supported since qcow2 version 3', { code: 'ENOTSUP' });
  const overlapChecks = readOverlapChecks(reader);
  return {
    sliceSize: caches.sliceSize,
    options: {
      passDiscardRequest: reader.bool('pass-discard-request', isDiscarding),
      passDiscardSnapshot: reader.bool('pass-discard-snapshot'),
      passDiscardOther: reader.bool('pass-discard-other'),
      discardNoUnref,
      lazyRefcounts,
      overlapChecks,
      l2CacheTables: caches.l2Tables,
      refcountCacheTables: caches.refcountTables,
    },
  };
}

function readCacheSizes(reader: OptionReader, header: Header, clusterSize: number): { sliceSize: number; l2Tables: number; refcountTables: number } {
  const given = { total: reader.bytes('cache-size'), l2: reader.bytes('l2-cache-size'), refcounts: reader.bytes('refcount-cache-size') };
  const givenSlice = reader.size('l2-cache-entry-size');
  if (given.total !== undefined) {
    if (given.l2 !== undefined && given.refcounts !== undefined)
      throw new BlockError('cache-size, l2-cache-size and refcount-cache-size may not be set at the same time', { code: 'ERR_OPTION' });
    if (given.l2 !== undefined && given.l2 > given.total) throw new BlockError('l2-cache-size may not exceed cache-size', { code: 'ERR_OPTION' });
    if (given.refcounts !== undefined && given.refcounts > given.total)
      throw new BlockError('refcount-cache-size may not exceed cache-size', { code: 'ERR_OPTION' });
  }
  const entrySize = (header.incompatible & incompatible.extendedL2) !== 0n ? 16 : 8;
  const needed = alignUp(ceilDiv(header.size, clusterSize) * entrySize, clusterSize);
  const minRefcounts = minRefcountTables * clusterSize;
  const total = given.total === undefined ? undefined : limited(given.total);
  // more than the whole map is never kept
  let l2 = given.l2 === undefined ? undefined : Math.min(limited(given.l2), needed);
  let refcounts = given.refcounts === undefined ? undefined : limited(given.refcounts);
  if (total !== undefined) {
    if (l2 !== undefined) refcounts = total - l2;
    else if (refcounts !== undefined) l2 = total - refcounts;
    else {
      // the map of the whole disk first, the rest for refcounts
      l2 = total >= needed + minRefcounts ? needed : Math.max(0, total - minRefcounts);
      refcounts = total - l2;
    }
  }
  if (refcounts !== undefined && Math.floor(refcounts / clusterSize) > maxTables) throw new BlockError('Refcount cache size too big', { code: 'EINVAL' });
  const isWhole = (l2 ?? maxDefaultL2Cache) >= needed;
  const sliceSize = givenSlice ?? (isWhole ? clusterSize : Math.min(defaultSlice, clusterSize));
  if (sliceSize < 512 || sliceSize > clusterSize || !isPowerOfTwo(sliceSize)) {
    throw new BlockError(`L2 cache entry size must be a power of two between 512 and the cluster size (${clusterSize})`, { code: 'ERR_OPTION' });
  }
  const l2Default = Math.max(defaultTables * sliceSize, defaultBytes, Math.min(needed, maxDefaultL2Cache));
  if (l2 !== undefined && Math.floor(l2 / sliceSize) > maxTables) throw new BlockError('L2 cache size too big', { code: 'EINVAL' });
  return {
    sliceSize,
    l2Tables: Math.max(minL2Tables, Math.floor((l2 ?? l2Default) / sliceSize)),
    refcountTables: Math.max(minRefcountTables, Math.floor((refcounts ?? Math.max(defaultTables * clusterSize, defaultBytes)) / clusterSize)),
  };
}

function readOverlapChecks(reader: OptionReader): number {
  const short = typeof reader.peek('overlap-check') === 'string' ? reader.take('overlap-check') : undefined;
  const template = reader.string('overlap-check.template');
  let name = template ?? 'cached';
  if (typeof short === 'string') {
    if (template !== undefined && template !== short) {
      throw new BlockError(`Conflicting values for qcow2 options 'overlap-check' ('${short}') and 'overlap-check.template' ('${template}')`, {
        code: 'ERR_OPTION',
      });
    }
    name = short;
  }
  let bits = overlapTemplates[name];
  if (bits === undefined) {
    throw new BlockError(`Unsupported value '${name}' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all`, {
      code: 'ERR_OPTION',
    });
  }
  structureOptions.forEach((option, index) => {
    if (!reader.has(`overlap-check.${option}`)) return;
    const bit = 1 << index;
    bits = reader.bool(`overlap-check.${option}`) ? (bits ?? 0) | bit : (bits ?? 0) & ~bit;
  });
  return bits;
}
