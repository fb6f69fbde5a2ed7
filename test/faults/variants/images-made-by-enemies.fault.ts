/* Images as somebody makes them who means harm: structures that point at each other, beyond the end or nowhere. */
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';
import { cluster, copied, everything, makeImage, medium, use } from '../image-scenes.ts';
import { costTold, measured } from '../memory.ts';

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
];
export default faults;
