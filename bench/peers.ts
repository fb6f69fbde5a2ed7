/* Every row beside the newest peers, both sides in turns; what start-up costs is told over an empty Node. `-- WORD …` picks rows. */
import { prepare, type Row, rows, type Side } from './rows.ts';
import { type Command, folder, ours, pair, picked, row, theirs } from './support.ts';

/** The peers' programs take the same words, but for `--daemon`. */
const peers: Side = (program, ...args): Command => {
  if (program === 'tsqmp') return theirs('qemu-storage-daemon', ...args.filter((word) => word !== '--daemon'));
  return theirs(program === 'tsimg' ? 'qemu-img' : 'qemu-nbd', ...args);
};

function goal({ name, isRate }: Row): { readonly atLeast?: number; readonly atMost?: number } {
  if (!isRate) return { atMost: 1.3 };
  if (name.startsWith('guest')) return { atLeast: 0.5 };
  if (name.startsWith('nbdcopy')) return { atLeast: 0.7 };
  if (name.includes('depth 16')) return { atLeast: name.endsWith('raw') ? 2.0 : 1.5 };
  return { atLeast: 1.0 };
}

const { path, remove } = folder();
try {
  const chosen = rows.filter(picked);
  prepare(path, new Set(chosen.flatMap(({ needs }) => needs)));
  console.log('| subject | ours | other | ratio | goal | |\n|---|---|---|---|---|---|');
  for (const subject of chosen) {
    const isStartUp = subject.name.startsWith('start-up');
    const empty: Side = () => ({ file: process.execPath, args: ['-e', '0'] });
    const mine = await subject.begin(ours, path, 'ours');
    const other = await subject.begin(isStartUp ? empty : peers, path, 'theirs');
    const [a, b] = await pair(subject.rounds, mine.run, other.run);
    await mine.stop?.();
    await other.stop?.();
    if (isStartUp) {
      const over = a - b;
      console.log(
        `| ${subject.name}, over \`node -e 0\` | ${subject.show(a)} | ${subject.show(b)} | +${over.toFixed(1)} ms | at most +8 ms | ${over <= 8 ? 'met' : 'missed'} |`,
      );
    } else row(subject.name, subject.show(a), subject.show(b), a / b, goal(subject));
  }
} finally {
  remove();
}
