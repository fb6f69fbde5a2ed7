/* Votes of several nodes: who is told of, who is written over, and what comes of children that fail later. */
import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import { FaultyStorage } from '../../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../../src/core/storage/memory.ts';
import { BlockError } from '../../../src/core/util/errors.ts';
import type { Json } from '../../../src/core/util/json.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { memoryEngine } from '../../support/memory-engine.ts';

const size = 65536;
let engine: Engine;
afterEach(() => engine.close());

interface Opened {
  readonly backend: BlockBackend;
  readonly media: readonly MemoryStorage[];
  readonly events: Record<string, unknown>[];
  /** The child whose requests of a kind fail from now on. */
  breakChild(name: string | undefined, op: string, code?: 'EIO' | 'ENOSPC'): void;
}

async function open(rules: Record<string, Json>): Promise<Opened> {
  const names = ['a', 'b', 'c'];
  let broken: { readonly name: string; readonly op: string; readonly code: 'EIO' | 'ENOSPC' } | undefined;
  const made = memoryEngine(
    (storage, path) =>
      new FaultyStorage(storage, {
        before: () => (path === 'b' ? new Promise((resolve) => setImmediate(resolve)) : undefined),
        fail: (op) => (broken?.name === path && broken.op === op ? new BlockError('no', { code: broken.code }) : undefined),
      }),
  );
  engine = made.engine;
  const media = names.map((name) => {
    const medium = new MemoryStorage(name, { size });
    medium.write(0, new Uint8Array(size).fill(7));
    made.media.set(name, medium);
    return medium;
  });
  const events: Record<string, unknown>[] = [];
  engine.events.listen(({ name, data }) => {
    if (name.startsWith('QUORUM')) events.push({ name, ...data });
  });
  const children: Json[] = names.map((name) => ({ driver: 'raw', 'node-name': name, file: { driver: 'file', filename: name } }));
  const node = await engine.addNode({ driver: 'quorum', 'node-name': 'vote', 'vote-threshold': 2, children, ...rules });
  const backend = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write, shared: perm.all });
  backend.insert(node);
  const breakChild: Opened['breakChild'] = (name, op, code = 'EIO') => {
    broken = name === undefined ? undefined : { name, op, code };
  };
  return { backend, media, events, breakChild };
}

async function read(backend: BlockBackend): Promise<number | undefined> {
  const bytes = new Uint8Array(1024);
  await backend.read(512, bytes);
  return bytes[0];
}

const bad = (type: string, node: string, error?: string) => {
  return { name: 'QUORUM_REPORT_BAD', type, ...(error === undefined ? {} : { error }), 'node-name': node, 'sector-num': 1, 'sectors-count': 2 };
};

describe('quorum', () => {
  it('writes all children, and reads what most of them hold', async () => {
    const { backend, media, events } = await open({});
    await backend.write(512, new Uint8Array(1024).fill(9));
    for (const medium of media) {
      const bytes = new Uint8Array(2);
      medium.read(1534, bytes);
      expect([...bytes]).toEqual([9, 9]);
    }
    media[1]?.write(512, new Uint8Array(1).fill(1));
    expect(await read(backend)).toBe(9);
    expect(events).toEqual([bad('read', 'b')]);
    const bytes = new Uint8Array(1);
    media[1]?.read(512, bytes);
    expect(bytes[0]).toBe(1);
    await backend.remove();
  });

  it('sets right who was outvoted, where that is asked for', async () => {
    const { backend, media } = await open({ 'rewrite-corrupted': true });
    media[2]?.write(512, new Uint8Array(100).fill(1));
    expect(await read(backend)).toBe(7);
    const bytes = new Uint8Array(1);
    media[2]?.read(512, bytes);
    expect(bytes[0]).toBe(7);
    await backend.remove();
  });

  it('fails where too few agree, and says so', async () => {
    const { backend, media, events } = await open({ 'vote-threshold': 3 });
    media[0]?.write(512, new Uint8Array(1).fill(1));
    await expect(read(backend)).rejects.toMatchObject({ code: 'EIO' });
    expect(events).toEqual([{ name: 'QUORUM_FAILURE', reference: 'vote', 'sector-num': 1, 'sectors-count': 2 }]);
    await backend.remove();
  });

  it('does without a child that fails, as long as enough are left', async () => {
    const { backend, events, breakChild } = await open({});
    breakChild('c', 'read');
    expect(await read(backend)).toBe(7);
    breakChild('a', 'write', 'ENOSPC');
    await backend.write(512, new Uint8Array(1024).fill(3));
    expect(events).toEqual([bad('read', 'c', 'no'), bad('write', 'a', 'no')]);
    breakChild('b', 'flush');
    await backend.flush();
    expect(events.at(-1)).toMatchObject({ type: 'flush', 'node-name': 'b' });
    breakChild(undefined, '');
    await backend.remove();
  });

  it('asks one child after another, first in first out', async () => {
    const { backend, media, events, breakChild } = await open({ 'read-pattern': 'fifo' });
    media[0]?.write(512, new Uint8Array(1).fill(1));
    expect(await read(backend)).toBe(1);
    breakChild('a', 'read');
    expect(await read(backend)).toBe(7);
    expect(events).toEqual([bad('read', 'a', 'no')]);
    breakChild(undefined, '');
    await backend.remove();
  });

  it('lets nobody write a child beside it', async () => {
    const { backend } = await open({});
    const other = new BlockBackend(engine.graph, { perm: perm.write, shared: perm.all });
    const child = engine.graph.find('a');
    if (child === undefined) throw new Error('no child');
    expect(() => other.insert(child)).toThrow(/unshared by node 'vote' .uses node 'a' as 'children.0' child./);
    await backend.remove();
  });
});
