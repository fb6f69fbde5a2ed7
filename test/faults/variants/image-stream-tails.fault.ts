import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { deflateRawSync } from 'node:zlib';
import type { Fault } from '../fault.ts';
import { costTold, measured } from '../memory.ts';

const cluster = 65536;

/** A stream that holds `length` bytes, then what stands behind it in its sectors. */
function tail(name: string, length: number, expected: string): Fault {
  return {
    name: `image-stream-tail-${name}`,
    kind: 'hostile images',
    expected,
    play: async (stage) => {
      await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', 'z.qcow2', '64K']);
      const stream = deflateRawSync(Buffer.alloc(length, 90), { level: 9, windowBits: 12 });
      const l1 = Number(readFileSync(stage.path('z.qcow2')).readBigUInt64BE(40));
      const file = openSync(stage.path('z.qcow2'), 'r+');
      const entry = Buffer.alloc(8);
      entry.writeBigUInt64BE((1n << 63n) | BigInt(16 * cluster));
      writeSync(file, entry, 0, 8, l1);
      entry.writeBigUInt64BE((1n << 62n) | (BigInt(Math.ceil(stream.length / 512) - 1) << 54n) | BigInt(20 * cluster));
      writeSync(file, entry, 0, 8, 16 * cluster);
      writeSync(file, Buffer.alloc(512, 255), 0, 512, 20 * cluster);
      writeSync(file, stream, 0, stream.length, 20 * cluster);
      ftruncateSync(file, 24 * cluster);
      closeSync(file);
      const convert = await measured(stage, 'tsimg', ['convert', '-O', 'raw', 'z.qcow2', 'o.raw']);
      return `convert ${costTold(convert)}${convert.code === 0 ? `, ${readFileSync(stage.path('o.raw')).every((byte) => byte === 90) ? 'all' : 'not all'} as written` : ''}`;
    },
  };
}

const faults: Fault[] = [
  tail('exact', cluster, 'convert exit 0 within 256 MiB, all as written'),
  tail('a-byte-more', cluster + 1, 'convert exit 0 within 256 MiB, all as written'),
  tail('a-cluster-more', 2 * cluster, 'convert exit 0 within 256 MiB, all as written'),
  tail('a-byte-less', cluster - 1, 'convert exit 1 within 256 MiB'),
];
export default faults;
