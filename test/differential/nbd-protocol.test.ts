/*
 * The same bytes to qemu-nbd and to our server, on copies of one image: replies have to be equal byte by byte, and where
 * one closes the other does. Accepted differences: errors that the specification names differently (ENOSPC, EPERM), what
 * goes with extended headers, and a SET_META_CONTEXT with trailing bytes, which throws qemu-nbd out of step.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { BlockBackend } from '../../src/core/block/backend.ts';
import { perm } from '../../src/core/util/perm-bits.ts';
import { Engine } from '../../src/engine/engine.ts';
import { NbdExport } from '../../src/nbd/export.ts';
import { NbdServer } from '../../src/nbd/server.ts';
import { cmd, opt, RawClient, rep, text, u32 } from '../support/nbd-client.ts';
import { describeWithPeers, peer } from '../support/peers.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

const size = 1024 * 1024;
const u16 = (...values: number[]): Buffer => Buffer.concat(values.map((value) => Buffer.from([value >>> 8, value & 255])));
const infoData = (name: string, ...infos: number[]): Buffer => Buffer.concat([text(name), u16(infos.length, ...infos)]);
const metaData = (name: string, ...queries: string[]): Buffer => Buffer.concat([text(name), u32(queries.length), ...queries.map(text)]);

type Transcript = (string | number)[];
type Script = (client: RawClient) => Promise<Transcript>;

/** Options one after another; every reply with its data. `closed` when the server left. */
const options =
  (...list: readonly (readonly [option: number, data?: Buffer])[]): Script =>
  async (client) => {
    await client.greet();
    const seen: Transcript = [];
    try {
      for (const [option, data] of list) {
        for (const reply of await client.option(option, data)) seen.push(reply.type, reply.data.toString('latin1'));
      }
    } catch {
      seen.push('closed');
    }
    return seen;
  };

/** Requests one after another after GO; every chunk or simple reply. */
const requests =
  (name: string, how: { readonly structured?: boolean; readonly contexts?: readonly string[] }, ...list: readonly Parameters<RawClient['request']>[]): Script =>
  async (client) => {
    await client.go(name, how);
    const seen: Transcript = [];
    try {
      for (const request of list) {
        client.request(...request);
        if (how.structured) {
          for (;;) {
            const chunk = await client.chunk();
            seen.push(chunk.type, chunk.flags, chunk.error, chunk.data.toString('latin1'));
            if ((chunk.flags & 1) !== 0) break;
          }
        } else {
          const reply = await client.simpleReply(request[0] === cmd.read ? request[2] : 0);
          seen.push(reply.error, reply.data.toString('latin1'));
        }
      }
    } catch {
      seen.push('closed');
    }
    return seen;
  };

/** Raw bytes after the greeting, and what comes back until the server closes. */
const untilClose =
  (...parts: readonly Buffer[]): Script =>
  async (client) => {
    const seen: Transcript = [];
    await client.take(18);
    client.send(...parts);
    for (;;) {
      const byte = await client.take(1);
      if (byte === undefined) return seen;
      seen.push(byte[0] ?? -1);
    }
  };

const magic = Buffer.from('IHAVEOPT');
const structured = { structured: true } as const;
const allocation = { structured: true, contexts: ['base:allocation'] } as const;
const filled = (length: number, byte: number): Buffer => Buffer.alloc(length, byte);

const scripts: readonly (readonly [name: string, script: Script])[] = [
  ['greeting', async (client) => [(await client.take(18))?.toString('hex') ?? 'closed']],
  ['LIST', options([opt.list])],
  ['LIST with data', options([opt.list, Buffer.from('x')], [opt.list])],
  ['unknown options', options([42], [42, Buffer.alloc(1000)], [4], [opt.list])],
  ['ABORT', untilClose(u32(3), magic, u32(opt.abort), u32(0))],
  ['ABORT with data', untilClose(u32(3), magic, u32(opt.abort), u32(4), u32(7))],
  ['STARTTLS', options([opt.startTls], [opt.list])],
  ['STARTTLS with data', options([opt.startTls, Buffer.from('x')], [opt.list])],
  ['structured replies twice', options([opt.structured], [opt.structured], [opt.list])],
  ['structured replies with data', options([opt.structured, Buffer.from('1')], [opt.structured])],
  ['INFO with every info', options([opt.info, infoData('ex', 3, 1, 2, 0)])],
  ['INFO after structured replies', options([opt.structured], [opt.info, infoData('ex')])],
  ['INFO with repeated and unknown infos', options([opt.info, infoData('ex', 1, 1, 77, 3, 3)])],
  ['INFO of an unknown export', options([opt.info, infoData('nope')], [opt.info, infoData('n'.repeat(100))])],
  [
    'GO short, too long, too many, empty',
    options([opt.go, Buffer.alloc(3)], [opt.go, Buffer.concat([u32(90), filled(3, 65)])], [opt.go, Buffer.concat([text('ex'), u16(5)])], [opt.go]),
  ],
  ['GO with a name above 4096 bytes', options([opt.go, infoData('x'.repeat(4097))], [opt.list])],
  ['GO with trailing bytes', options([opt.go, Buffer.concat([infoData('ex'), Buffer.from('!!')])], [opt.list])],
  ['GO with NUL in the name', options([opt.go, infoData('e\0x')], [opt.list])],
  ['GO', options([opt.go, infoData('ex', 3)])],
  ['GO without infos', options([opt.go, infoData('ex')])],
  ['LIST_META without structured replies', options([opt.listMeta, metaData('ex')])],
  [
    'LIST_META of namespaces',
    options(
      [opt.listMeta, metaData('ex', 'base:')],
      [opt.listMeta, metaData('ex', '')],
      [opt.listMeta, metaData('ex', 'nocolon')],
      [opt.listMeta, metaData('ex', 'x-foo:bar')],
      [opt.listMeta, metaData('ex', 'base:foo')],
      [opt.listMeta, metaData('ex', 'base:', 'base:allocation')],
    ),
  ],
  ['LIST_META of an unknown export', options([opt.listMeta, metaData('nope')])],
  ['SET_META without structured replies', options([opt.setMeta, metaData('ex', 'base:allocation')], [opt.list])],
  [
    'SET_META repeated, with and without contexts',
    options(
      [opt.structured],
      [opt.setMeta, metaData('ex', 'base:allocation', 'base:allocation', 'base:allocation')],
      [opt.setMeta, metaData('ex')],
      [opt.setMeta, metaData('ex', 'base:')],
      [opt.setMeta, metaData('nope', 'base:allocation')],
    ),
  ],
  [
    'SET_META of a thousand queries',
    options([opt.structured], [opt.setMeta, metaData('ex', ...Array.from({ length: 1000 }, (_, index) => `x:${index}`), 'base:allocation')]),
  ],
  ['SET_META with a query above 4096 bytes', options([opt.structured], [opt.setMeta, metaData('ex', 'q'.repeat(5000), 'base:allocation')])],
  [
    'SET_META inconsistent and empty',
    options(
      [opt.structured],
      [opt.setMeta],
      [opt.setMeta, Buffer.concat([text('ex'), u32(2), text('base:allocation')])],
      [opt.setMeta, Buffer.concat([text('ex'), u32(1), u32(500), Buffer.from('abc')])],
      [opt.list],
    ),
  ],
  ['client flags 0 and LIST', untilClose(u32(0), magic, u32(opt.list), u32(0))],
  ['unknown client flags', untilClose(u32(7))],
  ['a wrong option magic', untilClose(u32(3), Buffer.from('IHAVENOT'), u32(3), u32(0))],
  ['an option above 32 MiB', untilClose(u32(3), magic, u32(3), u32(33554433))],
  ['EXPORT_NAME of an unknown export', untilClose(u32(3), magic, u32(1), text('nope'))],
  ['EXPORT_NAME above 4096 bytes', untilClose(u32(3), magic, u32(1), u32(5000), Buffer.alloc(5000, 65))],
  [
    'EXPORT_NAME, zeroes, and DISC',
    untilClose(u32(1), magic, u32(1), text('ex'), Buffer.from('256095130000000200000000000000010000000000000000' + '00000000', 'hex')),
  ],
  [
    'EXPORT_NAME, no zeroes, and DISC',
    untilClose(u32(3), magic, u32(1), text('ex'), Buffer.from('256095130000000200000000000000010000000000000000' + '00000000', 'hex')),
  ],
  ['reads, simple', requests('ex', {}, [cmd.read, 0, 512], [cmd.read, 4000, 5000], [cmd.read, size - 1, 1], [cmd.read, 0, 0], [cmd.read, size, 0])],
  [
    'reads that are refused, simple',
    requests(
      'ex',
      {},
      [cmd.read, size - 8, 16],
      [cmd.read, 2n ** 63n, 16],
      [cmd.read, 2n ** 64n - 1n, 16],
      [cmd.read, 0, 33554433],
      [cmd.read, 0, 512, { flags: 4 }],
      [cmd.read, 0, 512, { flags: 0x8000 }],
    ),
  ],
  [
    'sparse reads',
    requests(
      'ex',
      structured,
      [cmd.read, 0, 65536],
      [cmd.read, 65536, 65536],
      [cmd.read, 0, 262144],
      [cmd.read, 100_000, 100_000],
      [cmd.read, 0, 0],
      [cmd.read, size, 0],
    ),
  ],
  ['whole reads', requests('ex', structured, [cmd.read, 0, 262144, { flags: 4 }], [cmd.read, 65536, 65536, { flags: 4 }])],
  ['reads with FUA', requests('ex', structured, [cmd.read, 65000, 1000, { flags: 1 }])],
  [
    'reads that are refused',
    requests(
      'ex',
      structured,
      [cmd.read, size - 8, 16],
      [cmd.read, 2n ** 63n, 16],
      [cmd.read, 2n ** 64n - 1n, 1],
      [cmd.read, 0, 33554433],
      [cmd.read, 0, 512, { flags: 0x8000 }],
      [cmd.read, 0, 512, { flags: 2 }],
      [cmd.read, 0, 512, { flags: 8 }],
      [cmd.read, 0, 512, { flags: 32 }],
    ),
  ],
  [
    'writes',
    requests(
      'ex',
      structured,
      [cmd.write, 300_000, 3, { payload: filled(3, 9) }],
      [cmd.write, 300_010, 0],
      [cmd.write, 0, 70_000, { payload: filled(70_000, 8), flags: 1 }],
      [cmd.read, 0, 71_000],
    ),
  ],
  ['a write with unknown flags', requests('ex', structured, [cmd.write, 0, 5, { payload: filled(5, 1), flags: 0x10 }], [cmd.read, 0, 5])],
  [
    'flushes',
    requests(
      'ex',
      structured,
      [cmd.flush, 0, 0],
      [cmd.flush, 512, 512],
      [cmd.flush, size, 1],
      [cmd.flush, 0, 0, { flags: 1 }],
      [cmd.flush, 0, 0, { flags: 2 }],
    ),
  ],
  [
    'trims',
    requests('ex', structured, [cmd.trim, 0, 0], [cmd.trim, 3, 7], [cmd.trim, 0, size, { flags: 1 }], [cmd.trim, size - 1, 2], [cmd.trim, 0, 8, { flags: 2 }]),
  ],
  [
    'zero writes',
    requests(
      'ex',
      structured,
      [cmd.zeroes, 0, 0],
      [cmd.zeroes, 3, 7],
      [cmd.zeroes, 65536, 65536, { flags: 2 }],
      [cmd.zeroes, 0, 4096, { flags: 3 }],
      [cmd.zeroes, 0, 8, { flags: 4 }],
      [cmd.read, 0, 8192],
    ),
  ],
  ['cache', requests('ex', structured, [cmd.cache, 0, 65536], [cmd.cache, 0, 33554433], [cmd.cache, size - 1, 2], [cmd.cache, 0, 1, { flags: 2 }])],
  [
    'block status',
    requests(
      'ex',
      allocation,
      [cmd.status, 0, size],
      [cmd.status, 0, size, { flags: 8 }],
      [cmd.status, 3, 7],
      [cmd.status, 70_000, 7],
      [cmd.status, 65536, 65536, { flags: 8 }],
      [cmd.status, 60_000, 100_000],
    ),
  ],
  [
    'block status that is refused',
    requests('ex', allocation, [cmd.status, 0, 0], [cmd.status, size - 1, 2], [cmd.status, 0, 512, { flags: 2 }], [cmd.status, 0, 512, { flags: 16 }]),
  ],
  ['block status without contexts', requests('ex', structured, [cmd.status, 0, 512], [cmd.status, 0, 0])],
  ['block status without structured replies', requests('ex', {}, [cmd.status, 0, 512])],
  ['unknown commands', requests('ex', structured, [8, 0, 0], [99, 0, 512], [99, size, 512], [8, 0, 0, { flags: 2 }])],
  ['a wrong request magic', requests('ex', structured, [cmd.read, 0, 512, { magic: 0xdeadbeef }], [cmd.read, 0, 512])],
  ['a write above 32 MiB', requests('ex', structured, [cmd.write, 0, 33554433], [cmd.read, 0, 512])],
];

describeWithPeers(['qemu-nbd'], 'the same bytes to qemu-nbd and to us', () => {
  let folder: TempFolder;
  let theirs: ChildProcess;
  let engine: Engine;
  let ours: NbdServer;

  beforeAll(async () => {
    folder = tempFolder('nbd-protocol');
    const image = Buffer.alloc(size);
    for (let at = 0; at < 65536; at++) image[at] = 1 + (at % 251);
    image.fill(7, 196608, 262144);
    for (const name of ['ours.raw', 'theirs.raw']) {
      writeFileSync(folder.file(name), '');
      const { truncateSync, openSync, writeSync, closeSync } = await import('node:fs');
      truncateSync(folder.file(name), size);
      const fd = openSync(folder.file(name), 'r+');
      writeSync(fd, image, 0, 65536, 0);
      writeSync(fd, image, 196608, 65536, 196608);
      closeSync(fd);
    }
    theirs = spawn(
      peer('qemu-nbd'),
      ['-t', '-e', '0', '-f', 'raw', '--discard=unmap', '-x', 'ex', '-D', 'some text', '-k', folder.file('theirs.sock'), folder.file('theirs.raw')],
      { stdio: 'ignore' },
    );
    while (!existsSync(folder.file('theirs.sock'))) await new Promise((resolve) => setImmediate(resolve));
    engine = new Engine();
    const node = await engine.addNode({ driver: 'raw', discard: 'unmap', file: { driver: 'file', filename: folder.file('ours.raw') } });
    const backend = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write, shared: perm.all & ~perm.resize });
    backend.insert(node);
    engine.onClose(() => backend.remove());
    ours = new NbdServer({ budget: engine.budget, maxConnections: 0 });
    ours.addExport(new NbdExport({ name: 'ex', description: 'some text', backend, writable: true }));
    await ours.start({ type: 'unix', path: folder.file('ours.sock') });
  });

  afterAll(async () => {
    const ended = new Promise((resolve) => theirs.once('close', resolve));
    theirs.kill('SIGTERM');
    await ended;
    await ours.stop();
    await engine.close();
    folder[Symbol.dispose]();
  });

  const play = async (socket: string, script: Script): Promise<Transcript> => {
    const client = await RawClient.connect(socket);
    try {
      return await script(client);
    } finally {
      client.close();
    }
  };

  it.each(scripts)('%s', async (_name, script) => {
    const expected = await play(folder.file('theirs.sock'), script);
    const actual = await play(folder.file('ours.sock'), script);
    expect(actual).toEqual(expected);
  });

  it('knows the differences that are meant', async () => {
    const pastEnd: Script = requests('ex', structured, [cmd.write, size - 8, 16, { payload: filled(16, 1) }], [cmd.zeroes, size, 1]);
    const error = (transcript: Transcript): unknown[] => transcript.filter((_, index) => index % 4 === 2);
    expect(error(await play(folder.file('theirs.sock'), pastEnd))).toEqual([22, 22]);
    expect(error(await play(folder.file('ours.sock'), pastEnd))).toEqual([28, 28]);
    const extended: Script = options([11]);
    expect((await play(folder.file('theirs.sock'), extended))[0]).toBe(rep.ack);
    expect((await play(folder.file('ours.sock'), extended))[0]).toBe(0x80000001);
    const trailing: Script = options([opt.structured], [opt.setMeta, Buffer.concat([metaData('ex', 'base:allocation'), Buffer.from('..')])], [opt.list]);
    expect((await play(folder.file('ours.sock'), trailing)).filter((_, index) => index % 2 === 0)).toEqual([rep.ack, 0x80000003, rep.server, rep.ack]);
  });
});
