/* tsnbd in the background, its pid file, socket activation, and what it leaves behind when it cannot serve. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { cmd, RawClient } from '../support/nbd-client.ts';
import { builtProgram, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

let folder: TempFolder;
beforeEach(() => {
  folder = tempFolder('tsnbd-fork');
  writeFileSync(folder.file('disk.raw'), new Uint8Array(65536).fill(6));
});
afterEach(() => folder[Symbol.dispose]());

const tsnbd = (...args: string[]): ReturnType<typeof run> => run(process.execPath, [builtProgram('tsnbd'), ...args], { cwd: folder.path });

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

it('returns from --fork when it serves, its pid file complete, and ends with its client', async () => {
  const started = await tsnbd('--fork', '--pid-file=pid', '-r', '-f', 'raw', '-x', 'vda', 'disk.raw', '-k', folder.file('s'));
  expect(started).toEqual({ code: 0, stdout: '', stderr: '' });
  const pid = Number(/^(\d+)\n$/.exec(readFileSync(folder.file('pid'), 'utf8'))?.[1]);
  expect(statSync(folder.file('pid')).mode & 0o777).toBe(0o600);
  expect(isRunning(pid)).toBe(true);
  const client = await RawClient.connect(folder.file('s'));
  expect(await client.go('vda')).toBe(65536);
  client.request(cmd.read, 0, 512);
  expect((await client.simpleReply(512)).data[0]).toBe(6);
  client.request(cmd.disc, 0, 0);
  await client.closed();
  while (isRunning(pid)) await new Promise((resolve) => setImmediate(resolve));
  expect(existsSync(folder.file('s'))).toBe(false);
  expect(existsSync(folder.file('pid'))).toBe(true);
});

it('prints the errors of the background and removes the socket', async () => {
  const failed = await tsnbd('--fork', '-f', 'raw', 'nofile', '-k', folder.file('s'));
  expect(failed).toEqual({ code: 1, stdout: '', stderr: "tsnbd: Failed to blk_new_open 'nofile': Could not open 'nofile': No such file or directory\n" });
  expect(existsSync(folder.file('s'))).toBe(false);
});

it('counts a warning before it serves as a failure of --fork, and serves', async () => {
  const started = await tsnbd('--fork', '--pid-file', folder.file('pid'), '-t', 'disk.raw', '-k', folder.file('s'));
  expect(started.code).toBe(1);
  expect(started.stderr).toContain("WARNING: Image format was not specified for 'disk.raw' and probing guessed raw.");
  const pid = Number(readFileSync(folder.file('pid'), 'utf8'));
  const client = await RawClient.connect(folder.file('s'));
  expect(await client.go('')).toBe(65536);
  process.kill(pid, 'SIGTERM');
  await client.closed();
  while (isRunning(pid)) await new Promise((resolve) => setImmediate(resolve));
  expect(existsSync(folder.file('s'))).toBe(false);
});

it('exports a part of the image read-only when asked, and refuses to write it', async () => {
  const server = spawn(process.execPath, [builtProgram('tsnbd'), '-r', '-o', '0x1000', '-f', 'raw', folder.file('disk.raw'), '-k', folder.file('s')], {
    stdio: 'ignore',
  });
  const ended = new Promise<number | null>((resolve) => server.once('close', resolve));
  while (!existsSync(folder.file('s'))) await new Promise((resolve) => setImmediate(resolve));
  const client = await RawClient.connect(folder.file('s'));
  expect(await client.go('')).toBe(65536 - 4096);
  client.request(cmd.write, 0, 512, { payload: Buffer.alloc(512) });
  expect((await client.simpleReply()).error).toBe(1);
  client.close();
  expect(await ended).toBe(0);
  expect(readFileSync(folder.file('disk.raw')).every((byte) => byte === 6)).toBe(true);
});

it('serves a listening socket that the system hands over, as descriptor 3', async () => {
  // the parent opens the socket, passes it on and closes its own copy, as systemd would
  const parent = `
    const { createServer } = require('node:net'), { spawn } = require('node:child_process');
    const server = createServer().listen(0, '127.0.0.1', () => {
      const words = ['-c', 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"', process.execPath, ...process.argv.slice(1)];
      const child = spawn('sh', words, { stdio: ['ignore', 'ignore', 'inherit', server._handle.fd] });
      child.once('spawn', () => { console.log(server.address().port); server.close(); });
      child.once('close', (code) => process.exit(code ?? 99));
    });
  `;
  const words = (...args: string[]): string[] => ['-e', parent, builtProgram('tsnbd'), ...args, '-f', 'raw', folder.file('disk.raw')];
  const refused = await run(process.execPath, words('-k', folder.file('s')));
  expect([refused.code, refused.stderr]).toEqual([1, "tsnbd: Unix socket can't be set when using socket activation\n"]);
  const server = spawn(process.execPath, words('-r'), { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<number | null>((resolve) => server.once('close', resolve));
  const port = await new Promise<number>((resolve) => server.stdout.once('data', (text: Buffer) => resolve(Number(text.toString()))));
  const client = await RawClient.connect(port);
  expect(await client.go('')).toBe(65536);
  client.request(cmd.disc, 0, 0);
  expect(await ended).toBe(0);
});
