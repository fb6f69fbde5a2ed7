/* Where the server listens: TCP with a port of the system's choice, unix paths with something in the way, errors in QEMU's words. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { BlockError } from '../../src/core/util/errors.ts';
import type { NbdAddress } from '../../src/nbd/address.ts';
import { NbdServer } from '../../src/nbd/server.ts';
import { run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

let folder: TempFolder;
let server: NbdServer;

beforeEach(() => {
  folder = tempFolder('listener');
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

it('takes over the path of a socket that its server left behind, and removes its own at the end', async () => {
  const path = folder.file('s');
  const left = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await run(process.execPath, ['-e', left]);
  expect(existsSync(path)).toBe(true);
  await server.start({ type: 'unix', path });
  await server.stop();
  expect(existsSync(path)).toBe(false);
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
  expect((await failure({ type: 'inet', host: 'localhost', port: 'abc' })).message).toBe(
    'address resolution failed for localhost:abc: Servname not supported for ai_socktype',
  );
});
