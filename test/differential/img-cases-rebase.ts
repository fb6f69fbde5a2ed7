/* Command lines of rebase: what has to be copied, what is only renamed, and what is refused. */
import type { ImgCase } from './img-harness.ts';

const byData = (lines: readonly string[], before?: readonly string[]): ImgCase[] =>
  lines.map((line) => ({ line, files: 'data', ...(before === undefined ? {} : { before }) }));

/** A second base, which differs from a.qcow2 here and there, and goes on longer. */
const other = (options = ''): readonly string[] => [
  `qemu-img create -q -f qcow2${options === '' ? '' : ` -o ${options}`} b 5M`,
  "qemu-io -f qcow2 -c 'write -P 17 64k 64k' -c 'write -P 2 128k 4k' -c 'write -P 3 1M 128k' -c 'write -P 4 4500k 4k' b",
];
const overlay = (options: string): readonly string[] => [
  ...other(),
  `qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 -o ${options} x 5M`,
  "qemu-io -f qcow2 -c 'write -P 9 192k 64k' -c 'write -z 2M 64k' x",
];

export const rebaseCases: readonly ImgCase[] = [
  ...byData([
    'rebase -b p.qcow2 -F qcow2 o.qcow2',
    'rebase -b p.qcow2 -B qcow2 o.qcow2',
    'rebase -b empty.qcow2 -F qcow2 o.qcow2',
    'rebase -b empty.raw -F raw o.qcow2',
    'rebase -b small.raw -F raw o.qcow2',
    "rebase -b '' o.qcow2",
    "rebase -b '' -F qcow2 o.qcow2",
    "rebase -u -b '' o.qcow2",
    'rebase -u o.qcow2',
    'rebase -u -b p.qcow2 -F qcow2 o.qcow2',
    'rebase -b a.qcow2 -F qcow2 o.qcow2',
    'rebase -b a.qcow2 -F qcow2 top.qcow2',
    'rebase -b ./a.qcow2 -F qcow2 top.qcow2',
    'rebase -b p.qcow2 -F qcow2 top.qcow2',
    "rebase -b '' top.qcow2",
    'rebase -b a.qcow2 -F qcow2 empty.qcow2',
    'rebase -b r.raw -F raw empty.qcow2',
    'rebase -b r.raw -F raw a.qcow2',
    'rebase -b odd.qcow2 -F qcow2 or.qcow2',
    'rebase -f qcow2 -b p.qcow2 -F qcow2 -t none -T none o.qcow2',
    'rebase -q -U -b p.qcow2 -F qcow2 o.qcow2',
    'rebase -c -b p.qcow2 -F qcow2 o.qcow2',
    'rebase --image-opts -b p.qcow2 -F qcow2 driver=qcow2,file.filename=o.qcow2',
    'rebase -b p.qcow2 -F qcow2 s.qcow2',
  ]),
  ...byData(['rebase -b b -F qcow2 o.qcow2', 'rebase -c -b b -F qcow2 o.qcow2', 'rebase -q -b b -F raw o.qcow2', 'rebase -q -b b -F qcow2 top.qcow2'], other()),
  ...byData(['rebase -b b -F qcow2  o.qcow2'], other('cluster_size=4k')),
  ...byData(['rebase -b b -F qcow2 x', "rebase -b '' x"], overlay('cluster_size=4k')),
  ...byData(['rebase -b b -F qcow2  x', 'rebase -c -b b -F qcow2 x'], overlay('extended_l2=on')),
  ...byData(['rebase -q -b b -F qcow2 x'], overlay('compat=0.10')),
  ...byData(['rebase -q -b b -F qcow2  x'], overlay('cluster_size=2M')),
  ...byData([
    'rebase a.qcow2',
    'rebase',
    'rebase -b x a b',
    'rebase -F qcow2 o.qcow2',
    'rebase -b missing.img -F qcow2 o.qcow2',
    'rebase -b p.qcow2 o.qcow2',
    'rebase -u -b missing.img o.qcow2',
    'rebase -b a.qcow2 -F foo o.qcow2',
    'rebase -b a.qcow2 -F qcow2 dang.qcow2',
    "rebase -f raw -b '' r.raw",
    'rebase -u -f raw -b x -F raw r.raw',
    'rebase -b o.qcow2 -F qcow2 o.qcow2',
    'rebase -b r.raw -F qcow2 o.qcow2',
    'rebase -t foo -b p.qcow2 -F qcow2 o.qcow2',
    'rebase -T foo -b p.qcow2 -F qcow2 o.qcow2',
    'rebase -f foo -b p.qcow2 -F qcow2 o.qcow2',
    'rebase -b p.qcow2 -F qcow2 missing.qcow2',
    'rebase -b p.qcow2 -F qcow2 marked.qcow2',
    'rebase --foo',
    'rebase --image-opts -f qcow2 -b p.qcow2 -F qcow2 driver=qcow2,file.filename=o.qcow2',
    'rebase -c -f raw -b p.qcow2 -F qcow2 r.raw',
    'rebase -u -b p.qcow2 -F qcow2 df.qcow2',
    'rebase -b p.qcow2 -F qcow2 df.qcow2',
  ]),
  { line: 'rebase -u -b nope -F raw o.qcow2' },
  { line: 'rebase -u -b gone2.qcow2 -F qcow2 dang.qcow2' },
  { line: 'rebase -b p.qcow2 -F qcow2 o.qcow2', hold: 'p.qcow2' },
  { line: 'rebase -b p.qcow2 -F qcow2 o.qcow2', hold: 'o.qcow2' },
  { line: 'rebase -u -b p.qcow2 -F qcow2 o.qcow2', hold: 'p.qcow2' },
];
