import { readFileSync, writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';

/** The data-file name inside an image is a file name and nothing else: no JSON, no protocol. */
const fault: Fault = {
  name: 'image-data-file-json',
  kind: 'names',
  expected: 'convert exit 1; victim keeps SSSS',
  play: async (stage) => {
    writeFileSync(stage.path('victim.bin'), 'S'.repeat(65536));
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', '-o', 'data_file=x.data,data_file_raw=on', 'x.qcow2', '64K']);
    const image = readFileSync(stage.path('x.qcow2'));
    const start = image.readUInt32BE(100);
    const name = Buffer.from('json:{"driver":"file","filename":"victim.bin"}');
    image.fill(0, start, 65536);
    image.write('DATA', start, 'latin1');
    image.writeUInt32BE(name.length, start + 4);
    name.copy(image, start + 8);
    writeFileSync(stage.path('x.qcow2'), image);
    writeFileSync(stage.path('new.raw'), 'X'.repeat(65536));
    const { code } = await stage.run('tsimg', ['convert', '-n', '-f', 'raw', '-O', 'qcow2', 'new.raw', 'x.qcow2']);
    return `convert exit ${code}; victim keeps ${readFileSync(stage.path('victim.bin'), 'latin1').slice(0, 4)}`;
  },
};
export default fault;
