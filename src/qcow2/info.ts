/*
 * What `info` tells of an image: members in QAPI order, data only.
 * Rule source: QAPI ImageInfoSpecificQCow2.
 */
import type { FormatInfo } from '../core/block/driver.ts';
import { alignUp } from '../core/util/math.ts';
import type { Qcow2Image } from './image.ts';
import { autoclear, compatible, compressionType, cryptMethod, incompatible } from './layout.ts';

export interface BitmapDescription {
  readonly name: string;
  readonly granularity: number;
  readonly flags: readonly string[];
}

export function describeImage(image: Qcow2Image, bitmaps: readonly BitmapDescription[]): FormatInfo {
  const { header, geometry } = image;
  const compression = header.compressionType === compressionType.zstd ? 'zstd' : 'zlib';
  // told by the header: who only looks at the image has not opened it
  const hasDataFile = (header.incompatible & incompatible.dataFile) !== 0n;
  const encrypt = image.encryption === undefined ? {} : { encrypt: image.encryption.describe() };
  const data: Record<string, unknown> =
    header.version < 3
      ? { compat: '0.10', 'compression-type': compression, 'refcount-bits': geometry.refcountBits, ...encrypt }
      : {
          compat: '1.1',
          'compression-type': compression,
          'lazy-refcounts': (header.compatible & compatible.lazyRefcounts) !== 0n,
          ...(bitmaps.length === 0 ? {} : { bitmaps: bitmaps.map(({ flags, name, granularity }) => ({ flags, name, granularity })) }),
          'refcount-bits': geometry.refcountBits,
          ...encrypt,
          ...(hasDataFile && header.dataFile !== undefined ? { 'data-file': header.dataFile } : {}),
          ...(hasDataFile ? { 'data-file-raw': (header.autoclear & autoclear.rawDataFile) !== 0n } : {}),
          corrupt: (header.incompatible & incompatible.corrupt) !== 0n,
          'extended-l2': geometry.isExtended,
        };
  return {
    clusterSize: geometry.clusterSize,
    encrypted: header.cryptMethod !== cryptMethod.none,
    dirty: (header.incompatible & incompatible.dirty) !== 0n,
    corrupt: (header.incompatible & incompatible.corrupt) !== 0n,
    vmStateOffset: alignUp(image.size, geometry.bytesPerL2),
    specific: { type: 'qcow2', data },
  };
}
