import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';

/** Four readers of a fleecing target leave no gap on a cluster: the guest's write to it ends all the same. */
const fault: Fault = {
  name: 'readers-starve-guest-write',
  kind: 'starvation',
  expected: 'the write ended after at most 20 reads; the view showed 1 and nothing else',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    let isSlow = false;
    let turn = 0;
    const { engine, media } = hookedEngine(library, {
      // readers that started together do not stay together
      before: (op) => (isSlow && op === 'read' ? new Promise((resolve) => setTimeout(resolve, 3 + (turn++ % 4))) : undefined),
    });
    const source = new library.MemoryStorage('source', { size: 1 << 20 });
    source.write(0, new Uint8Array(65536).fill(1));
    media.set('source', source);
    await library.createImage(engine, 'qcow2', 'target', { size: 1 << 20 });
    await engine.addNode({ driver: 'raw', 'node-name': 'disk', file: { driver: 'file', filename: 'source' } });
    const target = await engine.addNode({ driver: 'qcow2', 'node-name': 'target', backing: 'disk', file: { driver: 'file', filename: 'target' } });
    const filter = await engine.addNode({ driver: 'copy-before-write', 'node-name': 'cbw', file: 'disk', target: 'target' });
    const guest = new library.BlockBackend(engine.graph, library.writerPerms);
    guest.insert(filter);
    const view = new library.BlockBackend(engine.graph, library.readerPerms);
    view.insert(target);
    isSlow = true;
    let isWritten = false;
    let reads = 0;
    const seen = new Set<number>();
    const reader = async (): Promise<void> => {
      const into = new Uint8Array(4096);
      for (let count = 0; count < 200 && !isWritten; count++) {
        await view.read(0, into);
        for (const byte of into) seen.add(byte);
        if (isWriting) reads++;
      }
    };
    let isWriting = false;
    const readers = Array.from({ length: 4 }, reader);
    await new Promise((resolve) => setTimeout(resolve, 30));
    isWriting = true;
    const write = Promise.resolve(guest.write(0, new Uint8Array(4096).fill(2))).then(() => {
      isWritten = true;
    });
    await Promise.all(readers);
    const ended = isWritten ? `the write ended after ${reads <= 20 ? 'at most 20' : reads} reads` : `the write had not ended after ${reads} reads`;
    await write;
    await view.read(0, new Uint8Array(4096));
    await guest.remove();
    await view.remove();
    await engine.close();
    return `${ended}; the view showed ${[...seen].join(', ')} and nothing else`;
  },
};
export default fault;
