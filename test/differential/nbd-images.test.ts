/*
 * Exports of one image by tsnbd and by qemu-nbd, seen by nbdinfo, qemu-img map and nbdcopy: flags, sizes, maps and contents are equal.
 * (An offset into an overlay is left out: qemu-nbd then calls holes what its backing file holds.)
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { isListening } from '../support/listening.ts';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

/** The images and how they are served; `{}` stands for the test's folder. */
const cases: readonly (readonly string[])[] = [
  ['-f', 'raw', '{}/sparse.raw'],
  ['-r', '-e', '3', '-x', 'näme', '-D', 'some text', '-f', 'raw', '{}/sparse.raw'],
  ['-f', 'raw', '-o', '0x10000', '{}/sparse.raw'],
  ['-f', 'raw', '{}/ragged.raw'],
  ['-f', 'raw', '-o', '512', '{}/ragged.raw'],
  ['-f', 'raw', '{}/empty.raw'],
  ['-f', 'qcow2', '{}/top.qcow2'],
  ['-r', '-f', 'qcow2', '-o', '1048576', '{}/base.qcow2'],
  ['-A', '-f', 'qcow2', '{}/top.qcow2'],
  ['-r', '-A', '-f', 'qcow2', '-o', '1048576', '{}/base.qcow2'],
  ['-A', '-f', 'raw', '{}/ragged.raw'],
  ['-f', 'raw', '{}/top.qcow2'],
  ['-r', '{}/top.qcow2'],
  ['--cache=writethrough', '-f', 'qcow2', '{}/top.qcow2'],
  ['-f', 'qcow2', '-s', '{}/top.qcow2'],
  ['-r', '-s', '-f', 'qcow2', '{}/top.qcow2'],
  ['-f', 'qcow2', '-l', 'one', '{}/snap.qcow2'],
  ['-l', 'snapshot.id=1', '{}/snap.qcow2'],
  ['--image-opts', 'driver=qcow2,file.filename={}/top.qcow2'],
  ['--image-opts', 'driver=raw,offset=65536,size=4096,file.filename={}/sparse.raw'],
  ['json:{"driver":"qcow2","file":{"driver":"file","filename":"{}/top.qcow2"}}'],
];

describeWithPeers(['qemu-nbd', 'qemu-img', 'qemu-io', 'nbdinfo', 'nbdcopy'], 'one image served by both', () => {
  let folder: TempFolder;

  beforeAll(async () => {
    folder = tempFolder('nbd-images');
    writeFileSync(folder.file('empty.raw'), '');
    writeFileSync(folder.file('ragged.raw'), Buffer.alloc(70_001, 7));
    truncateSync(folder.file('ragged.raw'), 200_001);
    writeFileSync(folder.file('sparse.raw'), '');
    truncateSync(folder.file('sparse.raw'), 4 * 1024 * 1024);
    const fd = openSync(folder.file('sparse.raw'), 'r+');
    for (const at of [0, 65536, 1024 * 1024, 4 * 1024 * 1024 - 4096]) writeSync(fd, Buffer.alloc(4096, 1 + (at % 251)), 0, 4096, at);
    closeSync(fd);
    const io = async (image: string, ...commands: string[]): Promise<void> => {
      expect((await run(peer('qemu-io'), [...commands.flatMap((command) => ['-c', command]), folder.file(image)])).code).toBe(0);
    };
    await run(peer('qemu-img'), ['create', '-f', 'qcow2', folder.file('base.qcow2'), '6M']);
    await io('base.qcow2', 'write -P 1 1M 1M', 'write -z 3M 1M');
    await run(peer('qemu-img'), ['create', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', folder.file('top.qcow2'), '8M']);
    await run(peer('qemu-img'), ['create', '-f', 'qcow2', folder.file('snap.qcow2'), '4M']);
    await io('snap.qcow2', 'write -P 4 64k 1M');
    await run(peer('qemu-img'), ['snapshot', '-c', 'one', folder.file('snap.qcow2')]);
    await io('snap.qcow2', 'write -P 5 2M 64k', 'discard 128k 128k');
    await io('top.qcow2', 'write -P 2 2M 100k', 'write -z 1200k 64k', 'write -P 3 7M 1M');
  });
  afterAll(() => folder[Symbol.dispose]());

  const start = async (file: string, args: readonly string[], socket: string): Promise<ChildProcess> => {
    const words = args.map((word) => word.replaceAll('{}', folder.path));
    const server = spawn(file, file === process.execPath ? [builtProgram('tsnbd'), '-t', '-k', socket, ...words] : ['-t', '-k', socket, ...words], {
      stdio: 'ignore',
    });
    while (!isListening(socket)) {
      if (server.exitCode !== null) throw new Error(`${file} ended with ${server.exitCode}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return server;
  };

  const stop = async (server: ChildProcess): Promise<void> => {
    const ended = new Promise((resolve) => server.once('close', resolve));
    server.kill('SIGTERM');
    await ended;
  };

  /** What clients see; without what goes with extended headers, and without the socket's name. */
  const look = async (file: string, args: readonly string[]): Promise<Record<string, unknown>> => {
    const socket = folder.file(file === process.execPath ? 'ours' : 'peer');
    const name = args.includes('-x') ? encodeURIComponent(args[args.indexOf('-x') + 1] ?? '') : '';
    const uri = `nbd+unix:///${name}?socket=${socket}`;
    const server = await start(file, args, socket);
    try {
      const info = JSON.parse((await run(peer('nbdinfo'), ['--json', '--no-content', uri])).stdout) as {
        extended: unknown;
        exports: Record<string, unknown>[];
      };
      for (const exported of info.exports) exported['can_block_status_payload'] = exported['uri'] = undefined;
      info.extended = undefined;
      const out = `${socket}.out`;
      const copied = await run(peer('nbdcopy'), [uri, out]);
      return {
        info,
        map: (await run(peer('nbdinfo'), ['--map', uri])).stdout,
        depths: (await run(peer('nbdinfo'), ['--map=qemu:allocation-depth', uri])).stdout,
        extents: (await run(peer('qemu-img'), ['map', '--output=json', '-f', 'raw', uri])).stdout,
        copied: [copied.code, copied.stderr.replaceAll(socket, 'S')],
        content: createHash('sha256').update(readFileSync(out)).digest('hex'),
      };
    } finally {
      await stop(server);
    }
  };

  it.each(cases.map((args) => [args.join(' '), args] as const))('%s', async (_name, args) => {
    const theirs = await look(peer('qemu-nbd'), args);
    expect(await look(process.execPath, args)).toEqual(theirs);
  });
});
