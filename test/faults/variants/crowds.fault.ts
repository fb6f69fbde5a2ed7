import type { BlockBackend } from '../../../src/index.ts';
import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';

type Request = (backends: { readonly guest: BlockBackend; readonly view: BlockBackend }) => Promise<void> | void;

const requests: Readonly<Record<string, Request>> = {
  'guest reads': ({ guest }) => guest.read(0, new Uint8Array(4096)),
  'guest writes': ({ guest }) => guest.write(0, new Uint8Array(4096).fill(2)),
  'guest zeroes': ({ guest }) => guest.zero(0, 65536),
  'guest discards': ({ guest }) => guest.discard(0, 65536),
  'guest flushes': ({ guest }) => guest.flush(),
  'view reads': ({ view }) => view.read(0, new Uint8Array(65536)),
  'view asks for status': async ({ view }) => {
    await view.status(0, 65536);
  },
};

/** Four of one kind leave no gap on a cluster of a fleecing disk; one of another kind gets through all the same, within a few of their rounds. */
function scene(one: string, crowd: string): Fault {
  return {
    name: `crowd: ${one} among ${crowd}`,
    kind: 'starvation',
    expected: 'all 5 got through; the view showed only 1',
    play: async (stage) => {
      const library = await stage.loadLibrary();
      let turn = 0;
      const { engine, media } = hookedEngine(library, { before: () => ticks(1 + (turn++ % 4)) });
      const source = new library.MemoryStorage('source', { size: 1 << 20 });
      source.write(0, new Uint8Array(65536).fill(1));
      media.set('source', source);
      await library.createImage(engine, 'qcow2', 'target', { size: 1 << 20 });
      await engine.addNode({ driver: 'raw', 'node-name': 'disk', discard: 'unmap', file: { driver: 'file', discard: 'unmap', filename: 'source' } });
      const target = await engine.addNode({ driver: 'qcow2', 'node-name': 'target', backing: 'disk', file: { driver: 'file', filename: 'target' } });
      const filter = await engine.addNode({ driver: 'copy-before-write', 'node-name': 'cbw', discard: 'unmap', file: 'disk', target: 'target' });
      const guest = new library.BlockBackend(engine.graph, library.writerPerms);
      guest.insert(filter);
      const view = new library.BlockBackend(engine.graph, library.readerPerms);
      view.insert(target);
      let rounds = 0;
      let isStopped = false;
      const member = async (): Promise<void> => {
        for (let count = 0; count < 200 && !isStopped; count++, rounds++) {
          await requests[crowd]?.({ guest, view });
          // what is answered at once leaves the others a turn as well
          await ticks(1);
        }
      };
      const members = Array.from({ length: 4 }, member);
      await ticks(20);
      let passed = 0;
      for (; passed < 5 && !isStopped; passed++) {
        const before = rounds;
        await requests[one]?.({ guest, view });
        if (rounds - before > 60) break;
      }
      isStopped = true;
      await Promise.all(members);
      const seen = new Uint8Array(65536);
      await view.read(0, seen);
      await guest.remove();
      await view.remove();
      await engine.close();
      return `${passed === 5 ? 'all 5' : passed} got through; the view showed only ${[...new Set(seen)].join(', ')}`;
    },
  };
}

async function ticks(count: number): Promise<void> {
  for (let tick = 0; tick < count; tick++) await new Promise((resolve) => setImmediate(resolve));
}

const faults: readonly Fault[] = [
  scene('guest reads', 'guest writes'),
  scene('guest writes', 'guest reads'),
  scene('guest writes', 'guest discards'),
  scene('guest zeroes', 'view reads'),
  scene('guest zeroes', 'guest reads'),
  scene('guest discards', 'view reads'),
  scene('guest discards', 'guest writes'),
  scene('guest flushes', 'guest writes'),
  scene('guest flushes', 'view reads'),
  scene('view reads', 'guest writes'),
  scene('view reads', 'guest discards'),
  scene('view reads', 'guest zeroes'),
  scene('view asks for status', 'guest writes'),
  scene('guest writes', 'view asks for status'),
];
export default faults;
