/* NBD: random reads at depth 16 and 1 of images in the page cache, and nbdcopy of 1 GiB with one and four connections. */
import { join } from 'node:path';
import { fio, folder, gibibyteOfData, ours, pair, row, serve, theirs, time, timed } from './support.ts';

const { path, remove } = folder();
const image = (name: string): string => join(path, name);
gibibyteOfData(image('disk.raw'));
time(theirs('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', 'disk.raw', 'disk.qcow2'), path);
const mineSocket = image('mine.sock');
const peerSocket = image('peer.sock');
const uri = (socket: string): string => `nbd+unix:///?socket=${socket}`;
console.log('| subject | tsnbd | qemu-nbd | ratio | goal | |\n|---|---|---|---|---|---|');
try {
  for (const format of ['raw', 'qcow2'] as const) {
    const args = (socket: string): string[] => ['-t', '-e', '8', '-f', format, '-k', socket, image(`disk.${format}`), '-r'];
    const mine = await serve(ours('tsnbd', ...args(mineSocket)), mineSocket);
    const other = await serve(theirs('qemu-nbd', ...args(peerSocket)), peerSocket);
    try {
      for (const [depth, goal] of [
        [16, format === 'raw' ? 2.0 : 1.5],
        [1, 1.0],
      ] as const) {
        const options = ['--rw=randread', '--bs=4k', `--iodepth=${depth}`, '--size=1g', ...timed];
        const [a, b] = await pair(
          3,
          () => fio(uri(mineSocket), options),
          () => fio(uri(peerSocket), options),
        );
        row(`4 KiB random reads, depth ${depth}, ${format}`, `${Math.round(a)}/s`, `${Math.round(b)}/s`, a / b, { atLeast: goal });
      }
      for (const connections of [1, 4]) {
        const copy = (socket: string): number => 1 / time(theirs('nbdcopy', `--connections=${connections}`, uri(socket), 'null:'));
        const [a, b] = await pair(
          5,
          () => copy(mineSocket),
          () => copy(peerSocket),
        );
        row(
          `nbdcopy of 1 GiB, ${connections} connection(s), ${format}`,
          `${Math.round(a * 1024 * 1000)} MiB/s`,
          `${Math.round(b * 1024 * 1000)} MiB/s`,
          a / b,
          { atLeast: 0.7 },
        );
      }
    } finally {
      await mine.stop();
      await other.stop();
    }
  }
} finally {
  remove();
}
