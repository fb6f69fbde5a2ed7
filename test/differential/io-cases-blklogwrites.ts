/* blklogwrites below qemu-io: the log goes to r.raw, to an empty file, or to one that begins with a log. */
import type { IoCase } from './io-harness.ts';

const onto = (log: string, more: string): string => `driver=blklogwrites,file.driver=file,file.filename=q.qcow2,log.driver=file,log.filename=${log}${more}`;
const opts = (more: string, ...commands: readonly string[]): IoCase => ({ args: `--image-opts ${onto('empty', more)}`, commands });
const cached = (mode: string, ...commands: readonly string[]): IoCase => ({ args: `-t ${mode} --image-opts ${onto('empty', '')}`, commands });
const appended = (log: string, ...commands: readonly string[]): IoCase => ({ args: `--image-opts ${onto(log, ',log-append=on')}`, commands });
const raw = (text: string, ...commands: readonly string[]): IoCase => ({ args: `--image-opts driver=blklogwrites,${text}`, commands });
const debugged = (rules: string, ...commands: readonly string[]): IoCase =>
  raw(`file.driver=blkdebug,file.image.filename=r.raw,log.driver=blkdebug,log.image.filename=empty,${rules}`, ...commands);
const guest = 'driver=qcow2,file.driver=blklogwrites,file.file.filename=q.qcow2,file.log.filename=empty';
const sizes: readonly string[] = ['0', '1', '8', '31', '32', '511', '1000', '3k', '16M', '1G', '-1', 'abc'];

const logged = 'driver=blklogwrites,file.driver=file,file.filename=v0.raw,log.driver=file,log.filename=';
const run = (args: string, ...commands: readonly string[]): IoCase => ({ args, commands });
const written = (text: string, ...commands: readonly string[]): IoCase => run(`-t writeback --image-opts ${text}`, ...commands);
const fresh = `${logged}empty`;
export const blklogwritesCases: readonly IoCase[] = [
  opts('', 'length'),
  opts('', 'flush', 'read 0 512', 'info', 'map'),
  opts('', 'write -P 1 0 512'),
  opts('', 'write -P 1 0 512', 'flush', 'flush'),
  opts('', 'write -P 1 0 512', 'write -P 2 64k 4k', 'flush', 'write -f -P 3 1k 1k', 'discard 8k 8k', 'write -z 16k 8k', 'write -zu 32k 8k'),
  opts('', 'write -P 1 100 100', 'write -P 2 500 1000', 'read -v 500 30'),
  opts('', 'write -z 100 8k', 'write -z 0 100', 'write -z 16k 1000'),
  opts('', 'writev -P 5 0 512 1k 2k', 'aio_write -P 6 8k 1k', 'aio_flush'),
  opts('', 'discard 0 64k', 'write 64k 4k'),
  opts('', 'write 64k 4k', 'discard 0 64k'),
  opts('', 'truncate 8M', 'write -P 1 6M 512'),
  opts('', 'truncate 64k'),
  opts(',discard=unmap', 'write -zu 0 8k', 'discard 16k 8k'),
  ...['none', 'writeback', 'writethrough', 'unsafe'].map((mode) => cached(mode, 'write -P 1 0 4k', 'write -z 8k 4k', 'discard 16k 4k', 'write -P 2 8k 4k')),
  opts(',log-sector-size=4096', 'write -P 1 0 4k', 'write -z 8k 4k', 'write -P 2 12k 512', 'info'),
  ...['32', '256', '0x200', '1k', '65536'].map((size) => opts(`,log-sector-size=${size}`, 'write -P 1 0 512')),
  ...sizes.map((size) => opts(`,log-sector-size=${size}`, 'write -P 1 0 512')),
  ...['0', '-1', '1', '2', '1k', 'abc'].map((interval) => opts(`,log-super-update-interval=${interval}`, 'write -P 1 0 512', 'write -P 2 0 512')),
  opts(',log-append=maybe', 'length'),
  opts(',log-append=on,log-sector-size=512', 'length'),
  opts(',log-append=off,log-sector-size=512', 'write 0 512'),
  opts(',log-sector-size=3,log-super-update-interval=0', 'length'),
  opts(',foo=1', 'length'),
  appended('empty', 'write -P 1 0 512'),
  appended('pattern', 'write -P 1 0 512'),
  appended('r.raw', 'length'),
  ...['ok', 'version', 'short', 'four', 'flags', 'mark', 'sector', 'sector3', 'none'].map((name) =>
    appended(`${name}.log`, 'write -P 2 0 512', 'write -P 3 0 512'),
  ),
  raw('file.filename=q.qcow2,log.filename=empty', 'length', 'map'),
  raw('file.filename=odd.qcow2,log.filename=r.raw', 'write -P 3 0 512'),
  raw('file.driver=file,file.filename=r.raw', 'length'),
  raw('log.driver=file,log.filename=empty', 'length'),
  raw('file.filename=r.raw,log.filename=none', 'length'),
  raw('file.filename=none,log.filename=none', 'length'),
  raw('file.filename=r.raw,log.filename=r.raw', 'write 0 512'),
  { args: `-r --image-opts ${onto('empty', '')}`, commands: ['length', 'read 0 512'] },
  { args: `-r --image-opts ${onto('empty', '')}`, commands: ['write 0 512'] },
  { args: '-f blklogwrites r.raw', commands: ['length'] },
  { args: 'blklogwrites:r.raw', commands: ['length'] },
  { args: `--image-opts ${guest}`, commands: ['write -P 9 1M 64k', 'discard 64k 64k', 'write -z 1M 64k', 'read -P 0 1M 64k'] },
  debugged('file.inject-error.0.event=pwritev,file.inject-error.0.once=on', 'write 0 512', 'write 4k 512'),
  debugged('file.inject-error.0.event=none,file.inject-error.0.iotype=discard', 'discard 0 64k', 'write 4k 512'),
  debugged('file.inject-error.0.event=none,file.inject-error.0.iotype=flush,file.inject-error.0.once=on', 'write 4k 512', 'flush'),
  debugged('log.inject-error.0.event=none,log.inject-error.0.iotype=flush,log.inject-error.0.once=on', 'write 4k 512', 'flush'),
  written(fresh, 'write -P 1 0 512', 'write -P 2 4k 1000', 'write -z 8k 1k', 'discard 16k 4k', 'flush', 'write -f -P 3 512 512', 'map', 'info', 'length'),
  written(fresh, 'read 0 64k', 'length'),
  written(fresh, 'write -P 1 100 100', 'flush', 'flush', 'write -zu 0 64k', 'flush'),
  written(fresh, 'aio_write -P 1 0 4k', 'aio_flush', 'flush'),
  run(`--image-opts ${fresh}`, 'write -P 1 0 512', 'write -z 8k 1k', 'read -P 1 0 512'),
  written(`${fresh},log-sector-size=4096`, 'write -P 1 0 4k', 'write -P 2 8k 1k', 'flush'),
  written(`${fresh},log-super-update-interval=2`, 'write -P 1 0 4k', 'write -P 2 8k 1k', 'write -P 3 16k 512', 'flush'),
  written(`${fresh},log-append=on`, 'write -P 1 0 4k', 'flush'),
  written(`${logged}pattern,log-append=on`, 'write -P 1 0 4k'),
  written(`${logged}bad.raw,log-append=on`, 'write -P 1 0 4k'),
  written(`${logged}bad.raw`, 'write -P 1 0 4k', 'flush'),
  written(`${logged}v1.raw,log-sector-size=100,log-append=on`, 'length'),
  ...['log-sector-size=100', 'log-sector-size=0', 'log-sector-size=16M', 'log-super-update-interval=0', 'foo=1'].map((text) =>
    written(`${fresh},${text}`, 'length'),
  ),
  written('driver=blklogwrites,file.driver=file,file.filename=v0.raw', 'length'),
  written('driver=blklogwrites,log.driver=file,log.filename=empty', 'length'),
  written(
    'driver=qcow2,file.driver=blklogwrites,file.file.driver=file,file.file.filename=q.qcow2,file.log.driver=file,file.log.filename=empty',
    'write -P 1 1M 64k',
    'flush',
  ),
];
