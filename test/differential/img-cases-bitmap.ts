/* `bitmap` and `convert --bitmaps` beside qemu-img. */
import type { ImgCase } from './img-harness.ts';

const plain = (lines: readonly string[]): ImgCase[] => lines.map((line) => ({ line }));

/** Two bitmaps in an image of their own: `good`, and `bad` after it. */
const two = ['qemu-img create -q -f qcow2 two.qcow2 4M', 'qemu-img bitmap --add two.qcow2 good', 'qemu-img bitmap --add two.qcow2 bad'];
/** Where the peer puts the directory of the two. */
const entries = [0x80000, 0x80020];
const at = { table: 0, tableEntries: 11, flags: 15, type: 16, granularityBits: 17, nameSize: 19, extraSize: 23 } as const;

/** One byte in the directory, or one of a bitmap's table. */
function patched(field: keyof typeof at, value: number, entry = 1): string[] {
  return [...two, `qemu-io -f raw -c 'write -q -P ${value} ${(entries[entry] ?? 0) + at[field]} 1' two.qcow2`];
}

/** The second bitmap is left as by a writer that was killed. */
const inconsistent = patched('flags', 3);

/** Several granularities, several states, and what was written since. */
const many = [
  'qemu-img create -q -f qcow2 many.qcow2 4M',
  'qemu-img bitmap --add many.qcow2 b0',
  'qemu-img bitmap --add -g 4k many.qcow2 fine',
  "qemu-io -f qcow2 -c 'write 64k 128k' -c 'write 2M 4k' many.qcow2",
  'qemu-img bitmap --add -g 1M many.qcow2 coarse',
  "qemu-io -f qcow2 -c 'write 3M 512' many.qcow2",
  'qemu-img bitmap --disable many.qcow2 fine',
];

/** Tables and data of several clusters. */
const small = [
  'qemu-img create -q -f qcow2 -o cluster_size=512 small.qcow2 2M',
  'qemu-img bitmap --add -g 512 small.qcow2 b0',
  'qemu-img bitmap --add -g 512 small.qcow2 b1',
  "qemu-io -f qcow2 -c 'write 0 100k' -c 'write 1M 700k' small.qcow2",
];

const withBefore = (before: readonly string[], lines: readonly string[]): ImgCase[] => lines.map((line) => ({ line, before }));

export const bitmapCases: readonly ImgCase[] = [
  ...plain([
    'bitmap --add p.qcow2 new',
    'bitmap --add -g 4k p.qcow2 new',
    'bitmap --add --disable p.qcow2 new',
    'bitmap --disable --add p.qcow2 new',
    'bitmap --add --disable --enable p.qcow2 new',
    'bitmap --add --add p.qcow2 new',
    'bitmap --add --remove p.qcow2 new',
    'bitmap --add --clear --merge b0 a.qcow2 b1',
    'bitmap -g 0 --add p.qcow2 new',
    'bitmap --granularity=512 --add odd.qcow2 new',
    'bitmap --add k4.qcow2 new',
    'bitmap --add ext.qcow2 new',
    'bitmap --add df.qcow2 new',
    'bitmap --add o.qcow2 new',
    'bitmap --add s.qcow2 new',
    'bitmap --add zstd.qcow2 new',
    'bitmap --add comp.qcow2 new',
    "bitmap --add 'com,ma.qcow2' new",
    'bitmap --add leak.qcow2 new',
    'bitmap --remove a.qcow2 b0',
    'bitmap --remove-all a.qcow2',
    'bitmap --remove-all --add a.qcow2 b0',
    'bitmap --remove-all p.qcow2',
    'bitmap --remove-all -f raw r.raw',
    'bitmap --clear a.qcow2 b0',
    'bitmap --enable a.qcow2 b0',
    'bitmap --disable a.qcow2 b0',
    'bitmap --merge b0 a.qcow2 b0',
    'bitmap --add --merge b0 -b a.qcow2 p.qcow2 b0',
    'bitmap --add --merge b0 -b a.qcow2 -F qcow2 p.qcow2 b0',
    'bitmap --image-opts --add driver=qcow2,file.filename=p.qcow2 new',
    'bitmap -f qcow2 --object secret,id=s,data=abc --add p.qcow2 new',
    'convert --bitmaps -O qcow2 a.qcow2 x.qcow2',
    'convert -n --bitmaps -O qcow2 a.qcow2 p.qcow2',
    // the backing chain is nobody's concern
    'bitmap --add dang.qcow2 new',
    'bitmap --image-opts --add driver=qcow2,file.filename=dang.qcow2 new',
    "bitmap --add p.qcow2 'ä ö'",
    'bitmap -g 0x1000 --add p.qcow2 new',
    'bitmap --dis a.qcow2 b0',
    'bitmap --add -- p.qcow2 -new',
    'bitmap --remove-all --remove-all a.qcow2',
    // errors
    'bitmap --r a.qcow2 b0',
    'bitmap --add=1 a.qcow2 b1',
    'bitmap --merge= a.qcow2 b0',
    'bitmap --image-opts --add driver=raw,file.driver=qcow2,file.file.filename=p.qcow2 new',
    'bitmap',
    'bitmap a.qcow2 b0',
    'bitmap --add',
    'bitmap --add a.qcow2',
    'bitmap --add a.qcow2 b0 b1',
    'bitmap --remove-all',
    'bitmap --remove-all a.qcow2 b0',
    'bitmap --add --remove-all a.qcow2',
    'bitmap -q --add a.qcow2 b1',
    'bitmap --add a.qcow2 b0',
    "bitmap --add a.qcow2 ''",
    'bitmap --add -g 1000 a.qcow2 b1',
    'bitmap --add -g 256 a.qcow2 b1',
    'bitmap --add -g 4G a.qcow2 b1',
    'bitmap --add -g foo a.qcow2 b1',
    'bitmap -g -1 --add a.qcow2 b1',
    'bitmap -g 64k --clear a.qcow2 b0',
    'bitmap --remove a.qcow2 nope',
    'bitmap --clear --remove a.qcow2 nope',
    'bitmap --add --remove --clear a.qcow2 nope',
    'bitmap --merge nope a.qcow2 b0',
    'bitmap --merge b0 a.qcow2 nope',
    'bitmap --merge b0 -F qcow2 a.qcow2 b0',
    'bitmap --merge b0 -b a.qcow2 a.qcow2 b0',
    'bitmap --merge b0 -b missing.qcow2 a.qcow2 b0',
    'bitmap --add --merge b0 -b a.qcow2 zstd.qcow2 b0',
    'bitmap -b s.qcow2 --clear a.qcow2 b0',
    'bitmap --add old.qcow2 b',
    'bitmap --remove-all old.qcow2',
    'bitmap --add r.raw b',
    'bitmap --add -f raw r.raw b',
    'bitmap --add missing.qcow2 b',
    'bitmap --add -f qcow2 --image-opts a.qcow2 b',
    'bitmap --add tiny.qcow2 b',
    'bitmap --add marked.qcow2 b',
    'bitmap --object foo --add a.qcow2 b',
    `bitmap --add a.qcow2 ${'n'.repeat(1023)}`,
    `bitmap --add a.qcow2 ${'n'.repeat(1024)}`,
    'convert --bitmaps -O qcow2 -o compat=0.10 a.qcow2 x.qcow2',
    'convert --bitmaps -O qcow2 old.qcow2 x.qcow2',
    'convert -n --bitmaps -O qcow2 a.qcow2 s.qcow2',
  ]),
  { line: 'bitmap --add a.qcow2 b1', hold: 'a.qcow2' },
  ...withBefore(
    ['qemu-img create -q -f qcow2 big.qcow2 16T'],
    ['bitmap --add -g 512 big.qcow2 b', 'bitmap --add big.qcow2 b', 'bitmap --add -g 2G big.qcow2 b', 'bitmap --add --merge b0 -b a.qcow2 big.qcow2 b'],
  ),
  ...withBefore(many, [
    'bitmap --merge fine many.qcow2 coarse',
    'bitmap --merge coarse many.qcow2 fine',
    'bitmap --merge coarse --merge fine many.qcow2 b0',
    'bitmap --merge coarse --merge nope many.qcow2 b0',
    'bitmap --add --merge coarse -b many.qcow2 p.qcow2 b0',
    'bitmap --clear --disable many.qcow2 b0',
    'bitmap --enable many.qcow2 fine',
    'bitmap --remove many.qcow2 fine',
    'bitmap --remove-all many.qcow2',
    'bitmap --remove --add many.qcow2 fine',
    'resize many.qcow2 8M',
    'resize --shrink many.qcow2 1M',
    'convert --bitmaps -O qcow2 many.qcow2 x.qcow2',
    'convert --bitmaps -O qcow2 -o cluster_size=4k many.qcow2 x.qcow2',
    'convert -n --bitmaps -O qcow2 many.qcow2 a.qcow2',
    'convert -n --bitmaps -O qcow2 many.qcow2 p.qcow2',
    'snapshot -l many.qcow2',
  ]),
  ...withBefore(small, [
    'bitmap --clear small.qcow2 b0',
    'bitmap --merge b1 --clear small.qcow2 b0',
    'bitmap --remove small.qcow2 b0',
    'bitmap --remove-all small.qcow2',
    'bitmap --add -g 512 small.qcow2 b2',
    'resize small.qcow2 8M',
    'convert --bitmaps -O qcow2 small.qcow2 x.qcow2',
  ]),
  ...withBefore(inconsistent, [
    'bitmap --clear two.qcow2 bad',
    'bitmap --enable two.qcow2 bad',
    'bitmap --disable two.qcow2 bad',
    'bitmap --add two.qcow2 bad',
    'bitmap --merge good two.qcow2 bad',
    'bitmap --merge bad two.qcow2 good',
    'bitmap --add --merge bad -b two.qcow2 p.qcow2 new',
    'bitmap --remove two.qcow2 bad',
    'bitmap --remove two.qcow2 good',
    'bitmap --remove-all two.qcow2',
    'bitmap --add two.qcow2 new',
    'bitmap --remove --add two.qcow2 bad',
    'resize two.qcow2 8M',
    'convert --bitmaps -O qcow2 two.qcow2 x.qcow2',
    'convert --bitmaps --skip-broken-bitmaps -O qcow2 two.qcow2 x.qcow2',
    'convert --skip-broken-bitmaps -O qcow2 two.qcow2 x.qcow2',
  ]),
  // what the directory says cannot be
  ...(
    [
      ['tableEntries', 0],
      ['tableEntries', 2],
      ['flags', 4],
      ['flags', 0x80],
      ['type', 0],
      ['type', 2],
      ['granularityBits', 8],
      ['granularityBits', 32],
      ['nameSize', 0],
      ['extraSize', 3],
      ['extraSize', 8],
    ] as const
  ).map(([field, value]) => ({ line: 'bitmap --remove two.qcow2 good', before: patched(field, value) })),
  { line: 'bitmap --remove two.qcow2 good', before: patched('extraSize', 5, 0) },
];
