import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import type { Fault } from '../fault.ts';

/** A virtual size beyond 2^53: shown exactly, and not opened with another one. */
const fault: Fault = {
  name: 'size-2-60-loses-precision',
  kind: 'numbers',
  expected: 'info says 1152921504606846464; opening for I/O: EFBIG',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const file = stage.path('big.qcow2');
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=2M', file, '64M']);
    const handle = openSync(file, 'r+');
    const header = Buffer.alloc(512);
    readSync(handle, header, 0, 512, 0);
    header.writeBigUInt64BE(2n ** 60n - 512n, 24);
    header.writeUInt32BE(2 ** 21, 36);
    header.writeBigUInt64BE(64n << 20n, 40);
    writeSync(handle, header, 0, 512, 0);
    ftruncateSync(handle, 96 << 20);
    closeSync(handle);
    const info = await stage.run('tsimg', ['info', '--output=json', file]);
    // the last one is the disk's own: before it stands the file's
    const shown = [...info.stdout.matchAll(/"virtual-size": (\d+)/g)].at(-1)?.[1];
    const engine = new library.Engine();
    let told: string;
    try {
      const backend = await engine.openBackend({ filename: file, format: 'qcow2', readOnly: false });
      told = `size ${backend.size()}`;
    } catch (error) {
      told = error instanceof library.BlockError ? error.code : String(error);
    }
    await engine.close();
    return `info says ${shown}; opening for I/O: ${told}`;
  },
};
export default fault;
