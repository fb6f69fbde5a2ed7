import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { Fault } from '../fault.ts';
import { costTold, measured } from '../memory.ts';

const count = 400;
const directoryAt = 16 * 1048576;
const tableAt = 32 * 1048576;

/** 400 bitmaps that share one table of a million entries: 36 KiB on the medium. */
const fault: Fault = {
  name: 'image-bitmap-tables-4-gib',
  kind: 'hostile images',
  expected: 'info exit 0 within 256 MiB, convert exit 0 within 256 MiB',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', 'h.qcow2', '1M']);
    const header = readFileSync(stage.path('h.qcow2')).subarray(0, 512);
    header.writeBigUInt64BE(1n, 88);
    const extension = header.readUInt32BE(100);
    header.fill(0, extension);
    header.writeUInt32BE(0x23852875, extension);
    header.writeUInt32BE(24, extension + 4);
    header.writeUInt32BE(count, extension + 8);
    header.writeBigUInt64BE(BigInt(count * 32), extension + 16);
    header.writeBigUInt64BE(BigInt(directoryAt), extension + 24);
    const directory = Buffer.alloc(count * 32);
    for (let index = 0; index < count; index++) {
      const entry = directory.subarray(index * 32);
      entry.writeBigUInt64BE(BigInt(tableAt), 0);
      entry.writeUInt32BE(1048576, 8);
      entry.writeUInt32BE(1, 12);
      entry[16] = 1;
      entry[17] = 16;
      entry.writeUInt16BE(5, 18);
      entry.write(`b${String(index).padStart(4, '0')}`, 24);
    }
    const file = openSync(stage.path('h.qcow2'), 'r+');
    writeSync(file, header, 0, 512, 0);
    writeSync(file, directory, 0, directory.length, directoryAt);
    ftruncateSync(file, 48 * 1048576);
    closeSync(file);
    const info = await measured(stage, 'tsimg', ['info', 'h.qcow2']);
    const convert = await measured(stage, 'tsimg', ['convert', '-O', 'raw', 'h.qcow2', 'o.raw']);
    return `info ${costTold(info)}, convert ${costTold(convert)}`;
  },
};
export default fault;
