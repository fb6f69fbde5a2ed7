/* The handshake, byte by byte: what each option is answered, what is told to the log, and what the session is started with. */
import { describe, expect, it } from 'vitest';
import { noLimits } from '../../src/core/block/driver.ts';
import { eventLoop } from '../../src/core/util/clock.ts';
import { NbdExport, type NbdExportOptions } from '../../src/nbd/export.ts';
import { NbdServer } from '../../src/nbd/server.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { cmd, opt, rep, text, u32 } from '../support/nbd-client.ts';
import { FakeBackend } from '../support/nbd-fake.ts';
import { handshakeBytes, MemoryConnection, optionBytes, repliesIn, requestBytes } from '../support/nbd-memory.ts';

const size = 1 << 20;
const u16 = (...values: number[]): Buffer => Buffer.concat(values.map((value) => Buffer.from([value >> 8, value & 255])));
const ack = `${rep.ack} `;
const unsup = 0x80000001;
const policy = 0x80000002;
const invalid = 0x80000003;
const unknown = 0x80000006;
const blockSizeRequired = 0x80000008;

interface Reply {
  readonly option: number;
  readonly type: number;
  readonly data: Buffer;
}

class Client {
  readonly log: string[] = [];
  readonly connection = new MemoryConnection();
  readonly server: NbdServer;

  constructor(exports: readonly Partial<NbdExportOptions>[], alignment = 1) {
    this.server = new NbdServer({ clock: new ManualClock(), log: (line) => this.log.push(line) });
    for (const options of exports) {
      const backend = new FakeBackend(size);
      backend.limits = { ...noLimits, requestAlign: alignment };
      this.server.addExport(new NbdExport({ name: 'x', backend, writable: true, ...options }));
    }
    this.server.accept(this.connection);
  }

  async say(...parts: readonly Uint8Array[]): Promise<void> {
    this.connection.send(...parts);
    for (let turn = 0; turn < 12; turn++) await eventLoop.nextTurn();
  }

  /** Says one option and returns what it was answered. */
  async ask(option: number, data?: Uint8Array, length?: number): Promise<Reply[]> {
    await this.say(optionBytes(option, data, length));
    const { output } = this.connection;
    this.connection.output = Buffer.alloc(0);
    const replies: Reply[] = [];
    for (let at = 0; at < output.length; ) {
      expect(output.toString('hex', at, at + 8)).toBe('0003e889045565a9');
      const end = at + 20 + output.readUInt32BE(at + 16);
      replies.push({ option: output.readUInt32BE(at + 8), type: output.readUInt32BE(at + 12), data: output.subarray(at + 20, end) });
      at = end;
    }
    expect(replies.every((reply) => reply.option === option)).toBe(true);
    return replies;
  }
}

async function greeted(exports: readonly Partial<NbdExportOptions>[] = [{}], flags = 3, alignment = 1): Promise<Client> {
  const client = new Client(exports, alignment);
  await client.say(u32(flags));
  expect(client.connection.take(18).toString('latin1')).toBe('NBDMAGICIHAVEOPT\0\x03');
  return client;
}

const said = (replies: readonly Reply[]): string[] => replies.map(({ type, data }) => `${type} ${data.toString('latin1')}`);
const nameOf = (length: number): Buffer => text('n'.repeat(length));

describe('an option that cannot be followed', () => {
  it.each([
    ['is unknown', 42, Buffer.alloc(3), unsup, 'Unsupported option 42 (<unknown>)'],
    ['wants TLS', opt.startTls, Buffer.alloc(0), policy, 'TLS not configured'],
    ['wants TLS with data', opt.startTls, Buffer.alloc(1), invalid, "option 'starttls' has unexpected length"],
    ['lists with data', opt.list, Buffer.alloc(1), invalid, "option 'list' has unexpected length"],
    ['wants structured replies with data', opt.structured, Buffer.alloc(1), invalid, "option 'structured reply' has unexpected length"],
    ['goes without a name', opt.go, Buffer.alloc(0), invalid, 'Inconsistent lengths in option go'],
    ['goes with half a name', opt.go, Buffer.concat([u32(4), Buffer.from('abc')]), invalid, 'Inconsistent lengths in option go'],
    ['goes without a count', opt.go, text('x'), invalid, 'Inconsistent lengths in option go'],
    ['goes with fewer infos than it says', opt.go, Buffer.concat([text('x'), u16(2, 3)]), invalid, 'Inconsistent lengths in option go'],
    ['goes with more infos than it says', opt.go, Buffer.concat([text('x'), u16(1, 3, 3)]), invalid, "option 'go' has unexpected length"],
    ['names a NUL', opt.go, Buffer.concat([text('a\0b'), u16(0)]), invalid, 'Unexpected embedded NUL in option go'],
    ['has a name too long', opt.go, Buffer.concat([nameOf(4097), u16(0)]), invalid, 'Invalid name length: 4097'],
    ['has a name nobody has', opt.go, Buffer.concat([text('nosuch'), u16(0)]), unknown, "export 'nosuch' not present"],
    ['has a name of 80', opt.go, Buffer.concat([nameOf(80), u16(0)]), unknown, `export '${'n'.repeat(80)}' not present`],
    ['has a name of 81', opt.go, Buffer.concat([nameOf(81), u16(0)]), unknown, `export '${'n'.repeat(80)}...' not present`],
    ['has the longest name', opt.info, Buffer.concat([nameOf(4096), u16(0)]), unknown, `export '${'n'.repeat(80)}...' not present`],
    [
      'selects contexts for simple replies',
      opt.setMeta,
      Buffer.concat([text('x'), u32(0)]),
      invalid,
      "request option 'set meta context' when structured reply is not negotiated",
    ],
    ['lists contexts without a count', opt.listMeta, text('x'), invalid, 'Inconsistent lengths in option list meta context'],
    [
      'lists contexts by half a query',
      opt.listMeta,
      Buffer.concat([text('x'), u32(1), u32(9), Buffer.from('base:')]),
      invalid,
      'Inconsistent lengths in option list meta context',
    ],
    ['lists contexts with data behind', opt.listMeta, Buffer.concat([text('x'), u32(0), u32(0)]), invalid, "option 'list meta context' has unexpected length"],
    ['lists contexts of nobody', opt.listMeta, Buffer.concat([text('y'), u32(0)]), unknown, "export 'y' not present"],
  ] as const)('(%s) is answered so, and the next one is heard', async (_what, option, data, type, message) => {
    const client = await greeted();
    expect(said(await client.ask(option, data))).toEqual([`${type} ${message}`]);
    expect(said(await client.ask(opt.list)).at(-1)).toBe(ack);
    expect(client.log).toEqual([]);
  });

  it('is skipped to its end, however long', async () => {
    const client = await greeted();
    expect(said(await client.ask(42, Buffer.alloc(200_000)))).toEqual([`${unsup} Unsupported option 42 (<unknown>)`]);
    expect(said(await client.ask(opt.structured))).toEqual([ack]);
    expect(said(await client.ask(opt.structured))).toEqual([`${invalid} structured reply already negotiated`]);
  });
});

describe('a handshake that breaks off', () => {
  it.each([
    ['unknown flags', [u32(0x14)], 'Unknown client flags 0x14 received'],
    ['an option of an old client', [u32(2), optionBytes(opt.list)], `Unsupported option ${opt.list}`],
    ['a wrong magic, first half', [u32(3), Buffer.from('XHAVEOPT'), u32(3), u32(0)], 'Bad magic received'],
    ['a wrong magic, second half', [u32(3), Buffer.from('IHAVEOPX'), u32(3), u32(0)], 'Bad magic received'],
    ['an option that is too long', [u32(3), optionBytes(opt.list, Buffer.alloc(0), 33554433)], 'len (33554433) is larger than max len (33554432)'],
    ['an export of no such name', [u32(3), optionBytes(opt.exportName, Buffer.from('y'))], 'export not found'],
    ['a name that is too long', [u32(3), optionBytes(opt.exportName, Buffer.alloc(4097, 0x6e))], 'Bad length received'],
    ['the longest name, of nobody', [u32(3), optionBytes(opt.exportName, Buffer.alloc(4096, 0x6e))], 'export not found'],
  ] as const)('over %s is told', async (_what, parts, message) => {
    const client = new Client([{}]);
    await client.say(...parts);
    expect(client.log).toEqual([`option negotiation failed: ${message}`]);
    expect(client.connection.isClosed).toBe(true);
    expect(client.server.connectionCount).toBe(0);
  });

  it('because the client went is told where an option could have come, nowhere else', async () => {
    const early = new Client([{}]);
    early.connection.end();
    await early.say();
    const between = await greeted();
    between.connection.end();
    await between.say();
    const inside = await greeted();
    await inside.say(optionBytes(opt.go, Buffer.alloc(2), 30));
    inside.connection.end();
    await inside.say();
    expect([early, between, inside].map(({ log }) => log)).toEqual([
      [],
      ['option negotiation failed: Failed to read opts magic: Unexpected end-of-file before all data were read'],
      [],
    ]);
    expect([early, between, inside].map(({ connection }) => connection.isClosed)).toEqual([true, true, true]);
  });

  it('by ABORT is acknowledged, and no fault', async () => {
    const client = await greeted();
    expect(said(await client.ask(opt.abort, Buffer.alloc(5)))).toEqual([ack]);
    expect(client.connection.isClosed).toBe(true);
    expect(client.log).toEqual([]);
  });

  it('when its time is over is closed without a word', async () => {
    const clock = new ManualClock();
    const log: string[] = [];
    const server = new NbdServer({ clock, log: (line) => log.push(line) });
    const connection = new MemoryConnection();
    server.accept(connection);
    clock.advance(9999);
    expect(connection.isClosed).toBe(false);
    clock.advance(1);
    expect(connection.isClosed).toBe(true);
    expect(log).toEqual([]);
    const patient = new NbdServer({ clock, handshakeTimeoutMs: 0 });
    patient.accept(new MemoryConnection());
    expect(clock.waiting).toBe(0);
  });
});

describe('what an export is said to be', () => {
  it('by LIST', async () => {
    const client = await greeted([{ name: 'x' }, { name: 'größe', description: 'two' }]);
    const replies = await client.ask(opt.list);
    expect(replies.map(({ type }) => type)).toEqual([rep.server, rep.server, rep.ack]);
    expect(replies[0]?.data).toEqual(text('x'));
    expect(replies[1]?.data).toEqual(Buffer.concat([text('größe'), Buffer.from('two')]));
  });

  const info = (replies: readonly Reply[], type: number): string | undefined =>
    replies.find((reply) => reply.type === rep.info && reply.data.readUInt16BE(0) === type)?.data.toString('hex', 2);
  const blocks = (minimum: number, preferred: number): string => Buffer.concat([u32(minimum), u32(preferred), u32(32 << 20)]).toString('hex');

  it('by INFO: name on request, description where there is one, block sizes, size and flags', async () => {
    const client = await greeted([{ description: 'a disk' }, { name: 'y' }]);
    const asked = await client.ask(opt.info, Buffer.concat([text('x'), u16(2, 1, 3)]));
    expect(asked.map(({ type }) => type)).toEqual([rep.info, rep.info, rep.info, rep.info, rep.ack]);
    expect(info(asked, 1)).toBe(Buffer.from('x').toString('hex'));
    expect(info(asked, 2)).toBe(Buffer.from('a disk').toString('hex'));
    expect(info(asked, 3)).toBe(blocks(1, 4096));
    expect(info(asked, 0)?.slice(0, 16)).toBe('0000000000100000');
    const before = Number.parseInt(info(asked, 0)?.slice(16) ?? '', 16);
    const plain = await client.ask(opt.info, Buffer.concat([text('y'), u16(0)]));
    expect(plain.map(({ type }) => type)).toEqual([rep.info, rep.info, rep.ack]);
    expect([info(plain, 1), info(plain, 2)]).toEqual([undefined, undefined]);
    await client.ask(opt.structured);
    const after = Number.parseInt(info(await client.ask(opt.info, Buffer.concat([text('y'), u16(0)])), 0)?.slice(16) ?? '', 16);
    // DF comes with structured replies
    expect([before & 0x80, after]).toEqual([0, before | 0x80]);
  });

  it('that needs alignment, to clients that ask and to those that do not', async () => {
    const client = await greeted([{}], 3, 8192);
    const told = await client.ask(opt.info, Buffer.concat([text('x'), u16(1, 3)]));
    expect([info(told, 3), told.at(-1)?.type]).toEqual([blocks(8192, 8192), rep.ack]);
    const refused = await client.ask(opt.info, Buffer.concat([text('x'), u16(0)]));
    expect([info(refused, 3), said(refused).at(-1)]).toEqual([blocks(8192, 8192), `${blockSizeRequired} request NBD_INFO_BLOCK_SIZE to use this export`]);
    const gone = await client.ask(opt.go, Buffer.concat([text('x'), u16(0)]));
    expect([info(gone, 3), gone.at(-1)?.type]).toEqual([blocks(1, 4096), rep.ack]);
    const other = await greeted([{}], 3, 8192);
    expect(info(await other.ask(opt.go, Buffer.concat([text('x'), u16(1, 3)])), 3)).toBe(blocks(8192, 8192));
  });

  it.each([
    [3, 10],
    [1, 134],
  ])('by EXPORT_NAME to a client with flags %i: %i bytes', async (clientFlags, length) => {
    const client = await greeted([{}], clientFlags);
    await client.say(optionBytes(opt.exportName, Buffer.from('x')));
    const answer = client.connection.take(length);
    expect(Number(answer.readBigUInt64BE(0))).toBe(size);
    expect(client.connection.output.length).toBe(0);
    await client.say(requestBytes(cmd.read, 0, 512));
    expect(client.connection.output.length).toBe(16 + 512);
  });
});

describe('meta contexts', () => {
  const depth = 'qemu:allocation-depth';
  const queries = (name: string, ...asked: readonly string[]): Buffer => Buffer.concat([text(name), u32(asked.length), ...asked.map(text)]);
  const contexts = (replies: readonly Reply[]): string[] =>
    replies.filter(({ type }) => type === rep.metaContext).map(({ data }) => `${data.readUInt32BE(0)} ${data.toString('latin1', 4)}`);

  it('are listed all, by kind and by name, with no ids', async () => {
    const client = await greeted([{ allocationDepth: true }]);
    const list = async (...asked: readonly string[]): Promise<string[]> => {
      const replies = await client.ask(opt.listMeta, queries('x', ...asked));
      expect(replies.at(-1)?.type).toBe(rep.ack);
      return contexts(replies);
    };
    expect(await list()).toEqual(['0 base:allocation', `0 ${depth}`]);
    expect(await list('base:')).toEqual(['0 base:allocation']);
    expect(await list('qemu:')).toEqual([`0 ${depth}`]);
    expect(await list(depth, 'base:allocation', depth)).toEqual(['0 base:allocation', `0 ${depth}`]);
    expect(await list('other:', 'bas')).toEqual([]);
  });

  it('that nobody can have are passed over', async () => {
    const client = await greeted();
    const asked = await client.ask(opt.listMeta, queries('x', 'q'.repeat(4097), 'base:allocation'));
    expect([contexts(asked), asked.at(-1)?.type]).toEqual([['0 base:allocation'], rep.ack]);
  });

  /** How many contexts a block status is answered for after the options were said; -1: it is refused. */
  async function selected(...options: readonly (readonly [option: number, data: Buffer])[]): Promise<number> {
    const client = await greeted([{ allocationDepth: true }, { name: 'y' }]);
    await client.ask(opt.structured);
    for (const [option, data] of options) await client.ask(option, data);
    await client.ask(opt.go, Buffer.concat([text('x'), u16(0)]));
    await client.say(requestBytes(cmd.status, 0, 4096));
    const replies = repliesIn(client.connection.output);
    return replies.some(({ errno }) => errno !== 0) ? -1 : replies.length;
  }

  it('are served as they were selected last, for that export', async () => {
    expect(await selected()).toBe(-1);
    expect(await selected([opt.setMeta, queries('x', 'base:allocation')])).toBe(1);
    expect(await selected([opt.setMeta, queries('x', depth, 'base:allocation')])).toBe(2);
    expect(await selected([opt.setMeta, queries('x', 'base:')])).toBe(-1);
    expect(await selected([opt.setMeta, queries('y', 'base:allocation')])).toBe(-1);
    expect(await selected([opt.setMeta, queries('x', depth, 'base:allocation')], [opt.setMeta, queries('x', depth)])).toBe(1);
    // one that fails selects nothing; a list changes nothing
    expect(await selected([opt.setMeta, queries('x', depth)], [opt.setMeta, queries('z', depth)])).toBe(-1);
    expect(await selected([opt.setMeta, queries('x', depth)], [opt.listMeta, queries('y', 'base:')])).toBe(1);
  });

  it('that are selected have ids', async () => {
    const client = await greeted([{ allocationDepth: true }]);
    await client.ask(opt.structured);
    expect(contexts(await client.ask(opt.setMeta, queries('x', depth, 'base:allocation')))).toEqual(['0 base:allocation', `1 ${depth}`]);
  });
});

describe('a client that comes and goes', () => {
  it('leaves the server idle when it was the last of those in transmission', async () => {
    let idle = 0;
    const server = new NbdServer({ clock: new ManualClock(), maxConnections: 2, onIdle: () => idle++ });
    server.addExport(new NbdExport({ name: 'x', backend: new FakeBackend(size) }));
    const [one, two, waiting, curious] = [new MemoryConnection(), new MemoryConnection(), new MemoryConnection(), new MemoryConnection()];
    const turns = async (): Promise<void> => {
      for (let turn = 0; turn < 12; turn++) await eventLoop.nextTurn();
    };
    for (const client of [one, two, waiting]) {
      server.accept(client);
      client.send(handshakeBytes('x'));
    }
    await turns();
    one.destroy();
    await turns();
    expect([idle, server.connectionCount]).toEqual([0, 2]);
    two.destroy();
    await turns();
    expect(idle).toBe(0);
    waiting.destroy();
    await turns();
    expect([idle, server.connectionCount]).toEqual([1, 0]);
    server.accept(curious);
    await turns();
    curious.destroy();
    await turns();
    expect(idle).toBe(1);
    await server.stop();
  });

  it('tells nobody of idleness when the server is stopped', async () => {
    let idle = 0;
    const server = new NbdServer({ clock: new ManualClock(), onIdle: () => idle++ });
    server.addExport(new NbdExport({ name: 'x', backend: new FakeBackend(size) }));
    const client = new MemoryConnection();
    server.accept(client);
    client.send(handshakeBytes('x'));
    for (let turn = 0; turn < 12; turn++) await eventLoop.nextTurn();
    await server.stop();
    for (let turn = 0; turn < 12; turn++) await eventLoop.nextTurn();
    expect([idle, client.isClosed]).toEqual([0, true]);
  });

  it('to an export that was taken away meanwhile is not served', async () => {
    const client = await greeted();
    client.connection.isHeld = true;
    const exp = client.server.findExport('x');
    await client.say(optionBytes(opt.go, Buffer.concat([text('x'), u16(0)])).subarray(0, 20));
    await client.server.removeExport('x', 'safe');
    await client.say(optionBytes(opt.go, Buffer.concat([text('x'), u16(0)])).subarray(20));
    client.connection.letGo();
    await client.say();
    expect([exp?.isClosing, exp?.clientCount]).toEqual([true, 0]);
  });

  it('finds names taken once', () => {
    const server = new NbdServer({ clock: new ManualClock() });
    const exp = new NbdExport({ name: 'x', backend: new FakeBackend(size) });
    server.addExport(exp);
    expect(() => server.addExport(new NbdExport({ name: 'x', backend: new FakeBackend(size) }))).toThrow("NBD server already has export named 'x'");
    expect([server.findExport('x'), server.servesSeveral, server.address]).toEqual([exp, true, undefined]);
    expect(new NbdServer({ maxConnections: 0 }).servesSeveral).toBe(true);
  });
});
