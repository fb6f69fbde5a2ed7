import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';

function noise(length: number, seed: number): Uint8Array {
  let value = seed;
  return new Uint8Array(length).map(() => {
    value = (Math.imul(value, 1103515245) + 12345) >>> 0;
    return value >>> 16;
  });
}

/** A compressed cluster must not go on where an earlier one was freed and somebody else moved in. */
const fault: Fault = {
  name: 'compressed-write-into-freed-cluster',
  kind: 'write order',
  expected: 'the cluster between is intact',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const { engine } = hookedEngine(library);
    const cluster = 65536;
    await library.createImage(engine, 'qcow2', 'a', { size: 64 * cluster });
    const backend = await engine.openBackend({ filename: 'a', format: 'qcow2', readOnly: false });
    const soft = new Uint8Array(cluster).fill(7);
    await backend.write(0, soft, library.reqFlag.compressed);
    await backend.write(0, noise(cluster, 1));
    const mine = noise(cluster, 2);
    await backend.write(2 * cluster, mine);
    await backend.write(3 * cluster, soft, library.reqFlag.compressed);
    const back = new Uint8Array(cluster);
    await backend.read(2 * cluster, back);
    await engine.close();
    const at = back.findIndex((byte, index) => byte !== mine[index]);
    return at < 0 ? 'the cluster between is intact' : `the cluster between differs from byte ${at} on`;
  },
};
export default fault;
