/* Closings at a bad moment: with requests queued, jobs running, media that fail, twice, or by a signal. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { listening } from '../../support/listening.ts';
import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';
import { NbdClient } from '../nbd-client.ts';
import { type QmpProcess, type Stage, told } from '../stage.ts';

const mebibyte = 1 << 20;

/** Ends as a promise of the exit code. */
const end = (qmp: QmpProcess): Promise<number | null> => new Promise((resolve) => qmp.child.once('close', resolve));

/** A daemon with an image `q` of 1 MiB as node q, exported writable as q, and a raw target t. */
async function exporting(stage: Stage): Promise<{ qmp: QmpProcess; socket: string }> {
  await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', 'q', '1M']);
  writeFileSync(stage.path('t'), Buffer.alloc(mebibyte));
  const qmp = await stage.daemon();
  const socket = stage.path('s.sock');
  await qmp.execute('blockdev-add', { driver: 'qcow2', 'node-name': 'q', file: { driver: 'file', filename: 'q' } });
  await qmp.execute('blockdev-add', { driver: 'file', 'node-name': 't', filename: 't' });
  await qmp.execute('nbd-server-start', { addr: { type: 'unix', data: { path: socket } } });
  await qmp.execute('block-export-add', { type: 'nbd', id: 'e', 'node-name': 'q', writable: true });
  return { qmp, socket };
}

/** The image of a stage: exit code of its check, and whether its first 64 KiB are `byte`. */
async function looked(stage: Stage, byte: number): Promise<string> {
  const { code } = await stage.run('tsimg', ['check', '-q', 'q']);
  await stage.run('tsimg', ['convert', '-O', 'raw', 'q', 'o']);
  const isThere = readFileSync(stage.path('o'))
    .subarray(0, 65536)
    .every((found) => found === byte);
  return `check exit ${code}, acknowledged data ${isThere ? 'there' : 'lost'}`;
}

/** A daemon that is ended while requests are queued. */
function queued(name: string, finish: (qmp: QmpProcess) => void): Fault {
  return {
    name: `${name}-with-requests-queued`,
    kind: 'closing',
    expected: 'exit 0; socket gone; check exit 0, acknowledged data there',
    play: async (stage) => {
      const { qmp, socket } = await exporting(stage);
      const client = await NbdClient.connect(socket, 'q');
      await client.ask(1, 0n, 65536, new Uint8Array(65536).fill(5));
      for (let index = 0; index < 200; index++) client.send(1, 65536n * BigInt(1 + (index % 8)), 65536, new Uint8Array(65536).fill(index));
      const ended = end(qmp);
      finish(qmp);
      await client.ended();
      const code = await ended;
      return `exit ${code}; socket ${existsSync(socket) ? 'left' : 'gone'}; ${await looked(stage, 5)}`;
    },
  };
}

/** A daemon that is ended in the middle of a job. */
function inJob(name: string, job: Readonly<Record<string, unknown>>, finish: (qmp: QmpProcess) => void): Fault {
  return {
    name: `${name}-with-a-job`,
    kind: 'closing',
    expected: 'job ok; exit 0; check exit 0, acknowledged data there; target free: exit 0',
    play: async (stage) => {
      const { qmp, socket } = await exporting(stage);
      const client = await NbdClient.connect(socket, 'q');
      await client.ask(1, 0n, 65536, new Uint8Array(65536).fill(5));
      const started = told(await qmp.execute('blockdev-backup', { 'job-id': 'j', device: 'q', target: 't', sync: 'full', ...job }));
      const ended = end(qmp);
      finish(qmp);
      const code = await ended;
      client.close();
      const { code: free } = await stage.run('tsimg', ['resize', '-q', '-f', 'raw', 't', '2M']);
      return `job ${started}; exit ${code}; ${await looked(stage, 5)}; target free: exit ${free}`;
    },
  };
}

const busy: Fault = {
  name: 'nodes-in-use-are-not-deleted',
  kind: 'closing',
  expected:
    "Node q is in use; with a job: Block device q is in use, Node 't' is busy: block device is in use by block job: backup; then ok, ok; again: Failed to find node with node-name='q'",
  play: async (stage) => {
    const { qmp } = await exporting(stage);
    const remove = (name: string): Promise<string> => qmp.execute('blockdev-del', { 'node-name': name }).then(told);
    const exported = await remove('q');
    await qmp.execute('block-dirty-bitmap-add', { node: 'q', name: 'b' });
    await qmp.execute('blockdev-backup', { 'job-id': 'j', device: 'q', target: 't', sync: 'full', 'auto-finalize': false });
    const inJobs = [await remove('q'), await remove('t')];
    const gone = new Promise<void>((resolve) => {
      const look = setInterval(() => {
        const states = qmp.events.map((event) => (event['data'] as { status?: string } | undefined)?.status);
        if (states.includes('null')) {
          clearInterval(look);
          resolve();
        }
      }, 10);
    });
    await qmp.execute('job-cancel', { id: 'j' });
    await gone;
    await qmp.execute('nbd-server-stop');
    return `${exported}; with a job: ${inJobs.join(', ')}; then ${await remove('q')}, ${await remove('t')}; again: ${await remove('q')}`;
  },
};

const hardDelete: Fault = {
  name: 'an-export-taken-from-a-client-at-work',
  kind: 'closing',
  expected: "safe: export 'e' still in use; hard: ok; client ended; then Export 'e' is not found; node: ok",
  play: async (stage) => {
    const { qmp, socket } = await exporting(stage);
    const client = await NbdClient.connect(socket, 'q');
    for (let index = 0; index < 64; index++) client.send(0, 0n, mebibyte);
    const safe = told(await qmp.execute('block-export-del', { id: 'e' }));
    const hard = told(await qmp.execute('block-export-del', { id: 'e', mode: 'hard' }));
    await client.ended();
    while (!qmp.events.some((event) => event['event'] === 'BLOCK_EXPORT_DELETED')) await new Promise((resolve) => setImmediate(resolve));
    const again = told(await qmp.execute('block-export-del', { id: 'e', mode: 'hard' }));
    return `safe: ${safe}; hard: ${hard}; client ended; then ${again}; node: ${told(await qmp.execute('blockdev-del', { 'node-name': 'q' }))}`;
  },
};

const serverStop: Fault = {
  name: 'a-server-stopped-under-eight-clients',
  kind: 'closing',
  expected: 'stop ok, eight ended, exports 0, stop again: NBD server not running, start: ok',
  play: async (stage) => {
    const { qmp, socket } = await exporting(stage);
    const clients = await Promise.all(Array.from({ length: 8 }, () => NbdClient.connect(socket, 'q')));
    for (const client of clients) for (let index = 0; index < 16; index++) client.send(0, 0n, mebibyte);
    const stopped = told(await qmp.execute('nbd-server-stop'));
    await Promise.all(clients.map((client) => client.ended()));
    const exports = (await qmp.execute('query-block-exports')) as { return: unknown[] };
    const again = told(await qmp.execute('nbd-server-stop'));
    const start = told(await qmp.execute('nbd-server-start', { addr: { type: 'unix', data: { path: socket } } }));
    return `stop ${stopped}, eight ended, exports ${exports.return.length}, stop again: ${again}, start: ${start}`;
  },
};

const program: Fault = {
  name: 'a-serving-program-ended-twice-by-signal',
  kind: 'closing',
  expected: 'exit 0; bytes there: true',
  play: async (stage) => {
    writeFileSync(stage.path('r'), Buffer.alloc(mebibyte));
    const [node, file] = stage.command('tsnbd');
    const socket = stage.path('s.sock');
    const child = stage.start(node, [file, '-t', '-f', 'raw', '-k', socket, stage.path('r')]);
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    await listening(socket);
    const client = await NbdClient.connect(socket);
    await client.ask(1, 0n, mebibyte, new Uint8Array(mebibyte).fill(5));
    for (let index = 0; index < 50; index++) client.send(1, 0n, mebibyte, new Uint8Array(mebibyte).fill(5));
    child.kill('SIGTERM');
    child.kill('SIGTERM');
    child.kill('SIGINT');
    const code = await ended;
    client.close();
    return `exit ${code}; bytes there: ${readFileSync(stage.path('r')).every((byte) => byte === 5)}`;
  },
};

const eachWriteAtClose: Fault = {
  name: 'each-write-and-flush-of-a-close-fails-once',
  kind: 'closing',
  expected: 'a failure told each time, media closed each time, data there each time',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const strange: string[] = [];
    let isOver = false;
    for (let failing = 0; failing < 40 && !isOver; failing++) {
      let count = 0;
      let isClosing = false;
      let closed = 0;
      let opened = 0;
      const { engine, media } = hookedEngine(library, {
        fail: (op) => {
          if (op === 'close') closed++;
          return isClosing && (op === 'write' || op === 'flush') && count++ === failing ? 'EIO' : undefined;
        },
      });
      await library.createImage(engine, 'qcow2', 'a', { size: mebibyte, lazy_refcounts: true });
      closed = 0;
      const backend = await engine.openBackend({ filename: 'a', format: 'qcow2', readOnly: false });
      opened = 1;
      await backend.write(0, new Uint8Array(65536).fill(1));
      await backend.flush();
      await backend.write(8 * 65536, new Uint8Array(65536).fill(2));
      isClosing = true;
      const told = await engine.close().then(
        () => undefined,
        (error: Error) => error.message,
      );
      isOver = count <= failing;
      if (!isOver && told === undefined) strange.push(`${failing}: no error`);
      if (closed !== opened) strange.push(`${failing}: ${closed} closed`);
      const again = hookedEngine(library, {}, media);
      const reader = await again.engine.openBackend({ filename: 'a', format: 'qcow2', readOnly: false });
      const bytes = new Uint8Array(65536);
      await reader.read(0, bytes);
      await again.engine.close();
      if (bytes.some((byte) => byte !== 1)) strange.push(`${failing}: data lost`);
    }
    return strange.length === 0 && isOver ? 'a failure told each time, media closed each time, data there each time' : strange.join('; ');
  },
};

const eachClose: Fault = {
  name: 'a-medium-that-cannot-be-closed',
  kind: 'closing',
  expected: 'told: Input/output error; media closed 3; a second close: Input/output error',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    let closed = 0;
    const { engine, media } = hookedEngine(library, {
      fail: (op, _offset, _length, path) => {
        if (op !== 'close') return undefined;
        closed++;
        return path === 'b' ? 'EIO' : undefined;
      },
    });
    for (const name of ['a', 'b', 'c']) {
      media.set(name, new library.MemoryStorage(name, { size: 512 }));
      await engine.addNode({ driver: 'file', 'node-name': name, filename: name });
    }
    const told = await engine.close().then(
      () => 'no error',
      (error: Error) => error.message,
    );
    const second = await engine.close().then(
      () => 'nothing',
      (error: Error) => error.message,
    );
    return `told: ${told}; media closed ${closed}; a second close: ${second}`;
  },
};

const closedTwice: Fault = {
  name: 'a-backend-closed-twice-and-used-after',
  kind: 'closing',
  expected: 'closed 1; read: No medium found; write: No medium found; flush told or nothing',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    let closed = 0;
    const { engine, media } = hookedEngine(library, {
      fail: (op) => {
        if (op === 'close') closed++;
        return undefined;
      },
    });
    media.set('a', new library.MemoryStorage('a', { size: mebibyte }));
    const backend = await engine.openBackend({ filename: 'a', format: 'raw', readOnly: false });
    await Promise.all([engine.closeBackend(backend), engine.closeBackend(backend).catch(() => {})]);
    const attempt = async (act: () => unknown): Promise<string> => {
      try {
        await act();
        return 'ok';
      } catch (error) {
        return error instanceof library.BlockError ? error.message : String(error);
      }
    };
    const read = await attempt(() => backend.read(0, new Uint8Array(512)));
    const write = await attempt(() => backend.write(0, new Uint8Array(512)));
    const flush = await attempt(() => backend.flush());
    await engine.close();
    return `closed ${closed}; read: ${read}; write: ${write}; flush ${['ok', 'No medium found'].includes(flush) ? 'told or nothing' : flush}`;
  },
};

const stdoutGone: Fault = {
  name: 'a-monitor-whose-reader-is-gone',
  kind: 'closing',
  expected: 'exit 0; check exit 0, acknowledged data there',
  play: async (stage) => {
    const { qmp, socket } = await exporting(stage);
    const client = await NbdClient.connect(socket, 'q');
    await client.ask(1, 0n, 65536, new Uint8Array(65536).fill(5));
    qmp.child.stdout?.destroy();
    for (let index = 0; index < 20; index++) void qmp.execute('query-named-block-nodes', undefined, 1);
    const { error } = await client.ask(3, 0n, 0);
    const ended = end(qmp);
    qmp.child.kill('SIGTERM');
    const code = await ended;
    client.close();
    return `exit ${error === '0' ? code : error}; ${await looked(stage, 5)}`;
  },
};

const terminate = (qmp: QmpProcess): void => void qmp.child.kill('SIGTERM');
const quit = (qmp: QmpProcess): void => void qmp.execute('quit');

const faults: Fault[] = [
  queued('quit', quit),
  queued('a-signal', terminate),
  inJob('quit', { speed: 1 }, quit),
  inJob('a-signal', { speed: 1 }, terminate),
  inJob('quit-when-all-waits-for-finalize', { 'auto-finalize': false }, quit),
  busy,
  hardDelete,
  serverStop,
  program,
  eachWriteAtClose,
  eachClose,
  closedTwice,
  stdoutGone,
];
export default faults;
