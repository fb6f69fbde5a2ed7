/* The end of an engine: one order, every step although others fail, the first error told when all is closed. */
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { BlockBackend, writerPerms } from '../../src/core/block/backend.ts';
import { FaultyStorage } from '../../src/core/storage/faulty.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { Engine } from '../../src/engine/engine.ts';
import { startBackup } from '../../src/engine/ops/backup.ts';
import { addExport, startNbdServer } from '../../src/engine/ops/exports.ts';
import { Machine } from '../../src/machine/machine.ts';
import { type MemoryEngine, memoryEngine } from '../support/memory-engine.ts';
import { tempFolder } from '../support/tmp.ts';

const size = 65536;

/** Media whose flush fails while their path is in `broken`; `log` also hears when one is closed. */
function watchedEngine(broken: ReadonlySet<string> = new Set()): MemoryEngine {
  const made = memoryEngine((storage: Storage, path: string) => {
    const faulty = new FaultyStorage(storage, {
      before: () => new Promise((resolve) => setImmediate(resolve)),
      fail: (op) => (op === 'flush' && broken.has(path) ? new BlockError(`flush of ${path}`, { code: 'EIO' }) : undefined),
    });
    const close = faulty[Symbol.asyncDispose].bind(faulty);
    faulty[Symbol.asyncDispose] = async () => {
      made.log.push(`closed ${path}`);
      await close();
    };
    return faulty;
  });
  return made;
}

async function addDisk({ engine, media, log }: MemoryEngine, name: string): Promise<void> {
  const medium = await engine.openStorage(name, { readOnly: false, create: 'truncate', direct: false, noFlush: false, locking: 'off' });
  await medium.truncate(size);
  await medium[Symbol.asyncDispose]();
  expect(media.get(name)?.size()).toBe(size);
  log.length = 0;
  await engine.addNode({ driver: 'raw', 'node-name': name, file: { driver: 'file', filename: name } });
}

async function writer({ engine }: MemoryEngine, name: string): Promise<BlockBackend> {
  const backend = new BlockBackend(engine.graph, writerPerms);
  const node = engine.graph.find(name);
  if (node !== undefined) backend.insert(node);
  return backend;
}

describe('the order', () => {
  it('is guest, listeners, exports, jobs, then the media', async () => {
    using folder = tempFolder('close');
    const made = watchedEngine();
    const { engine, log } = made;
    for (const name of ['source', 'target', 'disk']) await addDisk(made, name);
    const machine = new Machine(engine);
    engine.machine = machine;
    const disk = engine.graph.find('disk');
    if (disk !== undefined) await machine.addDisk('hd', disk);
    const workload = machine.run('hd', { kind: 'random-write', seed: 1 });
    await startBackup(engine, { device: 'source', target: 'target', sync: 'none', 'job-id': 'job' });
    await startNbdServer(engine, { addr: { type: 'unix', path: folder.file('socket') } });
    await addExport(engine, { type: 'nbd', id: 'exp', 'node-name': 'target' });
    engine.onClose(async () => void log.push(`listener 1, guest ${machine.workloads.length}, exports ${engine.exports.list().length}`));
    engine.onClose(async () => void log.push('listener 2'));
    log.length = 0;
    await engine.close();
    expect(workload.requests).toBeGreaterThanOrEqual(0);
    const at = (start: string): number => log.findIndex((line) => line.startsWith(start));
    expect(log.slice(0, 3)).toEqual(['listener 2', 'listener 1, guest 0, exports 1', 'BLOCK_EXPORT_DELETED exp']);
    expect(at('job aborting')).toBeGreaterThan(at('BLOCK_EXPORT_DELETED'));
    expect(at('closed')).toBeGreaterThan(at('job null'));
    expect(log.filter((line) => line.startsWith('closed')).sort()).toEqual(['closed disk', 'closed source', 'closed target']);
    expect([...engine.graph.nodes]).toEqual([]);
    expect(existsSync(folder.file('socket'))).toBe(false);
  });

  it('waits for the requests under way, and ends backends that nobody closed', async () => {
    const made = watchedEngine();
    await addDisk(made, 'disk');
    const backend = await writer(made, 'disk');
    const written = backend.write(0, new Uint8Array(512).fill(7), 0);
    await made.engine.close();
    expect(backend.node).toBeUndefined();
    const head = new Uint8Array(2);
    made.media.get('disk')?.read(0, head);
    await written;
    expect(head).toEqual(Uint8Array.of(7, 7));
    expect(made.log).toEqual(['closed disk']);
  });

  it('a second call does nothing', async () => {
    const { engine, log } = watchedEngine();
    engine.onClose(async () => void log.push('listener'));
    await engine.close();
    await engine.close();
    await engine[Symbol.asyncDispose]();
    expect(log).toEqual(['listener']);
  });
});

describe('errors', () => {
  it('in one step skip no other; the first is told', async () => {
    const broken = new Set<string>();
    const made = watchedEngine(broken);
    for (const name of ['a', 'b', 'c']) {
      await addDisk(made, name);
      await (await writer(made, name)).write(0, new Uint8Array(512), 0);
    }
    made.engine.onClose(async () => {
      throw new BlockError('listener', { code: 'EIO' });
    });
    broken.add('a').add('c');
    await expect(made.engine.close()).rejects.toThrow('listener');
    expect(made.log.filter((line) => line.startsWith('closed')).sort()).toEqual(['closed a', 'closed b', 'closed c']);
    expect([...made.engine.graph.nodes]).toEqual([]);
  });

  it('of a medium are told when nothing failed before', async () => {
    const broken = new Set(['a']);
    const made = watchedEngine(broken);
    await addDisk(made, 'a');
    await (await writer(made, 'a')).write(0, new Uint8Array(512), 0);
    await expect(made.engine.close()).rejects.toThrow('flush of a');
  });
});

describe('a medium that never answers', () => {
  it('holds nobody up, and is counted until it does', async () => {
    let answer: (error: BlockError) => void = () => {};
    const engine = new Engine({
      openStorage: () =>
        new Promise((_resolve, reject) => {
          answer = reject;
        }),
    });
    const opening = engine.addNode({ driver: 'file', 'node-name': 'x', filename: 'dead.raw' });
    const refused = expect(opening).rejects.toMatchObject({ code: 'ECANCELED' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(engine.opener.waiting).toBe(1);
    // a second call waits as the first does
    await Promise.all([engine.close(), engine.close()]);
    await refused;
    expect(engine.opener.waiting).toBe(1);
    answer(new BlockError('Input/output error', { code: 'EIO' }));
    await new Promise((resolve) => setImmediate(resolve));
    expect(engine.opener.waiting).toBe(0);
  });
});
