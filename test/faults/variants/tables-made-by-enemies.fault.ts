/* Tables, extensions and folders as somebody makes them who means harm. */
import { existsSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';
import { cluster, copied, everything, makeImage, medium, use } from '../image-scenes.ts';
import { costTold, measured } from '../memory.ts';

const bitmapDirectory: Fault = {
  name: 'bitmap-directory-over-the-l1-table',
  kind: 'hostile images',
  expected: 'guest data and L1 table kept',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const { image, l1, data } = await makeImage(stage);
    const bad = Buffer.from(image);
    // the bitmaps extension in front of the others: one bitmap, whose directory is the L1 table
    const extension = Buffer.alloc(40);
    extension.writeUInt32BE(0x23852875, 0);
    extension.writeUInt32BE(24, 4);
    extension.writeUInt32BE(1, 8);
    extension.writeBigUInt64BE(32n, 16);
    extension.writeBigUInt64BE(BigInt(l1), 24);
    extension.copy(bad, Number(image.readUInt32BE(100)));
    bad.writeBigUInt64BE(image.readBigUInt64BE(88) | 1n, 88);
    const storage = medium(library, bad);
    await use(library, storage, everything);
    const after = new Uint8Array(3 * cluster);
    storage.read(data, after);
    const table = new Uint8Array(8);
    storage.read(l1, table);
    const isKept = after.every((byte) => byte === 7 || byte === 3 || byte === 0) && Buffer.from(table).equals(image.subarray(l1, l1 + 8));
    return isKept ? 'guest data and L1 table kept' : `L1 ${Buffer.from(table).toString('hex')}`;
  },
};

const snapshotTable: Fault = {
  name: 'snapshot-table-over-the-active-l1',
  kind: 'hostile images',
  expected: 'snapshot -l, resize, check -r: each in a line or two; L1 table kept',
  play: async (stage) => {
    const { image, l1 } = await makeImage(stage);
    image.writeUInt32BE(1, 60);
    image.writeBigUInt64BE(BigInt(l1), 64);
    writeFileSync(stage.path('i'), image);
    const strange: string[] = [];
    for (const args of [
      ['snapshot', '-l', 'i'],
      ['resize', '-q', 'i', '2M'],
      ['check', '-r', 'all', 'i'],
    ]) {
      const { code, stderr } = await stage.run('tsimg', args);
      if (code === null || code > 3 || stderr.split('\n').length > 12 || /internal|\.cjs/.test(stderr)) strange.push(`${args[0]}: exit ${code} ${stderr}`);
    }
    const isKept = readFileSync(stage.path('i')).readBigUInt64BE(l1) === image.readBigUInt64BE(l1);
    return `${strange.length === 0 ? 'snapshot -l, resize, check -r: each in a line or two' : strange.join(' ')}; L1 table ${isKept ? 'kept' : 'overwritten'}`;
  },
};

const refcountLoop: Fault = {
  name: 'refcount-table-that-names-itself',
  kind: 'hostile images',
  expected: 'guest data kept; check tells errors: exit 2; repair ends: yes',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const { image, refcounts, data } = await makeImage(stage);
    image.writeBigUInt64BE(BigInt(refcounts), refcounts);
    const storage = medium(library, image);
    await use(library, storage, (backend) => [
      () => backend.write(8 * cluster, new Uint8Array(4 * cluster).fill(3)),
      () => backend.truncate(64 << 20, { exact: true, prealloc: 'off' }),
      () => backend.flush(),
    ]);
    const after = new Uint8Array(3 * cluster);
    storage.read(data, after);
    writeFileSync(stage.path('i'), image);
    const check = await stage.run('tsimg', ['check', '-q', 'i']);
    const repair = await stage.run('tsimg', ['check', '-q', '-r', 'all', 'i']);
    return `guest data ${after.every((byte) => byte === 7) ? 'kept' : 'lost'}; check tells errors: exit ${check.code}; repair ends: ${repair.code === null ? 'no' : 'yes'}`;
  },
};

const extensions: Fault = {
  name: 'header-extensions-that-run-out-of-the-header',
  kind: 'hostile images',
  expected: 'refused 5 of 5',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const { image } = await makeImage(stage);
    const at = image.readUInt32BE(100);
    let refused = 0;
    for (const [magic, length] of [
      [0x6803f857, 0xffffffff],
      [0xe2792aca, 0xffffffff],
      [0x23852875, 0xfffffff8],
      [0x44415441, 0x7fffffff],
      [0x12345678, cluster],
    ] as const) {
      const bad = Buffer.from(image);
      bad.writeUInt32BE(magic, at);
      bad.writeUInt32BE(length, at + 4);
      const said = await use(library, medium(library, bad), () => []);
      if (said[0] !== 'ok') refused++;
    }
    return `refused ${refused} of 5`;
  },
};

/** Numbers as xorshift makes them: the same in each run. */
function sequence(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const mutants: Fault = {
  name: 'four-hundred-images-with-any-entry-changed',
  kind: 'hostile images',
  expected: '400 used, errors of the library only',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const plain = await makeImage(stage);
    const extended = await makeImage(stage, ['-o', 'extended_l2=on']);
    const small = await makeImage(stage, ['-o', 'cluster_size=512']);
    const next = sequence(20_011);
    const values = [
      0n,
      1n,
      512n,
      65536n,
      65537n,
      1n << 31n,
      (1n << 32n) - 1n,
      1n << 53n,
      1n << 62n,
      copied | 65536n,
      copied | 512n,
      (1n << 64n) - 1n,
      (1n << 64n) - 512n,
    ];
    let used = 0;
    for (let round = 0; round < 400; round++) {
      const { image, l1, l2, refcounts } = [plain, extended, small][round % 3] ?? plain;
      const bad = Buffer.from(image);
      for (let change = next(3); change >= 0; change--) {
        const place =
          [8 * next(14), l1 + 8 * next(16), l2 + 8 * next(32), refcounts + 8 * next(4), Number(image.readBigUInt64BE(refcounts)) + 8 * next(32)][next(5)] ?? 0;
        bad.writeBigUInt64BE(next(2) === 0 ? (values[next(values.length)] ?? 0n) : BigInt(512 * next(image.length / 512)), place);
      }
      await use(library, medium(library, bad), everything);
      used++;
    }
    return `${used} used, errors of the library only`;
  },
};

const deepFolder: Fault = {
  name: 'backing-name-of-1023-bytes-of-folders',
  kind: 'hostile images',
  expected: 'info exit 0, convert exit 1, nothing made',
  play: async (stage) => {
    mkdirSync(stage.path('x'));
    const { image } = await makeImage(stage);
    image.writeBigUInt64BE(1024n, 8);
    image.writeUInt32BE(1023, 16);
    image.write(`${'x/../'.repeat(204)}abc`, 1024);
    writeFileSync(stage.path('i'), image);
    const info = await stage.run('tsimg', ['info', 'i']);
    const convert = await stage.run('tsimg', ['convert', '-O', 'raw', 'i', 'o']);
    return `info exit ${info.code}, convert exit ${convert.code}, ${existsSync(stage.path('o')) ? `${statSync(stage.path('o')).size} bytes` : 'nothing made'}`;
  },
};

const hugeSparse: Fault = {
  name: 'image-of-8-pib-on-a-sparse-medium',
  kind: 'hostile images',
  expected: 'check exit 0 within 256 MiB; map exit 0 within 256 MiB',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=2M', 'i', '2P']);
    truncateSync(stage.path('i'), 1 << 30);
    const check = await measured(stage, 'tsimg', ['check', '-q', 'i']);
    const map = await measured(stage, 'tsimg', ['map', 'i']);
    return `check ${costTold(check)}; map ${costTold(map)}`;
  },
};

const faults: Fault[] = [bitmapDirectory, snapshotTable, refcountLoop, extensions, mutants, deepFolder, hugeSparse];
export default faults;
