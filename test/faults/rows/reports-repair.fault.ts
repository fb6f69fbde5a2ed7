import { readFileSync, writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';
import type { Stage } from '../stage.ts';

/** Makes an image with two snapshots whose entry 0 has `extra` bytes of extra data. */
async function withExtra(stage: Stage, extra: number): Promise<void> {
  await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', 's.qcow2', '1M']);
  const size = 40 + extra + 6;
  const image = Buffer.alloc(Math.max(0x60000, 0x50000 + size));
  readFileSync(stage.path('s.qcow2')).copy(image);
  image.writeUInt32BE(1, 60);
  image.writeBigUInt64BE(0x50000n, 64);
  const entry = image.subarray(0x50000);
  entry.writeBigUInt64BE(0x30000n, 0);
  entry.writeUInt32BE(1, 8);
  entry.writeUInt16BE(1, 12);
  entry.writeUInt16BE(5, 14);
  entry.writeUInt32BE(extra, 36);
  entry.write('1first', 40 + extra, 'latin1');
  writeFileSync(stage.path('s.qcow2'), image);
}

/** Repairs a snapshot entry, and looks whether the snapshot is still there with its name. */
function repaired(extra: number): Fault {
  return {
    name: `reports-H-snapshot-extra-${extra}`,
    kind: 'repair',
    expected: 'check -r exit 0, check exit 0, snapshot first',
    play: async (stage) => {
      await withExtra(stage, extra);
      const repair = await stage.run('tsimg', ['check', '-q', '-r', 'all', 's.qcow2']);
      const check = await stage.run('tsimg', ['check', '-q', 's.qcow2']);
      const list = await stage.run('tsimg', ['snapshot', '-l', 's.qcow2']);
      return `check -r exit ${repair.code}, check exit ${check.code}, snapshot ${/^1\s+(\S+)/m.exec(list.stdout)?.[1]}`;
    },
  };
}

const cluster = 65536;

/** An L1 table that is said to reach over guest clusters: repair must leave them alone. */
const largeL1: Fault = {
  name: 'reports-N-large-l1',
  kind: 'repair',
  expected: 'check -r exit 1, guest data kept',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', 'k.qcow2', '1M']);
    writeFileSync(stage.path('new.raw'), Buffer.concat([Buffer.alloc(cluster, 3), Buffer.alloc(cluster), Buffer.alloc(14 * cluster, 4)]));
    await stage.run('tsimg', ['convert', '-n', '-f', 'raw', '-O', 'qcow2', 'new.raw', 'k.qcow2']);
    const image = readFileSync(stage.path('k.qcow2'));
    image.writeUInt32BE(0x4001, 36);
    writeFileSync(stage.path('k.qcow2'), image);
    const repair = await stage.run('tsimg', ['check', '-r', 'all', 'k.qcow2']);
    const after = readFileSync(stage.path('k.qcow2'));
    const isKept = after.subarray(5 * cluster).equals(image.subarray(5 * cluster));
    return `check -r exit ${repair.code}, guest data ${isKept ? 'kept' : 'overwritten'}`;
  },
};

const nul: Fault = {
  name: 'reports-G-nul-in-name',
  kind: 'names',
  expected: 'convert exit 0',
  play: async (stage) => {
    writeFileSync(stage.path('base'), Buffer.alloc(1048576, 1));
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', '-u', '-b', 'baseX', '-F', 'raw', 'o.qcow2', '1M']);
    const image = readFileSync(stage.path('o.qcow2'));
    image[image.indexOf('baseX') + 4] = 0;
    writeFileSync(stage.path('o.qcow2'), image);
    const { code } = await stage.run('tsimg', ['convert', '-O', 'raw', 'o.qcow2', 'o.raw']);
    return `convert exit ${code}`;
  },
};

const aes: Fault = {
  name: 'reports-M-aes-v2',
  kind: 'repair',
  expected: 'info exit 0, format: aes',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', 'v.qcow2', '1M']);
    const image = readFileSync(stage.path('v.qcow2'));
    image.writeUInt32BE(1, 32);
    writeFileSync(stage.path('v.qcow2'), image);
    const { code, stdout } = await stage.run('tsimg', ['info', 'v.qcow2']);
    return `info exit ${code}, ${/format: aes/.exec(stdout)?.[0]}`;
  },
};

const faults: Fault[] = [repaired(0), repaired(1032), largeL1, nul, aes];
export default faults;
