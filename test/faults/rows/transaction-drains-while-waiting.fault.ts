import { truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Fault } from '../fault.ts';
import { type Stage, told } from '../stage.ts';

const size = 1 << 28;
const layers = 200;
/** A scene that goes wrong ends all the same. */
const limitMs = 20_000;
/** So large that the L1 table of an image is no small read: whoever opens it waits for the medium. */
const largeSize = 2 ** 46;

interface Message {
  readonly id?: string;
}

/** Another monitor of the daemon; `onReply` hears the ids that commands were given. */
async function monitor(path: string, onReply: (id: string) => void): Promise<(command: object) => void> {
  const socket = connect(path);
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  socket.on('error', () => {});
  let rest = '';
  socket.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const { id } = JSON.parse(line) as Message;
      if (id !== undefined) onReply(id);
    }
  });
  const send = (command: object): void => void socket.write(`${JSON.stringify(command)}\n`);
  send({ execute: 'qmp_capabilities' });
  return send;
}

const backup = (number: number): object => ({
  type: 'blockdev-backup',
  data: { 'job-id': `j${number}`, device: `hd${number}`, target: `t${number}`, sync: 'none' },
});

/** A chain of images that takes long to open; the name of its top. */
async function deepChain(stage: Stage): Promise<string> {
  const { Engine, createImage } = await stage.loadLibrary();
  const engine = new Engine();
  for (let layer = 0; layer < layers; layer++) {
    const backing = layer === 0 ? {} : { backing_file: `l${layer - 1}`, backing_fmt: 'qcow2' };
    await createImage(engine, 'qcow2', stage.path(`l${layer}`), { size: largeSize, ...backing });
  }
  await engine.close();
  return `l${layers - 1}`;
}

async function play(stage: Stage): Promise<string> {
  for (const name of ['d1', 'd2']) {
    writeFileSync(stage.path(name), '');
    truncateSync(stage.path(name), size);
  }
  const top = await deepChain(stage);
  const channel = (id: string): string[] => ['--chardev', `socket,id=${id},path=${id},server=on,wait=off`, '--monitor', id];
  const disks = ['d1', 'd2'].flatMap((name, index) => ['--disk', `hd${index + 1}=${name},format=raw`]);
  const daemon = await stage.daemon([...disks, ...channel('a'), ...channel('b'), ...channel('c')]);
  for (const name of ['t1', 't2']) await daemon.execute('blockdev-add', { driver: 'null-co', 'node-name': name, size });
  const order: string[] = [];
  let isOpen: () => void = () => {};
  const opened = new Promise<void>((resolve) => {
    isOpen = resolve;
  });
  const transact = await monitor(stage.path('a'), () => {});
  const open = await monitor(stage.path('b'), (id) => {
    order.push(id);
    isOpen();
  });
  const guest = await monitor(stage.path('c'), () => {});
  await daemon.execute('query-status');
  // a long write keeps the first disk from being drained at once: what another monitor begins meanwhile comes between the two
  guest({ execute: 'human-monitor-command', arguments: { 'command-line': 'qemu-io hd1 "write 0 128M"' } });
  await daemon.execute('query-status');
  transact({ execute: 'transaction', arguments: { actions: [backup(1), backup(2)] } });
  await daemon.execute('query-status');
  open({ execute: 'blockdev-add', arguments: { driver: 'qcow2', 'node-name': 'slow', file: { driver: 'file', filename: top } }, id: 'open' });
  await daemon.execute('query-status');
  const write = await daemon.execute('human-monitor-command', { 'command-line': 'qemu-io hd1 "write 0 512"' }, limitMs);
  order.push(`write ${told(write)}`);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(() => resolve(void order.push('no answer to the open')), limitMs);
  });
  await Promise.race([opened, late]);
  clearTimeout(timer);
  return order.join(', ');
}

/** While a transaction over two disks and a slow open on another monitor compete, the guest goes on. */
const fault: Fault = { name: 'transaction-drains-while-waiting', kind: 'opening', expected: 'write ok, open', play };
export default fault;
