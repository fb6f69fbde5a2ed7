import { statSync } from 'node:fs';
import type { Fault } from '../fault.ts';

const mib = 1 << 20;

/** A disk shrinks while a write to its end is under way: afterwards node and file are of the new size, both. */
const fault: Fault = {
  name: 'resize-without-turn-or-drain',
  kind: 'numbers',
  expected: 'node 8388608, file 8388608',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const engine = new library.Engine();
    const path = stage.path('disk');
    await library.createImage(engine, 'raw', path, { size: 64 * mib });
    const guest = await engine.openBackend({ filename: path, format: 'raw', readOnly: false });
    const { node } = guest;
    if (node === undefined) return 'no node';
    const resizer = new library.BlockBackend(engine.graph, library.resizerPerms);
    resizer.insert(node);
    const write = guest.write(48 * mib, new Uint8Array(16 * mib).fill(9));
    await resizer.truncate(8 * mib, { exact: true, prealloc: 'off' });
    await write;
    const result = `node ${guest.size()}, file ${statSync(path).size}`;
    await resizer.remove();
    await engine.closeBackend(guest);
    await engine.close();
    return result;
  },
};
export default fault;
