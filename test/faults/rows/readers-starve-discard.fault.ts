import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';

/** Readers of one cluster that never leave a gap: a discard of it gets its turn. */
const fault: Fault = {
  name: 'readers-starve-discard',
  kind: 'starvation',
  expected: 'the discard ended before 100 more reads',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    let reads = 0;
    const { engine } = hookedEngine(library, {
      // of different length, so that the readers never meet
      before: (op) => (op === 'read' ? turns(2 + (reads++ % 3)) : undefined),
    });
    await library.createImage(engine, 'qcow2', 'a', { size: 1 << 20 });
    const backend = await engine.openBackend({ filename: 'a', format: 'qcow2', readOnly: false, discard: true });
    await backend.write(0, new Uint8Array(65536).fill(1));
    let isStopped = false;
    const reader = async (): Promise<void> => {
      while (!isStopped) {
        await backend.read(0, new Uint8Array(4096));
        await turns(1);
      }
    };
    reads = 0;
    const readers = Array.from({ length: 4 }, reader);
    await turns(20);
    const before = reads;
    let took: number | undefined;
    const discard = Promise.resolve(backend.discard(0, 65536)).then(() => {
      took = reads - before;
    });
    for (let turn = 0; turn < 1000 && took === undefined; turn++) await turns(1);
    isStopped = true;
    await Promise.all([...readers, discard]);
    await engine.close();
    return took !== undefined && took < 100 ? 'the discard ended before 100 more reads' : `${reads - before} reads went before the discard`;
  },
};
export default fault;

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}
