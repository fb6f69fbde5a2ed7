import { readFileSync, writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';
import { type Stage, told } from '../stage.ts';

/** An image of 512-byte clusters whose one snapshot says that its L1 table has 2^32 - 1 entries. */
async function makeImage(stage: Stage): Promise<void> {
  await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', 's.qcow2', '1M']);
  const image = Buffer.alloc(1048576 + 64);
  readFileSync(stage.path('s.qcow2')).copy(image);
  image.writeUInt32BE(1, 60);
  image.writeBigUInt64BE(1048576n, 64);
  const entry = image.subarray(1048576);
  entry.writeBigUInt64BE(2097152n, 0);
  entry.writeUInt32BE(0xffffffff, 8);
  entry.writeUInt16BE(1, 12);
  entry.writeUInt16BE(1, 14);
  entry.write('1a', 40);
  writeFileSync(stage.path('s.qcow2'), image);
}

const program: Fault = {
  name: 'image-snapshot-l1-size',
  kind: 'hostile images',
  expected: 'resize exit 0',
  play: async (stage) => {
    await makeImage(stage);
    const { code } = await stage.run('tsimg', ['resize', '-q', 's.qcow2', '2M']);
    return `resize exit ${code}`;
  },
};

const daemon: Fault = {
  name: 'image-snapshot-l1-size-daemon',
  kind: 'hostile images',
  expected: 'blockdev-add ok, query-version ok',
  play: async (stage) => {
    await makeImage(stage);
    const qmp = await stage.daemon();
    const file = { driver: 'file', filename: stage.path('s.qcow2') };
    const added = told(await qmp.execute('blockdev-add', { driver: 'qcow2', 'node-name': 'evil', file }));
    return `blockdev-add ${added}, query-version ${told(await qmp.execute('query-version'))}`;
  },
};

const faults: Fault[] = [program, daemon];
export default faults;
