import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';

/** A flush that fails at close: the medium is closed all the same, its lock given back, and the error is told. */
const fault: Fault = {
  name: 'failed-flush-at-close-leaks-lock',
  kind: 'closing',
  expected: 'close: Input/output error; media closed 1',
  play: async (stage) => {
    let closed = 0;
    const library = await stage.loadLibrary();
    const { engine } = hookedEngine(library, {
      fail: (op) => {
        if (op === 'close') closed++;
        return op === 'flush' ? 'EIO' : undefined;
      },
    });
    const medium = await engine.openStorage('a', { create: 'truncate', readOnly: false, direct: false, noFlush: false, locking: 'off' });
    await medium.truncate(1 << 20);
    closed = 0;
    const backend = await engine.openBackend({ filename: 'a', format: 'raw', readOnly: false });
    await backend.write(0, new Uint8Array(512));
    const told = await engine.closeBackend(backend).then(
      () => 'no error',
      (error: Error) => error.message,
    );
    return `close: ${told}; media closed ${closed}`;
  },
};
export default fault;
