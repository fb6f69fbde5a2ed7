/* Persistent bitmaps of a disk that got a size at which its image cannot hold them: the image opens again all the same. */
import type { Fault } from '../fault.ts';
import { type Stage, told } from '../stage.ts';

const tebi = 2 ** 40;

/** What the peer and we find in the image: names of bitmaps with their flags. */
async function bitmapsTold(stage: Stage): Promise<string> {
  const outcomes = [];
  for (const run of [await stage.peer('qemu-img', ['info', '--output=json', 'image']), await stage.run('tsimg', ['info', '--output=json', 'image'])]) {
    if (run.code !== 0) {
      outcomes.push(run.stderr.trim());
      continue;
    }
    const { bitmaps = [] } = (JSON.parse(run.stdout) as { 'format-specific': { data: { bitmaps?: { name: string; flags: string[] }[] } } })['format-specific']
      .data;
    outcomes.push(bitmaps.map(({ name, flags }) => [name, ...flags].join(' ')).join(', '));
  }
  return outcomes[0] === outcomes[1] ? `${outcomes[0]}` : outcomes.join(' but ');
}

function resized(name: string, size: number, why: string): Fault {
  return {
    name: `bitmaps-of-a-disk-${name}`,
    kind: 'numbers',
    peers: ['qemu-img'],
    expected: `ok; Lost persistent bitmaps during inactivation of node 'n': ${why}; p in-use auto, q in-use auto`,
    play: async (stage) => {
      await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', 'image', '4M']);
      await stage.run('tsimg', ['bitmap', '--add', '-g', '512', 'image', 'p']);
      await stage.run('tsimg', ['bitmap', '--add', '-g', '1M', 'image', 'q']);
      const daemon = await stage.daemon();
      await daemon.execute('blockdev-add', { driver: 'qcow2', 'node-name': 'n', file: { driver: 'file', filename: stage.path('image') } });
      const grown = told(await daemon.execute('block_resize', { 'node-name': 'n', size }));
      await daemon.execute('blockdev-del', { 'node-name': 'n' });
      await daemon.execute('quit');
      const lost = /Lost persistent bitmaps.*/.exec(daemon.stderr)?.[0];
      return `${grown}; ${lost}; ${await bitmapsTold(stage)}`;
    },
  };
}

const added: Fault = {
  name: 'bitmap-added-to-a-disk-of-no-size',
  kind: 'numbers',
  peers: ['qemu-img'],
  expected: 'exit 1; no bitmap; exit 0',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', 'image', '0']);
    const { code } = await stage.run('tsimg', ['bitmap', '--add', 'image', 'p']);
    const found = await bitmapsTold(stage);
    const check = await stage.peer('qemu-img', ['check', '-q', 'image']);
    return `exit ${code}; ${found === '' ? 'no bitmap' : found}; exit ${check.code}`;
  },
};

const faults: Fault[] = [
  resized(
    'that-grew-beyond-them',
    3 * tebi,
    "Bitmap 'p' doesn't satisfy the constraints: Too much space will be occupied by the bitmap. Use larger granularity",
  ),
  resized('that-shrank-to-nothing', 0, 'No memory'),
  added,
];
export default faults;
