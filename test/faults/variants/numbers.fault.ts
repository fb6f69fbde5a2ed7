/* Further places of an image that hold offsets beyond 2^53: whatever a guest then does, nothing outside is overwritten. */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { Fault } from '../fault.ts';

const beyond = 2n ** 53n + 65536n;
const offsetMask = 0x00fffffffffffe00n;

type Place = (image: Buffer) => readonly [number, bigint];

const l1Entry = (image: Buffer): number => Number(image.readBigUInt64BE(40));
const l2Entry = (image: Buffer): number => Number(image.readBigUInt64BE(l1Entry(image)) & offsetMask);

const places: Readonly<Record<string, Place>> = {
  'an L1 entry': (image) => [l1Entry(image), beyond | (1n << 63n)],
  'an L1 entry that is shared': (image) => [l1Entry(image), beyond],
  'an L2 entry that is shared': (image) => [l2Entry(image), beyond],
  'an L2 entry just below': (image) => [l2Entry(image), (2n ** 53n - 65536n) | (1n << 63n)],
  'an L2 entry of zeros': (image) => [l2Entry(image), beyond | (1n << 63n) | 1n],
  'a compressed entry': (image) => [l2Entry(image), (1n << 62n) | (beyond + 1n)],
  'the refcount table': (image) => [Number(image.readBigUInt64BE(48)), beyond],
  'the header: L1 table': () => [40, beyond],
  'the header: refcount table': () => [48, beyond],
};

const faults: Fault[] = Object.entries(places).map(([name, place]) => ({
  name: `beyond 2^53: ${name}`,
  kind: 'numbers',
  expected: 'header and data of others unchanged, errors of media only',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const file = stage.path('o.qcow2');
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', file, '64M']);
    let engine = new library.Engine();
    let backend = await engine.openBackend({ filename: file, format: 'qcow2', readOnly: false });
    await backend.write(0, new Uint8Array(3 * 65536).fill(1));
    await engine.close();
    const image = readFileSync(file);
    const l2Table = l2Entry(image);
    const [at, value] = place(image);
    image.writeBigUInt64BE(value, at);
    const handle = openSync(file, 'r+');
    writeSync(handle, image, at, 8, at);
    closeSync(handle);
    engine = new library.Engine();
    const strange: string[] = [];
    const attempt = async (body: () => unknown): Promise<void> => {
      try {
        await body();
      } catch (error) {
        if (!(error instanceof library.BlockError)) strange.push(String(error));
      }
    };
    backend = await engine.openBackend({ filename: file, format: 'qcow2', readOnly: false, discard: true, perms: library.resizerPerms });
    await attempt(() => backend.read(0, new Uint8Array(1024)));
    await attempt(() => backend.write(0, new Uint8Array(512).fill(7)));
    await attempt(() => backend.write(0, new Uint8Array(65536).fill(7)));
    await attempt(() => backend.flush());
    await attempt(() => backend.zero(0, 65536));
    await attempt(() => backend.discard(0, 65536));
    await attempt(() => backend.write(16 << 20, new Uint8Array(65536).fill(7)));
    await attempt(() => backend.truncate(8 << 30, { exact: true, prealloc: 'off' }));
    await attempt(() => backend.flush());
    await attempt(() => engine.close());
    if (strange.length > 0) return strange.join('; ');
    const after = readFileSync(file);
    const sameHeader = image.subarray(0, 24).equals(after.subarray(0, 24));
    // what the two clusters behind hold was not written to
    const data = Number(image.readBigUInt64BE(l2Table + 8) & offsetMask);
    const others = after.subarray(data, data + 2 * 65536);
    const isKept = data === 0 || others.every((byte) => byte === 1);
    return sameHeader && isKept ? 'header and data of others unchanged, errors of media only' : `header ${sameHeader}, data of others ${isKept}`;
  },
}));
export default faults;
