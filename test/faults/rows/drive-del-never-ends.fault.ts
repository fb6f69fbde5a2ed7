import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';

/** A drive is taken away under a guest with eight writes in flight at any time: they end, and no further one begins. */
const fault: Fault = {
  name: 'drive-del-never-ends',
  kind: 'closing',
  expected: 'taken away after the 8 writes in flight; then BlockError No medium found',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    let turn = 0;
    const { engine, media } = hookedEngine(library, {
      before: (op) => (op === 'write' ? new Promise((resolve) => setTimeout(resolve, 1 + (turn++ % 4))) : undefined),
    });
    media.set('d', new library.MemoryStorage('d', { size: 1 << 20 }));
    const drive = await engine.openBackend({ filename: 'd', format: 'raw', readOnly: false });
    let isRemoving = false;
    let isAway = false;
    let ended = 0;
    let last = 'no error';
    const lane = async (index: number): Promise<void> => {
      for (let count = 0; count < 100; count++) {
        try {
          await drive.write(index * 4096, new Uint8Array(4096));
        } catch (error) {
          last = `${(error as Error).constructor.name} ${(error as Error).message}`;
          return;
        }
        if (isRemoving && !isAway) ended++;
      }
    };
    const lanes = Array.from({ length: 8 }, (_, index) => lane(index));
    await new Promise((resolve) => setTimeout(resolve, 20));
    isRemoving = true;
    await drive.remove();
    isAway = true;
    await Promise.all(lanes);
    await engine.close();
    return `taken away after the ${ended} writes in flight; then ${last}`;
  },
};
export default fault;
