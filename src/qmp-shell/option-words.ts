/*
 * A few words about each argument that help shows, and one line that shows a command in use. What a driver takes besides is
 * told by the driver's own table.
 */
import { findOption } from '../core/block/driver-options.ts';
import { driverEntries } from '../engine/drivers.ts';

/** By name; `COMMAND NAME` where a name means something else there. */
const words: Readonly<Record<string, string>> = {
  // -- nodes
  driver: 'format, filter or protocol of the node',
  'node-name': 'its name in the graph',
  'read-only': 'refuse writes',
  'auto-read-only': 'read-only where writing is not allowed',
  'force-share': 'let others write to the file meanwhile',
  discard: 'hand discards down, or ignore them',
  'detect-zeroes': 'look for zeros in what is written',
  cache: 'bypass the page cache, ignore flushes',
  active: 'false: the image is not used yet',
  file: 'the node below, by name or by its options (file.driver=…)',
  backing: 'the node that shows through where nothing is written; null for none',
  // -- commands
  target: 'node that gets the copy',
  bitmap: 'dirty bitmap that says which clusters count',
  'on-cbw-error': 'when the old data cannot be saved: fail the guest’s write, or the view',
  node: 'the node that it belongs to',
  granularity: 'bytes that one bit stands for',
  persistent: 'keep it in the image',
  disabled: 'do not record yet',
  bitmaps: 'those to add',
  'block-dirty-bitmap-merge target': 'the bitmap that they are added to',
  id: 'its name',
  device: 'a disk or a node',
  'job-id': 'name of the job; default: the device’s',
  sync: 'what is copied: none for a frozen view, full for a copy',
  speed: 'bytes a second, 0: no limit',
  size: 'bytes',
  type: 'kind',
  name: 'its name',
  'nbd-server-add name': 'name that clients ask for; default: the device’s',
  'nbd-server-remove name': 'name that clients ask for',
  'block-export-add name': 'name that clients ask for; default: the node’s',
  'block-export-add node-name': 'node that is served',
  writable: 'clients may write',
  writethrough: 'flush after each write',
  description: 'text that clients may show',
  'block-export-add bitmaps': 'dirty bitmaps that clients may ask for',
  'allocation-depth': 'tell how deep in the chain data lie',
  'fixed-iothread': 'keep to the thread',
  iothread: 'thread that serves',
  'allow-inactive': 'the node may be inactive',
  'bitmap-mode': 'what becomes of the bitmap at the end',
  'discard-source': 'discard what has been copied',
  'x-perf': 'how many requests at once, how large',
  addr: 'where the server listens',
  force: 'although somebody uses it',
  mode: 'safe: wait for clients, hard: hang up',
  'max-connections': 'clients at once',
  compress: 'write compressed clusters',
  'auto-finalize': 'false: wait for job-finalize',
  'auto-dismiss': 'false: stay listed until job-dismiss',
  'on-source-error': 'when reading fails',
  'on-target-error': 'when writing the copy fails',
  'filter-node-name': 'name of the node that the job puts above its source',
  actions: 'what happens at one instant, all or none',
  flat: 'without what lies below each node',
  'query-nodes': 'of nodes, not of devices',
  'command-line': 'a line of the human monitor',
};

/** What an argument is, in a few words; '' where there are none. With a driver the argument is an option of a node. */
export function wordsFor(command: string, driver: string | undefined, name: string): string {
  const table = driver === undefined ? undefined : driverEntries.find((entry) => entry.name === driver)?.options;
  const option = findOption(table?.own ?? [], name);
  if (option === undefined) return words[`${command} ${name}`] ?? words[name] ?? '';
  return option.default === undefined || typeof option.default === 'boolean' ? option.help : `${option.help} (default: ${option.default})`;
}

/** A line as it may be typed. */
const examples: Readonly<Record<string, string>> = {
  'blockdev-add': 'blockdev-add driver=qcow2 node-name=target0 file.driver=file file.filename=BACKUP.qcow2 backing=ide0-hd0',
  'blockdev-add driver=raw': 'blockdev-add driver=raw node-name=n0 file.driver=file file.filename=disk.raw',
  'blockdev-add driver=file': 'blockdev-add driver=file node-name=f0 filename=disk.raw',
  'blockdev-add driver=null-co': 'blockdev-add driver=null-co node-name=n0 size=1073741824',
  'blockdev-add driver=null-aio': 'blockdev-add driver=null-aio node-name=n0 size=1073741824',
  'blockdev-add driver=luks': 'blockdev-add driver=luks node-name=n0 key-secret=secret0 file.driver=file file.filename=disk.luks',
  'blockdev-add driver=copy-before-write': 'blockdev-add driver=copy-before-write node-name=cbw file=src target=tmp',
  'blockdev-add driver=host_cdrom': 'blockdev-add driver=host_cdrom node-name=cd0 filename=/dev/sr0 read-only=true',
  'blockdev-add driver=host_device': 'blockdev-add driver=host_device node-name=d0 filename=/dev/sdb',
  'blockdev-add driver=copy-on-read': 'blockdev-add driver=copy-on-read node-name=cor file=top',
  'blockdev-add driver=blkdebug': 'blockdev-add driver=blkdebug node-name=debug image=f0 inject-error.0.event=read_aio',
  'blockdev-add driver=blkverify': 'blockdev-add driver=blkverify node-name=twin test=image raw=f0',
  'blockdev-add driver=quorum': 'blockdev-add driver=quorum node-name=vote vote-threshold=2 children.0=a children.1=b children.2=c',
  'blockdev-add driver=blklogwrites': 'blockdev-add driver=blklogwrites node-name=logged file=f0 log=f1',
  'blockdev-add driver=compress': 'blockdev-add driver=compress node-name=small file=image',
  'blockdev-add driver=throttle': 'blockdev-add driver=throttle node-name=slow throttle-group=g0 file=f0',
  'blockdev-add driver=preallocate': 'blockdev-add driver=preallocate node-name=pre file=f0',
  'blockdev-add driver=snapshot-access': 'blockdev-add driver=snapshot-access node-name=view file=cbw',
  'blockdev-backup': 'blockdev-backup job-id=fleece device=ide0-hd0 target=target0 sync=none',
  'blockdev-del': 'blockdev-del node-name=target0',
  'block-dirty-bitmap-add': 'block-dirty-bitmap-add node=src name=b0',
  'block-dirty-bitmap-remove': 'block-dirty-bitmap-remove node=src name=b0',
  'block-dirty-bitmap-clear': 'block-dirty-bitmap-clear node=src name=b0',
  'block-dirty-bitmap-enable': 'block-dirty-bitmap-enable node=src name=b0',
  'block-dirty-bitmap-disable': 'block-dirty-bitmap-disable node=src name=b0',
  'block-dirty-bitmap-merge': 'block-dirty-bitmap-merge node=src target=b0 bitmaps.0=b1',
  'block-export-add': 'block-export-add type=nbd id=snap node-name=target0 name=target0',
  'block-export-del': 'block-export-del id=snap',
  'block-job-cancel': 'block-job-cancel device=fleece',
  'block-job-set-speed': 'block-job-set-speed device=fleece speed=1048576',
  block_resize: 'block_resize node-name=n0 size=2147483648',
  drive_del: 'drive_del target0',
  eject: 'eject id=ide0-hd0',
  'human-monitor-command': 'human-monitor-command command-line="info block"',
  'nbd-server-add': 'nbd-server-add device=target0',
  'nbd-server-remove': 'nbd-server-remove name=target0',
  'nbd-server-start': 'nbd-server-start addr.type=unix addr.data.path=/tmp/fleece.sock',
  'object-add': 'object-add qom-type=secret id=sec0 file=passphrase.txt',
  'object-del': 'object-del id=sec0',
  'qom-get': 'qom-get path=/machine/peripheral/ide0-hd0 property=drive',
  'qom-set': 'qom-set path=/machine/peripheral/ide0-hd0 property=drive value=cbw',
  transaction: 'transaction( blockdev-backup device=ide0-hd0 target=target0 sync=none )',
  'block-job-complete': 'block-job-complete device=fleece',
  'block-job-pause': 'block-job-pause device=fleece',
  'block-job-resume': 'block-job-resume device=fleece',
  'job-complete': 'job-complete id=fleece',
  'job-pause': 'job-pause id=fleece',
  'job-resume': 'job-resume id=fleece',
  'block-job-finalize': 'block-job-finalize id=fleece',
  'block-job-dismiss': 'block-job-dismiss id=fleece',
  'job-cancel': 'job-cancel id=fleece',
  'job-dismiss': 'job-dismiss id=fleece',
  'job-finalize': 'job-finalize id=fleece',
};

/** A line that shows the command in use; commands without arguments show themselves. */
export function exampleOf(command: string, driver: string | undefined, hasArguments: boolean): string | undefined {
  const found = (driver === undefined ? undefined : examples[`${command} driver=${driver}`]) ?? examples[command];
  if (found !== undefined) return driver === undefined || found.includes(`driver=${driver}`) ? found : undefined;
  return hasArguments ? undefined : command;
}
