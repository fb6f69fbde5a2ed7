import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';

/** Clusters that waited to be discarded are taken again: a later discard of something else does not hit them. */
const fault: Fault = {
  name: 'pending-discards-punch-live-clusters',
  kind: 'write order',
  expected: '0 of 40960 clusters lost',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const { engine } = hookedEngine(library);
    // the refcount table of 512 byte clusters grows at 8 MiB
    await library.createImage(engine, 'qcow2', 'a', { size: 64 << 20, cluster_size: 512 });
    const backend = await engine.openBackend({ filename: 'a', format: 'qcow2', readOnly: false, discard: true, options: { 'pass-discard-other': true } });
    const end = 20 << 20;
    const buffer = new Uint8Array(512);
    for (let at = 0; at < end; at += 512) await backend.write(at, buffer.fill(1 + ((at / 512) % 255)));
    await backend.flush();
    await backend.write(50 << 20, buffer);
    await backend.discard(50 << 20, 512);
    let lost = 0;
    for (let at = 0; at < end; at += 512) {
      await backend.read(at, buffer);
      const want = 1 + ((at / 512) % 255);
      if (buffer.some((byte) => byte !== want)) lost++;
    }
    await engine.close();
    return `${lost} of ${end / 512} clusters lost`;
  },
};
export default fault;
