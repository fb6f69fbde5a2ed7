/* Command lines of commit: what ends up in the base, what is left of the overlay, and what is refused. */
import type { ImgCase } from './img-harness.ts';

const byContent = (lines: readonly string[]): ImgCase[] => lines.map((line) => ({ line, files: 'content' }));
/** The peer copies whole clusters of the base, ours only what was written: where that is less, the rest is a hole or not as it comes. */
const byData = (line: string, before: readonly string[]): ImgCase => ({ line, before, files: 'data' });

/** An overlay in each of several forms over a copy of a base. */
const over = (base: string, format: string, options: string, writes: string): readonly string[] => [
  `qemu-img create -q -f qcow2 -b ${base} -F ${format}${options === '' ? '' : ` -o ${options}`} x`,
  `qemu-io -f qcow2 ${writes} x`,
];
const writes = "-c 'write -P 9 0 64k' -c 'write -P 10 1000k 100k' -c 'write -z 2M 128k' -c 'discard 64k 64k'";

export const commitCases: readonly ImgCase[] = [
  ...byContent([
    'commit o.qcow2',
    'commit -q o.qcow2',
    'commit -d o.qcow2',
    'commit top.qcow2',
    'commit -d top.qcow2',
    'commit -b a.qcow2 top.qcow2',
    'commit -b o.qcow2 top.qcow2',
    'commit -b ./o.qcow2 top.qcow2',
    'commit -d -b a.qcow2 top.qcow2',
    'commit or.qcow2',
    'commit -f qcow2 or.qcow2',
    'commit -t none o.qcow2',
    'commit -t directsync -r 1G o.qcow2',
    'commit --image-opts driver=qcow2,file.filename=o.qcow2',
    'commit --image-opts driver=qcow2,file.driver=file,file.filename=top.qcow2',
  ]),
  byData('commit x', over('a.qcow2', 'qcow2', 'cluster_size=4k', writes)),
  byData('commit -d x', over('a.qcow2', 'qcow2', 'extended_l2=on,cluster_size=128k', writes)),
  byData('commit x ', over('a.qcow2', 'qcow2', 'extended_l2=on', writes)),
  byData('commit  x', over('a.qcow2', 'qcow2', 'compat=0.10', writes.replace(/ -c 'discard[^']*'/, ''))),
  byData('commit  x ', over('a.qcow2', 'qcow2', 'data_file=d', writes)),
  byData('commit -q x', over('small.raw', 'raw', 'size=3M', writes)),
  byData('commit -q  x', over('k4.qcow2', 'qcow2', 'size=3M', writes)),
  byData('commit -q x ', over('old.qcow2', 'qcow2', '', writes)),
  byData('commit -q  x ', over('z.qcow2', 'qcow2', '', writes)),
  byData('commit -f qcow2 x', over('odd.qcow2', 'qcow2', '', "-c 'write -P 9 999000 512'")),
  byData('commit -f qcow2  x', [...over('a.qcow2', 'qcow2', '', writes), 'qemu-img snapshot -c s x']),
  byData('commit -f qcow2 x ', [...over('a.qcow2', 'qcow2', '', writes), 'qemu-img bitmap --add x b']),
  byData('commit -f qcow2  x ', over('s.qcow2', 'qcow2', '', writes)),
  byData('commit -d -f qcow2 x', over('comp.qcow2', 'qcow2', '', writes)),
  byData('commit -d -q x', over('ext.qcow2', 'qcow2', 'lazy_refcounts=on', writes)),
  byData('commit -q -f qcow2 x', over('a.qcow2', 'qcow2', 'lazy_refcounts=on', writes)),
  ...byContent([
    'commit a.qcow2',
    'commit r.raw',
    'commit -f raw r.raw',
    'commit',
    'commit a b',
    'commit missing.img',
    'commit dang.qcow2',
    'commit -b nope o.qcow2',
    'commit -b o.qcow2 o.qcow2',
    'commit -b gone.qcow2 top.qcow2',
    'commit -r foo o.qcow2',
    'commit -r -1 o.qcow2',
    'commit -t foo o.qcow2',
    'commit -f foo o.qcow2',
    'commit -f raw o.qcow2',
    'commit --image-opts -f qcow2 driver=qcow2,file.filename=o.qcow2',
    'commit --image-opts o.qcow2',
    'commit --foo o.qcow2',
    'commit -U o.qcow2',
    'commit -d',
    'commit text.txt',
    'commit aes.qcow2',
    'commit marked.qcow2',
    'commit dirty.qcow2',
    'commit ver.qcow2',
  ]),
  { line: 'commit o.qcow2', hold: 'a.qcow2' },
  { line: 'commit o.qcow2', hold: 'o.qcow2' },
  { line: 'commit top.qcow2', hold: 'a.qcow2', files: 'content' },
];
