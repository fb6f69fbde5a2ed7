/* Too little room, by a small file system or by the limit of a file's length: what is told, what is left, and the next try. */
import type { Fault } from '../fault.ts';
import { shellScene } from '../shell.ts';

const faults: readonly Fault[] = [
  shellScene({
    name: 'file-limit-create-raw',
    kind: 'ENOSPC',
    expected:
      "tsimg: a: The image size is too large for file format 'raw' | 0 | tsimg: a: The image size is too large for file format 'raw' | 0 | tsimg: a: The image size is too large for file format 'raw' | 0",
    script: String.raw`
      ulimit -f 1024
      for p in off full falloc; do tsimg create -q -f raw -o preallocation=$p a 4M; stat -c %s a; rm -f a; done
    `,
  }),
  shellScene({
    name: 'file-limit-create-qcow2',
    kind: 'ENOSPC',
    expected:
      "tsimg: a: The image size is too large for file format 'qcow2' (try using a larger cluster size) | 1 | tsimg: a: The image size is too large for file format 'qcow2' (try using a larger cluster size) | 1 | 0 | a",
    script: String.raw`
      ulimit -f 1024
      for p in full metadata off; do tsimg create -q -f qcow2 -o preallocation=$p a 4M; echo $?; ls; rm -f a; done
    `,
  }),
  shellScene({
    name: 'file-limit-convert-raw',
    kind: 'ENOSPC',
    expected: 'tsimg: o: error while converting raw: Could not resize file: File too large | 0',
    script: String.raw`
      head -c 3000000 /dev/zero | tr '\0' x > src; ulimit -f 1024; tsimg convert -f raw -O raw src o; stat -c %s o
    `,
  }),
  shellScene({
    name: 'full-disk-create-raw',
    kind: 'ENOSPC',
    needsRoot: true,
    expected:
      'tsimg: m/b: Could not write zeros for preallocation: No space left on device | total 0 | 0 b | tsimg: m/b: Could not preallocate new data: No space left on device | total 0 | 0 b',
    script: String.raw`
      mkdir m; mount -t tmpfs -o size=2M t m; trap 'umount "$PWD/m"' EXIT
      for p in full falloc; do tsimg create -q -f raw -o preallocation=$p m/b 4M; ls -s m; done
    `,
  }),
  shellScene({
    name: 'full-disk-create-qcow2',
    kind: 'ENOSPC',
    needsRoot: true,
    expected:
      'tsimg: m/b: Could not resize image: Failed to resize underlying file: Could not write zeros for preallocation: No space left on device | total 0 | tsimg: m/b: Could not resize image: Failed to resize underlying file: Could not preallocate new data: No space left on device | total 0',
    script: String.raw`
      mkdir m; mount -t tmpfs -o size=2M t m; trap 'umount "$PWD/m"' EXIT
      for p in full falloc; do tsimg create -q -f qcow2 -o preallocation=$p m/b 4M; ls -s m; done
    `,
  }),
  shellScene({
    name: 'full-disk-create-data-file',
    kind: 'ENOSPC',
    needsRoot: true,
    expected:
      'tsimg: m/b: Could not resize image: Could not write zeros for preallocation: No space left on device | total 0 | tsimg: m/b: Could not resize image: Could not write zeros for preallocation: No space left on device | total 0 | tsimg: m/b: Could not resize image: Could not preallocate new data: No space left on device | total 0 | tsimg: m/b: Could not resize image: Could not preallocate new data: No space left on device | total 0',
    script: String.raw`
      mkdir m; mount -t tmpfs -o size=2M t m; trap 'umount "$PWD/m"' EXIT
      for p in full falloc; do for r in on off; do tsimg create -q -f qcow2 -o data_file=m/d,data_file_raw=$r,preallocation=$p m/b 4M; ls -s m; done; done
    `,
  }),
  shellScene({
    name: 'data-file-gets-its-blocks',
    kind: 'ENOSPC',
    expected: 'off on 0 | off off 0 | metadata on 0 | metadata off 0 | falloc on 1 | falloc off 1 | full on 1 | full off 1',
    script: String.raw`
      for p in off metadata falloc full; do for r in on off; do tsimg create -q -f qcow2 -o data_file=d,data_file_raw=$r,preallocation=$p c 4M; echo "$p $r $(( $(stat -c %b d) > 8000 ))"; rm d c; done; done
    `,
  }),
  shellScene({
    name: 'full-disk-resize-qcow2',
    kind: 'ENOSPC',
    peers: ['qemu-img'],
    needsRoot: true,
    expected:
      'tsimg: Failed to resize underlying file: Could not write zeros for preallocation: No space left on device | 1 | virtual size: 1 MiB (1048576 bytes) | No errors were found on the image. | tsimg: Failed to resize underlying file: Could not preallocate new data: No space left on device | 1 | virtual size: 1 MiB (1048576 bytes) | No errors were found on the image. | 0 | virtual size: 8 MiB (8388608 bytes) | No errors were found on the image. | 0 | virtual size: 8 MiB (8388608 bytes) | No errors were found on the image.',
    script: String.raw`
      mkdir m; mount -t tmpfs -o size=2M t m; trap 'umount "$PWD/m"' EXIT
      tsimg create -q -f qcow2 m/d 1M
      for p in full falloc metadata off; do tsimg resize -q --preallocation=$p m/d 8M; echo $?; tsimg info m/d | grep virtual; qemu-img check m/d | head -n 1; done
    `,
  }),
  shellScene({
    name: 'full-disk-resize-raw',
    kind: 'ENOSPC',
    needsRoot: true,
    expected:
      'tsimg: Could not write zeros for preallocation: No space left on device | 1048576 8 | tsimg: Could not preallocate new data: No space left on device | 1048576 8 | 8388608 8',
    script: String.raw`
      mkdir m; mount -t tmpfs -o size=2M t m; trap 'umount "$PWD/m"' EXIT
      tsimg create -q -f raw m/d 1M; for p in full falloc off; do tsimg resize -q -f raw --preallocation=$p m/d 8M; stat -c '%s %b' m/d; done
    `,
  }),
  shellScene({
    name: 'full-disk-metadata-of-large-images',
    kind: 'ENOSPC',
    peers: ['qemu-img'],
    needsRoot: true,
    expected:
      'tsimg: m/b: Could not write qcow2 header: No space left on device | a | tsimg: Failed to grow the L1 table: No space left on device | No errors were found on the image. | virtual size: 16 MiB (16777216 bytes) | 0',
    script: String.raw`
      mkdir m; mount -t tmpfs -o size=256k t m; trap 'umount "$PWD/m"' EXIT
      tsimg create -q -f qcow2 m/a 16M; tsimg create -q -f qcow2 -o preallocation=metadata m/b 1G; ls m; rm -f m/b
      tsimg resize -q m/a 100T; qemu-img check m/a | head -n 1; tsimg info m/a | grep virtual; tsimg resize -q m/a 32M; echo $?
    `,
  }),
  shellScene({
    name: 'full-disk-convert-and-again-with-room',
    kind: 'ENOSPC',
    peers: ['qemu-img'],
    needsRoot: true,
    expected: 'tsimg: error while writing at byte 0: No space left on device | 1 | No errors were found on the image. | Images are identical.',
    script: String.raw`
      mkdir m; mount -t tmpfs -o size=1M t m; trap 'umount "$PWD/m"' EXIT
      head -c 3000000 /dev/zero | tr '\0' x > src; tsimg convert -f raw -O qcow2 src m/o 2>&1 | sed 's/byte [0-9]*/byte 0/'; echo $?
      qemu-img check m/o | head -n 1; mount -o remount,size=8M m; tsimg convert -n -f raw -O qcow2 src m/o; qemu-img compare -f raw -F qcow2 src m/o
    `,
  }),
  shellScene({
    name: 'full-disk-repair-and-again-with-room',
    kind: 'ENOSPC',
    peers: ['qemu-img', 'qemu-io'],
    needsRoot: true,
    expected: '0 | 0 | No errors were found on the image. | read 409600/409600 bytes at offset 0',
    script: String.raw`
      mkdir m; mount -t tmpfs -o size=1M t m; trap 'umount "$PWD/m"' EXIT
      qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 m/a 4M; qemu-io -c 'write 0 400k' m/a >/dev/null
      at=$(( 16#$(dd if=m/a bs=1 skip=48 count=8 status=none | od -A n -t x1 | tr -d ' \n') )); dd if=/dev/zero of=m/a bs=1 seek=$at count=512 conv=notrunc status=none
      head -c 2000000 /dev/zero > m/fill 2>/dev/null; tsimg check -q -r all m/a >/dev/null 2>&1; echo $?; rm m/fill; tsimg check -q -r all m/a >/dev/null 2>&1; echo $?; qemu-img check m/a | head -n 1; qemu-io -c 'read -P 205 0 400k' m/a | head -n 1
    `,
  }),
  shellScene({
    name: 'output-to-a-full-device',
    kind: 'ENOSPC',
    expected: 'info a 0 | info --output=json a 0 | map a 0 | check a 0 | compare a a 0 | create -f qcow2 b 1M 0 | --version 0 | 1',
    script: String.raw`
      tsimg create -q -f qcow2 a 1M
      for c in "info a" "info --output=json a" "map a" "check a" "compare a a" "create -f qcow2 b 1M" "--version"; do tsimg $c >/dev/full; echo "$c $?"; done; tsimg info nofile 2>/dev/full; echo $?
    `,
  }),
  shellScene({
    name: 'full-device-as-target',
    kind: 'ENOSPC',
    expected:
      'tsimg: output file is smaller than input file | 1 | tsimg: /dev/full: error while converting raw: Cannot grow device files | 1 | tsimg: /dev/full: error while converting qcow2: Could not write qcow2 header: No space left on device | 1 | tsimg: /dev/full: Cannot grow device files | 1 | tsimg: /dev/full: Could not write qcow2 header: No space left on device | 1',
    script: String.raw`
      head -c 1000000 /dev/zero | tr '\0' x > s; for c in "convert -n -f raw -O raw s" "convert -f raw -O raw s" "convert -f raw -O qcow2 s" "create -q -f raw -o size=1M" "create -q -f qcow2 -o size=1M"; do tsimg $c /dev/full; echo $?; done
    `,
  }),
];
export default faults;
