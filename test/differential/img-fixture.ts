/*
 * The directory that every command line of the image comparison starts from: small images of every kind the subcommands
 * can meet, made by the peer once per test file and copied for each run, so that both programs see the same bytes.
 * Knows nothing of the program under test.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Commands run in order: `img …` is qemu-img, `io …` is qemu-io. */
const steps: readonly (readonly string[])[] = [
  // plain images with data at known places
  ['img', 'create', '-q', '-f', 'qcow2', 'a.qcow2', '4M'],
  ['img', 'bitmap', '--add', 'a.qcow2', 'b0'],
  ['io', '-f', 'qcow2', '-c', 'write -P 17 64k 128k', 'a.qcow2'],
  ['img', 'create', '-q', '-f', 'qcow2', 'p.qcow2', '4M'],
  ['io', '-f', 'qcow2', '-c', 'write -P 17 64k 128k', 'p.qcow2'],
  ['img', 'create', '-q', '-f', 'raw', 'r.raw', '4M'],
  ['io', '-f', 'raw', '-c', 'write -P 5 64k 64k', '-c', 'write -P 6 1M 200k', '-c', 'write -z 2M 64k', 'r.raw'],
  ['img', 'create', '-q', '-f', 'raw', 'empty.raw', '4M'],
  ['img', 'create', '-q', '-f', 'qcow2', 'empty.qcow2', '4M'],
  ['img', 'create', '-q', '-f', 'raw', 'small.raw', '1M'],
  ['img', 'create', '-q', '-f', 'qcow2', 'odd.qcow2', '1000000'],
  ['io', '-f', 'qcow2', '-c', 'write -P 9 960k 512', '-c', 'write -P 9 0 512', 'odd.qcow2'],
  // chains
  ['img', 'create', '-q', '-f', 'qcow2', '-b', 'a.qcow2', '-F', 'qcow2', 'o.qcow2'],
  ['io', '-f', 'qcow2', '-c', 'write -P 34 128k 64k', '-c', 'write -z 1M 128k', 'o.qcow2'],
  ['img', 'create', '-q', '-f', 'qcow2', '-b', 'o.qcow2', '-F', 'qcow2', 'top.qcow2', '6M'],
  ['io', '-f', 'qcow2', '-c', 'write -P 51 5M 64k', 'top.qcow2'],
  ['img', 'create', '-q', '-f', 'qcow2', '-b', 'r.raw', '-F', 'raw', 'or.qcow2'],
  ['io', '-f', 'qcow2', '-c', 'write -P 1 0 64k', 'or.qcow2'],
  // snapshots, old version, preallocation, subclusters, other cluster sizes, zero clusters
  ['img', 'create', '-q', '-f', 'qcow2', 's.qcow2', '4M'],
  ['io', '-f', 'qcow2', '-c', 'write -P 7 0 128k', 's.qcow2'],
  ['img', 'snapshot', '-c', 'one', 's.qcow2'],
  ['img', 'snapshot', '-c', 'a much longer name than the column', 's.qcow2'],
  ['io', '-f', 'qcow2', '-c', 'write -P 8 64k 64k', 's.qcow2'],
  ['img', 'create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', 'old.qcow2', '4M'],
  ['io', '-f', 'qcow2', '-c', 'write -P 3 1M 64k', 'old.qcow2'],
  ['img', 'create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', 'pre.qcow2', '2M'],
  ['img', 'create', '-q', '-f', 'qcow2', '-o', 'extended_l2=on,cluster_size=128k', 'ext.qcow2', '4M'],
  ['io', '-f', 'qcow2', '-c', 'write -P 4 0 4k', '-c', 'write -P 4 256k 16k', '-c', 'write -z 300k 8k', 'ext.qcow2'],
  ['img', 'create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k,lazy_refcounts=on,refcount_bits=8', 'k4.qcow2', '1M'],
  ['io', '-f', 'qcow2', '-c', 'write -P 2 8k 12k', '-c', 'write -P 2 100k 4k', 'k4.qcow2'],
  ['img', 'create', '-q', '-f', 'qcow2', 'z.qcow2', '4M'],
  ['io', '-f', 'qcow2', '-c', 'write -P 1 0 256k', '-c', 'write -z 64k 64k', '-c', 'write -z 1M 64k', '-c', 'write -P 0 2M 64k', 'z.qcow2'],
  ['img', 'create', '-q', '-f', 'qcow2', '-o', 'data_file=ext.data,data_file_raw=on', 'df.qcow2', '1M'],
  ['io', '-f', 'qcow2', '-c', 'write -P 1 64k 64k', 'df.qcow2'],
  ['img', 'convert', '-c', '-O', 'qcow2', 'a.qcow2', 'comp.qcow2'],
  ['img', 'create', '-q', '-f', 'qcow2', '-o', 'compression_type=zstd', 'zstd.qcow2', '1M'],
  ['img', 'create', '-q', '-f', 'qcow2', '--object', 'secret,id=s,data=abc', '-o', 'encrypt.format=aes,encrypt.key-secret=s', 'aes.qcow2', '1M'],
  // names that need escaping, names that are missing, loops
  ['img', 'create', '-q', '-f', 'qcow2', 'com,ma.qcow2', '1M'],
  ['img', 'create', '-q', '-f', 'qcow2', '-u', '-b', 'gone.qcow2', '-F', 'qcow2', 'dang.qcow2', '4M'],
  ['img', 'create', '-q', '-f', 'qcow2', '-u', '-b', 'l2.qcow2', '-F', 'qcow2', 'l1.qcow2', '1M'],
  ['img', 'create', '-q', '-f', 'qcow2', '-u', '-b', 'l1.qcow2', '-F', 'qcow2', 'l2.qcow2', '1M'],
  ['img', 'create', '-q', '-f', 'qcow2', 'leak.qcow2', '4M'],
  ['io', '-f', 'qcow2', '-c', 'write -P 1 0 320k', 'leak.qcow2'],
  ['img', 'create', '-q', '-f', 'qcow2', 'bad.qcow2', '4M'],
  ['io', '-f', 'qcow2', '-c', 'write -P 1 0 320k', 'bad.qcow2'],
  ['img', 'create', '-q', '-f', 'qcow2', 'feat.qcow2', '1M'],
  ['img', 'create', '-q', '-f', 'qcow2', 'ver.qcow2', '1M'],
  ['img', 'create', '-q', '-f', 'qcow2', 'cb.qcow2', '1M'],
  ['img', 'create', '-q', '-f', 'qcow2', 'dirty.qcow2', '1M'],
  ['img', 'create', '-q', '-f', 'qcow2', 'marked.qcow2', '1M'],
];

/** Bytes changed afterwards, to make defects: file, offset, hexadecimal text. */
const patches: readonly (readonly [string, number, string])[] = [
  ['ver.qcow2', 4, '00000007'],
  ['cb.qcow2', 20, '00000040'],
  ['feat.qcow2', 72, '8000000000000000'],
  ['dirty.qcow2', 72, '0000000000000001'],
  ['marked.qcow2', 72, '0000000000000002'],
  // two L2 entries forgotten: their clusters leak
  ['leak.qcow2', 0x40000, '00000000000000000000000000000000'],
  // two guest clusters share one host cluster: its refcount is too low, the other leaks
  ['bad.qcow2', 0x40008, '8000000000050000'],
];

/** Fills the empty directory `dir`. `program(name)` tells how to start a peer. */
export function makeFixture(dir: string, program: (name: string) => string): void {
  for (const [tool, ...args] of steps) {
    execFileSync(program(tool === 'io' ? 'qemu-io' : 'qemu-img'), args, { cwd: dir, stdio: 'pipe', env: { ...process.env, TZ: 'UTC' } });
  }
  for (const [file, offset, hex] of patches) {
    const fd = openSync(join(dir, file), 'r+');
    try {
      writeSync(fd, Buffer.from(hex, 'hex'), 0, hex.length / 2, offset);
    } finally {
      closeSync(fd);
    }
  }
  writeFileSync(join(dir, 'tiny.qcow2'), readFileSync(join(dir, 'a.qcow2')).subarray(0, 50));
  writeFileSync(join(dir, 'text.txt'), 'not a disk image\n');
  // a hole, data, a hole and a ragged end
  writeFileSync(join(dir, 'holes.raw'), Buffer.alloc(0));
  truncateSync(join(dir, 'holes.raw'), 1024 * 1024 + 100);
  const fd = openSync(join(dir, 'holes.raw'), 'r+');
  try {
    writeSync(fd, Buffer.alloc(8192, 0x41), 0, 8192, 256 * 1024);
    writeSync(fd, Buffer.alloc(4096, 0), 0, 4096, 512 * 1024);
  } finally {
    closeSync(fd);
  }
}
