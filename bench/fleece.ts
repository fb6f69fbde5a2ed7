/* Guest writes of 64 KiB at random places under a backup with sync=none, over a writable NBD export, in both daemons. */
import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, fio, folder, gibibyteOfData, ours, pair, row, serve, theirs, time } from './support.ts';

const { path, remove } = folder();
const at = (name: string): string => join(path, name);
console.log('| subject | tsqmp --daemon | qemu-storage-daemon | ratio | goal | |\n|---|---|---|---|---|---|');

async function measure(make: (...args: string[]) => Command): Promise<number> {
  time(theirs('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', at('contents.raw'), at('source.qcow2')));
  time(theirs('qemu-img', 'create', '-q', '-f', 'qcow2', at('target.qcow2'), '1G'));
  const socket = at('nbd.sock');
  const daemon = await serve(
    make(
      ...['--blockdev', `driver=qcow2,node-name=src,discard=unmap,file.driver=file,file.filename=${at('source.qcow2')}`],
      ...['--blockdev', `driver=qcow2,node-name=tgt,backing=src,file.driver=file,file.filename=${at('target.qcow2')}`],
      ...['--chardev', 'stdio,id=c', '--monitor', 'c'],
      ...['--nbd-server', `addr.type=unix,addr.path=${socket}`, '--export', 'type=nbd,id=e,node-name=src,name=,writable=on'],
    ),
    socket,
  );
  try {
    daemon.child.stdin?.write(
      '{"execute":"qmp_capabilities"}\n{"execute":"blockdev-backup","arguments":{"job-id":"j","device":"src","target":"tgt","sync":"none"}}\n',
    );
    await new Promise((resolve) => setTimeout(resolve, 300));
    // every cluster once: each write has to save what was there
    const rate = fio(`nbd+unix:///?socket=${socket}`, ['--rw=randwrite', '--bs=64k', '--iodepth=4', '--size=1g']);
    const saved = statSync(at('target.qcow2')).blocks * 512;
    if (saved < 1024 * 1024 * 1024) throw new Error(`the target holds ${saved} bytes only: no copies before writes were made`);
    return rate;
  } finally {
    await daemon.stop();
    for (const name of ['source.qcow2', 'target.qcow2']) rmSync(at(name), { force: true });
  }
}

try {
  gibibyteOfData(at('contents.raw'));
  const [mine, other] = await pair(
    3,
    () => measure((...args) => ours('tsqmp', '--daemon', ...args)),
    () => measure((...args) => theirs('qemu-storage-daemon', ...args)),
  );
  row('guest 64 KiB random writes under sync=none', `${Math.round(mine)}/s`, `${Math.round(other)}/s`, mine / other, { atLeast: 0.5 });
} finally {
  remove();
}
