/* The server's side of the protocol, by a raw client: negotiation, requests, errors as the peer gives them. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cmd, opt, RawClient, rep, text, u32 } from '../support/nbd-client.ts';
import { exportSize, serveMemory, type TestServer } from '../support/nbd-server.ts';

let server: TestServer;
let client: RawClient;

beforeEach(async () => {
  server = await serveMemory();
  client = await RawClient.connect(server.path);
});
afterEach(async () => {
  client.close();
  await server[Symbol.asyncDispose]();
});

const EINVAL = 22;
const unsup = 0x80000001;
const policy = 0x80000002;
const invalid = 0x80000003;
const unknown = 0x80000006;

describe('negotiation', () => {
  it('lists the exports with their names and descriptions', async () => {
    await client.greet();
    const replies = await client.option(opt.list);
    expect(replies.map((reply) => reply.type)).toEqual([rep.server, rep.server, rep.ack]);
    expect(replies[0]?.data.toString()).toContain('disk');
  });

  it.each([
    ['an unknown option', 42, Buffer.alloc(7), unsup],
    ['LIST with data', opt.list, Buffer.from('x'), invalid],
    ['STARTTLS', opt.startTls, Buffer.alloc(0), policy],
    ['GO of an unknown export', opt.go, Buffer.concat([text('nosuch'), Buffer.alloc(2)]), unknown],
    ['GO with inconsistent lengths', opt.go, Buffer.concat([u32(100), Buffer.from('abc')]), invalid],
    ['GO without data', opt.go, Buffer.alloc(0), invalid],
    ['SET_META before structured replies', opt.setMeta, Buffer.concat([text('disk'), u32(1), text('base:allocation')]), invalid],
  ] as const)('answers %s and goes on', async (_name, option, data, expected) => {
    await client.greet();
    const replies = await client.option(option, data);
    expect(replies.at(-1)?.type).toBe(expected);
    expect((await client.option(opt.list)).at(-1)?.type).toBe(rep.ack);
  });

  it('acknowledges ABORT and closes', async () => {
    await client.greet();
    expect((await client.option(opt.abort)).at(-1)?.type).toBe(rep.ack);
    await client.closed();
  });

  it.each([
    ['client flags without fixed newstyle', async () => client.greet(0).then(() => client.sendOption(opt.list))],
    ['unknown client flags', async () => client.greet(4)],
    ['a wrong option magic', async () => client.greet().then(() => client.send(Buffer.from('IHAVENOT'), u32(3), u32(0)))],
    ['an option of more than 32 MiB', async () => client.greet().then(() => client.sendOption(opt.list, Buffer.alloc(0), 33554433))],
  ])('closes on %s', async (_name, misbehave) => {
    await misbehave();
    await client.closed();
  });

  it('serves EXPORT_NAME with size and flags', async () => {
    await client.greet();
    client.sendOption(opt.exportName, Buffer.from('disk'));
    const reply = await client.take(10);
    expect(Number(reply?.readBigUInt64BE(0))).toBe(exportSize);
    expect((reply?.readUInt16BE(8) ?? 0) & 1).toBe(1);
    client.request(cmd.read, 0, 512);
    expect((await client.simpleReply(512)).error).toBe(0);
  });
});

describe('requests', () => {
  it('reads back what was written, trimmed and zeroed', async () => {
    await client.go('disk', { structured: true });
    client.request(cmd.write, 100, 5000, { payload: Buffer.alloc(5000, 7) });
    expect((await client.chunk()).error).toBe(0);
    client.request(cmd.zeroes, 1000, 500);
    expect((await client.chunk()).error).toBe(0);
    client.request(cmd.flush, 0, 0);
    expect((await client.chunk()).error).toBe(0);
    const bytes = await client.structuredRead(0, 8192);
    const expected = Buffer.alloc(8192);
    expected.fill(7, 100, 5100).fill(0, 1000, 1500);
    expect(Buffer.compare(bytes, expected)).toBe(0);
    client.request(cmd.trim, 0, 65536);
    expect((await client.chunk()).error).toBe(0);
    expect((await client.structuredRead(0, 65536)).every((byte) => byte === 0)).toBe(true);
  });

  it('tells holes by base:allocation and sends them as holes', async () => {
    await client.go('disk', { structured: true, contexts: ['base:allocation'] });
    server.medium.write(1024 * 1024, new Uint8Array(65536).fill(1));
    client.request(cmd.status, 0, exportSize);
    const status = await client.chunk();
    expect(status.type).toBe(5);
    const extents: [number, number][] = [];
    for (let at = 4; at < status.data.length; at += 8) extents.push([status.data.readUInt32BE(at), status.data.readUInt32BE(at + 4)]);
    expect(extents).toEqual([
      [1024 * 1024, 3],
      [65536, 0],
      [exportSize - 1024 * 1024 - 65536, 3],
    ]);
    client.request(cmd.read, 0, 65536);
    expect((await client.chunk()).type).toBe(2);
  });

  it('keeps cookies apart when many requests are sent at once', async () => {
    await client.go('disk');
    for (let cookie = 1; cookie <= 64; cookie++) client.request(cmd.read, cookie * 4096, 4096, { cookie });
    const seen = new Set<number>();
    for (let index = 0; index < 64; index++) seen.add((await client.simpleReply(4096)).cookie);
    expect(seen.size).toBe(64);
  });

  it.each([
    ['a read past the end', cmd.read, exportSize - 8, 16, {}],
    ['a read at 2^63', cmd.read, 2n ** 63n, 16, {}],
    ['a read of more than 32 MiB', cmd.read, 0, 33554433, {}],
    ['a read with unknown flags', cmd.read, 0, 512, { flags: 0x8000 }],
    ['block status without a context', cmd.status, 0, 512, {}],
    ['an unknown command', 8, 0, 0, {}],
  ] as const)('refuses %s with EINVAL and serves on', async (_name, type, offset, length, how) => {
    await client.go('disk', { structured: true });
    client.request(type, offset, length, how);
    expect((await client.chunk()).error).toBe(EINVAL);
    expect((await client.structuredRead(0, 512)).length).toBe(512);
  });

  it.each([
    ['a write', cmd.write, { payload: Buffer.alloc(16) }],
    ['a zero write', cmd.zeroes, {}],
  ] as const)('refuses %s past the end with ENOSPC, as the specification asks', async (_name, type, how) => {
    await client.go('disk', { structured: true });
    client.request(type, exportSize - 8, 16, how);
    expect((await client.chunk()).error).toBe(28);
    expect((await client.structuredRead(0, 512)).length).toBe(512);
  });

  it('refuses writes of a read-only export', async () => {
    await client.go('ro', { structured: true });
    client.request(cmd.write, 0, 512, { payload: Buffer.alloc(512, 1) });
    expect((await client.chunk()).error).not.toBe(0);
    expect((await client.structuredRead(0, 512)).every((byte) => byte === 0)).toBe(true);
  });

  it.each([
    ['a wrong request magic', (raw: RawClient) => raw.request(cmd.read, 0, 512, { magic: 0xdeadbeef })],
    ['a write of more than 32 MiB', (raw: RawClient) => raw.request(cmd.write, 0, 33554433)],
  ])('closes after %s', async (_name, misbehave) => {
    await client.go('disk');
    misbehave(client);
    await client.closed();
  });

  it('answers what came before DISC, then closes', async () => {
    await client.go('disk');
    for (let cookie = 1; cookie <= 8; cookie++) client.request(cmd.read, 0, 512, { cookie });
    client.request(cmd.disc, 0, 0);
    for (let index = 0; index < 8; index++) expect((await client.simpleReply(512)).error).toBe(0);
    await client.closed();
  });
});

describe('an export that is taken away', () => {
  it('is refused while a client uses it, and drops the client when it must', async () => {
    await client.go('disk');
    await expect(server.server.removeExport('disk', 'safe')).rejects.toThrow("export 'disk' still in use");
    await server.server.removeExport('disk', 'hard');
    await client.closed();
    await expect(server.server.removeExport('disk', 'hard')).rejects.toThrow("Export 'disk' is not found");
  });
});
