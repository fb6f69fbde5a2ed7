/*
 * Every field offset, mask, limit and magic of the format, once. Offsets are bytes from the start of the image file.
 * Rule source: qcow2 specification, the section named at each group.
 */

/** Header. */
export const QCOW_MAGIC = 0x514649fb;
export const headerField = {
  version: 4,
  backingOffset: 8,
  backingSize: 16,
  clusterBits: 20,
  size: 24,
  cryptMethod: 32,
  l1Size: 36,
  l1Offset: 40,
  refcountTableOffset: 48,
  refcountTableClusters: 56,
  snapshotCount: 60,
  snapshotsOffset: 64,
  incompatible: 72,
  compatible: 80,
  autoclear: 88,
  refcountOrder: 96,
  headerLength: 100,
  compressionType: 104,
} as const;
export const v2HeaderLength = 72;
export const minV3HeaderLength = 104;
/** Length of the header that we write: up to and including the compression type and its padding. */
export const fullHeaderLength = 112;

export const minClusterBits = 9;
export const maxClusterBits = 21;
export const maxBackingNameLength = 1023;
export const maxBackingFormatLength = 15;
export const maxL1Bytes: number = 32 * 1024 * 1024;
export const maxRefcountTableBytes: number = 8 * 1024 * 1024;
export const maxSnapshots = 65536;
/** Largest offset that the format lets a table have. */
export const maxTableEnd: bigint = 2n ** 63n - 1n;

/** Incompatible, compatible and autoclear features. */
export const incompatible = { dirty: 1n, corrupt: 2n, dataFile: 4n, compression: 8n, extendedL2: 16n } as const;
export const knownIncompatible = 31n;
export const compatible = { lazyRefcounts: 1n } as const;
export const autoclear = { bitmaps: 1n, rawDataFile: 2n } as const;
export const knownAutoclear = 3n;

/** Names of the features, as recorded in the feature name table: type, bit, name. */
export const featureNames: readonly (readonly [number, number, string])[] = [
  [0, 0, 'dirty bit'],
  [0, 1, 'corrupt bit'],
  [0, 2, 'external data file'],
  [0, 3, 'compression type'],
  [0, 4, 'extended L2 entries'],
  [1, 0, 'lazy refcounts'],
  [2, 0, 'bitmaps'],
  [2, 1, 'raw external data'],
];
export const featureEntrySize = 48;
export const featureNameSize = 46;

/** Header extensions. */
export const extension = {
  end: 0,
  backingFormat: 0xe2792aca,
  dataFile: 0x44415441,
  crypto: 0x0537be77,
  featureTable: 0x6803f857,
  bitmaps: 0x23852875,
} as const;

/** L1 and L2 entries: masks on the upper and lower half of the u64. */
export const two32 = 4294967296;
export const COPIED_HI = 0x80000000;
export const COMPRESSED_HI = 0x40000000;
export const OFFSET_HI = 0x00ffffff;
export const OFFSET_LO = 0xfffffe00;
export const ZERO_LO = 1;
/** Reserved bits of an L1 entry. */
export const L1_RESERVED_HI = 0x7f000000;
export const L1_RESERVED_LO = 0x1ff;
/** Reserved bits of a standard L2 entry. */
export const L2_RESERVED_HI = 0x3f000000;
export const L2_RESERVED_LO = 0x1fe;

export const subclustersPerCluster = 32;
export const minExtendedClusterBits = 14;

/** Snapshot table entries. */
export const snapshotHeaderSize = 40;
export const maxSnapshotExtra = 1024;
/** Extra data that version 3 asks for, and what is known of it: size of the VM state, size of the disk, icount. */
export const minSnapshotExtra = 16;
export const knownSnapshotExtra = 24;
export const maxSnapshotTableBytes: number = 1024 * maxSnapshots;

/** Bitmaps. */
export const bitmapsExtensionLength = 24;
export const bitmapEntrySize = 24;
export const maxBitmaps = 65535;
export const maxBitmapNameLength = 1023;
export const maxBitmapDirectoryBytes: number = maxBitmaps * 1024;
export const maxBitmapTableEntries = 0x8000000;
export const maxBitmapBytes = 0x20000000;
export const bitmapFlag = { inUse: 1, auto: 2, extraDataCompatible: 4 } as const;
export const minBitmapGranularityBits = 9;
export const maxBitmapGranularityBits = 31;

export const cryptMethod = { none: 0, aes: 1, luks: 2 } as const;
export const compressionType = { zlib: 0, zstd: 1 } as const;
