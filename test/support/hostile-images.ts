/*
 * Images whose fields lie: every length, count, offset and pointer of the format at its worst, each at most 16 MiB on the
 * medium. For the memory tests in CI and for scripts/hostile-images.mjs, which compares with the peer.
 */
import {
  big,
  bitmapsExtension,
  bomb,
  Canvas,
  compressed,
  copied,
  type Extension,
  empty,
  type Fields,
  gibi,
  type HostileImage,
  mebi,
  named,
  putBitmaps,
  putSnapshots,
  snapshotEntry,
  wrapped,
  zstdBomb,
} from './hostile-image-maker.ts';

const headers: readonly HostileImage[] = [
  { name: 'header-length-4-gib', fields: { headerLength: 112 }, paint: (canvas) => canvas.put(100, Uint8Array.of(255, 255, 255, 255)) },
  { name: 'header-fills-cluster', fields: { clusterBits: 21, headerLength: 2 * mebi } },
  { name: 'extension-length-4-gib', fields: { extensions: [{ type: 0x1234, length: 0xfffffff0, data: empty }] } },
  { name: 'extensions-130000', fields: { clusterBits: 21, extensions: new Array<Extension>(130_000).fill({ type: 0x1234, data: new Uint8Array(8) }) } },
  {
    name: 'feature-names-2-mib',
    fields: { clusterBits: 21, incompatible: 1n << 40n, extensions: [{ type: 0x6803f857, data: new Uint8Array(2 * mebi - 256).fill(65) }] },
  },
  { name: 'backing-name-4-gib', fields: { backing: { offset: 1024n, length: 0xffffffff } } },
  { name: 'backing-name-at-end', fields: { backing: { offset: 65535n, length: 1023 } } },
  { name: 'data-file-name-60-kib', fields: { incompatible: 4n, extensions: [{ type: 0x44415441, data: new Uint8Array(60_000).fill(97) }] } },
  { name: 'luks-header-2-63', fields: { cryptMethod: 2, extensions: [{ type: 0x0537be77, data: Buffer.from('00000000000100007fffffffffffffff', 'hex') }] } },
  { name: 'aes', fields: { cryptMethod: 1 } },
  { name: 'clusters-512', fields: { clusterBits: 9, l1Size: 32 } },
  { name: 'clusters-2-mib', fields: { clusterBits: 21 } },
  { name: 'refcounts-1-bit', fields: { refcountOrder: 0 } },
  { name: 'refcounts-64-bit', fields: { refcountOrder: 6 } },
  { name: 'corrupt', fields: { incompatible: 2n } },
  { name: 'size-2-60', fields: { clusterBits: 21, size: 1n << 60n, l1Size: 1 << 21, l1Offset: BigInt(big) } },
];

/** The image as it is called in the folder of whoever plays it. */
const itself = '{"driver":"file","filename":"image"}';

const names: readonly HostileImage[] = [
  ...Object.entries({
    'by-name': 'image',
    'by-folders': `${'./'.repeat(500)}image`,
    'by-a-link': '/proc/self/cwd/image',
    'by-json': `json:{"driver":"qcow2","file":${itself}}`,
    'by-dotted-json': 'json:{"driver":"qcow2","file.driver":"file","file.filename":"image"}',
    'below-30-nodes': `json:{"driver":"qcow2","file":${wrapped(itself, 30)}}`,
    'as-file-and-backing': `json:{"driver":"qcow2","file":{"driver":"raw","file":${itself}},"backing":{"driver":"qcow2","file":${itself}}}`,
    'in-windows': `json:{"driver":"qcow2","file":{"driver":"raw","offset":0,"size":1048576,"file":${itself}}}`,
  }).map(([how, name]) => ({ name: `backing-is-itself-${how}`, isReadable: true, ...named(name, 'qcow2') })),
  { name: 'backing-is-itself-as-raw', isReadable: true, ...named('image', 'raw') },
  { name: 'backing-is-itself-below-40-raws', isReadable: true, ...named(`json:${wrapped(itself, 38)}`, 'raw') },
  { name: 'backing-name-of-brackets', isReadable: true, ...named(`json:${'['.repeat(1018)}`, 'raw') },
  { name: 'backing-name-of-empty-objects', isReadable: true, ...named(`json:${'{"a":'.repeat(169)}1${'}'.repeat(169)}`, 'raw') },
  { name: 'backing-name-of-500-dots', isReadable: true, ...named(`json:{"driver":"raw","${'file.'.repeat(198)}x":1}`, 'raw') },
  { name: 'backing-name-of-endless-device', isReadable: true, ...named('/dev/zero', 'raw') },
  { name: 'backing-null-of-2-63', isReadable: true, ...named('json:{"driver":"raw","file":{"driver":"null-co","size":9223372036854775296}}', 'raw') },
  {
    name: 'feature-names-42000',
    fields: {
      clusterBits: 21,
      incompatible: (1n << 64n) - 1n - 31n,
      extensions: [
        {
          type: 0x6803f857,
          data: Buffer.concat(Array.from({ length: 42_000 }, (_, index) => Buffer.from([0, index % 64, ...Buffer.alloc(46, 65 + (index % 26))]))),
        },
      ],
    },
  },
  {
    name: 'data-file-is-itself',
    fields: { incompatible: 4n, extensions: [{ type: 0x44415441, data: Buffer.from('image') }] },
    isReadable: true,
    paint: (canvas) => {
      canvas.u64(3 * 65536, copied | BigInt(5 * 65536));
      canvas.words(5 * 65536, 16, (index) => copied | BigInt(index * 65536));
      canvas.length(16 * 65536);
    },
  },
];

const tables: readonly HostileImage[] = [
  { name: 'l1-4-million-empty', fields: { l1Size: 1 << 22, l1Offset: BigInt(big) } },
  {
    name: 'l1-8192-to-one-l2',
    fields: { l1Size: 8192, size: BigInt(8192 * 512 * mebi) },
    isSlow: true,
    paint: (canvas) => {
      canvas.words(3 * 65536, 8192, () => copied | BigInt(5 * 65536));
      canvas.words(5 * 65536, 8192, () => copied | BigInt(6 * 65536));
      canvas.length(7 * 65536);
    },
  },
  {
    name: 'l1-1024-to-one-l2-dirty',
    fields: { l1Size: 1024, incompatible: 1n },
    isReadable: true,
    // a writable open repairs it: some 10 s of a processor
    isSlow: true,
    paint: (canvas) => {
      canvas.words(3 * 65536, 1024, () => copied | BigInt(5 * 65536));
      canvas.words(5 * 65536, 8192, (index) => copied | BigInt((6 + (index % 16)) * 65536));
      canvas.length(30 * 65536);
    },
  },
  {
    name: 'l1-million-beyond-end',
    fields: { l1Size: 1 << 20, l1Offset: BigInt(big), clusterBits: 9 },
    isSlow: true,
    paint: (canvas) => canvas.words(big, 1 << 20, (index) => copied | (BigInt((index * 7919) % (1 << 20)) * 4096n + (1n << 40n))),
  },
  {
    name: 'l1-million-to-one-l2-small-clusters',
    fields: { l1Size: 1 << 20, l1Offset: BigInt(big), clusterBits: 9 },
    isSlow: true,
    paint: (canvas) => {
      canvas.words(big, 1 << 20, () => copied | 4096n);
      canvas.words(4096, 64, () => copied | 8192n);
    },
  },
  {
    name: 'l2-entries-to-one-cluster',
    paint: (canvas) => {
      canvas.u64(3 * 65536, copied | BigInt(5 * 65536));
      canvas.words(5 * 65536, 8192, () => copied | BigInt(6 * 65536));
      canvas.length(7 * 65536);
    },
    isReadable: true,
  },
  {
    name: 'l2-points-at-itself-and-metadata',
    paint: (canvas) => {
      canvas.u64(3 * 65536, copied | BigInt(3 * 65536));
      canvas.words(3 * 65536 + 8, 100, (index) => copied | BigInt((index % 8) * 65536));
    },
    isReadable: true,
  },
  {
    name: 'l2-spread-over-8-tib',
    fields: { l1Size: 128, l1Offset: BigInt(4 * 65536), size: BigInt(128 * 512 * mebi) },
    isSlow: true,
    paint: (canvas) => {
      canvas.words(4 * 65536, 128, (index) => copied | BigInt((8 + index) * 65536));
      for (let table = 0; table < 128; table++)
        canvas.words((8 + table) * 65536, 8192, (index) => copied | (BigInt(256 + (table * 8192 + index) * 100) * 65536n));
      canvas.length(8192 * gibi);
    },
  },
  {
    name: 'compressed-beyond-end',
    paint: (canvas) => {
      canvas.u64(3 * 65536, copied | BigInt(5 * 65536));
      canvas.words(5 * 65536, 8192, (index) => compressed | (255n << 54n) | (BigInt(index) << 40n));
    },
    isReadable: true,
  },
  {
    name: 'extended-l2-all-bits',
    fields: { incompatible: 16n },
    paint: (canvas) => {
      canvas.u64(3 * 65536, copied | BigInt(5 * 65536));
      canvas.words(5 * 65536, 8192, (index) => (index % 2 === 0 ? copied | BigInt(index * 65536) : (1n << 64n) - 1n));
    },
    isReadable: true,
  },
];

const refcounts: readonly HostileImage[] = [
  {
    name: 'refcount-table-one-block',
    fields: { refcountTableOffset: BigInt(big), refcountTableClusters: 128 },
    isSlow: true,
    paint: (canvas) => canvas.words(big, 1 << 20, () => BigInt(2 * 65536)),
  },
  {
    name: 'refcount-table-distinct-blocks',
    fields: { refcountTableOffset: BigInt(big), refcountTableClusters: 16384, clusterBits: 9 },
    paint: (canvas) => {
      canvas.words(big, 1 << 20, (index) => BigInt(((index * 7919) % (1 << 20)) * 512 + 32 * mebi));
      canvas.length(600 * mebi);
    },
    isSlow: true,
  },
  {
    name: 'refcount-table-unaligned',
    fields: { refcountTableOffset: BigInt(big), refcountTableClusters: 1 },
    paint: (canvas) => canvas.words(big, 8192, () => BigInt(2 * 65536 + 512)),
  },
  { name: 'refcount-table-empty-8-mib', fields: { refcountTableOffset: BigInt(big), refcountTableClusters: 128 } },
  { name: 'refcount-table-is-header', fields: { refcountTableOffset: 0n, refcountTableClusters: 128 } },
  { name: 'file-of-4-tib', paint: (canvas) => canvas.length(4096 * gibi), isSlow: true },
  { name: 'file-of-1-tib-small-clusters', fields: { clusterBits: 9, l1Size: 32 }, paint: (canvas) => canvas.length(1000 * gibi), isSlow: true },
];

const snapshots: readonly HostileImage[] = [
  { name: 'snapshots-65536-zeros', fields: { snapshotCount: 65536, snapshotsOffset: BigInt(big) }, isSlow: true },
  { name: 'snapshots-2-32', fields: { snapshotCount: 0xffffffff, snapshotsOffset: BigInt(big) }, isSlow: true },
  {
    name: 'snapshot-l1-size-2-32',
    fields: { clusterBits: 9, l1Size: 32, snapshotCount: 1, snapshotsOffset: BigInt(big) },
    paint: (canvas) => putSnapshots(canvas, big, 1, () => ({ l1Offset: 32 * mebi, l1Size: 0xffffffff })),
    isReadable: true,
  },
  {
    name: 'snapshots-20000-distinct-l1',
    fields: { clusterBits: 9, l1Size: 32, snapshotCount: 20_000, snapshotsOffset: BigInt(big) },
    paint: (canvas) => putSnapshots(canvas, big, 20_000, (index) => ({ l1Offset: 1 * gibi + ((index * 7919) % 20_000) * 65536, l1Size: 0x400001 })),
    isReadable: true,
  },
  {
    name: 'snapshots-with-long-names',
    fields: { snapshotCount: 400, snapshotsOffset: BigInt(big) },
    paint: (canvas) => putSnapshots(canvas, big, 400, () => ({ id: 65535, name: 65535, extra: 1024 })),
  },
  {
    name: 'snapshot-extra-4-gib',
    fields: { snapshotCount: 1, snapshotsOffset: BigInt(big) },
    paint: (canvas) => canvas.put(big, snapshotEntry({ extra: 0xffffffff })),
  },
];

const bitmaps: readonly HostileImage[] = [
  {
    name: 'bitmap-directory-of-64-mib-for-one',
    fields: { autoclear: 1n, extensions: [{ type: 0x23852875, data: Buffer.from('000000010000000000000000040000000000000001000000', 'hex') }] },
    paint: (canvas) => putBitmaps(canvas, big, 1, { tableOffset: 32 * mebi, entries: 1, flags: 1, granularityBits: 16 }),
  },
  {
    name: 'bitmap-directory-is-its-own-table',
    fields: { clusterBits: 9, l1Size: 32, autoclear: 1n, extensions: [bitmapsExtension(16, 65536)] },
    isReadable: true,
    paint: (canvas) => putBitmaps(canvas, 65536, 16, { tableOffset: 65536, entries: 1, flags: 0, granularityBits: 16 }),
  },
  {
    name: 'bitmaps-65535-of-64-mib',
    fields: { size: 1n << 41n, l1Size: 4096, autoclear: 1n, extensions: [bitmapsExtension(65_535, big)] },
    isSlow: true,
    paint: (canvas) => putBitmaps(canvas, big, 65_535, { tableOffset: 32 * mebi, entries: 64, flags: 0, granularityBits: 16 }),
  },
  {
    name: 'bitmaps-12-to-one-table-of-one-cluster',
    fields: { clusterBits: 9, size: 1n << 37n, l1Size: 1 << 22, l1Offset: BigInt(64 * mebi), autoclear: 1n, extensions: [bitmapsExtension(12, big)] },
    paint: (canvas) => {
      putBitmaps(canvas, big, 12, { tableOffset: 17 * mebi, entries: 65_536, flags: 2, granularityBits: 9 });
      canvas.words(17 * mebi, 65_536, () => BigInt(18 * mebi));
      canvas.put(18 * mebi, new Uint8Array(512).fill(170));
      canvas.length(96 * mebi);
    },
  },
  {
    name: 'bitmaps-with-names-that-overlap',
    fields: { autoclear: 1n, extensions: [bitmapsExtension(1000, big)] },
    paint: (canvas) => {
      putBitmaps(canvas, big, 1000, { tableOffset: 32 * mebi, entries: 1, flags: 1, granularityBits: 16 });
      for (let index = 0; index < 1000; index++) canvas.put(big + index * 32 + 18, Uint8Array.of(3, 255));
    },
  },
  {
    name: 'bitmaps-400-tables-of-8-mib',
    fields: { clusterBits: 9, l1Size: 32, autoclear: 1n, extensions: [bitmapsExtension(400, big)] },
    paint: (canvas) => {
      putBitmaps(canvas, big, 400, { tableOffset: 32 * mebi, entries: 1 << 20, flags: 1, granularityBits: 16 });
      canvas.length(48 * mebi);
    },
    isReadable: true,
    isSlow: true,
  },
  {
    name: 'bitmaps-65535',
    fields: { autoclear: 1n, extensions: [bitmapsExtension(65_535, big)] },
    paint: (canvas) => putBitmaps(canvas, big, 65_535, { tableOffset: 32 * mebi, entries: 1, flags: 1, granularityBits: 16 }),
    isReadable: true,
    isSlow: true,
  },
  {
    name: 'bitmap-of-512-mib-all-ones',
    fields: { size: 1n << 41n, l1Size: 4096, autoclear: 1n, extensions: [bitmapsExtension(1, 8 * mebi)] },
    paint: (canvas) => {
      putBitmaps(canvas, 8 * mebi, 1, { tableOffset: 9 * mebi, entries: 8192, flags: 0, granularityBits: 9 });
      canvas.words(9 * mebi, 8192, () => 1n);
    },
  },
  {
    name: 'bitmaps-50-of-512-mib-all-ones',
    fields: { size: 1n << 41n, l1Size: 4096, autoclear: 1n, extensions: [bitmapsExtension(50, 8 * mebi)] },
    paint: (canvas) => {
      putBitmaps(canvas, 8 * mebi, 50, { tableOffset: 9 * mebi, entries: 8192, flags: 0, granularityBits: 9 });
      canvas.words(9 * mebi, 8192, () => 1n);
    },
  },
  {
    name: 'bitmap-of-512-mib-one-cluster',
    fields: { size: 1n << 41n, l1Size: 4096, autoclear: 1n, extensions: [bitmapsExtension(1, 8 * mebi)] },
    paint: (canvas) => {
      putBitmaps(canvas, 8 * mebi, 1, { tableOffset: 9 * mebi, entries: 8192, flags: 0, granularityBits: 9 });
      canvas.words(9 * mebi, 8192, () => BigInt(10 * mebi));
      canvas.put(10 * mebi, new Uint8Array(65536).fill(170));
    },
  },
];

/** A table whose entries all name `stream`. */
function streams(name: string, stream: () => Buffer, fields: Fields = {}): HostileImage {
  return {
    name,
    fields: { size: 64n * 65536n, ...fields },
    isReadable: true,
    paint: (canvas) => {
      const bytes = stream();
      canvas.u64(3 * 65536, copied | BigInt(5 * 65536));
      const sectors = BigInt(Math.min(255, Math.ceil(bytes.length / 512) - 1));
      canvas.words(5 * 65536, 64, (index) => compressed | (sectors << 54n) | BigInt(8 * 65536 + index * 524_288));
      for (let index = 0; index < 64; index += 8) canvas.put(8 * 65536 + index * 524_288, bytes.subarray(0, 131_072));
      canvas.length(48 * mebi);
    },
  };
}

const moreSnapshots: readonly HostileImage[] = [
  {
    name: 'snapshots-900-of-32-mib-each',
    fields: { snapshotCount: 900, snapshotsOffset: BigInt(big) },
    paint: (canvas) => {
      putSnapshots(canvas, big, 900, () => ({ l1Offset: 64 * mebi, l1Size: 0x400000 }));
      canvas.length(128 * mebi);
    },
    isSlow: true,
  },
  {
    name: 'snapshots-900-whose-l1-names-metadata',
    fields: { snapshotCount: 900, snapshotsOffset: BigInt(big) },
    isSlow: true,
    paint: (canvas) => {
      putSnapshots(canvas, big, 900, () => ({ l1Offset: 64 * mebi, l1Size: 8192 }));
      canvas.words(64 * mebi, 8192, (index) => copied | BigInt((index % 4) * 65536));
    },
  },
  {
    name: 'snapshots-of-65535-and-the-table-is-the-image',
    fields: { snapshotCount: 65_535, snapshotsOffset: 0n },
  },
];

const compressedImages: readonly HostileImage[] = [
  streams('deflate-bombs', () => bomb(120_000_000)),
  streams('zstd-bombs', () => zstdBomb(16_000), { incompatible: 8n, compressionType: 1 }),
  streams('zstd-says-2-62', () => zstdBomb(16, 1n << 62n), { incompatible: 8n, compressionType: 1 }),
];

export const hostileImages: readonly HostileImage[] = [
  ...headers,
  ...names,
  ...tables,
  ...refcounts,
  ...snapshots,
  ...moreSnapshots,
  ...bitmaps,
  ...compressedImages,
];

/** Writes the image to `path`. */
export function writeHostile(image: HostileImage, path: string): void {
  using canvas = new Canvas(path, image.fields ?? {});
  image.paint?.(canvas);
}
