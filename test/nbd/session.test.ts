/* Transmission over backends that answer at once, later, in turns, or not at all: data, order, errors, limits, endings. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { reqFlag } from '../../src/core/block/driver.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { NbdExport, type NbdExportOptions } from '../../src/nbd/export.ts';
import { NbdServer, type NbdServerOptions } from '../../src/nbd/server.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { cmd, opt, RawClient } from '../support/nbd-client.ts';
import { FakeBackend, ioError } from '../support/nbd-fake.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

const size = 8 * 1024 * 1024;
let folder: TempFolder;
let backend: FakeBackend;
let server: NbdServer;
const clients: RawClient[] = [];

async function serve(options: NbdServerOptions = {}, exported: Partial<NbdExportOptions> = {}): Promise<void> {
  server = new NbdServer(options);
  server.addExport(new NbdExport({ name: 'x', backend, writable: true, ...exported }));
  await server.start({ type: 'unix', path: folder.file('s') });
}

async function connect(): Promise<RawClient> {
  const client = await RawClient.connect(folder.file('s'));
  clients.push(client);
  return client;
}

const turns = async (isDone: () => boolean): Promise<void> => {
  while (!isDone()) await new Promise((resolve) => setImmediate(resolve));
};

beforeEach(() => {
  folder = tempFolder('session');
  backend = new FakeBackend(size);
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  backend.mode = 'now';
  backend.letGo();
  await server.stop();
  expect(server.pool.outstanding).toBe(0);
  folder[Symbol.dispose]();
});

describe.each(['now', 'later', 'mixed'] as const)('a backend that answers %s', (mode) => {
  beforeEach(async () => {
    await serve();
    backend.mode = mode;
  });

  it('gives back what was written, in small and large requests, sparse and whole', async () => {
    const client = await connect();
    await client.go('x', { structured: true });
    const data = Buffer.alloc(3 * 1024 * 1024 + 777);
    for (let at = 0; at < data.length; at++) data[at] = (at * 7 + (at >>> 12)) & 255;
    data.fill(0, 1_000_000, 1_500_000);
    client.request(cmd.write, 12_345, data.length, { payload: data });
    expect((await client.chunk()).error).toBe(0);
    expect(Buffer.compare(await client.structuredRead(12_345, data.length), data)).toBe(0);
    expect(Buffer.compare(await client.structuredRead(12_345 + 999_000, 4096), data.subarray(999_000, 1_003_096))).toBe(0);
    client.request(cmd.read, 12_345, data.length, { flags: 4 });
    const whole = await client.chunk();
    expect([whole.type, whole.flags]).toEqual([1, 1]);
    expect(Buffer.compare(whole.data.subarray(8), data)).toBe(0);
  });

  it('answers simple reads whole, holes included', async () => {
    backend.bytes.fill(5, 100_000, 3_000_000);
    const client = await connect();
    await client.go('x');
    client.request(cmd.read, 0, 4_000_000);
    const { data } = await client.simpleReply(4_000_000);
    expect(Buffer.compare(data, backend.bytes.subarray(0, 4_000_000))).toBe(0);
  });

  it('keeps the chunks of interleaved reads apart and in order', async () => {
    for (let at = 0; at < size; at += 8192) backend.bytes.fill(1 + ((at / 8192) % 250), at, at + 4096);
    const client = await connect();
    await client.go('x', { structured: true });
    const count = 40;
    for (let cookie = 0; cookie < count; cookie++) client.request(cmd.read, cookie * 65536 + 100, 65536, { cookie });
    const next = new Map<number, number>();
    let done = 0;
    while (done < count) {
      const header = await client.take(20);
      if (header === undefined) throw new Error('closed');
      const cookie = Number(header.readBigUInt64BE(8));
      const payload = await client.take(header.readUInt32BE(16));
      if (payload === undefined) throw new Error('closed');
      const at = Number(payload.readBigUInt64BE(0));
      expect(at).toBe(next.get(cookie) ?? cookie * 65536 + 100);
      const isHole = header.readUInt16BE(6) === 2;
      const length = isHole ? payload.readUInt32BE(8) : payload.length - 8;
      const expected = backend.bytes.subarray(at, at + length);
      expect(isHole ? expected.every((byte) => byte === 0) : Buffer.compare(payload.subarray(8), expected) === 0).toBe(true);
      next.set(cookie, at + length);
      if ((header.readUInt16BE(4) & 1) !== 0) {
        expect(at + length).toBe(cookie * 65536 + 100 + 65536);
        done++;
      }
    }
  });

  it('reports a failing read once, with its text, and serves on', async () => {
    backend.bytes.fill(1);
    backend.fail = (name, offset) => (name === 'read' && offset >= 2_000_000 && offset < 4_000_000 ? ioError() : undefined);
    const client = await connect();
    await client.go('x', { structured: true });
    client.request(cmd.read, 0, 6_000_000);
    for (;;) {
      const chunk = await client.chunk();
      if ((chunk.flags & 1) === 0) continue;
      expect(chunk.error).toBe(5);
      expect(chunk.data.subarray(6).toString()).toBe('reading from file failed');
      break;
    }
    expect((await client.structuredRead(0, 512))[0]).toBe(1);
  });

  it('hands flags down and errors up', async () => {
    const client = await connect();
    await client.go('x', { structured: true });
    client.request(cmd.write, 0, 512, { payload: Buffer.alloc(512, 1), flags: 1 });
    expect((await client.chunk()).error).toBe(0);
    client.request(cmd.zeroes, 0, 512);
    expect((await client.chunk()).error).toBe(0);
    client.request(cmd.zeroes, 0, 512, { flags: 2 });
    expect((await client.chunk()).error).toBe(0);
    backend.fail = (name) => (name === 'zero' ? new BlockError('Operation not supported', { code: 'ENOTSUP' }) : undefined);
    client.request(cmd.zeroes, 0, 512, { flags: 16 });
    expect((await client.chunk()).error).toBe(95);
    backend.fail = (name) => (name === 'write' ? new BlockError('No space left on device', { code: 'ENOSPC' }) : undefined);
    client.request(cmd.write, 0, 512, { payload: Buffer.alloc(512, 1) });
    const full = await client.chunk();
    expect([full.error, full.data.subarray(6).toString()]).toEqual([28, 'writing to file failed']);
    client.request(cmd.trim, 0, 4096, { flags: 1 });
    expect((await client.chunk()).error).toBe(0);
    const seen = backend.calls.filter(([name]) => name !== 'status');
    expect(seen).toEqual([
      ['write', 0, 512, reqFlag.fua],
      ['zero', 0, 512, reqFlag.mayUnmap],
      ['zero', 0, 512, reqFlag.none],
      ['zero', 0, 512, reqFlag.mayUnmap | reqFlag.noFallback],
      ['write', 0, 512, reqFlag.none],
      ['discard', 0, 4096, 0],
      ['flush', 0, 0, 0],
    ]);
  });

  it('takes requests that arrive byte by byte', async () => {
    const client = await connect();
    await client.go('x');
    const header = Buffer.from('25609513' + '0000' + '0001' + '0000000000000007' + '0000000000000010' + '00000005', 'hex');
    for (const byte of Buffer.concat([header, Buffer.from('hello')])) {
      client.send(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await client.simpleReply()).toMatchObject({ error: 0, cookie: 7 });
    expect(Buffer.from(backend.bytes.subarray(16, 21)).toString()).toBe('hello');
  });

  it('answers everything before DISC and before a half-close', async () => {
    for (const leave of [(client: RawClient) => client.request(cmd.disc, 0, 0), (client: RawClient) => client.socket.end()]) {
      const client = await connect();
      await client.go('x');
      for (let cookie = 1; cookie <= 50; cookie++) client.request(cmd.read, cookie * 512, 512, { cookie });
      leave(client);
      for (let index = 0; index < 50; index++) expect((await client.simpleReply(512)).error).toBe(0);
      await client.closed();
    }
  });
});

describe('limits', () => {
  it('stops reading from a client that does not take its replies', async () => {
    backend.bytes.fill(9);
    await serve();
    const client = await connect();
    await client.go('x');
    client.socket.pause();
    for (let index = 0; index < 60; index++) client.request(cmd.read, 0, 1024 * 1024, { cookie: index });
    // another client is served meanwhile, and its turns let the first one's requests be worked on
    const other = await connect();
    await other.go('x');
    for (let round = 0; round < 50; round++) {
      other.request(cmd.read, 0, 512);
      expect((await other.simpleReply(512)).error).toBe(0);
    }
    expect(backend.calls.filter(([, , length]) => length === 1024 * 1024).length).toBeLessThan(10);
    client.socket.resume();
    for (let index = 0; index < 60; index++) expect((await client.simpleReply(1024 * 1024)).cookie).toBe(index);
  });

  it('holds no more than 64 requests of a client in flight', async () => {
    await serve();
    backend.mode = 'held';
    const client = await connect();
    await client.go('x');
    for (let cookie = 0; cookie < 200; cookie++) client.request(cmd.read, 0, 512, { cookie });
    await turns(() => backend.pending >= 64);
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(backend.pending).toBe(64);
    backend.mode = 'now';
    backend.letGo();
    const cookies = new Set<number>();
    for (let index = 0; index < 200; index++) cookies.add((await client.simpleReply(512)).cookie);
    expect(cookies.size).toBe(200);
  });

  it('greets no more clients than it may serve, and the next when one leaves', async () => {
    await serve({ maxConnections: 1 });
    const first = await connect();
    await first.go('x');
    const second = await connect();
    const third = await connect();
    let greeted = false;
    const greeting = second.take(18).then((bytes) => {
      greeted = true;
      return bytes;
    });
    first.request(cmd.read, 0, 512);
    await first.simpleReply(512);
    expect(greeted).toBe(false);
    first.request(cmd.disc, 0, 0);
    expect((await greeting)?.toString('latin1', 0, 8)).toBe('NBDMAGIC');
    third.close();
    second.close();
    const last = await connect();
    expect(await last.go('x')).toBe(size);
  });

  it('closes a handshake that takes too long, whatever is sent', async () => {
    const clock = new ManualClock();
    await serve({ handshakeTimeoutMs: 300, clock });
    const idle = await connect();
    const busy = await connect();
    await busy.greet();
    clock.advance(299);
    expect((await busy.option(opt.list)).length).toBe(2);
    expect(server.connectionCount).toBe(2);
    clock.advance(1);
    await Promise.all([idle.closed(), busy.closed()]);
    await turns(() => server.connectionCount === 0);
    expect(clock.waiting).toBe(0);
  });

  it('lets a client in transmission be silent for as long as it likes', async () => {
    const clock = new ManualClock();
    await serve({ handshakeTimeoutMs: 300, clock });
    const client = await connect();
    await client.go('x');
    expect(clock.waiting).toBe(0);
    const late = await connect();
    await late.greet();
    clock.advance(300);
    await late.closed();
    client.request(cmd.read, 0, 512);
    expect((await client.simpleReply(512)).error).toBe(0);
  });
});

describe('endings', () => {
  it('waits for requests in flight when an export is taken away', async () => {
    await serve();
    backend.mode = 'held';
    const client = await connect();
    await client.go('x');
    client.request(cmd.write, 0, 512, { payload: Buffer.alloc(512, 3) });
    await turns(() => backend.pending === 1);
    let isRemoved = false;
    const removed = server.removeExport('x', 'hard').then(() => {
      isRemoved = true;
    });
    await client.closed();
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(isRemoved).toBe(false);
    backend.letGo();
    await removed;
    expect(backend.bytes[0]).toBe(3);
    expect(server.findExport('x')).toBeUndefined();
  });

  it('writes nothing of a payload that ends early, and tells why the client was dropped', async () => {
    const log: string[] = [];
    await serve({ log: (text) => log.push(text) });
    const client = await connect();
    await client.go('x');
    client.request(cmd.write, 0, 4096, { payload: Buffer.alloc(100, 1) });
    client.socket.end();
    await client.closed();
    expect(backend.calls).toEqual([]);
    expect(log).toEqual(['Disconnect client, due to: Failed to read CMD_WRITE data: Unexpected end-of-file before all data were read']);
  });

  it('is silent about clients that only look whether somebody is there', async () => {
    const log: string[] = [];
    let idle = 0;
    await serve({ log: (text) => log.push(text), onIdle: () => idle++ });
    (await connect()).close();
    const aborts = await connect();
    await aborts.greet();
    await aborts.option(opt.abort);
    await aborts.closed();
    await turns(() => server.connectionCount === 0);
    expect(log).toEqual([]);
    expect(idle).toBe(0);
    const serious = await connect();
    await serious.go('x');
    serious.close();
    await turns(() => idle > 0);
    expect(idle).toBe(1);
    expect(log).toEqual([]);
  });

  it('writes through when asked to', async () => {
    await serve({}, { writethrough: true });
    const client = await connect();
    await client.go('x');
    client.request(cmd.write, 0, 512, { payload: Buffer.alloc(512, 3) });
    await client.simpleReply();
    expect(backend.calls).toEqual([['write', 0, 512, reqFlag.fua]]);
  });

  it('shows a part of the node as a disk of its own', async () => {
    await serve({}, { offset: 1_000_000, length: 65536 });
    backend.bytes.fill(4, 1_000_000, 1_000_512);
    const client = await connect();
    expect(await client.go('x', { structured: true })).toBe(65536);
    expect((await client.structuredRead(0, 512))[0]).toBe(4);
    client.request(cmd.read, 65536, 1);
    expect((await client.chunk()).error).toBe(22);
  });

  it('counts a ragged end as a whole sector of zeros, and makes it when it is written', async () => {
    backend = new FakeBackend(1000);
    backend.bytes.fill(7);
    await serve();
    const client = await connect();
    expect(await client.go('x', { structured: true, contexts: ['base:allocation'] })).toBe(1024);
    const expected = Buffer.alloc(1024);
    expected.fill(7, 0, 1000);
    expect(Buffer.compare(await client.structuredRead(0, 1024), expected)).toBe(0);
    client.request(cmd.read, 990, 34, { flags: 4 });
    expect(Buffer.compare((await client.chunk()).data.subarray(8), expected.subarray(990))).toBe(0);
    client.request(cmd.status, 0, 1024);
    expect((await client.chunk()).data.toString('hex', 4)).toBe(`${'000003e800000000'}${'0000001800000003'}`);
    for (const [type, offset, length] of [
      [cmd.trim, 0, 1024],
      [cmd.zeroes, 1000, 24],
      [cmd.zeroes, 512, 512],
    ] as const) {
      client.request(type, offset, length);
      expect((await client.chunk()).error).toBe(0);
    }
    client.request(cmd.write, 998, 26, { payload: Buffer.concat([Buffer.from('ab'), Buffer.alloc(24)]) });
    expect((await client.chunk()).error).toBe(0);
    expect(backend.calls.filter(([name]) => name === 'write')).toEqual([['write', 998, 2, 0]]);
    client.request(cmd.write, 1000, 5, { payload: Buffer.from('after') });
    expect((await client.chunk()).error).toBe(0);
    expect(backend.size()).toBe(1024);
    expect((await client.structuredRead(998, 26)).toString('latin1')).toBe(`abafter${'\0'.repeat(19)}`);
  });
});
