/* Command lines that both tsnbd and qemu-nbd refuse: the same words and the same exit code. Every server listens on a path of its own. */
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

const long = 'a'.repeat(5000);

/** Mistakes that are found before anything listens. */
const words: readonly (readonly string[])[] = [
  [],
  ['a', 'b'],
  ['--bogus'],
  ['-Z'],
  ['-p'],
  ['--discard'],
  ['--shared'],
  ['--fork=1', 'disk.raw'],
  ['--d'],
  ['--s', 'x'],
  ['--t', 'x'],
  ['--o', 'x'],
  ['--sh', '1'],
  ['-P', '1', 'disk.raw'],
  ['-e', 'x', '--bogus'],
  ['--bogus', '-e', 'x'],
  ['-k', 'relative', 'disk.raw'],
  ['-krelative', 'disk.raw'],
  ['-e', 'x', 'disk.raw'],
  ['-e', '-1', 'disk.raw'],
  ['-e', '2147483648', 'disk.raw'],
  ['-e', ' 1x', 'disk.raw'],
  ['-e', '1k', 'disk.raw'],
  ['-o', '1M', 'disk.raw'],
  ['-o', '08', 'disk.raw'],
  ['-o', '99999999999999999999', 'disk.raw'],
  ['-x', long, 'disk.raw'],
  ['-D', long, 'disk.raw'],
  ['--handshake-limit=x', 'disk.raw'],
  ['--handshake-limit=-1', 'disk.raw'],
  ['--cache=foo', 'disk.raw'],
  ['-n', '--cache=none', 'disk.raw'],
  ['--cache=none', '-n', 'disk.raw'],
  ['-n', '-n', 'disk.raw'],
  ['--aio=foo', 'disk.raw'],
  ['--aio=threads', '--aio=threads', 'disk.raw'],
  ['--discard=foo', 'disk.raw'],
  ['--discard=unmap', '--discard=unmap', 'disk.raw'],
  ['--detect-zeroes=foo', 'disk.raw'],
  ['--detect-zeroes=unmap', 'disk.raw'],
  ['--detect-zeroes=unmap', '--discard=unmap', 'disk.raw'],
  ['--image-opts', '-f', 'raw', 'disk.raw'],
  ['--tls-creds', 'x', 'disk.raw'],
  ['--tls-authz=x', 'disk.raw'],
  ['--tls-hostname', 'x', 'disk.raw'],
  ['--tls-hostname', 'x', '-L'],
  ['--tls-authz=x', '--tls-creds=c', '-L'],
  ['--selinux-label=x', 'disk.raw'],
  ['--object', 'foo', 'disk.raw'],
  ['--object', 'secret', 'disk.raw'],
  ['-l', 'snapshot.foo=x', 'disk.raw'],
  ['-L', 'a'],
  ['-L', '-f', 'raw'],
  ['-L', '-x', 'n'],
  ['-L', '-B', 'b'],
  ['-L', '--fork'],
  ['-L', '-k', 'relative'],
  ['-c', '/dev/nbd0', '-L'],
  ['--', '-x', 'y'],
];

/** Mistakes that are found while or after the server listens at `-k`. */
const served: readonly (readonly string[])[] = [
  ['nofile'],
  ['-f', 'raw', 'nofile'],
  ['-f', 'raw', '-l', 'one', 'disk.raw'],
  ['-f', 'qcow2', '-r', 'nofile'],
  ['-f', 'foo', 'disk.raw'],
  ['-f', 'qcow2', 'disk.raw'],
  ['-f', '', 'disk.raw'],
  ['-f', 'raw', ''],
  ['-f', 'raw', '.'],
  ['-v', 'nofile'],
  ['--persist', 'nofile'],
  ['--trace', 'foo', 'nofile'],
  ['-f', 'raw', '--cache=none', 'nofile'],
  ['--image-opts', 'foo'],
  ['--image-opts', 'driver=raw,file.filename=nofile'],
  ['--image-opts', 'driver=qcow2,file.filename=disk.raw'],
  ['--image-opts', 'driver=raw,foo=1,file.filename=disk.raw'],
  ['json:{'],
  ['json:{"driver":"raw"}'],
  ['json:{"driver":"nosuch"}'],
  ['foo:bar'],
  ['-B', 'b0', '-f', 'raw', 'disk.raw'],
  ['-o', '2097152000', 'disk.raw'],
  ['-o', '-1', 'disk.raw'],
  ['-o', '0x7fffffffffffffff', '-f', 'raw', 'disk.raw'],
  ['-o', '9223372036854775808', '-r', 'disk.raw'],
  ['--pid-file=/nosuch/folder/p', '-f', 'raw', 'disk.raw'],
  ['--fork', 'nofile'],
  ['--aio=native', '-f', 'raw', 'disk.raw'],
  ['--aio=native', '--cache=writethrough', '--image-opts', 'driver=raw,file.driver=file,file.filename=disk.raw'],
  ['--aio=native', '-f', 'raw', 'nofile'],
];

describeWithPeers(['qemu-nbd'], 'tsnbd says what qemu-nbd says', () => {
  let folder: TempFolder;

  beforeAll(() => {
    folder = tempFolder('nbd-usage');
    writeFileSync(folder.file('disk.raw'), new Uint8Array(1024 * 1024));
  });
  afterAll(() => folder[Symbol.dispose]());

  const compare = async (mine: readonly string[], theirs: readonly string[]): Promise<void> => {
    const expected = await run(peer('qemu-nbd'), theirs, { cwd: folder.path });
    const actual = await run(process.execPath, [builtProgram('tsnbd'), ...mine], { cwd: folder.path });
    const plain = (text: string): string => text.replaceAll('tsnbd', 'qemu-nbd').replaceAll('ours.sock', 'theirs.sock');
    expect({ code: actual.code, stdout: plain(actual.stdout), stderr: plain(actual.stderr) }).toEqual(expected);
    expect(expected.code).toBe(1);
  };

  describe('before it listens', () => {
    it.each(words.map((line) => [line.map((word) => word.slice(0, 40)).join(' '), line] as const))('%s', (_name, line) => compare(line, line));
  });

  describe('when it listens', () => {
    it.each(served.map((line) => [line.join(' '), line] as const))('%s', (_name, line) =>
      compare(['-k', folder.file('ours.sock'), ...line], ['-k', folder.file('theirs.sock'), ...line]),
    );
  });

  it.each([
    ['a missing folder', '/nosuch/folder/s'],
    ['a path that is too long', `/${'a'.repeat(120)}`],
  ])('a socket in %s', (_name, path) => compare(['-f', 'raw', '-k', path, 'disk.raw'], ['-f', 'raw', '-k', path, 'disk.raw']));

  it.each([
    ['a port that is no number', ['-p', 'abc']],
    ['an address that is not ours', ['-b', '192.0.2.1', '-p', '0']],
  ])('%s', (_name, where) => compare([...where, '-f', 'raw', 'disk.raw'], [...where, '-f', 'raw', 'disk.raw']));

  it('a port that is in use', async () => {
    const { createServer } = await import('node:net');
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '0.0.0.0', resolve));
    const address = holder.address();
    const port = address !== null && typeof address === 'object' ? String(address.port) : '';
    try {
      await compare(['-p', port, '-f', 'raw', 'disk.raw'], ['-p', port, '-f', 'raw', 'disk.raw']);
    } finally {
      holder.close();
    }
  });
});
