/* What a client can make a session keep, at most, whatever it asks and whether it listens; and that everything comes back. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BlockStatus, noLimits } from '../../src/core/block/driver.ts';
import { eventLoop } from '../../src/core/util/clock.ts';
import { type Maybe, YieldBudget } from '../../src/core/util/maybe.ts';
import { BufferPool } from '../../src/nbd/buffer-pool.ts';
import { type ExportBackend, NbdExport } from '../../src/nbd/export.ts';
import { simpleFraming, structuredFraming } from '../../src/nbd/framing.ts';
import { Session } from '../../src/nbd/session.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { cmd } from '../support/nbd-client.ts';
import { MemoryConnection, repliesIn, requestBytes } from '../support/nbd-memory.ts';

const mib = 1024 * 1024;
const largest = 32 * mib;
/** 6 MiB and the last request, a header and the rounding of what it stands in. */
const bound = 6 * mib + largest + mib + 8192;

/** A large disk whose content is never touched: what counts is who waits, and for what. Holes and data by turns of `run` bytes. */
class VastBackend implements ExportBackend {
  readonly readOnly = false;
  readonly limits = noLimits;
  readonly run: number;
  /** Seen at every call. */
  look: () => void = () => {};
  isLater: (call: number) => boolean = () => false;
  calls = 0;

  constructor(run: number) {
    this.run = run;
  }

  size(): number {
    return 2 ** 42;
  }

  read(): Maybe<void> {
    return this.#answer();
  }
  write(): Maybe<void> {
    return this.#answer();
  }
  zero(): Maybe<void> {
    return this.#answer();
  }
  discard(): Maybe<void> {
    return this.#answer();
  }
  flush(): Maybe<void> {
    return this.#answer();
  }
  status(offset: number, length: number): Maybe<BlockStatus> {
    const index = Math.floor(offset / this.run);
    const data = index % 4 !== 3;
    const status = { length: Math.min(length, (index + 1) * this.run - offset), data, zero: !data, allocated: true };
    const later = this.#answer();
    return later === undefined ? status : later.then(() => status);
  }

  #answer(): Promise<void> | undefined {
    this.look();
    return this.isLater(++this.calls) ? eventLoop.nextTurn().then(() => this.look()) : undefined;
  }
}

interface Setting {
  readonly session: Session;
  readonly connection: MemoryConnection;
  readonly pool: BufferPool;
  readonly backend: VastBackend;
  readonly most: () => number;
}

function serve(how: {
  readonly structured: boolean;
  readonly run?: number;
  readonly isLater?: (call: number) => boolean;
  readonly clock?: ManualClock;
}): Setting {
  const backend = new VastBackend(how.run ?? mib);
  const clock = how.clock ?? new ManualClock();
  const exp = new NbdExport({ name: 'x', backend, writable: true, allocationDepth: true });
  const connection = new MemoryConnection();
  const pool = new BufferPool();
  const framing = how.structured ? structuredFraming : simpleFraming;
  const session = new Session(
    connection,
    { exp, framing, contexts: how.structured ? exp.contexts : [] },
    { pool, clock, budget: new YieldBudget(clock), log: () => {} },
  );
  let most = 0;
  backend.isLater = how.isLater ?? (() => false);
  backend.look = () => {
    most = Math.max(most, session.held, connection.unsent);
  };
  session.start(new Uint8Array(0));
  return { session, connection, pool, backend, most: () => most };
}

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await eventLoop.nextTurn();
};

/** Every lease is back and nothing stands in the account. */
async function expectNothingLeft({ session, connection, pool }: Setting): Promise<void> {
  connection.destroy();
  await session.finished;
  expect([session.held, pool.outstanding, session.exp.clientCount]).toEqual([0, 0, 0]);
}

const sizes = fc.oneof(fc.constantFrom(1, 512, 4096, 65536, mib, mib + 1, largest), fc.integer({ min: 1, max: largest }));
const requests = fc.array(
  fc.record({
    type: fc.constantFrom(cmd.read, cmd.read, cmd.read, cmd.status, cmd.flush, cmd.zeroes, cmd.trim),
    offset: fc.integer({ min: 0, max: 2 ** 41 }),
    length: sizes,
    flags: fc.constantFrom(0, 0, 1, 4),
  }),
  { minLength: 1, maxLength: 80 },
);
const whens = fc.constantFrom<(call: number) => boolean>(
  () => false,
  () => true,
  (call) => call % 3 === 0,
);

describe('a client that never reads', () => {
  it('makes us keep no more than one largest reply and 8 MiB, whatever it asks', async () => {
    await fc.assert(
      fc.asyncProperty(requests, fc.boolean(), whens, fc.constantFrom(4096, 65536, mib), async (list, structured, isLater, run) => {
        const setting = serve({ structured, isLater, run });
        const { connection, session } = setting;
        connection.isHeld = true;
        for (const { type, offset, length, flags } of list) connection.send(requestBytes(type, offset, length, { flags: structured ? flags : flags & 1 }));
        for (let turn = 0; turn < 40; turn++) {
          await eventLoop.nextTurn();
          expect(Math.max(session.held, connection.unsent)).toBeLessThanOrEqual(bound);
        }
        expect(setting.most()).toBeLessThanOrEqual(bound);
        await expectNothingLeft(setting);
      }),
      { numRuns: 60, seed: 11 },
    );
  });

  it.each([
    ['plain reads', false, 0, largest],
    ['reads with FUA, which wait for a flush first', false, 1, largest],
    ['whole structured reads with FUA', true, 5, largest],
    ['sparse reads', true, 0, largest],
    ['small reads', false, 0, 4096],
  ])('is read no further when %s pile up, and is served to the end when it reads again', async (_what, structured, flags, length) => {
    const setting = serve({ structured, isLater: () => true });
    const { connection, session, backend } = setting;
    connection.isHeld = true;
    const count = length === 4096 ? 2000 : 100;
    for (let cookie = 0; cookie < count; cookie++) connection.send(requestBytes(cmd.read, cookie * largest, length, { flags, cookie }));
    await turns(200);
    expect(connection.isReading).toBe(false);
    expect(setting.most()).toBeLessThanOrEqual(bound);
    expect(connection.unsent).toBeGreaterThan(5 * mib);
    const { calls } = backend;
    await turns(50);
    expect(backend.calls).toBe(calls);
    const seen = new Set<number>();
    if (length !== 4096) {
      await expectNothingLeft(setting);
      return;
    }
    connection.isHeld = false;
    connection.letGo();
    while (seen.size < count) {
      await eventLoop.nextTurn();
      for (const { cookie } of repliesIn(connection.take(connection.output.length), () => length)) seen.add(cookie);
    }
    await turns(2);
    expect(session.held).toBe(0);
    await expectNothingLeft(setting);
  });

  it('has large sparse reads answered whole, in order of their pieces, when it reads again', async () => {
    const setting = serve({ structured: true, isLater: (call) => call % 2 === 0 });
    const { connection } = setting;
    connection.isHeld = true;
    const count = 12;
    for (let cookie = 0; cookie < count; cookie++) connection.send(requestBytes(cmd.read, cookie * largest, 8 * mib, { cookie }));
    await turns(100);
    expect(connection.isReading).toBe(false);
    connection.isHeld = false;
    const next = Array.from({ length: count }, (_, cookie) => cookie * largest);
    let done = 0;
    while (done < count) {
      connection.letGo();
      await eventLoop.nextTurn();
      for (const { cookie, type, flags, data } of repliesIn(connection.take(connection.output.length))) {
        const at = Number(data.readBigUInt64BE(0));
        expect(at).toBe(next[cookie]);
        const length = type === 2 ? data.readUInt32BE(8) : data.length - 8;
        next[cookie] = at + length;
        if (flags === 1) {
          done++;
          expect(at + length).toBe(cookie * largest + 8 * mib);
        }
      }
    }
    expect(setting.most()).toBeLessThanOrEqual(bound);
    await expectNothingLeft(setting);
  });

  it('keeps one context of a block status at a time', async () => {
    const setting = serve({ structured: true, run: 512, isLater: (call) => call === 1 });
    const { connection, session } = setting;
    for (let cookie = 0; cookie < 4; cookie++) connection.send(requestBytes(cmd.status, 0, 64 * mib, { cookie }));
    // 24 bytes for each of 131072 runs: more than two of these wait
    expect(session.held).toBe(2 * 3 * mib);
    const chunks: string[] = [];
    while (chunks.length < 8) {
      await eventLoop.nextTurn();
      for (const { cookie, data, flags } of repliesIn(connection.take(connection.output.length))) chunks.push(`${cookie} ${flags} ${(data.length - 4) / 8}`);
    }
    expect(chunks.sort()).toEqual(['0', '1', '2', '3'].flatMap((cookie) => [`${cookie} 0 65536`, `${cookie} 1 1`]));
    expect(setting.most()).toBeLessThanOrEqual(bound);
    await expectNothingLeft(setting);
  });

  it('sends payloads only as far as those before it were written', async () => {
    let release: () => void = () => {};
    const setting = serve({ structured: false });
    const { connection, backend, session } = setting;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    backend.write = () => held;
    const payload = Buffer.alloc(mib, 7);
    for (let cookie = 0; cookie < 12; cookie++) {
      connection.send(requestBytes(cmd.write, 0, 2 * mib, { cookie }));
      connection.send(payload);
      connection.send(payload);
    }
    await turns(20);
    expect(connection.isReading).toBe(false);
    expect(session.held).toBe(3 * 2 * mib);
    release();
    await turns(20);
    expect(repliesIn(connection.take(connection.output.length)).map(({ cookie }) => cookie)).toEqual(Array.from({ length: 12 }, (_, cookie) => cookie));
    await expectNothingLeft(setting);
  });

  it('counts the input that small writes keep while they wait', async () => {
    let release: () => void = () => {};
    const setting = serve({ structured: false });
    const { connection, backend, session } = setting;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    backend.write = () => held;
    const write = requestBytes(cmd.write, 0, 1000, { payload: Buffer.alloc(1000) });
    connection.send(write);
    expect(session.held).toBe(1028);
    release();
    await turns(3);
    expect(session.held).toBe(0);
    await expectNothingLeft(setting);
  });
});

describe('requests in flight', () => {
  it.each(['read', 'flush', 'status'] as const)('are 64 at most: %s', async (kind) => {
    const setting = serve({ structured: true });
    const { connection, backend } = setting;
    const waiting: (() => void)[] = [];
    const hold = (): Promise<void> => new Promise((resolve) => waiting.push(resolve));
    backend.read = hold;
    backend.flush = hold;
    backend.status = async (_offset, length) => {
      if (kind === 'status') await hold();
      return { length, data: true, zero: false, allocated: true };
    };
    for (let cookie = 0; cookie < 130; cookie++) connection.send(requestBytes(cmd[kind], 0, 512, { cookie }));
    const seen: number[] = [];
    const counts: number[] = [];
    while (seen.length < (kind === 'status' ? 260 : 130)) {
      await turns(3);
      counts.push(waiting.length);
      for (const go of waiting.splice(0)) go();
      await turns(3);
      for (const { cookie } of repliesIn(connection.take(connection.output.length))) seen.push(cookie);
    }
    expect(counts[0]).toBe(64);
    expect(Math.max(...counts)).toBe(64);
    await expectNothingLeft(setting);
  });

  it('of one size share their memory', async () => {
    const setting = serve({ structured: true, isLater: () => true });
    const { connection, pool, session } = setting;
    for (let cookie = 0; cookie < 64; cookie++) connection.send(requestBytes(cmd.read, 0, 512, { cookie, flags: 4 }));
    expect(pool.outstanding).toBe(1);
    await turns(10);
    expect([pool.outstanding, session.held]).toEqual([0, 0]);
    const replies = repliesIn(connection.take(connection.output.length));
    expect(replies.map(({ cookie }) => cookie)).toEqual(Array.from({ length: 64 }, (_, cookie) => cookie));
    await expectNothingLeft(setting);
  });
});
