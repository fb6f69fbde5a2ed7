/* tsnbd as a process, with real clients: what one writes, another reads back. And its command line against qemu-nbd's. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isListening } from '../support/listening.ts';
import { cmd, RawClient } from '../support/nbd-client.ts';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

let folder: TempFolder;
let server: ChildProcess | undefined;

beforeEach(() => {
  folder = tempFolder('tsnbd');
});
afterEach(async () => {
  if (server !== undefined && server.exitCode === null && server.signalCode === null) {
    const ended = new Promise((resolve) => server?.once('close', resolve));
    server.kill('SIGTERM');
    await ended;
  }
  server = undefined;
  folder[Symbol.dispose]();
});

/** Starts tsnbd and waits until its socket is there. */
async function serve(...args: string[]): Promise<string> {
  const socket = folder.file('nbd.sock');
  server = spawn(process.execPath, [builtProgram('tsnbd'), '-k', socket, ...args], { cwd: folder.path, stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  server.stderr?.setEncoding('utf8').on('data', (text: string) => (errors += text));
  while (!isListening(socket)) {
    if (server.exitCode !== null) throw new Error(`tsnbd ended: ${errors}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return `nbd+unix:///?socket=${socket}`;
}

const tsimg = (...args: string[]): ReturnType<typeof run> => run(process.execPath, [builtProgram('tsimg'), ...args], { cwd: folder.path });

describe('tsnbd', () => {
  it.each([[['-L']], [['-L', '-b', 'localhost', '-p', '1']], [['--list', '-k', '/nosuch.sock']]])('says that it cannot list exports: %j', async (words) => {
    const { code, stdout, stderr } = await run(process.execPath, [builtProgram('tsnbd'), ...words]);
    expect({ code, stdout, stderr }).toEqual({
      code: 1,
      stdout: '',
      stderr: "tsnbd: The option '--list' is not part of this version, which has no NBD client\n",
    });
  });

  it('ends when its last client leaves, unless -t', async () => {
    writeFileSync(folder.file('disk.raw'), new Uint8Array(65536).fill(3));
    await serve('-f', 'raw', 'disk.raw', '-r');
    const ended = new Promise<number | null>((resolve) => server?.once('close', resolve));
    const client = await RawClient.connect(folder.file('nbd.sock'));
    expect(await client.go('')).toBe(65536);
    client.request(cmd.read, 0, 512);
    expect((await client.simpleReply(512)).data[0]).toBe(3);
    client.request(cmd.disc, 0, 0);
    expect(await ended).toBe(0);
    expect(existsSync(folder.file('nbd.sock'))).toBe(false);
  });

  it('flushes and leaves a clean image on SIGTERM', async () => {
    expect((await tsimg('create', '-q', '-f', 'qcow2', 'disk.qcow2', '1M')).code).toBe(0);
    await serve('-t', '-f', 'qcow2', 'disk.qcow2');
    const client = await RawClient.connect(folder.file('nbd.sock'));
    await client.go('');
    client.request(cmd.write, 70_000, 512, { payload: Buffer.alloc(512, 9) });
    expect((await client.simpleReply()).error).toBe(0);
    const ended = new Promise<number | null>((resolve) => server?.once('close', resolve));
    server?.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect((await tsimg('check', 'disk.qcow2')).stdout).toContain('No errors were found');
    await tsimg('convert', '-O', 'raw', 'disk.qcow2', 'out.raw');
    expect(
      readFileSync(folder.file('out.raw'))
        .subarray(70_000, 70_512)
        .every((byte) => byte === 9),
    ).toBe(true);
  });
});

describeWithPeers(['nbdinfo', 'nbdcopy', 'qemu-img', 'qemu-io', 'fio'], 'tsnbd with real clients', () => {
  it('is read by nbdinfo', async () => {
    await tsimg('create', '-q', '-f', 'qcow2', 'disk.qcow2', '8M');
    const uri = await serve('-t', '-e', '4', '-f', 'qcow2', 'disk.qcow2', '-D', 'a disk');
    const info = await run(peer('nbdinfo'), ['--json', uri]);
    const [shown] = (JSON.parse(info.stdout) as { exports: Record<string, unknown>[] }).exports;
    expect(shown).toMatchObject({ 'export-size': 8 * 1024 * 1024, is_read_only: false, can_multi_conn: true, can_zero: true, contexts: ['base:allocation'] });
    const map = await run(peer('nbdinfo'), ['--map', uri]);
    expect(map.stdout.trim().split(/\s+/)).toEqual(['0', '8388608', '3', 'hole,zero']);
  });

  it('keeps what nbdcopy writes, for qemu-img to read', async () => {
    const data = Buffer.alloc(8 * 1024 * 1024);
    for (let at = 0; at < data.length; at += 65536) if (at % 196608 !== 0) data.fill(1 + ((at / 65536) % 200), at, at + 65536);
    writeFileSync(folder.file('data.raw'), data);
    await tsimg('create', '-q', '-f', 'qcow2', 'disk.qcow2', '8M');
    const uri = await serve('-t', '-e', '8', '-f', 'qcow2', 'disk.qcow2');
    const copied = await run(peer('nbdcopy'), ['--connections=4', folder.file('data.raw'), uri]);
    expect(copied.stderr).toBe('');
    const compared = await run(peer('qemu-img'), ['compare', '-f', 'raw', '-F', 'raw', folder.file('data.raw'), uri]);
    expect(compared.stdout).toContain('Images are identical.');
    const back = await run(peer('nbdcopy'), [uri, folder.file('back.raw')]);
    expect(back.code).toBe(0);
    expect(Buffer.compare(readFileSync(folder.file('back.raw')), data)).toBe(0);
  });

  it('keeps what qemu-io writes, zeroes and trims', async () => {
    await tsimg('create', '-q', '-f', 'qcow2', 'disk.qcow2', '4M');
    const uri = await serve('-t', '-e', '4', '-f', 'qcow2', '--discard=unmap', 'disk.qcow2');
    const written = await run(peer('qemu-io'), [
      '-f',
      'raw',
      '-c',
      'write -P 5 100k 300k',
      '-c',
      'write -z 200k 64k',
      '-c',
      'write -f -P 6 1M 4k',
      '-c',
      'discard 1M 64k',
      '-c',
      'flush',
      uri,
    ]);
    expect(written.stderr).toBe('');
    const checked = await run(peer('qemu-io'), ['-f', 'raw', '-c', 'read -P 5 100k 100k', '-c', 'read -P 0 200k 64k', '-c', 'read -P 5 264k 136k', uri]);
    expect(checked.stdout).not.toContain('failed');
    expect(checked.code).toBe(0);
    server?.kill('SIGTERM');
    await new Promise((resolve) => server?.once('close', resolve));
    expect((await run(peer('qemu-img'), ['check', folder.file('disk.qcow2')])).stdout).toContain('No errors were found');
  });

  it('passes fio’s verification', async () => {
    writeFileSync(folder.file('disk.raw'), new Uint8Array(4 * 1024 * 1024));
    const uri = await serve('-t', '-e', '4', '-f', 'raw', 'disk.raw');
    const done = await run(
      peer('fio'),
      ['--name=v', '--ioengine=nbd', `--uri=${uri}`, '--rw=randwrite', '--bs=4k', '--size=4m', '--iodepth=16', '--verify=crc32c', '--randseed=7'],
      {
        cwd: folder.path,
      },
    );
    expect(done.stderr).toBe('');
    expect(done.code).toBe(0);
    expect(done.stdout).toMatch(/err= 0/);
  });

  it.each([
    ['a missing image', ['-f', 'raw', 'nosuch.raw']],
    ['an unknown format', ['-f', 'nosuch', 'disk.raw']],
    ['no image', []],
    ['an unknown option', ['--nosuch', 'disk.raw']],
    ['a bad number of clients', ['-e', 'x', 'disk.raw']],
  ])('says about %s what qemu-nbd says', async (_name, args) => {
    writeFileSync(folder.file('disk.raw'), new Uint8Array(65536));
    const words = ['-k', folder.file('x.sock'), ...args];
    const mine = await run(process.execPath, [builtProgram('tsnbd'), ...words], { cwd: folder.path });
    const theirs = await run(peer('qemu-nbd'), words, { cwd: folder.path });
    const plain = (text: string): string => text.replaceAll('tsnbd', 'qemu-nbd');
    expect([mine.code, plain(mine.stderr)]).toEqual([theirs.code, theirs.stderr]);
  });
});
