import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';

/** The header of a larger L1 table cannot be written once: what is written and flushed later is there after a new open. */
const fault: Fault = {
  name: 'grow-l1-after-one-eio',
  kind: 'write order',
  expected: 'resize: Failed to grow the L1 table: Input/output error; reads 5 after reopening',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    let isArmed = false;
    const { engine, media } = hookedEngine(library, {
      fail: (op, offset, length) => {
        if (!isArmed || op !== 'write' || offset !== 36 || length !== 12) return undefined;
        isArmed = false;
        return 'EIO';
      },
    });
    await library.createImage(engine, 'qcow2', 'a', { size: 1 << 20, cluster_size: 512 });
    const backend = await engine.openBackend({ filename: 'a', format: 'qcow2', readOnly: false, perms: library.resizerPerms });
    await backend.write(0, new Uint8Array(512).fill(1));
    await backend.flush();
    isArmed = true;
    const told = await backend.truncate(64 << 20, { exact: true, prealloc: 'off' }).then(
      () => 'ok',
      (error: Error) => error.message,
    );
    await backend.write(524288, new Uint8Array(512).fill(5));
    await backend.flush();
    await engine.close();
    const after = hookedEngine(library, {}, media);
    const again = await after.engine.openBackend({ filename: 'a', format: 'qcow2' });
    const bytes = new Uint8Array(512);
    await again.read(524288, bytes);
    await after.engine.close();
    return `resize: ${told}; reads ${bytes[0]} after reopening`;
  },
};
export default fault;
