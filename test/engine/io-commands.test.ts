import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../src/core/block/backend.ts';
import { perm } from '../../src/core/util/perm-bits.ts';
import { createImage } from '../../src/engine/create.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { runIoCommand } from '../../src/engine/io/run.ts';
import { memoryEngine } from '../support/memory-engine.ts';

let engine: Engine;
let backend: BlockBackend;
beforeEach(async () => {
  const made = memoryEngine();
  engine = made.engine;
  await createImage(engine, 'qcow2', 'image', { size: 4 * 1024 * 1024 });
  const node = await engine.addNode({ driver: 'qcow2', 'node-name': 'image', file: { driver: 'file', filename: 'image' } });
  backend = new BlockBackend(engine.graph, { perm: perm.none, shared: perm.all });
  backend.insert(node);
});
afterEach(async () => {
  await backend.remove();
  await engine.close();
});

/** What is printed, times left out; what is said to the monitor follows after `| `. */
async function run(line: string): Promise<string> {
  let text = '';
  const { said, error } = await runIoCommand(backend, line, {
    clock: engine.clock,
    out: (part) => (text += part),
    readFile: async () => Uint8Array.of(1, 2, 3),
  });
  const answer = error === undefined ? said : `${error.message}\n${error.detail ?? ''}`;
  return (text + (answer === '' ? '' : `| ${answer}`)).replace(/\d\d\.\d\d sec \(.*\)/g, 'T').replace(/:\d\d\.\d\d,.*/g, ':T');
}

describe('qemu-io commands', () => {
  it('write and read back', async () => {
    expect(await run('write -P 7 64k 100k')).toBe('wrote 102400/102400 bytes at offset 65536\n100 KiB, 1 ops; T\n');
    expect(await run('read -P 7 64k 100k')).toBe('read 102400/102400 bytes at offset 65536\n100 KiB, 1 ops; T\n');
    expect(await run('read -qP 0 0 64k')).toBe('');
    expect(await run('read -P 0 -s 1 -l 2 65535 512')).toBe(
      'Pattern verification failed at offset 65536, 2 bytes\nread 512/512 bytes at offset 65535\n512 bytes, 1 ops; T\n',
    );
    expect(await run('r -v 65534 20')).toBe(
      '0000fffe:  00 00 07 07 07 07 07 07 07 07 07 07 07 07 07 07  ................\n0001000e:  07 07 07 07  ....\nread 20/20 bytes at offset 65534\n20 bytes, 1 ops; T\n',
    );
    expect(await run('writev 0 1k 1k')).toBe('wrote 2048/2048 bytes at offset 0\n2 KiB, 1 ops; T\n');
    expect(await run('read -C 0 2k')).toBe('2048,1,0:00:T\n');
    expect(await run('write -s pattern 0 5')).toContain('wrote 5/5');
    expect(await run('read -v 0 5')).toContain('00000000:  01 02 03 01 02  .....\n');
  });

  it('tell what is allocated', async () => {
    await run('write 192k 64k');
    expect(await run('map')).toBe(
      '192 KiB (0x30000) bytes not allocated at offset 0 bytes (0x0)\n64 KiB (0x10000) bytes     allocated at offset 192 KiB (0x30000)\n3.750 MiB (0x3c0000) bytes not allocated at offset 256 KiB (0x40000)\n',
    );
    expect(await run('alloc 0 1M')).toBe('65536/1048576 bytes allocated at offset 0 bytes\n');
    expect(await run('alloc 192k')).toBe('512/512 bytes allocated at offset 192 KiB\n');
    expect(await run('alloc 20M 1k')).toBe('0/0 bytes allocated at offset 20 MiB\n');
    expect(await run('length')).toBe('4 MiB\n');
  });

  it('tell of the format', async () => {
    expect(await run('info')).toBe(
      'format name: qcow2\ncluster size: 64 KiB\nvm state offset: 512 MiB\n| Format specific information:\n    compat: 1.1\n    compression type: zlib\n    lazy refcounts: false\n    refcount bits: 16\n    corrupt: false\n    extended l2: false\n',
    );
  });

  it('go on in the background until aio_flush', async () => {
    let text = '';
    const out = (part: string): void => {
      text += part;
    };
    await runIoCommand(backend, 'aio_write -P 3 0 64k', { clock: engine.clock, out });
    await runIoCommand(backend, 'aio_flush', { clock: engine.clock, out });
    expect(text).toMatch(/^wrote 65536\/65536 bytes at offset 0\n64 KiB, 1 ops/);
    expect(await run('aio_write 20M 64k')).toBe('aio_write failed: Input/output error\n');
  });

  it('take the permissions that they need and keep them', async () => {
    const other = new BlockBackend(engine.graph, { perm: perm.consistentRead, shared: perm.consistentRead });
    if (backend.node !== undefined) other.insert(backend.node);
    expect(await run('write 0 512')).toBe(
      "| Permission conflict on node 'image': permissions 'write' are both required by an unnamed block device (uses node 'image' as 'root' child) and unshared by an unnamed block device (uses node 'image' as 'root' child).\n",
    );
    expect(backend.perms).toEqual({ perm: perm.none, shared: perm.all });
    await other.remove();
    expect(await run('truncate 8M')).toBe('');
    expect(await run('length')).toBe('8 MiB\n');
    expect(backend.perms.perm & perm.resize).toBe(perm.resize);
  });

  // [line, what the peer prints]
  it.each([
    ['', ''],
    ['   ', ''],
    ['foo', 'command "foo" not found\n'],
    ['quit', 'command "quit" not found\n'],
    ['write', 'bad argument count 0 to write, expected at least 2 arguments\n'],
    ['length 5', 'bad argument count 1 to length, expected 0 arguments\n'],
    ['alloc', 'bad argument count 0 to alloc, expected between 1 and 2 arguments\n'],
    ['read 0 1 2', 'read [-abCqrv] [-P pattern [-s off] [-l len]] off len -- reads a number of bytes at a specified offset\n'],
    ['read -Z 0 1', "read: invalid option -- 'Z'\nread [-abCqrv] [-P pattern [-s off] [-l len]] off len -- reads a number of bytes at a specified offset\n"],
    ['read -s 1 0 16', 'read [-abCqrv] [-P pattern [-s off] [-l len]] off len -- reads a number of bytes at a specified offset\n'],
    ['read foo 1k', 'Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- foo\n'],
    ['read 8E 1', 'Parsing error: argument too large -- 8E\n'],
    ['read -- -1 5', 'Parsing error: argument too large -- -1\n'],
    ['read 0 3G', 'length cannot exceed 2147483136, given 3G\n'],
    ['write 0 3G', 'length cannot exceed 2147483136 without -n, given 3G\n'],
    ['write -zn 0 3G', 'write failed: Input/output error\n'],
    ['writev 0 2G', "Argument '2G' exceeds maximum size 2147483136\n"],
    ['discard 0 3G', 'length cannot exceed 2147483136, given 3G\n'],
    ['read 4M 512', 'read failed: Input/output error\n'],
    ['write 4M 512', 'write failed: Input/output error\n'],
    ['discard 4M 512', 'discard failed: Input/output error\n'],
    ['read -P 300 0 1k', '300 is not a valid pattern byte\n'],
    ['read -P 0 -s 0 -l 2k 0 1k', 'pattern verification range exceeds end of read data\n'],
    ['write -zP 1 0 1k', 'Only one of -z, -P, and -s can be specified at the same time\n'],
    ['write -u 0 1k', '-u requires -z to be specified\n'],
    ['write -n 0 1k', '-n requires -z to be specified\n'],
    ['write -fc 0 64k', '-f and -b or -c cannot be specified at the same time\n'],
    ['write -bz 0 64k', '-b and -z cannot be specified at the same time\n'],
    ['write -c 0 100', "100 is not a sector-aligned value for 'count'\n"],
    ['aio_write -z 0 1k 1k', '-z supports only a single length parameter\n'],
    ['truncate -m foo 9M', "| Invalid preallocation mode 'foo'\n"],
    ['truncate 1', '| The new size must be a multiple of 512\n'],
    ['sleep foo', 'foo is not a valid number\n'],
    ['help foo', 'command foo not found\n'],
    ['help length', 'length -- gets the length of the current file\n'],
  ])('%j', async (line, expected) => {
    expect(await run(line)).toBe(expected);
  });

  it('refuse to change a node that is read-only', async () => {
    await backend.remove();
    const node = await engine.addNode({ driver: 'null-co', 'node-name': 'ro', 'read-only': true });
    backend.insert(node);
    for (const line of ['write 0 1k', 'discard 0 1k', 'truncate 1M']) expect(await run(line)).toBe('| Block node is read-only\n');
  });
});
