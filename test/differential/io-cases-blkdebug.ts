/* Rules of blkdebug below qemu-io: which request fails, and with what. Images and rule files are those of io-harness.ts. */
import type { IoCase } from './io-harness.ts';

const below = 'driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename=q.qcow2';
const opts = (more: string, ...commands: readonly string[]): IoCase => ({ args: `--image-opts ${below},${more}`, commands });
const named = (name: string, ...commands: readonly string[]): IoCase => ({ args: name, commands });
/** A rule by options. */
const rule = (text: string, ...commands: readonly string[]): IoCase =>
  opts(
    text
      .split(',')
      .map((word) => `file.inject-error.0.${word}`)
      .join(','),
    ...commands,
  );

const write = 'write -P 1 1M 64k';
const part = 'write -P 1 1M 4k';

export const blkdebugCases: readonly IoCase[] = [
  // by events of formats
  ...['l2_load', 'l2_update', 'write_aio', 'cluster_alloc', 'refblock_update_part', 'pwritev', 'pwritev_done', 'flush_to_os'].map((event) =>
    rule(`event=${event},once=on`, write, 'flush', write, 'flush', 'read -P 1 1M 64k'),
  ),
  ...['read_aio', 'l2_load', 'refblock_load', 'none'].map((event) => rule(`event=${event},errno=28`, 'read 64k 64k', 'read 1M 64k')),
  ...['cow_read', 'read_aio', 'write_aio', 'cluster_alloc', 'l2_update'].map((event) =>
    rule(`event=${event},once=on`, 'write -P 1 100k 1k', 'read -P 17 64k 1k', 'flush'),
  ),
  rule('event=read_aio,immediately=on', 'read 64k 64k', 'read 64k 64k'),
  rule('event=read_aio,once=on,immediately=on', 'read 64k 64k', 'read 64k 64k'),
  // by the place, and by the kind of request
  rule('event=write_aio,sector=0', write, 'write 0 64k'),
  rule('event=read_aio,sector=640', 'read 64k 64k', 'read 128k 64k'),
  rule('event=read_aio,sector=641', 'read 64k 64k', 'read 64k 512', 'read 64k 1k'),
  rule('event=none,iotype=read', 'read 64k 64k'),
  rule('event=write_aio,iotype=flush,once=on', write, 'flush', 'flush'),
  rule('event=pwritev_zero,iotype=write-zeroes,once=on', 'write -z 1M 64k', 'read -P 0 1M 64k'),
  rule('event=cluster_free,iotype=discard', 'discard 64k 64k', 'flush', 'read -P 0 64k 64k'),
  // errors
  ...['1', '5', '13', '22', '28', '95', '0', '4000'].map((errno) => rule(`event=read_aio,errno=${errno}`, 'read 64k 64k')),
  rule('event=foo', 'read 0 512'),
  rule('errno=4', 'read 0 512'),
  rule('event=read_aio,iotype=foo', 'read 0 512'),
  rule('event=read_aio,foo=on', 'read 0 512'),
  rule('event=read_aio,once=maybe', 'read 0 512'),
  // states
  opts(
    'file.inject-error.0.event=write_aio,file.inject-error.0.state=2,file.inject-error.0.once=on,file.set-state.0.event=read_aio,file.set-state.0.state=1,file.set-state.0.new_state=2',
    write,
    'read 64k 512',
    write,
    write,
  ),
  opts(
    'file.set-state.0.event=read_aio,file.set-state.0.new_state=3,file.inject-error.0.event=read_aio,file.inject-error.0.state=3',
    'read 64k 512',
    'read 64k 512',
  ),
  opts('file.set-state.0.event=nope,file.set-state.0.new_state=3', 'read 0 512'),
  opts('file.set-state.0.event=l2_load', 'read 0 512'),
  opts('file.set-state.0.event=l2_load,file.set-state.0.errno=1', 'read 0 512'),
  // rule files
  named('blkdebug:once.conf:q.qcow2', write, write),
  named('blkdebug:states.conf:q.qcow2', write, 'read 64k 512', write, write),
  ...['none', 'bad', 'bad2', 'bad3', 'bad4', 'bad5', 'bad6'].map((name) => named(`blkdebug:${name}.conf:q.qcow2`, 'read 0 512')),
  named('blkdebug::q.qcow2', write, 'read -P 1 1M 64k', 'info', 'map', 'length'),
  named('blkdebug::none.qcow2', 'length'),
  named('blkdebug:q.qcow2', 'length'),
  named('-f raw blkdebug::q.qcow2', 'read 0 512', 'info', 'map'),
  named('blkdebug::blkdebug:once.conf:q.qcow2', write, write),
  // limits
  ...[
    'align=3',
    'align=512,file.max-transfer=700',
    'align=512,file.opt-write-zero=700',
    'align=512,file.max-write-zero=700',
    'align=512,file.opt-discard=700',
  ].map((text) => opts(`file.${text}`, 'length')),
  opts('file.align=4096', part, 'read -P 1 1M 4k', 'write 1k 1k', 'flush'),
  opts('file.align=512,file.max-transfer=4096', write, 'read -P 1 1M 64k'),
  opts(
    'file.align=512,file.opt-write-zero=64k,file.max-write-zero=64k,file.opt-discard=64k,file.max-discard=64k',
    'write -z 64k 128k',
    'discard 1M 256k',
    'read -P 0 64k 128k',
  ),
  opts('file.take-child-perms.0=write', 'read 0 512'),
  opts('file.take-child-perms.0=foo', 'read 0 512'),
  opts('file.unshare-child-perms.0=resize', 'read 0 512'),
  { args: '--image-opts driver=qcow2,file.driver=blkdebug', commands: ['read 0 512'] },
  { args: '--image-opts driver=blkdebug,image.driver=qcow2,image.file.filename=q.qcow2', commands: ['read 0 512', 'info', 'map'] },
  {
    args: '--image-opts driver=blkdebug,align=4096,image.driver=raw,image.file.filename=r.raw',
    commands: ['write -P 9 1k 1k', 'read -P 9 1k 1k', 'write -P 8 10k 20k', 'read -P 8 10k 20k'],
  },
  // breakpoints
  named('blkdebug::q.qcow2', 'break write_aio A', 'aio_write -P 1 1M 64k', 'wait_break A', 'aio_read 64k 64k', 'resume A', 'aio_flush', 'read -P 1 1M 64k'),
  named('blkdebug::q.qcow2', 'break l2_load A', 'aio_read 64k 64k', 'wait_break A', 'resume A', 'aio_flush', 'resume A', 'remove_break A'),
  named('blkdebug::q.qcow2', 'break write_aio A', 'remove_break A', write),
  named('blkdebug::q.qcow2', 'break foo A', 'resume A', 'remove_break A'),
  named('blkdebug::q.qcow2', 'break write_aio A', 'break write_aio B', 'aio_write -P 1 1M 64k', 'wait_break A', 'resume B', 'resume A', 'aio_flush'),
  named('q.qcow2', 'break write_aio A', 'resume A', 'remove_break A'),
];
