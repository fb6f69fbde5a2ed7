/*
 * A hundred clients that mean harm or break off anywhere: after each the server serves on, and at the end its descriptors
 * and its buffers are back where they were; and a thousand more that leave next to nothing behind.
 */
import { readdirSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { Random } from '../../src/machine/workload.ts';
import type { NbdServer } from '../../src/nbd/server.ts';
import { cmd, opt, RawClient, text, u32 } from '../support/nbd-client.ts';
import { handshakeBytes, MemoryConnection, requestBytes } from '../support/nbd-memory.ts';
import { exportSize, serveMemory } from '../support/nbd-server.ts';

type Attack = (client: RawClient, random: Random) => Promise<void> | void;

const noise = (random: Random, length: number): Buffer => Buffer.from(Array.from({ length }, () => random.below(256)));

const attacks: readonly (readonly [name: string, attack: Attack])[] = [
  ['says nothing', () => {}],
  ['noise instead of flags', (client, random) => client.send(noise(random, 1 + random.below(200)))],
  ['noise after the flags', async (client, random) => client.greet().then(() => client.send(noise(random, 1 + random.below(4000))))],
  ['an option that never ends', async (client) => client.greet().then(() => client.sendOption(opt.go, Buffer.alloc(10), 30_000_000))],
  ['a thousand options', async (client) => client.greet().then(() => Array.from({ length: 1000 }, () => client.sendOption(99, Buffer.alloc(3))))],
  [
    'meta contexts without end',
    async (client) => {
      await client.greet();
      await client.option(opt.structured);
      client.sendOption(opt.setMeta, Buffer.concat([text('disk'), u32(0xffffffff), text('base:')]));
    },
  ],
  ['noise as requests', async (client, random) => client.go('disk').then(() => client.send(noise(random, 28 * (1 + random.below(20)))))],
  ['half a header', async (client) => client.go('disk').then(() => client.send(Buffer.from('256095130000', 'hex')))],
  ['half a payload', async (client, random) => client.go('disk').then(() => client.request(cmd.write, 0, 65536, { payload: noise(random, 100) }))],
  [
    'half a payload and a half-close',
    async (client, random) => {
      await client.go('disk');
      client.request(cmd.write, 0, 65536, { payload: noise(random, 1000) });
      client.socket.end();
    },
  ],
  [
    'reads that nobody takes',
    async (client) => {
      await client.go('disk');
      client.socket.pause();
      for (let index = 0; index < 200; index++) client.request(cmd.read, 0, 1024 * 1024, { cookie: index });
    },
  ],
  [
    'requests past everything',
    async (client, random) => {
      await client.go('disk', { structured: true });
      for (let index = 0; index < 50; index++) {
        client.request(random.below(12), BigInt(random.below(2 ** 31)) * BigInt(random.below(2 ** 31)), random.below(2 ** 31), { flags: random.below(65536) });
      }
    },
  ],
  [
    'writes after DISC',
    async (client) => {
      await client.go('disk');
      client.request(cmd.disc, 0, 0);
      client.request(cmd.write, 0, 512, { payload: Buffer.alloc(512, 0xbd) });
    },
  ],
];

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;
const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

it('survives a hundred hostile sessions', async () => {
  await using server = await serveMemory();
  server.medium.write(0, new Uint8Array(4096).fill(0x5a));
  const random = new Random(20131103);
  const isServing = async (): Promise<void> => {
    const good = await RawClient.connect(server.path);
    expect(await good.go('ro', { structured: true })).toBe(exportSize);
    expect((await good.structuredRead(exportSize - 512, 512)).length).toBe(512);
    good.request(cmd.disc, 0, 0);
    await good.closed();
    good.close();
  };
  await isServing();
  await turns(20);
  const before = openDescriptors();
  for (let session = 0; session < 104; session++) {
    const [name, attack] = attacks[session % attacks.length] ?? ['', () => {}];
    const client = await RawClient.connect(server.path);
    try {
      await attack(client, random);
    } catch (error) {
      // the server closed on the attacker: its right
      if (!(error instanceof Error) || !/closed the connection/.test(error.message)) throw new Error(name, { cause: error });
    }
    await turns(random.below(5));
    client.close();
    await isServing();
  }
  for (let wait = 0; wait < 2000 && (openDescriptors() > before || server.server.connectionCount > 0); wait++) await turns(1);
  expect(server.server.connectionCount).toBe(0);
  expect(openDescriptors()).toBeLessThanOrEqual(before);
  // every buffer is back, and no session is known to anybody
  expect(server.server.pool.outstanding).toBe(0);
  expect(server.server.exports().map(({ clientCount }) => clientCount)).toEqual([0, 0]);
});

/** Bytes of live objects and buffers of this process. */
function liveBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect !== 'function') throw new Error('no garbage collector');
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** A session in memory that is broken off in the middle of everything: a payload, reads in flight, replies that nobody takes. */
async function brokenSession(server: NbdServer, random: Random): Promise<void> {
  const client = new MemoryConnection();
  server.accept(client);
  client.send(handshakeBytes('disk', { structured: random.below(2) === 0 }));
  await turns(2);
  client.isHeld = random.below(2) === 0;
  for (let count = random.below(8); count > 0; count--) client.send(requestBytes(cmd.read, 0, 1 + random.below(300_000)));
  client.send(requestBytes(cmd.write, 0, 100_000, { payload: Buffer.alloc(1 + random.below(90_000)) }));
  if (random.below(2) === 0) await turns(1);
  if (random.below(2) === 0) client.end();
  client.destroy();
  await turns(2);
}

it('leaves less than a kilobyte behind for a session, however it is broken off', async () => {
  await using server = await serveMemory();
  const random = new Random(20141201);
  const play = async (count: number): Promise<number> => {
    for (let session = 0; session < count; session++) await brokenSession(server.server, random);
    expect(server.server.connectionCount).toBe(0);
    expect(server.server.pool.outstanding).toBe(0);
    return liveBytes() - server.server.pool.kept;
  };
  // what is compiled and what the pool keeps is there after the first
  await play(200);
  const before = await play(200);
  const growth = (await play(1000)) - before;
  expect(growth / 1000).toBeLessThan(1024);
});
