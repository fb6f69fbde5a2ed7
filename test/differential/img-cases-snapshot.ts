/* `snapshot`, and `-l` of convert and measure, beside qemu-img. */
import type { ImgCase } from './img-harness.ts';

const plain = (lines: readonly string[]): ImgCase[] => lines.map((line) => ({ line }));
const withBefore = (before: readonly string[], lines: readonly string[]): ImgCase[] => lines.map((line) => ({ line, before }));

/** Three snapshots, two of one name and one whose name is an ID, of a disk that changed between them. */
const three = [
  'qemu-img create -q -f qcow2 three.qcow2 4M',
  "qemu-io -f qcow2 -c 'write -P 1 0 256k' three.qcow2",
  'qemu-img snapshot -c twin three.qcow2',
  "qemu-io -f qcow2 -c 'write -P 2 64k 64k' -c 'write -P 3 3M 64k' -c 'write -z 128k 64k' three.qcow2",
  'qemu-img snapshot -c twin three.qcow2',
  "qemu-io -f qcow2 -c 'discard 0 64k' three.qcow2",
  'qemu-img snapshot -c 1 three.qcow2',
  "qemu-io -f qcow2 -c 'write -P 4 192k 64k' three.qcow2",
];
const grown = [...three, 'qemu-img resize -q three.qcow2 6M'];
const narrow = ['qemu-img create -q -f qcow2 -o refcount_bits=1 narrow.qcow2 4M', "qemu-io -f qcow2 -c 'write 0 128k' narrow.qcow2"];
const packed = [
  'qemu-img create -q -f qcow2 -o cluster_size=4k packed.qcow2 1M',
  "qemu-io -f qcow2 -c 'write -c -P 7 0 64k' -c 'write -P 8 64k 8k' packed.qcow2",
  'qemu-img snapshot -c p packed.qcow2',
  "qemu-io -f qcow2 -c 'write -P 9 4k 8k' -c 'discard 16k 16k' packed.qcow2",
];
const small = [
  'qemu-img create -q -f qcow2 -o cluster_size=512 small.qcow2 2M',
  "qemu-io -f qcow2 -c 'write -P 5 0 1M' small.qcow2",
  'qemu-img snapshot -c s small.qcow2',
  "qemu-io -f qcow2 -c 'write -P 6 100k 1M' small.qcow2",
];
const chain = [
  'qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 over.qcow2',
  "qemu-io -f qcow2 -c 'write -P 5 1M 64k' over.qcow2",
  'qemu-img snapshot -c o over.qcow2',
  "qemu-io -f qcow2 -c 'write -P 6 0 64k' over.qcow2",
];
const opts = 'driver=qcow2,file.filename=three.qcow2';

export const snapshotCases: readonly ImgCase[] = [
  ...plain([
    'snapshot -l s.qcow2',
    'snapshot s.qcow2',
    'snapshot p.qcow2',
    'snapshot -l -f raw s.qcow2',
    'snapshot -U -l s.qcow2',
    'snapshot --list --quiet s.qcow2',
    'snapshot -U -c x s.qcow2',
    'snapshot -l -l s.qcow2',
    'snapshot -c x -c x s.qcow2',
    'snapshot -a one -d one s.qcow2',
    'snapshot -c',
    'snapshot -c x',
    'snapshot -c x s.qcow2 p.qcow2',
    'snapshot -c x none.qcow2',
    'snapshot -c x -f raw r.raw',
    'snapshot -a x -f raw r.raw',
    'snapshot -d x -f raw r.raw',
    'snapshot -c x df.qcow2',
    'snapshot -a x df.qcow2',
    'snapshot -d x df.qcow2',
    'snapshot -a nope s.qcow2',
    'snapshot -d nope s.qcow2',
    'snapshot -d 1 s.qcow2',
    'snapshot -a one s.qcow2',
    'snapshot -a 2 s.qcow2',
    'snapshot -q -d one s.qcow2',
    'snapshot -a b0 a.qcow2',
    'snapshot --image-opts -a one driver=qcow2,file.filename=s.qcow2,read-only=on',
    'snapshot --image-opts -f qcow2 -a one s.qcow2',
    'convert -l nope s.qcow2 out.raw',
    'convert -l snapshot.foo=1 s.qcow2 out.raw',
    'convert -l snapshot.id=1,snapshot.bar s.qcow2 out.raw',
    'convert -l one s.qcow2 s.qcow2 out.raw',
    'convert -l one r.raw out.raw',
    'convert -l snapshot.id=one s.qcow2 out.raw',
    'measure -l nope s.qcow2',
    'measure -l x a.qcow2',
    'measure -l x r.raw',
    'measure -l one --size 1M',
    'measure -O qcow2 -l one s.qcow2',
  ]),
  ...withBefore(three, [
    'snapshot -a twin three.qcow2',
    'snapshot -a 2 three.qcow2',
    'snapshot -a 1 three.qcow2',
    'snapshot -a 3 three.qcow2',
    'snapshot -d twin three.qcow2',
    'snapshot -d 1 three.qcow2',
    'snapshot -d 2 three.qcow2',
    "snapshot -d '' three.qcow2",
    `snapshot -d twin --image-opts ${opts}`,
    `snapshot -a twin --image-opts ${opts}`,
    'convert -l twin -O raw three.qcow2 out.raw',
    'convert -l 1 -O raw three.qcow2 out.raw',
    'convert -l 2 -O qcow2 three.qcow2 out.qcow2',
    'convert -l snapshot.name=1 -O raw three.qcow2 out.raw',
    'convert -l snapshot.id=1 -O raw three.qcow2 out.raw',
    'convert -l snapshot.id=2,snapshot.name=twin -O raw three.qcow2 out.raw',
    'convert -l snapshot.id=3,snapshot.name=twin -O raw three.qcow2 out.raw',
    'convert -p -l snapshot.id=2 -O qcow2 three.qcow2 out.qcow2',
    'measure -l twin -O qcow2 three.qcow2',
    'measure -l snapshot.id=2 --output=json -O qcow2 three.qcow2',
    'check three.qcow2',
  ]),
  ...withBefore(grown, ['convert -l 1 -O raw three.qcow2 out.raw', 'measure -l 1 three.qcow2', 'snapshot -d twin three.qcow2', 'snapshot -l three.qcow2']),
  ...withBefore(packed, ['snapshot -a p packed.qcow2', 'snapshot -d p packed.qcow2', 'convert -l p -O raw packed.qcow2 out.raw']),
  ...withBefore(small, ['snapshot -a s small.qcow2', 'snapshot -d s small.qcow2', 'convert -l s -O raw small.qcow2 out.raw']),
  ...withBefore(chain, [
    'snapshot -a o over.qcow2',
    'snapshot -d o over.qcow2',
    'convert -l o -O raw over.qcow2 out.raw',
    'rebase -b p.qcow2 -F qcow2 over.qcow2',
  ]),
  // what an image has no room for leaves nothing behind here, and leaks with the peer
  ...withBefore(narrow, ['snapshot -c one narrow.qcow2']).map((test) => ({ ...test, files: 'size' as const })),
];
