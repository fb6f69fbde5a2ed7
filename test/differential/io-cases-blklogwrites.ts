/* Logs of blklogwrites below qemu-io, which are compared as files. Files are those of io-harness.ts. */
import type { IoCase } from './io-harness.ts';

const logged = 'driver=blklogwrites,file.driver=file,file.filename=v0.raw,log.driver=file,log.filename=';
const run = (args: string, ...commands: readonly string[]): IoCase => ({ args, commands });
const opts = (text: string, ...commands: readonly string[]): IoCase => run(`-t writeback --image-opts ${text}`, ...commands);
const fresh = `${logged}empty`;

export const blklogwritesCases: readonly IoCase[] = [
  opts(fresh, 'write -P 1 0 512', 'write -P 2 4k 1000', 'write -z 8k 1k', 'discard 16k 4k', 'flush', 'write -f -P 3 512 512', 'map', 'info', 'length'),
  opts(fresh, 'read 0 64k', 'length'),
  opts(fresh, 'write -P 1 100 100', 'flush', 'flush', 'write -zu 0 64k', 'flush'),
  opts(fresh, 'aio_write -P 1 0 4k', 'aio_flush', 'flush'),
  run(`--image-opts ${fresh}`, 'write -P 1 0 512', 'write -z 8k 1k', 'read -P 1 0 512'),
  opts(`${fresh},log-sector-size=4096`, 'write -P 1 0 4k', 'write -P 2 8k 1k', 'flush'),
  opts(`${fresh},log-super-update-interval=2`, 'write -P 1 0 4k', 'write -P 2 8k 1k', 'write -P 3 16k 512', 'flush'),
  opts(`${fresh},log-append=on`, 'write -P 1 0 4k', 'flush'),
  opts(`${logged}pattern,log-append=on`, 'write -P 1 0 4k'),
  opts(`${logged}bad.raw,log-append=on`, 'write -P 1 0 4k'),
  opts(`${logged}bad.raw`, 'write -P 1 0 4k', 'flush'),
  opts(`${logged}v1.raw,log-sector-size=100,log-append=on`, 'length'),
  ...['log-sector-size=100', 'log-sector-size=0', 'log-sector-size=16M', 'log-super-update-interval=0', 'foo=1'].map((text) =>
    opts(`${fresh},${text}`, 'length'),
  ),
  opts('driver=blklogwrites,file.driver=file,file.filename=v0.raw', 'length'),
  opts('driver=blklogwrites,log.driver=file,log.filename=empty', 'length'),
  opts(
    'driver=qcow2,file.driver=blklogwrites,file.file.driver=file,file.file.filename=q.qcow2,file.log.driver=file,file.log.filename=empty',
    'write -P 1 1M 64k',
    'flush',
  ),
];
