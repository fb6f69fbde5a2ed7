/* Devices and other things that are no regular files. Each expected line is QEMU's own. */
import type { Fault } from '../fault.ts';
import { shellScene } from '../shell.ts';

const faults: readonly Fault[] = [
  shellScene({
    name: 'qcow2-on-a-device',
    kind: 'devices',
    peers: ['qemu-img'],
    needsRoot: true,
    expected:
      "image: LOOP | file format: qcow2 | virtual size: 4 MiB (4194304 bytes) | cluster_size: 65536 | Format specific information: |     compat: 1.1 |     compression type: zlib |     lazy refcounts: false |     refcount bits: 16 |     corrupt: false |     extended l2: false | Child node '/file': |     filename: LOOP |     protocol type: host_device |     file length: 8 MiB (8388608 bytes) | No errors were found on the image. | Image end offset: 262144 | Offset          Length          Mapped to       File | tsimg: Failed to resize underlying file: Preallocation mode 'full' unsupported for this non-regular file | No errors were found on the image.",
    script: String.raw`
      truncate -s 8M f; L=$(losetup  -f --show f); trap 'losetup -d $L' EXIT; s() { sed "s#$L#LOOP#g"; }
      ( tsimg create -q -f qcow2 $L 4M; tsimg info $L | grep -v disk; tsimg check $L; tsimg map $L; tsimg resize -q --shrink $L 2M; tsimg resize -q $L 20M; tsimg resize --preallocation=full $L 30M; qemu-img check $L | head -n 1 ) 2>&1 | s
    `,
  }),
  shellScene({
    name: 'convert-onto-a-device',
    kind: 'devices',
    needsRoot: true,
    expected: 'Images are identical. | tsimg: output file is smaller than input file | tsimg: LOOP: error while converting raw: Cannot grow device files | 1',
    script: String.raw`
      truncate -s 4M f; L=$(losetup  -f --show f); trap 'losetup -d $L' EXIT; s() { sed "s#$L#LOOP#g"; }
      head -c 3M /dev/zero | tr '\0' x > src; head -c 5M src > big; truncate -s 5M big
      ( tsimg convert -n -f raw -O raw src $L; cmp -n 3145728 src $L; tsimg convert -f raw -O raw src $L; tsimg convert -f raw -O qcow2 src $L; tsimg compare -f raw -F qcow2 src $L; tsimg convert -n -f raw -O raw big $L; tsimg convert -f raw -O raw big $L; echo $? ) 2>&1 | s
    `,
  }),
  shellScene({
    name: 'read-only-device',
    kind: 'devices',
    needsRoot: true,
    expected:
      "virtual size: 4 MiB (4194304 bytes) | tsimg: LOOP: Protocol driver 'host_device' does not support creating new images, so an existing image must be selected as the target; however, opening the given target as an existing image failed: The device is not writable: Permission denied | tsimg: Could not open 'LOOP': The device is not writable: Permission denied | tsimg: Could not open 'LOOP': The device is not writable: Permission denied | Images are identical. | tsnbd: Failed to blk_new_open 'LOOP': The device is not writable: Permission denied | 4194304",
    script: String.raw`
      truncate -s 4M f; L=$(losetup -r -f --show f); trap 'losetup -d $L' EXIT; s() { sed "s#$L#LOOP#g"; }
      ( tsimg info -f raw $L | grep virtual; tsimg create -q -f qcow2 $L 4M;  tsimg convert -n -f raw -O raw f $L; tsimg resize -q -f raw $L 9M; tsimg compare -f raw -F raw f $L; tsnbd -f raw -t -k $PWD/s $L; tsimg create -f qcow2 -q -b $L -F raw o; tsimg convert -O raw o p; stat -c %s p ) 2>&1 | s
    `,
  }),
  shellScene({
    name: 'device-of-512-bytes-past-the-cache',
    kind: 'devices',
    needsRoot: true,
    expected:
      '512 | Images are identical. | [{ "start": 0, "length": 512, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0}]',
    script: String.raw`
      truncate -s 512 f; L=$(losetup  -f --show f); trap 'losetup -d $L' EXIT; s() { sed "s#$L#LOOP#g"; }
      head -c 512 /dev/urandom > src
      ( tsimg convert -t none -T none -f raw -O raw $L o; stat -c %s o; tsimg convert -n -t none -f raw -O raw src $L; cmp src $L; tsimg compare -T none -f raw -F raw src $L; tsimg map --output=json -f raw $L ) 2>&1 | s
    `,
  }),
  shellScene({
    name: 'device-of-1536-bytes-past-the-cache',
    kind: 'devices',
    needsRoot: true,
    expected:
      '1536 | Images are identical. | [{ "start": 0, "length": 1536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0}]',
    script: String.raw`
      truncate -s 1536 f; L=$(losetup  -f --show f); trap 'losetup -d $L' EXIT; s() { sed "s#$L#LOOP#g"; }
      head -c 1536 /dev/urandom > src
      ( tsimg convert -t none -T none -f raw -O raw $L o; stat -c %s o; tsimg convert -n -t none -f raw -O raw src $L; cmp src $L; tsimg compare -T none -f raw -F raw src $L; tsimg map --output=json -f raw $L ) 2>&1 | s
    `,
  }),
  shellScene({
    name: 'device-of-1048064-bytes-past-the-cache',
    kind: 'devices',
    needsRoot: true,
    expected:
      '1048064 | Images are identical. | [{ "start": 0, "length": 1048064, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0}]',
    script: String.raw`
      truncate -s 1048064 f; L=$(losetup  -f --show f); trap 'losetup -d $L' EXIT; s() { sed "s#$L#LOOP#g"; }
      head -c 1048064 /dev/urandom > src
      ( tsimg convert -t none -T none -f raw -O raw $L o; stat -c %s o; tsimg convert -n -t none -f raw -O raw src $L; cmp src $L; tsimg compare -T none -f raw -F raw src $L; tsimg map --output=json -f raw $L ) 2>&1 | s
    `,
  }),
  shellScene({
    name: 'device-of-4096-bytes-in-sectors-of-4-kib',
    kind: 'devices',
    needsRoot: true,
    expected: '4096 | Images are identical. | 4096 | Images are identical. | 4096 | Images are identical.',
    script: String.raw`
      truncate -s 4096 f; L=$(losetup -b 4096 -f --show f); trap 'losetup -d $L' EXIT; s() { sed "s#$L#LOOP#g"; }
      head -c 4096 /dev/urandom > src
      ( for t in none writeback directsync; do tsimg convert -t $t -T $t -f raw -O raw $L o; stat -c %s o; tsimg convert -n -t $t -f raw -O raw src $L; cmp src $L; tsimg compare -T $t -f raw -F raw src $L; done ) 2>&1 | s
    `,
  }),
  shellScene({
    name: 'device-of-4194304-bytes-in-sectors-of-4-kib',
    kind: 'devices',
    needsRoot: true,
    expected: '4194304 | Images are identical. | 4194304 | Images are identical. | 4194304 | Images are identical.',
    script: String.raw`
      truncate -s 4194304 f; L=$(losetup -b 4096 -f --show f); trap 'losetup -d $L' EXIT; s() { sed "s#$L#LOOP#g"; }
      head -c 4194304 /dev/urandom > src
      ( for t in none writeback directsync; do tsimg convert -t $t -T $t -f raw -O raw $L o; stat -c %s o; tsimg convert -n -t $t -f raw -O raw src $L; cmp src $L; tsimg compare -T $t -f raw -F raw src $L; done ) 2>&1 | s
    `,
  }),
  shellScene({
    name: 'qcow2-on-a-device-in-sectors-of-4-kib',
    kind: 'devices',
    peers: ['qemu-img'],
    needsRoot: true,
    expected: '0 | Images are identical. | No errors were found on the image. | Images are identical.',
    script: String.raw`
      truncate -s 4M f; L=$(losetup -b 4096 -f --show f); trap 'losetup -d $L' EXIT; s() { sed "s#$L#LOOP#g"; }
      ( tsimg create -q -f qcow2 -o cluster_size=512 $L 1M; echo $?; tsimg create -q -f qcow2 $L 1M; head -c 1M /dev/urandom > src; tsimg convert -n -t none -f raw -O qcow2 src $L; tsimg compare -T none -f raw -F qcow2 src $L; qemu-img check -T none $L | head -n 1; qemu-img compare -f raw -F qcow2 src $L ) 2>&1 | s
    `,
  }),
  shellScene({
    name: 'character-devices-as-disks',
    kind: 'devices',
    expected:
      "image: /dev/null | file format: raw | virtual size: 0 B (0 bytes) | Child node '/file': |     filename: /dev/null |     protocol type: host_device |     file length: 0 B (0 bytes) | Offset          Length          Mapped to       File | Images are identical. | tsimg: Cannot resize device files | 0 | image: /dev/zero | file format: raw | virtual size: 0 B (0 bytes) | Child node '/file': |     filename: /dev/zero |     protocol type: host_device |     file length: 0 B (0 bytes) | Offset          Length          Mapped to       File | Images are identical. | tsimg: Cannot resize device files | 0 | image: /dev/full | file format: raw | virtual size: 0 B (0 bytes) | Child node '/file': |     filename: /dev/full |     protocol type: host_device |     file length: 0 B (0 bytes) | Offset          Length          Mapped to       File | Images are identical. | tsimg: Cannot resize device files | 0 | image: /dev/random | file format: raw | virtual size: 0 B (0 bytes) | Child node '/file': |     filename: /dev/random |     protocol type: host_device |     file length: 0 B (0 bytes) | Offset          Length          Mapped to       File | Images are identical. | tsimg: Cannot resize device files | 0",
    script: String.raw`
      for d in /dev/null /dev/zero /dev/full /dev/random; do tsimg info -f raw $d 2>&1 | grep -v 'disk size'; tsimg map -f raw $d; tsimg compare -f raw -F raw $d $d; tsimg resize -q -f raw $d 1M; tsimg create -q -f qcow2 -b $d -F raw o; echo $?; done
    `,
  }),
  shellScene({
    name: 'pipes-as-disks',
    kind: 'devices',
    expected:
      "tsimg: Could not open 'ff': 'file' driver requires 'ff' to be a regular file | tsimg: Could not open 'ff': 'file' driver requires 'ff' to be a regular file | tsimg: Could not open 'ff': 'file' driver requires 'ff' to be a regular file | 1",
    script: String.raw`
      mkfifo ff; truncate -s 1M a; tsimg info ff; tsimg map -f raw ff; tsimg compare -f raw -F raw a ff; tsimg convert -n -f raw -O raw a ff >/dev/null 2>&1; echo $?
    `,
  }),
  shellScene({
    name: 'device-grows-behind-a-reader',
    kind: 'devices',
    needsRoot: true,
    expected:
      'virtual size: 8 MiB (8388608 bytes) | 8388608 | virtual size: 2 MiB (2097152 bytes) | [{ "start": 0, "length": 2097152, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0}]',
    script: String.raw`
      truncate -s 4M f; L=$(losetup  -f --show f); trap 'losetup -d $L' EXIT; s() { sed "s#$L#LOOP#g"; }
      truncate -s 8M f; losetup -c $L; ( tsimg info -f raw $L | grep virtual; tsimg convert -f raw -O raw $L o; stat -c %s o; truncate -s 2M f; losetup -c $L; tsimg info -f raw $L | grep virtual; tsimg map --output=json -f raw $L ) 2>&1 | s
    `,
  }),
];
export default faults;
