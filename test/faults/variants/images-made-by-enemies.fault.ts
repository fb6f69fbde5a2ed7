/* Images as somebody makes them who means harm: structures that point at each other, beyond the end or nowhere. */
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import type { BlockBackend, MemoryStorage } from '../../../src/index.ts';
import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';
import { costTold, measured } from '../memory.ts';
import type { Library, Stage } from '../stage.ts';

const cluster = 65536;
const copied = 1n << 63n;

/** An image of 1 MiB with 192 KiB of data, as bytes; and where its parts are. */
async function makeImage(stage: Stage, options: readonly string[] = []): Promise<{ image: Buffer; l1: number; l2: number; data: number; refcounts: number }> {
  const library = await stage.loadLibrary();
  await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', ...options, 'i', '1M']);
  const engine = new library.Engine();
  const backend = await engine.openBackend({ filename: stage.path('i'), format: 'qcow2', readOnly: false });
  await backend.write(0, new Uint8Array(3 * cluster).fill(7));
  await engine.close();
  const image = readFileSync(stage.path('i'));
  const l1 = Number(image.readBigUInt64BE(40));
  const l2 = Number(image.readBigUInt64BE(l1) & ~copied);
  return { image, l1, l2, data: Number(image.readBigUInt64BE(l2) & ~copied), refcounts: Number(image.readBigUInt64BE(48)) };
}

function medium(library: Library, image: Uint8Array): MemoryStorage {
  const storage = new library.MemoryStorage('a');
  storage.write(0, image);
  return storage;
}

/** What a guest may do; the first error of each request is told, and whatever is no error of the library is thrown on. */
async function use(library: Library, storage: MemoryStorage, acts: (backend: BlockBackend) => readonly (() => unknown)[]): Promise<string[]> {
  const { engine } = hookedEngine(library, {}, new Map([['a', storage]]));
  const said: string[] = [];
  const attempt = async (act: () => unknown): Promise<void> => {
    try {
      await act();
      said.push('ok');
    } catch (error) {
      if (!(error instanceof library.BlockError) || /internal/i.test(error.message)) throw error;
      said.push(error.message);
    }
  };
  let backend: BlockBackend | undefined;
  await attempt(async () => {
    backend = await engine.openBackend({ filename: 'a', format: 'qcow2', readOnly: false, discard: true, perms: library.resizerPerms });
  });
  if (backend !== undefined) for (const act of acts(backend)) await attempt(act);
  await attempt(() => engine.close());
  return said;
}

const everything = (backend: BlockBackend): (() => unknown)[] => [
  () => backend.read(0, new Uint8Array(1 << 20)),
  () => backend.write(512, new Uint8Array(512).fill(3)),
  () => backend.write(8 * cluster, new Uint8Array(cluster).fill(3)),
  () => backend.zero(cluster, cluster),
  () => backend.discard(0, 4 * cluster),
  () => backend.truncate(2 << 20, { exact: true, prealloc: 'off' }),
  () => backend.write((2 << 20) - cluster, new Uint8Array(cluster).fill(3)),
  () => backend.truncate(1 << 19, { exact: true, prealloc: 'off' }),
  () => backend.flush(),
];

/** Backing chains without an end. */
const loops: Fault = {
  name: 'backing-chains-that-come-back-by-links',
  kind: 'hostile images',
  expected: 'by a link: exit 1, an infinite loop; by a folder in itself: exit 1, an infinite loop',
  play: async (stage) => {
    symlinkSync('a', stage.path('b'));
    symlinkSync('.', stage.path('here'));
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', '-u', '-F', 'qcow2', '-b', 'b', 'a', '1M']);
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', '-u', '-F', 'qcow2', '-b', 'here/here/c', 'c', '1M']);
    const outcomes: string[] = [];
    for (const name of ['a', 'c']) {
      const { code, stderr } = await stage.run('tsimg', ['convert', '-O', 'raw', name, 'o']);
      outcomes.push(`exit ${code}, ${/an infinite loop/.exec(stderr)?.[0]}`);
    }
    return `by a link: ${outcomes[0]}; by a folder in itself: ${outcomes[1]}`;
  },
};

const longChain: Fault = {
  name: 'backing-chain-of-200-with-a-lie-at-its-end',
  kind: 'hostile images',
  expected: 'exit 1 within 256 MiB, in 200 parts: No such file or directory',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const engine = new library.Engine();
    for (let level = 1; level <= 200; level++) {
      await library.createImage(engine, 'qcow2', stage.path(`i${level}`), { size: 1 << 20, backing_file: stage.path(`i${level - 1}`), backing_fmt: 'qcow2' });
    }
    await engine.close();
    const run = await measured(stage, 'tsimg', ['convert', '-O', 'raw', 'i200', 'o']);
    const parts = run.stderr.match(/Could not open/g)?.length ?? 0;
    return `${costTold(run)}, in ${Math.min(parts, 200)} parts: ${/No such file or directory/.exec(run.stderr)?.[0]}`;
  },
};

const truncated: Fault = {
  name: 'image-cut-off-at-every-sector',
  kind: 'hostile images',
  expected: 'errors of the library only; what a cut image tells is 7 or 0',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const { image, data } = await makeImage(stage);
    let wrong = 0;
    for (let end = 0; end < data + 3 * cluster; end += end < 2048 ? 512 : 15_872) {
      const storage = medium(library, image.subarray(0, end));
      const bytes = new Uint8Array(1 << 20);
      await use(library, storage, (backend) => [() => backend.read(0, bytes), ...everything(backend)]);
      if (bytes.some((byte) => byte !== 7 && byte !== 0)) wrong++;
    }
    return wrong === 0 ? 'errors of the library only; what a cut image tells is 7 or 0' : `wrong bytes in ${wrong}`;
  },
};

/** Guest clusters that are said to be where the structures are; offset 0 stands for none, as with the peer. */
const onStructures: Fault = {
  name: 'guest-clusters-over-each-structure',
  kind: 'hostile images',
  expected: 'header: written, kept; refcount table: refused, kept; refcount block: refused, kept; L1 table: refused, kept; L2 table: refused, kept',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const { image, l1, l2, refcounts } = await makeImage(stage);
    const places = { header: 0, 'refcount table': refcounts, 'refcount block': Number(image.readBigUInt64BE(refcounts)), 'L1 table': l1, 'L2 table': l2 };
    const outcomes: string[] = [];
    for (const [name, place] of Object.entries(places)) {
      const bad = Buffer.from(image);
      bad.writeBigUInt64BE(copied | BigInt(place), l2);
      const storage = medium(library, bad);
      const said = await use(library, storage, (backend) => [() => backend.write(0, new Uint8Array(cluster).fill(9))]);
      const after = new Uint8Array(cluster);
      storage.read(place, after);
      outcomes.push(`${name}: ${said[1] === 'ok' ? 'written' : 'refused'}, ${after.every((byte) => byte === 9) ? 'lost' : 'kept'}`);
    }
    return outcomes.join('; ');
  },
};

const subclusters: Fault = {
  name: 'subclusters-that-are-data-and-zeros-at-once',
  kind: 'hostile images',
  expected: 'read: Input/output error, write: No medium found, data kept',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const { image, l2, data } = await makeImage(stage, ['-o', 'extended_l2=on']);
    image.writeBigUInt64BE((1n << 64n) - 1n, l2 + 8);
    const storage = medium(library, image);
    const said = await use(library, storage, (backend) => [() => backend.read(0, new Uint8Array(512)), () => backend.write(0, new Uint8Array(512))]);
    const after = new Uint8Array(cluster);
    storage.read(data, after);
    return `read: ${said[1]}, write: ${said[2]}, data ${after.every((byte) => byte === 7) ? 'kept' : 'changed'}`;
  },
};

/** A compressed cluster whose place is `place`, with `sectors` more sectors. */
function compressedAt(name: string, place: (parts: { l2: number; end: number }) => bigint, sectors: bigint): Fault {
  return {
    name: `compressed-cluster-${name}`,
    kind: 'hostile images',
    expected: 'Input/output error, others are read: ok',
    play: async (stage) => {
      const library = await stage.loadLibrary();
      const { image, l2 } = await makeImage(stage);
      image.writeBigUInt64BE((1n << 62n) | (sectors << 54n) | place({ l2, end: image.length }), l2);
      const said = await use(library, medium(library, image), (backend) => [
        () => backend.read(0, new Uint8Array(cluster)),
        () => backend.read(cluster, new Uint8Array(cluster)),
      ]);
      return `${said[1]}, others are read: ${said[2]}`;
    },
  };
}

const zstdBomb: Fault = {
  name: 'zstd-stream-of-a-gigabyte',
  kind: 'hostile images',
  expected: 'convert exit 1 within 256 MiB, nothing',
  play: async (stage) => {
    const { image, l2, data } = await makeImage(stage, ['-o', 'compression_type=zstd']);
    // a frame of 8,192 blocks, each one byte that stands for 128 KiB
    const block = Buffer.from([0x02, 0x00, 0x10, 65]);
    const stream = Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]), ...Array.from({ length: 8192 }, () => block)]);
    image.writeBigUInt64BE((1n << 62n) | (BigInt(Math.ceil(stream.length / 512)) << 54n) | BigInt(data), l2);
    stream.copy(image, data);
    writeFileSync(stage.path('i'), image);
    const run = await measured(stage, 'tsimg', ['convert', '-O', 'raw', 'i', 'o']);
    const isRead =
      run.code === 0 &&
      readFileSync(stage.path('o'))
        .subarray(0, cluster)
        .every((byte) => byte === 65);
    return `convert ${costTold(run)}, ${isRead ? 'the first cluster of it' : 'nothing'}`;
  },
};

const ownDataFile: Fault = {
  name: 'data-file-that-is-the-image-itself',
  kind: 'hostile images',
  expected: 'exit 1; header as it was',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', '-o', 'data_file=d,data_file_raw=on', 'i', '1M']);
    const before = readFileSync(stage.path('i'));
    await stage.exec('rm', [stage.path('d')]);
    symlinkSync('i', stage.path('d'));
    await stage.run('tsimg', ['create', '-q', '-f', 'raw', 'r', '1M']);
    const { code } = await stage.run('tsimg', ['convert', '-n', '-f', 'raw', '-O', 'qcow2', '-S', '0', 'r', 'i']);
    return `exit ${code}; header ${readFileSync(stage.path('i')).subarray(0, 512).equals(before.subarray(0, 512)) ? 'as it was' : 'changed'}`;
  },
};

const backingPipe: Fault = {
  name: 'backing-file-that-is-a-pipe',
  kind: 'hostile images',
  expected: 'convert exit 1, check exit 1, info exit 0',
  play: async (stage) => {
    await stage.exec('mkfifo', [stage.path('p')]);
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', '-u', '-F', 'raw', '-b', 'p', 'i', '1M']);
    const exits: string[] = [];
    for (const [command, ...args] of [
      ['convert', '-O', 'raw', 'i', 'o'],
      ['check', 'i'],
      ['info', 'i'],
    ] as const) {
      exits.push(`${command} exit ${(await stage.run('tsimg', [command, ...args])).code}`);
    }
    return exits.join(', ');
  },
};

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

const faults: Fault[] = [
  loops,
  longChain,
  truncated,
  onStructures,
  subclusters,
  compressedAt('behind-the-end', ({ end }) => BigInt(end) + 4096n, 8n),
  compressedAt('that-is-its-own-table', ({ l2 }) => BigInt(l2), 127n),
  compressedAt('at-the-last-byte', ({ end }) => BigInt(end) - 1n, 0n),
  zstdBomb,
  ownDataFile,
  backingPipe,
  bitmapDirectory,
  snapshotTable,
  refcountLoop,
  extensions,
  mutants,
  deepFolder,
  hugeSparse,
];
export default faults;
