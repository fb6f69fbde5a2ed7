/* blkverify below qemu-io. The raw file r.raw and the image q.qcow2 of io-harness.ts differ from 64 KiB and from 1 MiB on. */
import type { IoCase } from './io-harness.ts';

const both = 'driver=blkverify,raw.driver=raw,raw.file.filename=r.raw,test.driver=qcow2';
const image = `${both},test.file.filename=q.qcow2`;
const broken = (event: string): string => `${both},test.file.driver=blkdebug,test.file.inject-error.0.event=${event},test.file.image.filename=q.qcow2`;
const opts = (text: string, ...commands: readonly string[]): IoCase => ({ args: `--image-opts ${text}`, commands });
const named = (name: string, ...commands: readonly string[]): IoCase => ({ args: `-f raw ${name}`, commands });

export const blkverifyCases: readonly IoCase[] = [
  opts(image, 'read -P 0 0 64k', 'write -P 1 0 64k', 'read -P 1 0 64k', 'flush', 'length', 'map'),
  opts(image, 'read -P 0 0 64k', 'read 64k 64k', 'read 0 64k'),
  opts(image, 'read 1M 64k'),
  opts(image, 'aio_read 64k 64k', 'aio_flush'),
  opts(image, 'write -P 1 64k 128k', 'read -P 1 64k 128k'),
  opts(image, 'write -P 1 100 100', 'read -P 1 100 100'),
  opts(broken('l2_load'), 'read 0 512'),
  opts('driver=blkverify,raw.driver=file,raw.filename=r.raw', 'read 0 512'),
  opts('driver=blkverify,test.driver=qcow2,test.file.filename=q.qcow2', 'read 0 512'),
  opts(`${image},foo=1`, 'read 0 512'),
  named('blkverify:r.raw:q.qcow2', 'read -P 0 0 64k', 'write -P 1 0 64k', 'read -P 1 0 64k', 'length'),
  named('blkverify:r.raw:q.qcow2', 'read 64k 64k'),
  ...['blkverify:r.raw', 'blkverify:none:q.qcow2', 'blkverify:r.raw:none', 'blkverify::q.qcow2'].map((name) => named(name, 'length')),
];
