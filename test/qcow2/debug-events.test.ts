/*
 * An error at each event of an image's metadata in turn, for each operation that changes it: the operation says so, the image
 * is consistent, and the next try works.
 */
import { describe, expect, it } from 'vitest';
import { BlockBackend, resizerPerms } from '../../src/core/block/backend.ts';
import { type DebugEvent, debugEvents } from '../../src/core/block/debug-events.ts';
import { reqFlag } from '../../src/core/block/driver.ts';
import { makeEmpty } from '../../src/core/block/empty.ts';
import { applySnapshot, createSnapshot, deleteSnapshot } from '../../src/core/block/snapshots.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import { errnoNumber } from '../../src/core/util/errno.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { createImage } from '../../src/engine/create.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { memoryEngine } from '../support/memory-engine.ts';
import { bytesOf, checkMedium } from './image-support.ts';

const cluster = 512;
const size = 192 * cluster;

interface Subject {
  readonly engine: Engine;
  readonly backend: BlockBackend;
}

interface Operation {
  readonly name: string;
  readonly prepare?: (subject: Subject) => Promise<void>;
  readonly run: (subject: Subject) => unknown;
  /** A second try is refused where the first one was through before its flush failed. */
  readonly isOnce?: boolean;
  /** What the disk holds after it, the last byte of each cluster. */
  readonly expected?: (cluster: number) => number;
}

const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

function nodeOf({ backend }: Subject) {
  const { node } = backend;
  if (node === undefined) throw new Error('no node');
  return node;
}

const details = { name: 'one', vmStateSize: 0, dateSec: 1, dateNsec: 2, vmClockNsec: 3n, icount: 0n };
const take = (subject: Subject): Promise<void> => createSnapshot(subject.engine.graph, nodeOf(subject), details);
const amend = (subject: Subject, values: Record<string, string | number | boolean>): unknown =>
  nodeOf(subject).state.amend?.(values, { force: false, onProgress: () => {} });

const written = 40;
const old = (at: number): number => (at < written ? 1 : 0);

const operations: readonly Operation[] = [
  { name: 'a write', run: ({ backend }) => backend.write(100 * cluster, filled(70 * cluster, 2)), expected: (at) => (at >= 100 && at < 170 ? 2 : old(at)) },
  {
    name: 'a write of parts',
    run: ({ backend }) => backend.write(20 * cluster + 100, filled(60 * cluster, 2)),
    expected: (at) => (at >= 20 && at < 80 ? 2 : old(at)),
  },
  {
    name: 'a compressed write',
    isOnce: true,
    run: ({ backend }) => backend.write(100 * cluster, filled(cluster, 2), reqFlag.compressed),
    expected: (at) => (at === 100 ? 2 : old(at)),
  },
  { name: 'zeros', run: ({ backend }) => backend.zero(0, 30 * cluster, reqFlag.mayUnmap), expected: (at) => (at < 30 ? 0 : old(at)) },
  { name: 'a discard', run: ({ backend }) => backend.discard(10 * cluster, 30 * cluster), expected: (at) => (at < 10 ? 1 : 0) },
  { name: 'growing', run: ({ backend }) => backend.truncate(20 * size, { exact: false, prealloc: 'off' }), expected: old },
  { name: 'growing with metadata', run: ({ backend }) => backend.truncate(2 * size, { exact: false, prealloc: 'metadata' }), expected: old },
  { name: 'shrinking', run: ({ backend }) => backend.truncate(20 * cluster, { exact: false, prealloc: 'off' }), expected: old },
  { name: 'making a snapshot', run: take, expected: old },
  { name: 'deleting a snapshot', prepare: take, run: (subject) => deleteSnapshot(subject.engine.graph, nodeOf(subject), 'one'), expected: old },
  {
    name: 'applying a snapshot',
    prepare: async (subject) => {
      await take(subject);
      await subject.backend.write(0, filled(size, 3));
    },
    run: (subject) => applySnapshot(subject.engine.graph, nodeOf(subject), 'one'),
    expected: old,
  },
  {
    name: 'a write beside a snapshot',
    prepare: take,
    run: ({ backend }) => backend.write(0, filled(30 * cluster, 4)),
    expected: (at) => (at < 30 ? 4 : old(at)),
  },
  { name: 'wider counts', run: (subject) => amend(subject, { refcount_bits: 64 }), expected: old },
  { name: 'an older version', run: (subject) => amend(subject, { compat: '0.10' }), expected: old },
  { name: 'emptying', run: (subject) => makeEmpty(subject.engine.graph, nodeOf(subject)), expected: () => 0 },
  {
    name: 'storing a bitmap',
    run: async (subject) => {
      const { dirtyBitmaps } = nodeOf(subject);
      if (dirtyBitmaps.find('b') === undefined) dirtyBitmaps.add({ name: 'b', granularity: 512, isPersistent: true });
      await subject.backend.write(0, filled(cluster, 1));
      await subject.backend.flush();
    },
    expected: old,
  },
];

async function newImage(): Promise<MemoryStorage> {
  const { engine, media } = memoryEngine();
  await createImage(engine, 'qcow2', 'image', { size, cluster_size: cluster });
  const backend = await engine.openBackend({ filename: 'image', format: 'qcow2', readOnly: false });
  await backend.write(0, filled(written * cluster, 1));
  await engine.close();
  const medium = media.get('image');
  if (medium === undefined) throw new Error('no image');
  return medium;
}

async function open(medium: MemoryStorage, rule: Record<string, string | number | boolean> | undefined): Promise<Subject> {
  const { engine, media } = memoryEngine();
  media.set('image', medium);
  const file = { driver: 'file', filename: 'image' };
  const node = await engine.addNode({
    driver: 'qcow2',
    'node-name': 'q',
    discard: 'unmap',
    // small caches: tables are written and loaded all the time
    'l2-cache-size': 1024,
    'refcount-cache-size': 2048,
    file: rule === undefined ? file : { driver: 'blkdebug', image: file, 'inject-error': [rule] },
  });
  const backend = new BlockBackend(engine.graph, resizerPerms);
  backend.insert(node);
  return { engine, backend };
}

async function content({ backend }: Subject): Promise<number[]> {
  const bytes = new Uint8Array(backend.size());
  await backend.read(0, bytes);
  return Array.from({ length: Math.floor(bytes.length / cluster) }, (_, at) => bytes[at * cluster + cluster - 1] ?? 0);
}

/** Requests of every kind that change nothing. */
async function settled({ backend }: Subject): Promise<void> {
  const requests = [() => backend.flush(), () => backend.read(0, new Uint8Array(backend.size())), () => backend.write(0, filled(0, 0))];
  for (const request of requests) {
    try {
      await request();
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
    }
  }
}

/** Events of opening a file, and those of other drivers. */
const others: readonly DebugEvent[] = [
  'none',
  'reftable_load',
  'vmstate_load',
  'vmstate_save',
  'cor_write',
  'refblock_update',
  'reftable_update',
  'read_backing_aio',
];
const events = debugEvents.filter((event) => !others.includes(event));

describe.each(operations)('$name', ({ prepare, run, expected, isOnce = false }) => {
  it.each(['EIO', 'ENOSPC'] as const)('with %s at each event in turn', async (code) => {
    const base = await newImage();
    if (prepare !== undefined) {
      const subject = await open(base, undefined);
      await prepare(subject);
      await subject.backend.flush();
      await subject.engine.close();
    }
    for (const event of events) {
      const medium = new MemoryStorage('image');
      medium.write(0, bytesOf(base));
      const subject = await open(medium, { event, errno: errnoNumber(code) ?? 5, once: true });
      const attempt = async (): Promise<unknown> => {
        try {
          await run(subject);
          await subject.backend.flush();
          return undefined;
        } catch (error) {
          if (!(error instanceof BlockError)) throw error;
          return error.code;
        }
      };
      const first = await attempt();
      if (first !== undefined) {
        expect(first, event).toBe(code);
        // the error was for one request: whatever was half done is done, or can be
        const second = await attempt();
        expect([undefined, 'ERR_NOT_FOUND', ...(isOnce ? ['EIO'] : [])], event).toContain(second);
      }
      // an error that is armed and has met nobody yet
      for (let left = 0; left < 2; left++) await settled(subject);
      await subject.engine.close();
      const again = await open(medium, undefined);
      const now = await content(again);
      await again.engine.close();
      expect(await checkMedium(medium), event).toMatchObject({ corruptions: 0, checkErrors: 0 });
      if (expected !== undefined) for (const [at, value] of now.entries()) expect(value, `${event}, cluster ${at}`).toBe(expected(at));
    }
  });
});
