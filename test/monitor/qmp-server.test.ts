import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { PassThrough, Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Engine } from '../../src/engine/engine.ts';
import { allCommands } from '../../src/monitor/catalogue.ts';
import { type AnyCommand, defineCommand, noArguments } from '../../src/monitor/command.ts';
import { Monitor } from '../../src/monitor/monitor.ts';
import { connectStream, QmpServer, serveClient } from '../../src/monitor/qmp-server.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

let folder: TempFolder;
let engine: Engine;
beforeEach(() => {
  folder = tempFolder('qmp');
  engine = new Engine({ strict: true });
});
afterEach(async () => {
  await engine.close();
  folder[Symbol.dispose]();
});

function makeMonitor(more: readonly AnyCommand[] = []): Monitor {
  return new Monitor(engine, { kind: 'daemon', commands: [...allCommands, ...more], onQuit: () => {} });
}

/** A client that keeps what it heard. */
class Client {
  readonly socket: Socket;
  text = '';
  #wake: () => void = () => {};

  constructor(path: string) {
    this.socket = connect(path);
    this.socket.setEncoding('utf8');
    this.socket.on('data', (text: string) => {
      this.text += text;
      this.#wake();
    });
    this.socket.on('error', () => {});
    this.socket.on('close', () => this.#wake());
  }

  async until(count: number): Promise<string[]> {
    while (this.lines.length < count && !this.socket.destroyed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.lines;
  }

  get lines(): string[] {
    return this.text.split('\r\n').slice(0, -1);
  }

  async ended(): Promise<void> {
    if (this.socket.destroyed) return;
    await new Promise((resolve) => this.socket.once('close', resolve));
  }
}

const negotiate = '{"execute":"qmp_capabilities"}';

describe('a QMP socket', () => {
  it('greets at once and ends every message with CR LF', async () => {
    await using _server = await QmpServer.listen(makeMonitor(), { type: 'unix', path: folder.file('s') });
    const client = new Client(folder.file('s'));
    client.socket.write(`${negotiate}\n{"execute":"nosuch"}`);
    const [greeting, ...replies] = await client.until(3);
    expect(greeting).toMatch(
      /^\{"QMP": \{"version": \{"qemu": \{"micro": \d+, "minor": \d+, "major": \d+\}, "package": "[^"]+"\}, "capabilities": \["oob"\]\}\}$/,
    );
    expect(replies).toEqual(['{"return": {}}', '{"error": {"class": "CommandNotFound", "desc": "The command nosuch has not been found"}}']);
    expect(client.text.replaceAll('\r\n', '')).not.toContain('\n');
    client.socket.destroy();
  });

  it('takes values as they come: several in a packet, one in several packets', async () => {
    await using _server = await QmpServer.listen(makeMonitor(), { type: 'unix', path: folder.file('s') });
    const client = new Client(folder.file('s'));
    client.socket.write(`${negotiate}{"execute":"query-jobs","id":1}  {"execute":"query-jobs","id":2}{"execute":"query-`);
    await client.until(4);
    client.socket.write('jobs","id":3}');
    expect((await client.until(5)).slice(2)).toEqual(['{"return": [], "id": 1}', '{"return": [], "id": 2}', '{"return": [], "id": 3}']);
    client.socket.destroy();
  });

  it('prints over several lines when asked to', async () => {
    await using _server = await QmpServer.listen(makeMonitor(), { type: 'unix', path: folder.file('s') }, { pretty: true });
    const client = new Client(folder.file('s'));
    client.socket.write(negotiate);
    await client.until(2);
    expect(client.text).toContain('\n    "QMP": {\n        "version": {\n');
    client.socket.destroy();
  });

  it('serves one client at a time: the next is greeted when the first has left', async () => {
    await using _server = await QmpServer.listen(makeMonitor(), { type: 'unix', path: folder.file('s') });
    const first = new Client(folder.file('s'));
    await first.until(1);
    const second = new Client(folder.file('s'));
    second.socket.write(negotiate);
    first.socket.write(`${negotiate}{"execute":"query-jobs"}`);
    await first.until(3);
    expect(second.text).toBe('');
    first.socket.end();
    expect((await second.until(2))[1]).toBe('{"return": {}}');
    second.socket.destroy();
  });

  it('negotiates anew with each client', async () => {
    await using _server = await QmpServer.listen(makeMonitor(), { type: 'unix', path: folder.file('s') });
    const first = new Client(folder.file('s'));
    first.socket.write(negotiate);
    await first.until(2);
    first.socket.end();
    await first.ended();
    const second = new Client(folder.file('s'));
    second.socket.write('{"execute":"query-jobs"}');
    expect((await second.until(2))[1]).toContain("Expecting capabilities negotiation with 'qmp_capabilities'");
    second.socket.destroy();
  });

  it('tells events to the clients of all sockets', async () => {
    const monitor = makeMonitor();
    await using _a = await QmpServer.listen(monitor, { type: 'unix', path: folder.file('a') });
    await using _b = await QmpServer.listen(monitor, { type: 'tcp', host: '127.0.0.1', port: 0 });
    const one = new Client(folder.file('a'));
    one.socket.write(negotiate);
    const other = await connectStream({ type: 'tcp', host: '127.0.0.1', port: _b.port ?? 0 });
    let heard = '';
    const heardTwice = new Promise<void>((resolve) => {
      other.on('data', (chunk: Buffer) => {
        heard += chunk.toString();
        if (heard.split('\r\n').length > 3) resolve();
        else if (heard.split('\r\n').length === 3) engine.events.emit('STOP');
      });
    });
    await one.until(2);
    other.write(negotiate);
    await heardTwice;
    expect((await one.until(3))[2]).toContain('"event": "STOP"');
    expect(heard).toContain('"event": "STOP"');
    one.socket.destroy();
    other.destroy();
  });

  it('survives a client that sends garbage and vanishes', async () => {
    await using _server = await QmpServer.listen(makeMonitor(), { type: 'unix', path: folder.file('s') });
    const rude = new Client(folder.file('s'));
    rude.socket.write(Buffer.from(`\xff\xfe${'['.repeat(5000)}{"execute":`, 'latin1'));
    await rude.until(2);
    rude.socket.destroy();
    const next = new Client(folder.file('s'));
    next.socket.write(negotiate);
    expect((await next.until(2))[1]).toBe('{"return": {}}');
    next.socket.destroy();
  });

  it('replaces the socket of a server that is gone, and leaves none behind', async () => {
    const path = folder.file('s');
    const server = await QmpServer.listen(makeMonitor(), { type: 'unix', path });
    expect(existsSync(path)).toBe(true);
    await server.close();
    expect(existsSync(path)).toBe(false);
    await (await QmpServer.listen(makeMonitor(), { type: 'unix', path })).close();
  });

  it('answers quit last and closes the connection when it is closed', async () => {
    await using server = await QmpServer.listen(makeMonitor(), { type: 'unix', path: folder.file('s') });
    const client = new Client(folder.file('s'));
    client.socket.write(`${negotiate}{"execute":"quit","id":"q"}{"execute":"query-jobs"}`);
    await client.until(3);
    await server.close();
    await client.ended();
    expect(client.lines.slice(1)).toEqual(['{"return": {}}', '{"return": {}, "id": "q"}']);
  });
});

describe('a client that is faster than its commands', () => {
  it('is not read while eight of its requests wait', async () => {
    let release: () => void = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow = defineCommand({ name: 'x-wait', summary: 'waits', args: noArguments, guards: [], run: () => gate });
    const input = new PassThrough();
    const output = new PassThrough();
    let heard = '';
    const done = new Promise<void>((resolve) => {
      output.on('data', (chunk: Buffer) => {
        heard += chunk.toString();
        if (heard.includes('"id": 39')) resolve();
      });
    });
    const served = serveClient(makeMonitor([slow]), input, output);
    input.write(negotiate);
    for (let id = 0; id < 40; id++) {
      input.write(`{"execute":"x-wait","id":${id}}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(input.isPaused()).toBe(true);
    expect(input.readableLength).toBeGreaterThan(0);
    release();
    await done;
    expect([...heard.matchAll(/"id": (\d+)/g)].map((match) => Number(match[1]))).toEqual(Array.from({ length: 40 }, (_, id) => id));
    input.end();
    await served;
  });
});

describe('a client that never reads', () => {
  /** A stream that takes nothing before `open` is called. */
  function deaf(): { output: Writable; heard: () => string; open: () => void } {
    let heard = '';
    let isOpen = false;
    const held: (() => void)[] = [];
    const output = new Writable({
      write: (chunk: Buffer, _encoding, callback) => {
        heard += chunk.toString();
        if (isOpen) callback();
        else held.push(callback);
      },
    });
    return {
      output,
      heard: () => heard,
      open: () => {
        isOpen = true;
        for (const callback of held.splice(0)) callback();
      },
    };
  }
  const turns = async (count: number): Promise<void> => {
    for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
  };

  it('is not answered, and not read, before it has taken the reply before', async () => {
    let runs = 0;
    const count = defineCommand({ name: 'x-count', summary: 'counts', args: noArguments, guards: [], run: () => void runs++ });
    const input = new PassThrough();
    const { output, heard, open } = deaf();
    const served = serveClient(makeMonitor([count]), input, output);
    const requests = 300;
    input.write(negotiate + '{"execute":"x-count"}'.repeat(requests));
    await turns(20);
    expect(runs).toBe(0);
    expect(output.writableLength).toBeLessThan(1000);
    expect(input.isPaused()).toBe(true);
    open();
    input.end();
    await served;
    expect(runs).toBe(requests);
    expect(heard().split('\r\n')).toHaveLength(requests + 3);
  });

  it('loses events beyond a bound, and hears them again once it reads', async () => {
    const told: string[] = [];
    const monitor = new Monitor(engine, { kind: 'daemon', commands: allCommands, onQuit: () => {}, warn: (text) => told.push(text) });
    const input = new PassThrough();
    const { output, heard, open } = deaf();
    const ending = new AbortController();
    const served = serveClient(monitor, input, output, { signal: ending.signal });
    open();
    input.write(negotiate);
    await turns(5);
    output.cork();
    const text = 'x'.repeat(1000);
    for (let count = 0; count < 5000; count++) engine.events.emit('STOP', { text });
    expect(output.writableLength).toBeLessThan(1.1 * 1024 * 1024);
    expect(told).toEqual(['a client of the monitor does not read: events for it are dropped']);
    output.uncork();
    await turns(5);
    engine.events.emit('RESUME');
    await turns(5);
    expect(heard()).toContain('RESUME');
    ending.abort();
    await served;
  });

  it('is left when the serving ends', async () => {
    const input = new PassThrough();
    const { output } = deaf();
    const ending = new AbortController();
    const served = serveClient(makeMonitor(), input, output, { signal: ending.signal });
    input.write(negotiate);
    await turns(5);
    ending.abort();
    await served;
  });
});
