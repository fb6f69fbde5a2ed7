import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';

/** A disk grows over a longer backing file, and nothing can be written once the new size is: its bytes stay hidden. */
const fault: Fault = {
  name: 'growth-over-longer-backing',
  kind: 'write order',
  expected: 'resize ok; size 1048576, byte 600000 is 0',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    let isSizeWritten = false;
    const { engine, media } = hookedEngine(library, {
      fail: (op, offset, length, path) => {
        if (path !== 'top' || (op !== 'write' && op !== 'zero')) return undefined;
        if (isSizeWritten) return 'ENOSPC';
        isSizeWritten = op === 'write' && offset === 24 && length === 8;
        return undefined;
      },
    });
    const base = new library.MemoryStorage('base');
    base.write(0, new Uint8Array(1 << 20).fill(0xaa));
    media.set('base', base);
    await library.createImage(engine, 'qcow2', 'top', { size: 524288, backing_file: 'base', backing_fmt: 'raw' });
    isSizeWritten = false;
    const backend = await engine.openBackend({ filename: 'top', format: 'qcow2', readOnly: false, perms: library.resizerPerms });
    const told = await backend.truncate(1 << 20, { exact: true, prealloc: 'off' }).then(
      () => 'ok',
      (error: Error) => error.message,
    );
    await engine.close().catch(() => {});
    const after = hookedEngine(library, {}, media);
    const again = await after.engine.openBackend({ filename: 'top', format: 'qcow2' });
    const bytes = new Uint8Array(1);
    await again.read(600000, bytes);
    const size = again.size();
    await after.engine.close();
    return `resize ${told}; size ${size}, byte 600000 is ${bytes[0]}`;
  },
};
export default fault;
