import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { Fault } from '../fault.ts';

/** An L2 entry holds an offset that no number carries: a write through it is refused, and nothing else is overwritten. */
const fault: Fault = {
  name: 'write-l2-entry-beyond-2-53',
  kind: 'numbers',
  expected: 'write 512: EFBIG, write 65536: EFBIG, flush: ok; file unchanged',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const file = stage.path('o.qcow2');
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', file, '64M']);
    let engine = new library.Engine();
    let backend = await engine.openBackend({ filename: file, format: 'qcow2', readOnly: false });
    await backend.write(0, new Uint8Array(65536).fill(1));
    await engine.close();
    const image = readFileSync(file);
    const l1 = Number(image.readBigUInt64BE(40));
    const l2 = Number(image.readBigUInt64BE(l1) & 0x00fffffffffffe00n);
    const entry = Buffer.alloc(8);
    entry.writeBigUInt64BE((1n << 63n) | 0x00f0000000000000n);
    const handle = openSync(file, 'r+');
    writeSync(handle, entry, 0, 8, l2);
    closeSync(handle);
    const before = readFileSync(file);
    engine = new library.Engine();
    backend = await engine.openBackend({ filename: file, format: 'qcow2', readOnly: false });
    const told: string[] = [];
    const attempt = async (what: string, body: () => unknown): Promise<void> => {
      try {
        await body();
        told.push(`${what}: ok`);
      } catch (error) {
        told.push(`${what}: ${error instanceof library.BlockError ? error.code : String(error)}`);
      }
    };
    await attempt('write 512', () => backend.write(0, new Uint8Array(512).fill(1)));
    await attempt('write 65536', () => backend.write(0, new Uint8Array(65536).fill(1)));
    await attempt('flush', () => backend.flush());
    await engine.close().catch(() => {});
    return `${told.join(', ')}; file ${before.equals(readFileSync(file)) ? 'unchanged' : 'changed'}`;
  },
};
export default fault;
