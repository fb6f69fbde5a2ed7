/* Start-up of one-shot commands, and convert of 1 GiB both ways. */
import { join } from 'node:path';
import { folder, gibibyteOfData, ours, pair, row, theirs, time } from './support.ts';

const { path, remove } = folder();
try {
  time(theirs('qemu-img', 'create', '-q', '-f', 'qcow2', 'small.qcow2', '1G'), path);
  const [info, empty] = await pair(
    21,
    () => time(ours('tsimg', 'info', 'small.qcow2'), path),
    () => time({ file: process.execPath, args: ['-e', '0'] }, path),
  );
  console.log('| subject | tsimg | other | ratio | goal | |\n|---|---|---|---|---|---|');
  console.log(
    `| start-up of \`tsimg info\` over \`node -e 0\` | ${info.toFixed(1)} ms | ${empty.toFixed(1)} ms | +${(info - empty).toFixed(1)} ms | at most +8 ms | ${info - empty <= 8 ? 'met' : 'missed'} |`,
  );

  gibibyteOfData(join(path, 'big.raw'));
  const convert = (from: string, to: string, file: string) => ['convert', '-f', from, '-O', to, file, 'out'] as const;
  for (const [from, to, file] of [
    ['raw', 'qcow2', 'big.raw'],
    ['qcow2', 'raw', 'big.qcow2'],
  ] as const) {
    if (from === 'qcow2') time(theirs('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', 'big.raw', 'big.qcow2'), path);
    const [mine, other] = await pair(
      5,
      () => time(ours('tsimg', ...convert(from, to, file)), path),
      () => time(theirs('qemu-img', ...convert(from, to, file)), path),
    );
    row(`convert ${from} → ${to}, 1 GiB, time`, `${(mine / 1000).toFixed(2)} s`, `${(other / 1000).toFixed(2)} s`, mine / other, { atMost: 1.3 });
  }
} finally {
  remove();
}
