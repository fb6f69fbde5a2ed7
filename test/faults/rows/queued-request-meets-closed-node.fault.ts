import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';

/** A request waits in a drained section, and the medium goes meanwhile: it ends as one to an empty drive does. */
const fault: Fault = {
  name: 'queued-request-meets-closed-node',
  kind: 'closing',
  expected: 'write: BlockError No medium found; read: BlockError No medium found',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const { engine, media } = hookedEngine(library);
    media.set('d', new library.MemoryStorage('d', { size: 1 << 20 }));
    const backend = await engine.openBackend({ filename: 'd', format: 'raw', readOnly: false });
    await backend.quiesce();
    const outcome = (request: unknown): Promise<string> =>
      Promise.resolve(request).then(
        () => 'done',
        (error: Error) => `${error.constructor.name} ${error.message}`,
      );
    const write = outcome(backend.write(0, new Uint8Array(512)));
    const read = outcome(backend.read(0, new Uint8Array(512)));
    await backend.remove();
    backend.resume();
    return `write: ${await write}; read: ${await read}`;
  },
};
export default fault;
