/*
 * The image header and its extensions: decode with every check in the peer's order and words, and encode. Works on the
 * bytes of the first cluster; does no I/O and knows nothing of tables. Feature words stay bigint inside this file and its
 * callers; sizes and offsets become numbers here.
 * Rule source: qcow2 specification, header and header extensions.
 */
import { getU32, getU64, getU64Big, setU32, setU64, setU64Big, untilNul } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp } from '../core/util/math.ts';
import { encodeName } from '../core/util/name-codec.ts';
import { largestOffset } from '../core/util/offsets.ts';
import { type BitmapsExtension, decodeBitmapsExtension, encodeBitmapsExtension, type Warning } from './bitmaps-extension.ts';
import {
  compressionType,
  cryptMethod,
  extension,
  featureEntrySize,
  featureNameSize,
  featureNames,
  fullHeaderLength,
  headerField,
  incompatible,
  knownIncompatible,
  maxBackingFormatLength,
  maxBackingNameLength,
  maxClusterBits,
  maxL1Bytes,
  maxRefcountTableBytes,
  maxSnapshots,
  maxTableEnd,
  minClusterBits,
  minExtendedClusterBits,
  minV3HeaderLength,
  QCOW_MAGIC,
  snapshotHeaderSize,
  v2HeaderLength,
} from './layout.ts';

export interface UnknownExtension {
  readonly type: number;
  readonly data: Uint8Array;
}

/** The header as a model. Changed in place by whoever holds the metadata mutex, then encoded as a whole. */
export interface Header {
  version: number;
  clusterBits: number;
  size: number;
  cryptMethod: number;
  l1Size: number;
  l1Offset: number;
  refcountTableOffset: number;
  refcountTableClusters: number;
  snapshotCount: number;
  snapshotsOffset: number;
  incompatible: bigint;
  compatible: bigint;
  autoclear: bigint;
  refcountOrder: number;
  compressionType: number;
  /** Padding after the compression type, and everything beyond it up to the header's length: kept as found. */
  padding: Uint8Array;
  unknownFields: Uint8Array;
  backingFile: string | undefined;
  backingFormat: string | undefined;
  dataFile: string | undefined;
  crypto: { readonly offset: number; readonly length: number } | undefined;
  bitmaps: BitmapsExtension | undefined;
  unknownExtensions: UnknownExtension[];
  /** What the peer prints as warnings while it opens such an image. */
  warnings: Warning[];
}

const invalid = (message: string): BlockError => new BlockError(message, { code: 'ERR_FORMAT' });

/** Checks magic, version and cluster size in the first bytes (at least 24, zero-padded). Returns the cluster's log2. */
export function checkHeaderStart(head: Uint8Array): number {
  if (getU32(head, 0) !== QCOW_MAGIC) throw invalid('Image is not in qcow2 format');
  const version = getU32(head, headerField.version);
  if (version !== 2 && version !== 3) throw new BlockError(`Unsupported qcow2 version ${version}`, { code: 'ENOTSUP' });
  const bits = getU32(head, headerField.clusterBits);
  if (bits < minClusterBits || bits > maxClusterBits) throw invalid(`Unsupported cluster size: 2^${bits}`);
  return bits;
}

/** What the image is opened for. */
export interface HeaderUse {
  readonly readOnly: boolean;
  readonly toCheck?: boolean;
  /** Only to be shown. */
  readonly noIo?: boolean;
}

/** Decodes the header from the whole first cluster (zero-padded). Throws the first failure in the peer's order. */
export function decodeHeader(cluster: Uint8Array, how: HeaderUse): Header {
  const clusterBits = checkHeaderStart(cluster);
  const clusterSize = cluster.length;
  const version = getU32(cluster, headerField.version);
  const isV3 = version >= 3;
  const headerLength = isV3 ? getU32(cluster, headerField.headerLength) : v2HeaderLength;
  if (isV3 && headerLength < minV3HeaderLength) throw invalid('qcow2 header too short');
  if (headerLength > clusterSize) throw invalid('qcow2 header exceeds cluster size');
  const backingOffset = getU64(cluster, headerField.backingOffset);
  if (backingOffset > clusterSize) throw invalid('Invalid backing file offset');
  const header: Header = {
    version,
    clusterBits,
    size: getU64(cluster, headerField.size),
    cryptMethod: getU32(cluster, headerField.cryptMethod),
    l1Size: getU32(cluster, headerField.l1Size),
    l1Offset: getU64(cluster, headerField.l1Offset),
    refcountTableOffset: getU64(cluster, headerField.refcountTableOffset),
    refcountTableClusters: getU32(cluster, headerField.refcountTableClusters),
    snapshotCount: getU32(cluster, headerField.snapshotCount),
    snapshotsOffset: getU64(cluster, headerField.snapshotsOffset),
    incompatible: isV3 ? getU64Big(cluster, headerField.incompatible) : 0n,
    compatible: isV3 ? getU64Big(cluster, headerField.compatible) : 0n,
    autoclear: isV3 ? getU64Big(cluster, headerField.autoclear) : 0n,
    refcountOrder: isV3 ? getU32(cluster, headerField.refcountOrder) : 4,
    compressionType: isV3 && headerLength > headerField.compressionType ? (cluster[headerField.compressionType] ?? 0) : 0,
    padding: new Uint8Array(7),
    unknownFields: new Uint8Array(0),
    backingFile: undefined,
    backingFormat: undefined,
    dataFile: undefined,
    crypto: undefined,
    bitmaps: undefined,
    unknownExtensions: [],
    warnings: [],
  };
  if (isV3 && headerLength >= fullHeaderLength) {
    header.padding = cluster.slice(headerField.compressionType + 1, fullHeaderLength);
    header.unknownFields = cluster.slice(fullHeaderLength, headerLength);
  }
  const extensionsEnd = backingOffset === 0 ? clusterSize : backingOffset;
  checkFeatures(header, cluster, headerLength, extensionsEnd, how);
  checkTables(header, cluster, clusterSize, how);
  decodeExtensions(header, cluster, headerLength, extensionsEnd);
  decodeBackingName(header, cluster, backingOffset);
  return header;
}

function checkFeatures(header: Header, cluster: Uint8Array, headerLength: number, end: number, how: HeaderUse): void {
  const { compressionType: type } = header;
  if (type !== compressionType.zlib && type !== compressionType.zstd) throw invalid(`qcow2: unknown compression type: ${type}`);
  const hasCompressionBit = (header.incompatible & incompatible.compression) !== 0n;
  if (type === compressionType.zlib && hasCompressionBit) throw invalid('qcow2: Compression type incompatible feature bit must not be set');
  if (type !== compressionType.zlib && !hasCompressionBit) throw invalid('qcow2: Compression type incompatible feature bit must be set');
  const unknown = header.incompatible & ~knownIncompatible;
  if (unknown !== 0n) throw new BlockError(`Unsupported qcow2 feature(s): ${nameFeatures(unknown, cluster, headerLength, end)}`, { code: 'ENOTSUP' });
  if ((header.incompatible & incompatible.corrupt) !== 0n && !how.readOnly && !how.toCheck) {
    throw new BlockError('qcow2: Image is corrupt; cannot be opened read/write', { code: 'EACCES' });
  }
  if ((header.incompatible & incompatible.extendedL2) !== 0n && header.clusterBits < minExtendedClusterBits) {
    throw invalid(`Unsupported subcluster size: ${2 ** header.clusterBits / 32}`);
  }
}

/** Names of unknown features, from the image's own table where it has them. */
function nameFeatures(unknown: bigint, cluster: Uint8Array, headerLength: number, end: number): string {
  const names: string[] = [];
  let rest = unknown;
  for (const found of walkExtensions(cluster, headerLength, end)) {
    if (found.type !== extension.featureTable) continue;
    for (let at = 0; at + featureEntrySize <= found.data.length; at += featureEntrySize) {
      const bit = found.data[at + 1] ?? 0;
      if (found.data[at] !== 0 || bit > 63) continue;
      const mask = 1n << BigInt(bit);
      if ((rest & mask) === 0n) continue;
      rest &= ~mask;
      names.push(untilNul(found.data, at + 2, featureNameSize));
    }
  }
  if (rest !== 0n) names.push(`Unknown incompatible feature: ${rest.toString(16)}`);
  return names.join(', ');
}

function checkTables(header: Header, cluster: Uint8Array, clusterSize: number, how: HeaderUse): void {
  if (header.refcountOrder > 6) throw invalid('Reference count entry width too large; may not exceed 64 bits');
  if (header.refcountTableClusters > maxRefcountTableBytes / clusterSize) throw invalid('Reference count table too large');
  if (header.refcountTableClusters === 0 && !how.toCheck) throw invalid('Image does not contain a reference count table');
  const isTable = (field: number, bytes: number): boolean => {
    const offset = getU64Big(cluster, field);
    return offset % BigInt(clusterSize) === 0n && offset + BigInt(bytes) <= maxTableEnd;
  };
  if (!isTable(headerField.refcountTableOffset, header.refcountTableClusters * clusterSize)) throw invalid('Reference count table offset invalid');
  // a check looks at them itself
  if (!how.toCheck) checkSnapshotPointer(header);
  if (header.l1Size > maxL1Bytes / 8) throw new BlockError('Active L1 table too large', { code: 'EFBIG' });
  if (!isTable(headerField.l1Offset, header.l1Size * 8)) throw invalid('Active L1 table offset invalid');
  checkSize(header, cluster, clusterSize, how);
  if (header.cryptMethod > cryptMethod.luks) throw invalid(`Unsupported encryption method ${header.cryptMethod | 0}`);
}

/** Throws when the header's words of the snapshot table are beyond the limits. */
export function checkSnapshotPointer(header: Header): void {
  if (header.snapshotCount > maxSnapshots) throw new BlockError('Snapshot table too large', { code: 'EFBIG' });
  const end = header.snapshotsOffset + header.snapshotCount * snapshotHeaderSize;
  if (header.snapshotsOffset % 2 ** header.clusterBits !== 0 || end >= 2 ** 63) throw invalid('Snapshot table offset invalid');
}

function checkSize(header: Header, cluster: Uint8Array, clusterSize: number, how: HeaderUse): void {
  const entrySize = (header.incompatible & incompatible.extendedL2) !== 0n ? 16 : 8;
  const bytesPerL2 = BigInt((clusterSize / entrySize) * clusterSize);
  const size = getU64Big(cluster, headerField.size);
  // the addition wraps in 64 bits: the largest size of all passes here and fails below, as with the peer
  const entries = BigInt.asUintN(64, size + bytesPerL2 - 1n) / bytesPerL2;
  if (entries > 0x7fffffffn) throw new BlockError('Image is too big', { code: 'EFBIG' });
  if (BigInt(header.l1Size) < entries) throw invalid('L1 table is too small');
  if (size >= 2n ** 63n || !isCarried(size, how)) throw new BlockError('Could not refresh total sector count: File too large', { code: 'EFBIG' });
  header.size = Number(size);
}

/** Guests' offsets are exact up to 2^53 - 1. Beyond, whole sectors are exact enough to show the image and to check it. */
function isCarried(size: bigint, how: HeaderUse): boolean {
  if (size <= BigInt(largestOffset)) return true;
  return (how.noIo === true || how.toCheck === true) && size % 512n === 0n;
}

function* walkExtensions(cluster: Uint8Array, start: number, end: number): Generator<UnknownExtension> {
  for (let at = start; at + 8 <= end; ) {
    const type = getU32(cluster, at);
    const length = getU32(cluster, at + 4);
    at += 8;
    if (length > end - at) throw invalid('Header extension too large');
    if (type === extension.end) return;
    yield { type, data: cluster.slice(at, at + length) };
    at = alignUp(at + length, 8);
  }
}

function decodeExtensions(header: Header, cluster: Uint8Array, start: number, end: number): void {
  for (const found of walkExtensions(cluster, start, end)) {
    const { type, data } = found;
    if (type === extension.backingFormat) {
      if (data.length > maxBackingFormatLength) throw invalid(`ERROR: ext_backing_format: len=${data.length} too large (>=${maxBackingFormatLength + 1})`);
      header.backingFormat = untilNul(data, 0, data.length);
    } else if (type === extension.dataFile) {
      header.dataFile = untilNul(data, 0, data.length);
    } else if (type === extension.crypto) {
      header.crypto = decodeCryptoExtension(header, data, cluster.length);
    } else if (type === extension.bitmaps) {
      header.bitmaps = decodeBitmapsExtension(header, data, cluster.length);
    } else if (type !== extension.featureTable) {
      header.unknownExtensions.push(found);
    }
  }
}

function decodeCryptoExtension(header: Header, data: Uint8Array, clusterSize: number): { offset: number; length: number } {
  if (header.cryptMethod !== cryptMethod.luks) throw invalid('CRYPTO header extension only expected with LUKS encryption method');
  if (data.length !== 16) throw invalid(`CRYPTO header extension size ${data.length}, but expected size 16`);
  const offset = getU64(data, 0);
  if (offset % clusterSize !== 0) throw invalid(`Encryption header offset '${offset}' is not a multiple of cluster size '${clusterSize}'`);
  return { offset, length: getU64(data, 8) };
}

function decodeBackingName(header: Header, cluster: Uint8Array, offset: number): void {
  if (offset === 0) return;
  const length = getU32(cluster, headerField.backingSize);
  if (length > Math.min(maxBackingNameLength, cluster.length - offset)) throw invalid('Backing file name too long');
  header.backingFile = untilNul(cluster, offset, length);
}

/**
 * The whole first cluster for `header`, zero-filled to its end. Throws ENOSPC when extensions and backing name do not fit.
 */
export function encodeHeader(header: Header): Uint8Array {
  const clusterSize = 2 ** header.clusterBits;
  const cluster = new Uint8Array(clusterSize);
  const headerLength = header.version < 3 ? v2HeaderLength : fullHeaderLength + header.unknownFields.length;
  setU32(cluster, 0, QCOW_MAGIC);
  setU32(cluster, headerField.version, header.version);
  setU32(cluster, headerField.clusterBits, header.clusterBits);
  setU64(cluster, headerField.size, header.size);
  setU32(cluster, headerField.cryptMethod, header.cryptMethod);
  setU32(cluster, headerField.l1Size, header.l1Size);
  setU64(cluster, headerField.l1Offset, header.l1Offset);
  setU64(cluster, headerField.refcountTableOffset, header.refcountTableOffset);
  setU32(cluster, headerField.refcountTableClusters, header.refcountTableClusters);
  setU32(cluster, headerField.snapshotCount, header.snapshotCount);
  setU64(cluster, headerField.snapshotsOffset, header.snapshotsOffset);
  if (header.version >= 3) {
    setU64Big(cluster, headerField.incompatible, header.incompatible);
    setU64Big(cluster, headerField.compatible, header.compatible);
    setU64Big(cluster, headerField.autoclear, header.autoclear);
    setU32(cluster, headerField.refcountOrder, header.refcountOrder);
    setU32(cluster, headerField.headerLength, headerLength);
    cluster[headerField.compressionType] = header.compressionType;
    cluster.set(header.padding, headerField.compressionType + 1);
    cluster.set(header.unknownFields, fullHeaderLength);
  }
  let at = headerLength;
  const put = (type: number, data: Uint8Array): void => {
    const next = at + 8 + alignUp(data.length, 8);
    if (next > clusterSize) throw noSpace();
    setU32(cluster, at, type);
    setU32(cluster, at + 4, data.length);
    cluster.set(data, at + 8);
    at = next;
  };
  if (header.backingFile !== undefined && header.backingFormat !== undefined) put(extension.backingFormat, encodeName(header.backingFormat));
  if (header.dataFile !== undefined) put(extension.dataFile, encodeName(header.dataFile));
  if (header.crypto !== undefined) put(extension.crypto, encodeCryptoExtension(header.crypto));
  // small clusters have no room for names that only explain
  if (header.version >= 3 && clusterSize > 4096) put(extension.featureTable, encodeFeatureNames());
  if (header.bitmaps !== undefined) put(extension.bitmaps, encodeBitmapsExtension(header.bitmaps));
  for (const unknown of header.unknownExtensions) put(unknown.type, unknown.data);
  put(extension.end, new Uint8Array(0));
  if (header.backingFile !== undefined) {
    const name = encodeName(header.backingFile);
    if (at + name.length > clusterSize) throw noSpace();
    cluster.set(name, at);
    setU64(cluster, headerField.backingOffset, at);
    setU32(cluster, headerField.backingSize, name.length);
  }
  return cluster;
}

function noSpace(): BlockError {
  return new BlockError('No space left in the file header', { code: 'ENOSPC' });
}

function encodeCryptoExtension(crypto: { readonly offset: number; readonly length: number }): Uint8Array {
  const data = new Uint8Array(16);
  setU64(data, 0, crypto.offset);
  setU64(data, 8, crypto.length);
  return data;
}

function encodeFeatureNames(): Uint8Array {
  const data = new Uint8Array(featureNames.length * featureEntrySize);
  featureNames.forEach(([type, bit, name], index) => {
    data[index * featureEntrySize] = type;
    data[index * featureEntrySize + 1] = bit;
    data.set(Buffer.from(name), index * featureEntrySize + 2);
  });
  return data;
}

/** A header for a new image without content: size 0, tables where creation puts them. */
export function newHeader(parts: { version: number; clusterBits: number; refcountOrder: number }): Header {
  const clusterSize = 2 ** parts.clusterBits;
  return {
    version: parts.version,
    clusterBits: parts.clusterBits,
    size: 0,
    cryptMethod: cryptMethod.none,
    l1Size: 0,
    l1Offset: 0,
    refcountTableOffset: clusterSize,
    refcountTableClusters: 1,
    snapshotCount: 0,
    snapshotsOffset: 0,
    incompatible: 0n,
    compatible: 0n,
    autoclear: 0n,
    refcountOrder: parts.refcountOrder,
    compressionType: compressionType.zlib,
    padding: new Uint8Array(7),
    unknownFields: new Uint8Array(0),
    backingFile: undefined,
    backingFormat: undefined,
    dataFile: undefined,
    crypto: undefined,
    bitmaps: undefined,
    unknownExtensions: [],
    warnings: [],
  };
}
