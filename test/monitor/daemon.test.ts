/* tsqmp --daemon as a process: its channels, its pid file, its way into the background, its ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectStream } from '../../src/monitor/qmp-server.ts';
import { builtProgram, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

let folder: TempFolder;
let children: { child: ChildProcess; ended: Promise<number | null> }[] = [];
beforeEach(() => {
  folder = tempFolder('daemon');
});
afterEach(async () => {
  for (const { child, ended } of children) {
    child.kill('SIGKILL');
    await ended;
  }
  children = [];
  folder[Symbol.dispose]();
});

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  stdout(): string;
  stderr(): string;
  /** Until its standard output contains `text`. */
  until(text: string): Promise<void>;
}

function start(...words: readonly (string | NodeJS.ProcessEnv)[]): Running {
  const env = Object.assign({ ...process.env }, ...words.filter((word) => typeof word !== 'string')) as NodeJS.ProcessEnv;
  const args = words.filter((word) => typeof word === 'string');
  const child = spawn(process.execPath, [builtProgram('tsqmp'), '--daemon', ...args], { stdio: ['pipe', 'pipe', 'pipe'], cwd: folder.path, env });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  children.push({ child, ended });
  let out = '';
  let err = '';
  let wake: () => void = () => {};
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
    wake();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString();
    wake();
  });
  child.on('close', () => wake());
  return {
    child,
    ended,
    stdout: () => out,
    stderr: () => err,
    until: async (text) => {
      while (!out.includes(text) && !err.includes(text)) {
        if (child.exitCode !== null) throw new Error(`ended before '${text}': ${out}${err}`);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}

const stdio = ['--chardev', 'stdio,id=o', '--monitor', 'o'];
const socketTo = (path: string): string[] => ['--chardev', `socket,id=c,path=${path},server=on,wait=off`, '--monitor', 'c'];

describe('tsqmp --daemon', () => {
  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('ends in good order on %s', async (signal) => {
    const daemon = start(
      ...socketTo('s'),
      '--pidfile',
      'pid',
      '--blockdev',
      'null-co,node-name=n',
      '--nbd-server',
      'addr.type=unix,addr.path=n.sock',
      ...stdio,
    );
    await daemon.until('QMP');
    // the greeting comes while options are carried out; the pid file is the last of them
    while (!existsSync(folder.file('pid')) || readFileSync(folder.file('pid'), 'utf8') === '') await new Promise((resolve) => setImmediate(resolve));
    expect(readFileSync(folder.file('pid'), 'utf8')).toBe(`${daemon.child.pid}\n`);
    expect(existsSync(folder.file('n.sock'))).toBe(true);
    daemon.child.kill(signal);
    expect(await daemon.ended).toBe(0);
    for (const name of ['s', 'n.sock', 'pid']) expect(existsSync(folder.file(name)), name).toBe(false);
    expect(daemon.stderr()).toBe('');
  });

  it('lives on when background work fails where nobody waits for it, and tells it in one line', async () => {
    // a fault as a bug of ours might make it
    writeFileSync(
      folder.file('bug.cjs'),
      "process.on('SIGUSR2', () => { Promise.reject(new RangeError('Map maximum size exceeded')); setImmediate(() => { throw new TypeError('no such thing'); }); });",
    );
    const daemon = start({ NODE_OPTIONS: '--require ./bug.cjs' }, ...stdio);
    await daemon.until('QMP');
    for (const text of ['RangeError: Map maximum size exceeded', 'TypeError: no such thing']) {
      daemon.child.kill('SIGUSR2');
      await daemon.until(`tsqmp: internal error: ${text}\n`);
    }
    daemon.child.stdin?.write('{"execute":"qmp_capabilities"}{"execute":"query-jobs"}{"execute":"quit"}');
    expect(await daemon.ended).toBe(0);
    expect(daemon.stdout()).toContain('{"return": []}');
    expect(daemon.stderr().trimEnd().split('\n')).toHaveLength(2);
  });

  it('tells its clients what its end takes down, and closes their connections', async () => {
    const daemon = start(
      '--strict',
      ...socketTo('s'),
      '--blockdev',
      'null-co,node-name=n',
      '--nbd-server',
      'addr.type=unix,addr.path=n.sock',
      '--export',
      'nbd,id=e,node-name=n',
      ...stdio,
    );
    await daemon.until('QMP');
    const client = await connectStream({ type: 'unix', path: folder.file('s') });
    let heard = '';
    const closed = new Promise((resolve) => client.on('close', resolve));
    client.on('data', (chunk: Buffer) => {
      heard += chunk.toString();
      if (heard.includes('{"return": {}}')) daemon.child.kill('SIGTERM');
    });
    client.write('{"execute":"qmp_capabilities"}');
    await closed;
    expect(heard).toContain('"event": "BLOCK_EXPORT_DELETED", "data": {"id": "e"}');
    expect(await daemon.ended).toBe(0);
  });

  it('goes on when its standard input ends', async () => {
    const daemon = start(...socketTo('s'), ...stdio);
    daemon.child.stdin?.end('{"execute":"qmp_capabilities"}{"execute":"query-jobs","id":"last"}');
    await daemon.until('"id": "last"');
    const client = await connectStream({ type: 'unix', path: folder.file('s') });
    client.resume();
    client.write('{"execute":"qmp_capabilities"}{"execute":"quit"}');
    expect(await daemon.ended).toBe(0);
  });

  it.each(['quit', 'SIGTERM'] as const)('ends by %s while its clients stay on the line', async (how) => {
    const daemon = start(
      ...socketTo('s'),
      '--qmp',
      'unix:q',
      '--nbd-server',
      'addr.type=unix,addr.path=n.sock',
      '--blockdev',
      'null-co,node-name=n,size=1048576',
      '--export',
      'nbd,id=e,node-name=n',
      ...stdio,
    );
    await daemon.until('"QMP"');
    // none of them closes its end: one asks and reads, one asks much and reads nothing, one waits its turn, one speaks NBD
    const lines: Socket[] = [];
    const dial = async (name: string): Promise<Socket> => {
      const socket = connect({ path: folder.file(name), allowHalfOpen: true });
      lines.push(socket);
      socket.on('error', () => {});
      await new Promise((resolve) => socket.once('connect', resolve));
      return socket;
    };
    const asking = await dial('s');
    await dial('s');
    const deaf = await dial('q');
    deaf.write('{"execute":"qmp_capabilities"}');
    for (let count = 0; count < 20; count++) deaf.write('{"execute":"query-qmp-schema"}');
    const reader = await dial('n.sock');
    await new Promise((resolve) => reader.once('data', resolve));
    let heard = '';
    asking.on('data', (chunk: Buffer) => {
      heard += chunk.toString();
      if (how === 'SIGTERM' && heard.includes('{"return": {}}')) daemon.child.kill('SIGTERM');
    });
    asking.write(`{"execute":"qmp_capabilities"}${how === 'quit' ? '{"execute":"quit","id":"q"}' : ''}`);
    expect(await daemon.ended).toBe(0);
    for (const line of lines) line.destroy();
    if (how === 'quit') expect(heard).toContain('"id": "q"');
    expect(heard).toContain('BLOCK_EXPORT_DELETED');
  });

  it('waits for a client where the channel says so', async () => {
    const daemon = start('--chardev', 'socket,id=c,path=s,server=on', '--monitor', 'c', ...stdio);
    await daemon.until('info: QEMU waiting for connection on: disconnected:unix:s,server=on');
    expect(daemon.stdout()).toBe('');
    const client = await connectStream({ type: 'unix', path: folder.file('s') });
    await daemon.until('"QMP"');
    client.destroy();
  });

  it('connects to whoever listens for a monitor', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(folder.file('listener'), resolve));
    const heard = new Promise<string>((resolve) => {
      server.on('connection', (socket) => {
        socket.once('data', (chunk: Buffer) => {
          resolve(chunk.toString());
          socket.destroy();
        });
      });
    });
    const daemon = start('--chardev', 'socket,id=c,path=listener', '--monitor', 'c', ...stdio);
    expect(await heard).toMatch(/^\{"QMP": /);
    await daemon.until('"QMP"');
    server.close();
  });

  it('goes into the background and returns when it serves', async () => {
    const words = ['--daemonize', '--pidfile', folder.file('pid'), ...socketTo(folder.file('s'))];
    const { code, stdout, stderr } = await run(process.execPath, [builtProgram('tsqmp'), '--daemon', ...words]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '', stderr: '' });
    const client = await connectStream({ type: 'unix', path: folder.file('s') });
    const closed = new Promise((resolve) => client.on('close', resolve));
    client.resume();
    client.write('{"execute":"qmp_capabilities"}{"execute":"quit"}');
    await closed;
  });

  it('is a machine with the human monitor, and under --strict without disks a storage daemon', async () => {
    const question =
      '{"execute":"qmp_capabilities"}{"execute":"human-monitor-command","arguments":{"command-line":"info block-jobs"},"id":1}{"execute":"quit"}';
    const free = start(...stdio);
    free.child.stdin?.write(question);
    await free.ended;
    expect(free.stdout()).toContain('{"return": "No active jobs\\r\\n", "id": 1}');
    const strict = start('--strict', ...stdio);
    strict.child.stdin?.write(question);
    await strict.ended;
    expect(strict.stdout()).toContain('The command human-monitor-command has not been found');
  });

  it('takes everything down again when an option fails', async () => {
    const daemon = start(...socketTo('s'), '--nbd-server', 'addr.type=unix,addr.path=n.sock', '--blockdev', 'file,node-name=f,filename=nosuch');
    expect(await daemon.ended).toBe(1);
    expect(daemon.stderr()).toMatch(/^\S+: --blockdev file,node-name=f,filename=nosuch: Could not open 'nosuch': No such file or directory\n$/);
    expect(existsSync(folder.file('s'))).toBe(false);
    expect(existsSync(folder.file('n.sock'))).toBe(false);
  });
});
