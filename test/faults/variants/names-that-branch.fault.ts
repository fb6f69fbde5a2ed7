/* Names in images that stand for many nodes each: what they lead to must not double, or deepen, with every image. */
import { copyFileSync, writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';
import { costTold, measured } from '../memory.ts';
import type { Stage } from '../stage.ts';

/** Makes `i0` … `i{count}`, each named by the one before it in the name that `name` makes of it. */
async function chain(stage: Stage, count: number, format: string, name: (below: string) => string): Promise<void> {
  const library = await stage.loadLibrary();
  const engine = new library.Engine();
  // its guest's data are an image too
  await library.createImage(engine, 'qcow2', stage.path('inner'), { size: 1 << 20 });
  await stage.run('tsimg', ['convert', '-f', 'raw', '-O', 'qcow2', 'inner', `i${count}`]);
  for (let index = count - 1; index >= 0; index--) {
    copyFileSync(stage.path(`i${count}`), stage.path(`i${index}`));
    await stage.run('tsimg', ['rebase', '-u', '-f', 'qcow2', '-F', format, '-b', name(`i${index + 1}`), `i${index}`]);
  }
  await engine.close();
}

function scene(name: string, count: number, format: string, below: (file: string) => string): Fault {
  return {
    name,
    kind: 'hostile images',
    expected: 'exit 1 within 256 MiB: Backing chain has more than 1000 nodes; the daemon says so and answers',
    play: async (stage) => {
      await chain(stage, count, format, (next) => below(`{"driver":"qcow2","file":{"driver":"file","filename":"${stage.path(next)}"}}`));
      writeFileSync(stage.path('o'), '');
      const run = await measured(stage, 'tsimg', ['convert', '-f', 'qcow2', '-O', 'raw', 'i0', 'o']);
      const daemon = await stage.daemon();
      const added = await daemon.execute('blockdev-add', { driver: 'qcow2', 'node-name': 'n', file: { driver: 'file', filename: stage.path('i0') } });
      const isTold = added !== undefined && 'error' in added && added.error.desc.endsWith('more than 1000 nodes');
      const answers = (await daemon.execute('query-version')) !== undefined;
      return `${costTold(run)}: ${/Backing chain has.*/.exec(run.stderr)?.[0]}; the daemon ${isTold ? 'says so' : JSON.stringify(added)}${answers ? ' and answers' : ''}`;
    },
  };
}

/** `levels` raw nodes above. */
function wrapped(text: string, levels: number): string {
  return levels === 0 ? text : wrapped(`{"driver":"raw","file":${text}}`, levels - 1);
}

const faults: Fault[] = [
  scene('backing-names-that-stand-for-two-images-each', 14, 'qcow2', (file) => `json:{"driver":"qcow2","file":${file},"backing":${file}}`),
  scene('backing-names-that-stand-for-thirty-nodes-each', 40, 'raw', (file) => `json:${wrapped(file, 30)}`),
];
export default faults;
