/*
 * Command lines over damaged images: what check says, what repairs make of them, and which errors other subcommands meet.
 * Data for img-damage.test.ts. The damage is done by the peer's qemu-io, byte by byte.
 */
import type { ImgCase } from './img-harness.ts';

/** A line that writes the bytes `hex` at `offset` of `file`. */
function poke(file: string, offset: number, hex: string): string {
  const writes = (hex.match(/../g) ?? []).map((byte, index) => `-c 'write -P 0x${byte} ${offset + index} 1'`);
  return `qemu-io -f raw ${writes.join(' ')} ${file}`;
}

const refcountTable = 0x10000;
const refcountBlock = 0x20000;

/** The same lines over the same damaged `p.qcow2`. */
const damaged = (before: readonly string[], lines: readonly string[]): ImgCase[] => lines.map((line) => ({ line, before }));

const refcounts: readonly ImgCase[] = [
  ...damaged([poke('p.qcow2', refcountTable + 8, '7fffffffffff0000')], ['check p.qcow2', 'check -r all p.qcow2']),
  ...damaged([poke('p.qcow2', refcountTable + 8, 'ffffffffffff0000')], ['check -r all p.qcow2']),
  ...damaged([poke('p.qcow2', refcountTable, '0000000000022a00')], ['resize p.qcow2 128G', 'check p.qcow2']),
  ...damaged([poke('p.qcow2', refcountBlock, '0000000000000000')], ['resize p.qcow2 128G']),
  ...damaged([poke('p.qcow2', refcountTable, '0000000000000000')], ['resize p.qcow2 128G']),
];

/** Counts that no double holds. */
const hugeCounts: readonly ImgCase[] = ['8000000000000001', 'ffffffffffffffff'].flatMap((count) =>
  ['check wide.qcow2', 'check -r all wide.qcow2'].map((line) => ({
    line,
    before: [
      'qemu-img create -q -f qcow2 -o refcount_bits=64 wide.qcow2 1M',
      "qemu-io -f qcow2 -c 'write 0 512' wide.qcow2",
      poke('wide.qcow2', refcountBlock + 40, count),
    ],
  })),
);

/** The refcount structure is gone: repaired images are equal byte for byte. */
const rebuilds: readonly ImgCase[] = ['1', '8', '64'].flatMap((bits) =>
  ['write 0 512k', 'write 100k 3k'].map((write) => ({
    line: 'check -r all lost.qcow2',
    before: [
      `qemu-img create -q -f qcow2 -o refcount_bits=${bits},cluster_size=512 lost.qcow2 1M`,
      `qemu-io -f qcow2 -c '${write}' lost.qcow2`,
      poke('lost.qcow2', 48, '000000000000000000000000'),
    ],
  })),
);

/** Fields of the snapshot table and its entries that check looks at, and -r sets right. */
const snapshotTable = 0x70000;
const snapshots: readonly ImgCase[] = [
  poke('snap.qcow2', snapshotTable + 36, '00000000'),
  poke('snap.qcow2', snapshotTable + 36, '00000008'),
  poke('snap.qcow2', snapshotTable + 36, '00000010'),
  poke('snap.qcow2', snapshotTable + 36, '00000408'),
  poke('snap.qcow2', 60, '00000003'),
  poke('snap.qcow2', 64, '0000000000000200'),
].flatMap((damage) =>
  ['check', 'check -r leaks', 'check -r all'].map((command) => ({
    line: `${command} snap.qcow2`,
    before: [
      'qemu-img create -q -f qcow2 snap.qcow2 1M',
      "qemu-io -f qcow2 -c 'write 0 64k' snap.qcow2",
      'qemu-img snapshot -c first snap.qcow2',
      // the entry's date, which is another one each time
      poke('snap.qcow2', snapshotTable + 16, '0000000000000000'),
      damage,
    ],
  })),
);

/** An L1 table that is said to reach over guest clusters. */
const largeL1: readonly ImgCase[] = ['check -q -r leaks large.qcow2', 'check -r all large.qcow2'].map((line) => ({
  line,
  before: [
    'qemu-img create -q -f qcow2 large.qcow2 1M',
    "qemu-io -f qcow2 -c 'write -P 0 0 64k' -c 'write -P 4 512k 64k' large.qcow2",
    poke('large.qcow2', 36, '00004001'),
  ],
}));

export const damageCases: readonly ImgCase[] = [...refcounts, ...hugeCounts, ...rebuilds, ...snapshots, ...largeL1];
