/*
 * The header extension that points at the bitmap directory: decode with the peer's checks, and encode. Apart from
 * header.ts for its own rules: an image touched by software without bitmap support has bitmaps that nobody may trust.
 * Rule source: qcow2 specification, bitmaps extension.
 */
import { getU32, getU64, setU32, setU64 } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { autoclear, bitmapsExtensionLength, maxBitmapDirectoryBytes, maxBitmaps } from './layout.ts';

/** A line for stderr, and the advice that follows it. */
export interface Warning {
  readonly text: string;
  readonly hint: string;
}

export interface BitmapsExtension {
  readonly count: number;
  readonly directorySize: number;
  readonly directoryOffset: number;
}

const hint = "Some clusters may be leaked, run 'qemu-img check -r' on the image file to fix.";

/** Undefined, with a warning, when the bitmaps are not to be trusted: the extension is dropped at the next header update. */
export function decodeBitmapsExtension(
  header: { readonly version: number; readonly autoclear: bigint; readonly warnings: Warning[] },
  data: Uint8Array,
  clusterSize: number,
): BitmapsExtension | undefined {
  if (data.length !== bitmapsExtensionLength) throw new BlockError('bitmaps_ext: Invalid extension length', { code: 'ERR_FORMAT' });
  if ((header.autoclear & autoclear.bitmaps) === 0n) {
    const text =
      header.version < 3
        ? 'This qcow2 v2 image contains bitmaps, but they may have been modified by a program without persistent bitmap support; so now they must all be considered inconsistent'
        : 'a program lacking bitmap support modified this file, so all bitmaps are now considered inconsistent';
    header.warnings.push({ text, hint });
    return undefined;
  }
  const count = getU32(data, 0);
  const directorySize = getU64(data, 8);
  const directoryOffset = getU64(data, 16);
  if (getU32(data, 4) !== 0) throw new BlockError('bitmaps_ext: Reserved field is not zero', { code: 'ERR_FORMAT' });
  if (count > maxBitmaps)
    throw new BlockError(`bitmaps_ext: Image has ${count} bitmaps, exceeding the QEMU supported maximum of ${maxBitmaps}`, { code: 'ERR_FORMAT' });
  if (count === 0) throw new BlockError('found bitmaps extension with zero bitmaps', { code: 'ERR_FORMAT' });
  if (directoryOffset % clusterSize !== 0) throw new BlockError('bitmaps_ext: invalid bitmap directory offset', { code: 'ERR_FORMAT' });
  if (directorySize > maxBitmapDirectoryBytes) {
    throw new BlockError(`bitmaps_ext: bitmap directory size (${directorySize}) exceeds the maximum supported size (${maxBitmapDirectoryBytes})`, {
      code: 'ERR_FORMAT',
    });
  }
  return { count, directorySize, directoryOffset };
}

export function encodeBitmapsExtension(bitmaps: BitmapsExtension): Uint8Array {
  const data = new Uint8Array(bitmapsExtensionLength);
  setU32(data, 0, bitmaps.count);
  setU64(data, 8, bitmaps.directorySize);
  setU64(data, 16, bitmaps.directoryOffset);
  return data;
}
