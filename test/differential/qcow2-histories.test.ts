/*
 * Seeded histories of writes, zero writes and discards, carried out by us and by qemu-io on the same image: the files must
 * be the same, byte for byte; qemu-img must find nothing wrong with ours; and we must read from the peer's what was written.
 * Some images come with a past of the peer's: compressed clusters, internal snapshots, bitmaps.
 */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { reqFlag } from '../../src/core/block/driver.ts';
import { Engine } from '../../src/engine/engine.ts';
import { describeWithPeers, peer } from '../support/peers.ts';
import { type Random, seeded } from '../support/random.ts';
import { runSync } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

interface Layout {
  readonly name: string;
  /** Creation options. */
  readonly options: string;
  readonly clusterSize: number;
  readonly hasBacking?: boolean;
  /** What the peer does before. */
  readonly past?: 'compressed' | 'snapshot' | 'bitmap';
}

const layouts: readonly Layout[] = [
  { name: 'defaults', options: 'compat=v3', clusterSize: 65536 },
  { name: '512 byte clusters', options: 'cluster_size=512', clusterSize: 512 },
  { name: '4 KiB clusters', options: 'cluster_size=4k', clusterSize: 4096 },
  { name: '2 MiB clusters', options: 'cluster_size=2M', clusterSize: 2097152 },
  { name: 'version 2', options: 'compat=v2', clusterSize: 65536 },
  { name: 'extended L2', options: 'extended_l2=on', clusterSize: 65536 },
  { name: 'extended L2, 16 KiB clusters', options: 'extended_l2=on,cluster_size=16k', clusterSize: 16384 },
  { name: '1-bit refcounts', options: 'refcount_bits=1,cluster_size=4k', clusterSize: 4096 },
  { name: '64-bit refcounts', options: 'refcount_bits=64,cluster_size=1k', clusterSize: 1024 },
  { name: 'lazy refcounts', options: 'lazy_refcounts=on', clusterSize: 65536 },
  { name: 'preallocated metadata', options: 'preallocation=metadata', clusterSize: 65536 },
  { name: 'a backing file', options: 'cluster_size=4k', clusterSize: 4096, hasBacking: true },
  { name: 'a backing file, version 2', options: 'compat=v2', clusterSize: 65536, hasBacking: true },
  { name: 'a backing file, extended L2', options: 'extended_l2=on,cluster_size=16k', clusterSize: 16384, hasBacking: true },
  { name: 'compressed clusters', options: 'cluster_size=4k', clusterSize: 4096, past: 'compressed' },
  { name: 'compressed clusters, extended L2', options: 'extended_l2=on', clusterSize: 65536, past: 'compressed' },
  { name: 'an internal snapshot', options: 'cluster_size=4k', clusterSize: 4096, past: 'snapshot' },
  { name: 'an internal snapshot, extended L2', options: 'extended_l2=on,cluster_size=16k', clusterSize: 16384, past: 'snapshot' },
  { name: 'an internal snapshot, backing file', options: 'refcount_bits=8', clusterSize: 65536, past: 'snapshot', hasBacking: true },
  { name: 'persistent bitmaps', options: 'cluster_size=4k', clusterSize: 4096, past: 'bitmap' },
];

const seedsPerLayout = 5;

interface Op {
  readonly kind: 'write' | 'zero' | 'unmap' | 'discard' | 'flush' | 'read';
  readonly offset: number;
  readonly length: number;
  readonly byte: number;
}

function randomOps(random: Random, size: number, clusterSize: number): Op[] {
  const kinds = ['write', 'write', 'write', 'write', 'write', 'zero', 'unmap', 'discard', 'flush', 'read'] as const;
  const ops: Op[] = [];
  for (let left = 10 + random(30); left > 0; left--) {
    const unit = [512, 512, 4096, clusterSize, clusterSize][random(5)] ?? 512;
    const offset = random(Math.floor(size / unit)) * unit;
    const wish = (1 + random([4, 8, 20][random(3)] ?? 4)) * ([512, clusterSize][random(2)] ?? 512);
    ops.push({ kind: kinds[random(kinds.length)] ?? 'write', offset, length: Math.min(wish, size - offset), byte: 1 + random(250) });
  }
  return ops;
}

function asCommand({ kind, offset, length, byte }: Op): string {
  if (kind === 'write') return `write -P ${byte} ${offset} ${length}`;
  if (kind === 'zero') return `write -z ${offset} ${length}`;
  if (kind === 'unmap') return `write -z -u ${offset} ${length}`;
  return kind === 'flush' ? 'flush' : `${kind} ${offset} ${length}`;
}

function qemuImg(folder: TempFolder, ...args: string[]): void {
  const done = runSync(peer('qemu-img'), args, { cwd: folder.path });
  if (done.code !== 0) throw new Error(`qemu-img ${args.join(' ')}: ${done.stdout}${done.stderr}`);
}

function qemuIo(folder: TempFolder, file: string, commands: readonly string[]): void {
  const done = runSync(peer('qemu-io'), ['-t', 'unsafe', '-f', 'qcow2', ...commands.flatMap((command) => ['-c', command]), file], { cwd: folder.path });
  if (done.code !== 0) throw new Error(`qemu-io: ${done.stdout}${done.stderr}`);
}

/** Makes `file`, with its past. Returns what a guest reads. */
function prepare(folder: TempFolder, layout: Layout, size: number): Buffer {
  const model = Buffer.alloc(size);
  if (layout.hasBacking) {
    const base = Buffer.alloc(Math.floor((size * 0.7) / 512) * 512);
    for (let at = 0; at < base.length; at += 4096) if ((at / 4096) % 3 !== 0) base.fill(1 + ((at / 4096) % 128), at, Math.min(at + 4096, base.length));
    writeFileSync(folder.file('base.raw'), base);
    base.copy(model);
  }
  const backing = layout.hasBacking ? ',backing_file=base.raw,backing_fmt=raw' : '';
  qemuImg(folder, 'create', '-q', '-f', 'qcow2', '-o', layout.options + backing, 'theirs.qcow2', String(size));
  const { clusterSize } = layout;
  if (layout.past === 'compressed') {
    const commands: string[] = [];
    for (let cluster = 0; cluster < 24; cluster += 2) {
      commands.push(`write -c -P ${cluster + 1} ${cluster * clusterSize} ${clusterSize}`);
      model.fill(cluster + 1, cluster * clusterSize, (cluster + 1) * clusterSize);
    }
    qemuIo(folder, 'theirs.qcow2', commands);
  } else if (layout.past === 'snapshot') {
    qemuIo(folder, 'theirs.qcow2', [`write -P 77 0 ${20 * clusterSize}`, `write -z ${30 * clusterSize} ${4 * clusterSize}`]);
    model.fill(77, 0, 20 * clusterSize);
    model.fill(0, 30 * clusterSize, 34 * clusterSize);
    qemuImg(folder, 'snapshot', '-c', 'past', 'theirs.qcow2');
  } else if (layout.past === 'bitmap') {
    qemuImg(folder, 'bitmap', '--add', 'theirs.qcow2', 'kept');
    qemuImg(folder, 'bitmap', '--add', '--disable', '-g', '512', 'theirs.qcow2', 'still');
  }
  copyFileSync(folder.file('theirs.qcow2'), folder.file('ours.qcow2'));
  return model;
}

async function carryOut(folder: TempFolder, ops: readonly Op[], model: Buffer, syncLimit: number): Promise<void> {
  const engine = new Engine({ syncLimit });
  try {
    const backend = await engine.openBackend({
      filename: folder.file('ours.qcow2'),
      format: 'qcow2',
      readOnly: false,
      discard: true,
      cache: { noFlush: true },
    });
    for (const { kind, offset, length, byte } of ops) {
      const end = offset + length;
      if (kind === 'write') {
        await backend.write(offset, Buffer.alloc(length, byte));
        model.fill(byte, offset, end);
      } else if (kind === 'zero' || kind === 'unmap') {
        await backend.zero(offset, length, kind === 'unmap' ? reqFlag.mayUnmap : 0);
        model.fill(0, offset, end);
      } else if (kind === 'flush') await backend.flush();
      else {
        const found = Buffer.alloc(length);
        if (kind === 'discard') await backend.discard(offset, length);
        await backend.read(offset, found);
        // what a discard leaves of its range is the format's business
        if (kind === 'discard') found.copy(model, offset);
        else if (!found.equals(model.subarray(offset, end))) throw new Error(`wrong content at ${offset}, length ${length}`);
      }
    }
  } finally {
    await engine.close();
  }
}

async function contentOf(file: string, size: number): Promise<Buffer> {
  await using engine = new Engine();
  const backend = await engine.openBackend({ filename: file, format: 'qcow2' });
  const content = Buffer.alloc(size);
  await backend.read(0, content);
  return content;
}

describeWithPeers(['qemu-img', 'qemu-io'], 'histories of a qcow2 image with', () => {
  it.each(layouts)('$name are the same for qemu-io and us', async (layout) => {
    for (let seed = 0; seed < seedsPerLayout; seed++) {
      using folder = tempFolder('histories');
      const random = seeded(seed * 1000 + layouts.indexOf(layout));
      const size = Math.min(Math.max(layout.clusterSize * 48, 1024 * 1024), 16 * 1024 * 1024);
      const model = prepare(folder, layout, size);
      const ops = randomOps(random, size, layout.clusterSize);
      qemuIo(folder, 'theirs.qcow2', ops.map(asCommand));
      await carryOut(folder, ops, model, random(2) === 0 ? Number.POSITIVE_INFINITY : 2048);
      const where = `seed ${seed}: ${ops.map(asCommand).join('; ')}`;
      expect((await contentOf(folder.file('theirs.qcow2'), size)).equals(model), `content of theirs, ${where}`).toBe(true);
      expect((await contentOf(folder.file('ours.qcow2'), size)).equals(model), `content of ours, ${where}`).toBe(true);
      expect(readFileSync(folder.file('ours.qcow2')).equals(readFileSync(folder.file('theirs.qcow2'))), `files, ${where}`).toBe(true);
      // equal files need one verdict; it is the peer's word on what we wrote
      qemuImg(folder, 'check', '-q', '-f', 'qcow2', 'ours.qcow2');
    }
  });
});
