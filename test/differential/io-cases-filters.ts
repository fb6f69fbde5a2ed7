/* Filters below qemu-io: what is kept of reads, what is compressed. Images are those of io-harness.ts. */
import type { IoCase } from './io-harness.ts';

const over = 'driver=copy-on-read,file.driver=qcow2,file.file.filename=o.qcow2';
const two =
  'driver=copy-on-read,file.driver=qcow2,file.node-name=top,file.file.filename=o2.qcow2,file.backing.driver=qcow2,file.backing.node-name=mid,file.backing.file.filename=o.qcow2';
const packed = (name: string): string => `driver=compress,file.driver=qcow2,file.file.filename=${name}`;
const both = 'driver=compress,file.driver=copy-on-read,file.file.driver=qcow2,file.file.file.filename=o.qcow2';

const failing = 'driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename=o.qcow2';
const limited = '--object throttle-group,id=g';
const slow = 'driver=throttle,throttle-group=g,file.driver=qcow2,file.file.filename=q.qcow2';

const with_ = (args: string, ...lists: readonly (readonly string[])[]): IoCase[] => lists.map((commands) => ({ args, commands }));

/** No drive for discs is at hand: what answers is that there is none. */
const drives: readonly IoCase[] = [
  { args: '-r -f host_cdrom r.raw', commands: ['read 0 512'] },
  { args: '-r host_cdrom:r.raw', commands: ['read 0 512'] },
  { args: '-r -f host_cdrom none', commands: ['read 0 512'] },
  { args: '-f host_device r.raw', commands: ['read 0 512'] },
  { args: '--image-opts driver=host_cdrom', commands: ['read 0 512'] },
];

export const filterCases: readonly IoCase[] = [
  ...drives,
  ...with_(
    '-C o.qcow2',
    ['read -P 17 64k 1k', 'map'],
    ['read -P 0 0 1k', 'map'],
    ['read 0 4M', 'map'],
    ['read 60k 8k', 'map', 'info'],
    ['read 1M 1', 'read 2M 64k', 'map'],
    ['read -P 34 128k 64k', 'map'],
    ['write -P 9 64k 4k', 'read -P 17 68k 4k', 'read -P 9 64k 4k', 'map'],
    ['discard 64k 64k', 'read -P 0 64k 64k', 'map'],
    ['aio_read -q 64k 64k', 'aio_read -q 100k 64k', 'aio_flush', 'map'],
    ['readv -P 17 64k 4k 4k', 'map', 'length'],
    ['truncate 5M', 'read 4M 1k', 'map'],
  ),
  ...with_('-C q.qcow2', ['read 3M 1k', 'map'], ['read 0 256k', 'map']),
  ...with_('-C -f raw r.raw', ['read 0 1M', 'map', 'info']),
  ...['write_aio', 'cor_write', 'cluster_alloc', 'read_backing_aio'].flatMap((event) =>
    with_(`-C --image-opts ${failing},file.inject-error.0.event=${event},file.inject-error.0.errno=28,file.inject-error.0.once=on`, [
      'read -P 17 64k 4k',
      'read -P 17 64k 4k',
      'map',
    ]),
  ),
  ...with_('-C -r o.qcow2', ['read 0 1k']),
  ...with_('-C -s o.qcow2', ['read 64k 1k', 'map']),
  ...with_(
    `--image-opts ${over}`,
    ['read 64k 1k', 'map', 'info', 'length'],
    ['write -z 0 64k', 'read 0 128k', 'map'],
    ['write -c -P 3 0 64k', 'read -P 3 0 64k', 'map'],
  ),
  ...with_(`-r --image-opts ${over}`, ['read 0 1k']),
  ...with_(`--image-opts ${over},bottom=nope`, ['read 0 1k']),
  ...with_(`--image-opts ${over},bottom=`, ['read 0 1k']),
  ...with_(`--image-opts ${over},nosuch=1`, ['read 0 1k']),
  ...with_(`--image-opts ${two},bottom=mid`, ['read -P 34 128k 1k', 'read 64k 1k', 'read 0 1k', 'map'], ['read 0 4M', 'map']),
  ...with_(`--image-opts ${two}`, ['read -P 17 64k 1k', 'read 128k 64k', 'map'], ['read 0 4M', 'map']),
  ...with_('--image-opts driver=copy-on-read', ['read 0 1k']),
  ...with_('--image-opts driver=copy-on-read,file.driver=raw,file.file.filename=r.raw', ['read -P 5 1M 64k', 'write 0 1k', 'map']),
  ...with_('--image-opts driver=compress', ['read 0 1k']),
  ...with_('--image-opts driver=compress,file.driver=raw,file.file.filename=r.raw', ['read 0 1k']),
  ...with_('--image-opts driver=compress,file.driver=file,file.filename=r.raw', ['read 0 1k']),
  ...with_('--image-opts driver=compress,file.driver=null-co,file.size=1M', ['read 0 1k']),
  ...with_(
    `--image-opts ${packed('q.qcow2')}`,
    ['write -P 1 1M 64k', 'read -P 1 1M 64k', 'map', 'info'],
    ['write -P 1 1M 1k', 'read -P 1 1M 1k', 'read -P 0 1025k 63k'],
    ['write -P 1 64k 64k'],
    ['write -P 1 1M 40k', 'read -P 1 1M 40k', 'map'],
    ['write -z 1M 64k', 'write -zu 64k 64k', 'discard 128k 64k', 'map'],
    ['write -P 1 1M 64k', 'write -P 2 1M 64k'],
    ['write -c -P 1 2M 64k', 'flush', 'read -P 1 2M 64k'],
    ['aio_write -P 2 2M 64k', 'aio_flush', 'read -P 2 2M 64k'],
    ['truncate 8M', 'write -P 1 7M 64k', 'read -P 1 7M 64k', 'length'],
  ),
  ...with_(`-r --image-opts ${packed('q.qcow2')}`, ['read -P 17 64k 64k', 'map'], ['write 0 64k']),
  ...with_(
    `--image-opts ${packed('odd.qcow2')}`,
    ['write -P 1 960k 10k', 'read -P 1 960k 10k', 'read 960k 16960', 'map'],
    ['write -P 1 983040 16960', 'read -P 1 983040 16960'],
  ),
  ...with_(
    `${limited} --image-opts ${slow}`,
    ['write -P 1 1k 3k', 'read -P 1 1k 3k', 'map', 'info', 'write -z 64k 64k', 'discard 128k 64k', 'flush', 'truncate 20M', 'length'],
    ['aio_write -P 2 2M 128k', 'aio_flush', 'aio_read 64k 64k', 'aio_flush', 'read -P 2 2M 128k'],
    ['write -c -P 3 1M 64k', 'read -P 3 1M 64k'],
  ),
  ...with_(`${limited},limits.iops-total=200,limits.iops-size=4096 --image-opts ${slow}`, ['read 64k 64k', 'read 64k 64k', 'write 0 64k', 'map']),
  ...with_(`${limited},x-bps-write=1000000,x-bps-write-max=2000000 --image-opts ${slow}`, ['write 0 64k', 'write 64k 64k']),
  ...with_(`${limited} --image-opts ${slow},nosuch=1`, ['read 0 1k']),
  ...with_(`${limited} -r --image-opts ${slow}`, ['read 0 1k', 'reopen -w']),
  ...with_(`--image-opts ${slow}`, ['read 0 1k']),
  ...with_(`--image-opts ${both}`, ['read -P 17 64k 1k', 'write -P 4 1M 64k', 'read -P 4 1M 64k', 'map']),
];
