import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { constants, deflateRawSync } from 'node:zlib';
import type { Fault } from '../fault.ts';
import { costTold, measured } from '../memory.ts';

const cluster = 2097152;

/** One compressed cluster whose stream goes on for 2 GB behind the cluster's end. */
const fault: Fault = {
  name: 'image-deflate-bomb',
  kind: 'hostile images',
  expected: 'convert exit 0 within 256 MiB; first byte 90',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=2M', 'z.qcow2', '64M']);
    // blocks that end at a byte may follow one another
    const block = deflateRawSync(Buffer.alloc(4_000_000, 90), { level: 9, windowBits: 12, finishFlush: constants.Z_SYNC_FLUSH });
    const stream = Buffer.concat(new Array<Buffer>(500).fill(block));
    const image = readFileSync(stage.path('z.qcow2'));
    const l1 = Number(image.readBigUInt64BE(40));
    const [table, host] = [16 * cluster, 20 * cluster];
    const file = openSync(stage.path('z.qcow2'), 'r+');
    const entry = Buffer.alloc(8);
    entry.writeBigUInt64BE((1n << 63n) | BigInt(table));
    writeSync(file, entry, 0, 8, l1);
    entry.writeBigUInt64BE((1n << 62n) | (BigInt(Math.ceil(stream.length / 512) - 1) << 49n) | BigInt(host));
    writeSync(file, entry, 0, 8, table);
    writeSync(file, stream, 0, stream.length, host);
    ftruncateSync(file, 24 * cluster);
    closeSync(file);
    const convert = await measured(stage, 'tsimg', ['convert', '-O', 'raw', 'z.qcow2', 'o.raw']);
    const first = convert.code === 0 ? readFileSync(stage.path('o.raw'))[0] : undefined;
    return `convert ${costTold(convert)}; first byte ${first}`;
  },
};
export default fault;
