/* Sockets: where the server listens, errors in QEMU's words, and how a connection over a socket ends. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlockError } from '../../src/core/util/errors.ts';
import type { NbdAddress } from '../../src/nbd/address.ts';
import { NbdServer } from '../../src/nbd/server.ts';
import { openListener, SocketConnection } from '../../src/nbd/socket.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

let folder: TempFolder;
let server: NbdServer;

beforeEach(() => {
  folder = tempFolder('socket');
  server = new NbdServer();
});
afterEach(async () => {
  await server.stop();
  folder[Symbol.dispose]();
});

const failure = async (address: NbdAddress): Promise<BlockError> => {
  const error = await server.start(address).catch((thrown: unknown) => thrown);
  if (!(error instanceof BlockError)) throw new Error('started');
  return error;
};

it('listens on TCP, greets, and tells the port in use', async () => {
  await server.start({ type: 'inet', host: '127.0.0.1', port: '0' });
  const { address } = server;
  if (address?.type !== 'inet') throw new Error('no address');
  const socket = createConnection(Number(address.port), '127.0.0.1');
  const [greeting] = await new Promise<[Buffer]>((resolve) => socket.once('data', (bytes: Buffer) => resolve([bytes])));
  expect(greeting.toString('latin1', 0, 16)).toBe('NBDMAGICIHAVEOPT');
  socket.destroy();
  const refused = new NbdServer();
  await expect(refused.start(address)).rejects.toThrow('Failed to find an available port: Address already in use');
});

it('leaves a file alone that is no socket', async () => {
  const path = folder.file('image.raw');
  writeFileSync(path, 'precious');
  expect((await failure({ type: 'unix', path })).message).toBe(`Failed to bind socket to ${path}: Address already in use`);
  expect(readFileSync(path, 'utf8')).toBe('precious');
});

it('names what is wrong with a path', async () => {
  const missing = folder.file('none/s');
  expect((await failure({ type: 'unix', path: missing })).message).toBe(`Failed to bind socket to ${missing}: No such file or directory`);
  writeFileSync(folder.file('plain'), '');
  const below = folder.file('plain/s');
  expect((await failure({ type: 'unix', path: below })).message).toBe(`Failed to bind socket to ${below}: Not a directory`);
  const long = `/${'x'.repeat(107)}`;
  const error = await failure({ type: 'unix', path: long });
  expect([error.message, error.detail]).toEqual([`UNIX socket path '${long}' is too long`, 'Path must be less than 108 bytes']);
  mkdirSync(folder.file('folder'));
  expect((await failure({ type: 'unix', path: folder.file('folder') })).message).toContain('Address already in use');
});

it('names what is wrong with an address', async () => {
  expect((await failure({ type: 'inet', host: '192.0.2.1', port: '0' })).message).toBe('Failed to bind socket: Cannot assign requested address');
  for (const port of ['abc', '', '1x', 'x1', '-1']) {
    expect((await failure({ type: 'inet', host: 'localhost', port })).message).toBe(
      `address resolution failed for localhost:${port}: Servname not supported for ai_socktype`,
    );
  }
  const nobody = await failure({ type: 'inet', host: 'no such host', port: '1' });
  expect(nobody.message).toBe('address resolution failed for no such host:1: Name or service not known');
  expect(nobody.cause).toBeInstanceOf(Error);
});

it('counts ports round, as the system does', async () => {
  await server.start({ type: 'inet', host: '127.0.0.1', port: '65536' });
  if (server.address?.type !== 'inet') throw new Error('no address');
  expect(server.address.host).toBe('127.0.0.1');
  expect(Number(server.address.port)).toBeGreaterThan(0);
});

it('tells its path while it listens', async () => {
  const path = folder.file('s');
  const listener = await openListener({ type: 'unix', path }, 1, new ManualClock(), () => {});
  expect(listener.address).toEqual({ type: 'unix', path });
  await listener.close();
  expect(existsSync(path)).toBe(false);
});

it('listens with a path of 107 bytes', async () => {
  const path = folder.file('s'.repeat(108 - Buffer.byteLength(folder.file('s'))));
  await server.start({ type: 'unix', path });
  expect(existsSync(path)).toBe(true);
});

it('has clients wait that come before it may speak', async () => {
  const path = folder.file('s');
  await server.start({ type: 'unix', path }, { held: true });
  const client = createConnection(path);
  await new Promise<void>((resolve) => client.once('connect', resolve));
  const isReady = new Promise<void>((resolve) => client.once('data', () => resolve()));
  expect(server.connectionCount).toBe(0);
  server.release();
  await isReady;
  expect(server.connectionCount).toBe(1);
  client.destroy();
});

describe('a connection over a socket', () => {
  let acceptor: Server;
  let far: Socket;
  let clock: ManualClock;
  let connection: SocketConnection;
  let heard: string[];
  let told: string[];

  beforeEach(async () => {
    clock = new ManualClock();
    heard = [];
    told = [];
    const path = folder.file('c');
    const near = new Promise<Socket>((resolve) => {
      acceptor = createServer({ allowHalfOpen: true }, resolve);
    });
    await new Promise<void>((resolve) => acceptor.listen(path, resolve));
    far = createConnection({ path, allowHalfOpen: true });
    far.on('error', () => {});
    connection = new SocketConnection(await near, clock);
    connection.onClose = () => told.push('onClose');
  });
  afterEach(async () => {
    far.destroy();
    connection.destroy();
    await until(() => connection.isClosed);
    acceptor.close();
  });

  const listen = (who = ''): void =>
    connection.deliverTo({
      receive: (chunk) => heard.push(`${who}${Buffer.from(chunk).toString()}`),
      inputEnded: () => told.push(`${who}ended`),
      closed: () => told.push(`${who}closed`),
    });
  const until = async (isDone: () => boolean): Promise<void> => {
    while (!isDone()) await new Promise((resolve) => setImmediate(resolve));
  };

  it('delivers input to the receiver that is there, each byte once', async () => {
    listen();
    far.write('one');
    await until(() => heard.length === 1);
    listen('2: ');
    far.write('two');
    await until(() => heard.length === 2);
    connection.pause();
    far.write('three');
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(heard).toEqual(['one', '2: two']);
    connection.resume();
    await until(() => heard.length === 3);
    expect(heard).toEqual(['one', '2: two', '2: three']);
  });

  it('tells the end of input, and tells it again to who comes later, and can still be written', async () => {
    listen();
    far.end();
    await until(() => told.length === 1);
    listen('2: ');
    expect(told).toEqual(['ended', '2: ended']);
    expect(connection.isClosed).toBe(false);
    const got = new Promise<string>((resolve) => far.once('data', (bytes: Buffer) => resolve(bytes.toString())));
    await new Promise<void>((resolve) => connection.write(Buffer.from('bye'), resolve));
    expect(await got).toBe('bye');
  });

  it('tells that it is closed, once to each who listens', async () => {
    listen();
    connection.destroy();
    await until(() => connection.isClosed);
    expect(told).toEqual(['closed', 'onClose']);
    listen('2: ');
    expect(told.at(-1)).toBe('2: closed');
    let isDone = false;
    connection.write(Buffer.from('x'), () => {
      isDone = true;
    });
    expect(isDone).toBe(true);
    connection.finish();
    expect(clock.waiting).toBe(0);
  });

  it('sends what was written before it finishes, nothing after, and is closed then', async () => {
    const parts: string[] = [];
    far.on('data', (bytes: Buffer) => parts.push(bytes.toString()));
    connection.cork();
    connection.write(Buffer.from('a'));
    connection.write(Buffer.from('b'));
    connection.uncork();
    connection.finish();
    connection.finish();
    let isDone = false;
    connection.write(Buffer.from('c'), () => {
      isDone = true;
    });
    expect(isDone).toBe(true);
    await until(() => connection.isClosed);
    await until(() => parts.join('').length === 2);
    expect(parts.join('')).toBe('ab');
    expect(clock.waiting).toBe(0);
  });

  it('that nobody reads is given up after ten seconds', async () => {
    far.pause();
    // more than the system takes
    connection.write(Buffer.alloc(16 << 20));
    connection.finish();
    clock.advance(9999);
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(connection.isClosed).toBe(false);
    clock.advance(1);
    await until(() => connection.isClosed);
    expect(told).toEqual(['onClose']);
  });
});
