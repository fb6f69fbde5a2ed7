/* Transmission over a connection in memory: streams cut at every byte, cut in pieces, failures that nobody foresaw, endings. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventLoop } from '../../src/core/util/clock.ts';
import { YieldBudget } from '../../src/core/util/maybe.ts';
import { NbdExport } from '../../src/nbd/export.ts';
import { NbdServer } from '../../src/nbd/server.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { cmd } from '../support/nbd-client.ts';
import { FakeBackend } from '../support/nbd-fake.ts';
import { handshakeBytes, MemoryConnection, repliesIn, requestBytes } from '../support/nbd-memory.ts';

const size = 256 * 1024;

interface Setting {
  readonly server: NbdServer;
  readonly backend: FakeBackend;
  readonly clock: ManualClock;
  readonly log: string[];
  readonly idle: () => number;
}

function serve(backend: FakeBackend = new FakeBackend(size), budget?: YieldBudget): Setting {
  const clock = new ManualClock();
  const log: string[] = [];
  let idle = 0;
  const server = new NbdServer({ clock, log: (text) => log.push(text), onIdle: () => idle++, ...(budget === undefined ? {} : { budget }) });
  server.addExport(new NbdExport({ name: 'x', backend, writable: true }));
  return { server, backend, clock, log, idle: () => idle };
}

const turns = async (count = 6): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await eventLoop.nextTurn();
};

/** A client in transmission, what the handshake said taken off. */
async function connect(
  { server }: Setting,
  how: Parameters<typeof handshakeBytes>[1] = { structured: true, contexts: ['base:allocation'] },
): Promise<MemoryConnection> {
  const connection = new MemoryConnection();
  server.accept(connection);
  connection.send(handshakeBytes('x', how));
  await turns();
  connection.take(connection.output.length);
  return connection;
}

async function expectNothingLeft({ server, clock }: Setting): Promise<void> {
  await turns();
  expect([server.connectionCount, server.pool.outstanding, server.findExport('x')?.clientCount, clock.waiting]).toEqual([0, 0, 0, 0]);
}

/** One of each kind; a write's payload counts to it. */
const messages = [
  requestBytes(cmd.write, 100, 16, { cookie: 1, payload: Buffer.from('0123456789abcdef') }),
  requestBytes(cmd.read, 96, 32, { cookie: 2 }),
  requestBytes(cmd.read, 96, 32, { cookie: 3, flags: 4 }),
  requestBytes(cmd.status, 0, 8192, { cookie: 4 }),
  requestBytes(cmd.flush, 0, 0, { cookie: 5 }),
  requestBytes(cmd.zeroes, 104, 4, { cookie: 6 }),
  requestBytes(cmd.write, size, 8, { cookie: 7, payload: Buffer.alloc(8) }),
  requestBytes(cmd.trim, 0, 0, { cookie: 8 }),
  requestBytes(cmd.read, 100, 16, { cookie: 9, flags: 1 }),
];
const stream = Buffer.concat(messages);
/** Where messages end, and where their headers do. */
const ends = messages.map((_, index) => messages.slice(0, index + 1).reduce((sum, { length }) => sum + length, 0));
const headerEnds = ends.map((end, index) => end - (messages[index]?.length ?? 0) + 28);

/** What is answered, request by request, in the order of their numbers. */
function answers(output: Buffer): string[] {
  const found = repliesIn(output).map(({ cookie, type, flags, errno, data }) => `${cookie} ${type} ${flags} ${errno} ${data.toString('latin1')}`);
  return found.sort((a, b) => Number(a.split(' ')[0]) - Number(b.split(' ')[0]));
}

async function whole(mode: FakeBackend['mode']): Promise<string[]> {
  const setting = serve();
  setting.backend.mode = mode;
  const client = await connect(setting);
  // one after the other: later ones see what earlier ones did
  for (const message of messages) {
    client.send(message);
    await turns();
  }
  client.destroy();
  await expectNothingLeft(setting);
  return answers(client.output);
}

describe('a stream of requests', () => {
  it('is answered with what it asks for', async () => {
    const eof = `operation past EOF; From: ${size}, Len: 8, Size: ${size}`;
    expect(await whole('now')).toEqual([
      '1 -1 1 0 ',
      expect.stringMatching(/^2 1 1 0 \0{7}\x60\0{4}0123456789abcdef/),
      expect.stringMatching(/^3 1 1 0 \0{7}\x60\0{4}0123456789abcdef/),
      `4 5 1 0 ${Buffer.from('00000000000010000000000000001000' + '00000003', 'hex').toString('latin1')}`,
      '5 -1 1 0 ',
      '6 -1 1 0 ',
      `7 32769 1 28 ${String.fromCharCode(0, 0, 0, 28, 0, eof.length)}${eof}`,
      '8 -1 1 0 ',
      expect.stringMatching(/^9 1 1 0 \0{7}d0123\0{4}89abcdef$/),
    ]);
    expect(await whole('later')).toEqual(await whole('now'));
  });

  it.each(['now', 'later'] as const)('that ends at any byte is answered as far as it came, and nothing else happens, answered %s', async (mode) => {
    const all = await whole('now');
    for (let cut = 0; cut <= stream.length; cut++) {
      const setting = serve();
      const client = await connect(setting);
      setting.backend.mode = mode;
      const complete = ends.filter((end) => end <= cut).length;
      for (const message of messages.slice(0, complete)) {
        client.send(message);
        if (mode === 'later') await turns(3);
      }
      client.send(stream.subarray(ends[complete - 1] ?? 0, cut));
      client.end();
      await turns(3);
      expect([cut, client.isClosed]).toEqual([cut, true]);
      expect(answers(client.output)).toEqual(all.filter((line) => Number(line.split(' ')[0]) <= complete));
      const isInPayload = cut >= (headerEnds[complete] ?? 0);
      const isBetween = cut === (ends[complete - 1] ?? 0);
      const what = isInPayload ? 'CMD_WRITE data' : 'request';
      const expected = isBetween ? [] : [`Disconnect client, due to: Failed to read ${what}: Unexpected end-of-file before all data were read`];
      expect(setting.log).toEqual(expected);
      expect(setting.backend.calls.filter(([name]) => name === 'write').length).toBe(complete > 0 ? 1 : 0);
      expect(setting.idle()).toBe(1);
      await expectNothingLeft(setting);
    }
  });

  it('that is torn off at any byte leaves nothing behind', async () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      const setting = serve();
      const client = await connect(setting);
      setting.backend.mode = 'later';
      client.send(stream.subarray(0, cut));
      client.destroy();
      await expectNothingLeft(setting);
      expect(setting.log).toEqual([]);
      expect(Buffer.from(setting.backend.bytes.subarray(100, 116)).toString()).toEqual(cut < 44 ? '\0'.repeat(16) : expect.stringMatching(/^0123/));
    }
  });

  it('is the same to us in whatever pieces it comes', async () => {
    const all = await whole('now');
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: stream.length }), { maxLength: 12 }), async (places) => {
        const setting = serve();
        const client = await connect(setting);
        const cuts = [0, ...places.sort((a, b) => a - b), stream.length];
        for (let index = 1; index < cuts.length; index++) client.send(stream.subarray(cuts[index - 1], cuts[index]));
        await turns(2);
        expect(answers(client.output)).toEqual(all);
        client.end();
        await expectNothingLeft(setting);
      }),
      { numRuns: 60, seed: 5 },
    );
  });

  it('is served in several turns when it is long, and read no further meanwhile', async () => {
    const clock = new ManualClock();
    const setting = serve(new FakeBackend(size), new YieldBudget(clock, { maxBytes: 10_000 }));
    const client = await connect(setting, { structured: false });
    client.send(Buffer.concat(Array.from({ length: 50 }, (_, cookie) => requestBytes(cmd.read, 0, 512, { cookie }))));
    expect(client.isReading).toBe(false);
    await turns(1);
    const first = repliesIn(client.output, () => 512).length;
    expect(first).toBeGreaterThan(5);
    expect(first).toBeLessThan(25);
    await turns(12);
    expect(repliesIn(client.output, () => 512).map(({ cookie }) => cookie)).toEqual(Array.from({ length: 50 }, (_, cookie) => cookie));
    expect(client.isReading).toBe(true);
  });
});

describe('replies', () => {
  it('of a batch leave in one write', async () => {
    const setting = serve();
    const client = await connect(setting);
    const before = client.writes;
    client.send(Buffer.concat(Array.from({ length: 16 }, (_, cookie) => requestBytes(cmd.read, 4096 * cookie, 4096, { cookie, flags: 4 }))));
    expect(client.writes).toBe(before + 1);
    await turns(1);
    expect(repliesIn(client.output).length).toBe(16);
  });

  it('that come one by one are gathered for a turn', async () => {
    const setting = serve();
    const client = await connect(setting);
    setting.backend.mode = 'later';
    client.send(requestBytes(cmd.read, 0, 4096, { flags: 4 }));
    while (client.unsent === 0 && client.output.length === 0) await Promise.resolve().then(() => eventLoop.nextTurn());
    await turns(2);
    expect(client.isCorked).toBe(false);
    expect(repliesIn(client.output).map(({ type, data }) => [type, data.length])).toEqual([[1, 4104]]);
  });

  it('that do not fit one buffer come in order all the same', async () => {
    const setting = serve(new FakeBackend(8 * 1024 * 1024));
    setting.backend.bytes.fill(1);
    const client = await connect(setting, { structured: false });
    const lengths = [200_000, 100_000, 1_500_000, 16, 300_000, 65_536, 2_000_000];
    client.send(Buffer.concat(lengths.map((length, cookie) => requestBytes(cmd.read, 0, length, { cookie }))));
    await turns(20);
    const found = repliesIn(client.output, (cookie) => lengths[cookie] ?? 0);
    expect(found.map(({ cookie, data }) => [cookie, data.length, data.every((byte) => byte === 1)])).toEqual(
      lengths.map((length, cookie) => [cookie, length, true]),
    );
    client.end();
    await expectNothingLeft(setting);
  });
});

describe('what nobody foresaw', () => {
  const kinds = [
    ['read', requestBytes(cmd.read, 0, 512)],
    ['read', requestBytes(cmd.read, 0, 512, { flags: 4 })],
    ['write', requestBytes(cmd.write, 0, 512, { payload: Buffer.alloc(512) })],
    ['zero', requestBytes(cmd.zeroes, 0, 512)],
    ['discard', requestBytes(cmd.trim, 0, 512)],
    ['flush', requestBytes(cmd.flush, 0, 0)],
    ['flush', requestBytes(cmd.read, 0, 512, { flags: 1 })],
    ['status', requestBytes(cmd.status, 0, 512)],
  ] as const;

  it.each(kinds.flatMap(([name, bytes]) => (['now', 'later'] as const).map((mode) => [name, mode, bytes] as const)))(
    'in %s, answered %s, costs that client its connection, in one line, and nobody else theirs',
    async (name, mode, bytes) => {
      const setting = serve();
      setting.backend.bytes.fill(7, 0, 4096);
      const other = await connect(setting, { structured: false });
      const client = await connect(setting);
      setting.backend.mode = mode;
      const fail = new TypeError('x is not a function');
      setting.backend.fail = (called) => {
        if (called === name) throw fail;
        return undefined;
      };
      // in two pieces, so that a write's payload stands in a lease
      client.send(bytes.subarray(0, 30));
      client.send(bytes.subarray(30));
      await turns();
      expect(setting.log).toEqual(['Disconnect client, due to: internal error: x is not a function']);
      expect([client.isClosed, setting.server.connectionCount]).toEqual([true, 1]);
      setting.backend.fail = () => undefined;
      other.send(requestBytes(cmd.read, 0, 512, { cookie: 2 }));
      await turns();
      expect(repliesIn(other.output, () => 512).map(({ errno, data }) => [errno, data[0]])).toEqual([[0, 7]]);
      other.destroy();
      await expectNothingLeft(setting);
    },
  );

  it('in the handshake costs that client its connection', async () => {
    const setting = serve();
    const client = new MemoryConnection();
    setting.server.findExport = () => {
      throw new RangeError('no such thing');
    };
    setting.server.accept(client);
    client.send(handshakeBytes('x'));
    await turns();
    expect([client.isClosed, setting.log]).toEqual([true, ['internal error: no such thing']]);
    expect(setting.server.connectionCount).toBe(0);
  });
});

describe('endings', () => {
  it('wait for requests in flight when the client is dropped, and answer none', async () => {
    const setting = serve();
    const client = await connect(setting);
    setting.backend.mode = 'held';
    client.send(Buffer.concat(messages));
    let isRemoved = false;
    const removed = setting.server.removeExport('x', 'hard').then(() => {
      isRemoved = true;
    });
    await turns();
    expect([client.isClosed, isRemoved, client.output.length]).toEqual([true, false, 0]);
    while (!isRemoved) {
      setting.backend.letGo();
      await turns(1);
    }
    await removed;
    expect(setting.server.pool.outstanding).toBe(0);
    expect(client.output.length).toBe(0);
    expect(setting.backend.pending).toBe(0);
  });

  it('refuse a removal while clients are there unless it is hard, and what is not there', async () => {
    const setting = serve();
    const client = await connect(setting);
    await expect(setting.server.removeExport('y', 'hard')).rejects.toThrow("Export 'y' is not found");
    await expect(setting.server.removeExport('x', 'safe')).rejects.toMatchObject({
      message: "export 'x' still in use",
      detail: "Use mode='hard' to force client disconnect",
    });
    client.end();
    await turns();
    await setting.server.removeExport('x', 'safe');
    expect(setting.server.findExport('x')).toBeUndefined();
  });

  it('come at DISC once everything before it is answered; what follows it is not looked at', async () => {
    const setting = serve();
    const client = await connect(setting);
    setting.backend.mode = 'later';
    client.send(
      Buffer.concat([
        requestBytes(cmd.write, 0, 4, { payload: Buffer.from('abcd') }),
        requestBytes(cmd.disc, 9, 9),
        requestBytes(cmd.read, 0, 4),
        Buffer.alloc(100),
      ]),
    );
    client.send(Buffer.alloc(100));
    await turns();
    expect(answers(client.output)).toEqual(['1 -1 1 0 ']);
    expect([client.isClosed, setting.log, setting.backend.calls.length]).toEqual([true, [], 1]);
    await expectNothingLeft(setting);
  });

  it('come at once, with an error, where the stream cannot be followed', async () => {
    for (const [bytes, text] of [
      [requestBytes(cmd.read, 0, 4, { magic: 0xdeadbeef }), 'invalid magic (got 0xdeadbeef, expected 0x25609513)'],
      [requestBytes(cmd.disc, 0, 0, { magic: 1 }), 'invalid magic (got 0x1, expected 0x25609513)'],
      [requestBytes(cmd.write, 0, 33554433), 'len (33554433) is larger than max len (33554432)'],
    ] as const) {
      const setting = serve();
      const client = await connect(setting);
      client.send(Buffer.concat([bytes, requestBytes(cmd.read, 0, 4)]));
      await turns();
      const replies = repliesIn(client.output);
      expect(replies.map(({ errno, data }) => [errno, data.toString('utf8', 6)])).toEqual([[22, text]]);
      expect(setting.log).toEqual(['Disconnect client, due to: Request handling failed in intermediate state']);
      await expectNothingLeft(setting);
    }
  });

  it('of the server drop those who wait for a slot, and those who are served', async () => {
    const clock = new ManualClock();
    const server = new NbdServer({ clock, maxConnections: 1 });
    server.addExport(new NbdExport({ name: 'x', backend: new FakeBackend(size) }));
    const [first, second] = [new MemoryConnection(), new MemoryConnection()];
    server.accept(first);
    server.accept(second);
    await turns();
    expect([server.connectionCount, first.output.length, second.output.length, server.servesSeveral]).toEqual([1, 18, 0, false]);
    await server.stop();
    expect([first.isClosed, second.isClosed, server.exports().length]).toEqual([true, true, 0]);
    const late = new MemoryConnection();
    server.accept(late);
    expect(late.isClosed).toBe(true);
  });
});

describe('clients that wait for a slot', () => {
  it('are heard from their first byte on, one when another leaves', async () => {
    const server = new NbdServer({ clock: new ManualClock(), maxConnections: 1 });
    server.addExport(new NbdExport({ name: 'x', backend: new FakeBackend(size) }));
    const [first, gone, second, third] = [new MemoryConnection(), new MemoryConnection(), new MemoryConnection(), new MemoryConnection()];
    for (const client of [first, gone, second, third]) server.accept(client);
    second.send(handshakeBytes('x', {}));
    expect(second.isReading).toBe(false);
    gone.end();
    await turns();
    expect([gone.isClosed, second.output.length, third.output.length]).toEqual([true, 0, 0]);
    first.destroy();
    await turns();
    expect(second.output.length).toBeGreaterThan(18);
    expect(third.output.length).toBe(0);
    second.send(requestBytes(cmd.disc, 0, 0));
    await turns();
    expect([second.isClosed, third.output.length]).toEqual([true, 18]);
    await server.stop();
  });

  it('are 512 at most', async () => {
    const server = new NbdServer({ clock: new ManualClock(), maxConnections: 1 });
    const clients = Array.from({ length: 515 }, () => new MemoryConnection());
    for (const client of clients) server.accept(client);
    expect(clients.map(({ isClosed }) => isClosed).indexOf(true)).toBe(513);
    expect(clients.at(-1)?.isClosed).toBe(true);
    await server.stop();
  });
});
