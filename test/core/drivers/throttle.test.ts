/* The filter that limits: requests of several nodes under one group, drained sections, another group. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlockBackend, writerPerms } from '../../../src/core/block/backend.ts';
import { drainNodes } from '../../../src/core/block/drain.ts';
import type { BlockNode } from '../../../src/core/block/node.ts';
import { prepareReopen } from '../../../src/core/block/reopen.ts';
import { runTransaction } from '../../../src/core/block/transaction.ts';
import { delayed } from '../../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../../src/core/storage/memory.ts';
import { isPending } from '../../../src/core/util/maybe.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { memoryEngine } from '../../support/memory-engine.ts';
import { addThrottleGroup } from '../../support/throttle-group.ts';

let engine: Engine;
let clock: ManualClock;
const users: BlockBackend[] = [];

beforeEach(() => {
  clock = new ManualClock();
  const made = memoryEngine({ clock, wrap: (storage, path) => (path === 'slow' ? delayed(storage) : storage) });
  engine = made.engine;
  for (const name of ['fast', 'slow']) made.media.set(name, new MemoryStorage(name, { size: 1 << 20 }));
  addThrottleGroup(engine, 'g', { 'iops-total': 10 });
  addThrottleGroup(engine, 'free');
});
afterEach(async () => {
  for (const user of users.splice(0)) await user.remove();
  await engine.close();
});

async function limited(name: string, file = 'fast', group = 'g'): Promise<{ node: BlockNode; user: BlockBackend }> {
  const below = { driver: 'raw', discard: 'unmap', file: { driver: 'file', filename: file, locking: 'off' } };
  const node = await engine.addNode({ driver: 'throttle', 'node-name': name, 'throttle-group': group, discard: 'unmap', file: below });
  const user = new BlockBackend(engine.graph, writerPerms);
  user.insert(node);
  users.push(user);
  return { node, user };
}

/** Takes what may go at once, two requests, and one more that waits. */
function fill(user: BlockBackend): void {
  for (let index = 0; index < 3; index++) void user.read(0, new Uint8Array(1));
}

const buffer = (): Uint8Array => new Uint8Array(512).fill(7);

describe.each(['fast', 'slow'])('throttle over a medium that is %s', (file) => {
  it('holds reads, writes, zeros and discards back, and no flush', async () => {
    const { user } = await limited('t', file, 'g');
    fill(user);
    let done = 0;
    const all = [user.read(0, buffer()), user.write(0, buffer()), user.zero(512, 512), user.discard(1024, 512)].map(async (turn) => {
      await turn;
      done++;
    });
    await user.flush();
    expect(done).toBe(0);
    for (let step = 0; step < 60; step++) {
      clock.advance(100);
      await clock.nextTurn();
    }
    await Promise.all(all);
    const into = new Uint8Array(1);
    const last = user.read(0, into);
    clock.advance(1000);
    await last;
    expect(into[0]).toBe(7);
  });

  it('lets all that waits go when it is drained, whatever the limit, and limits again after', async () => {
    const { node, user } = await limited('t', file);
    fill(user);
    const requests = Array.from({ length: 20 }, (_, index) => user.write(index * 512, buffer()));
    expect(requests.every(isPending)).toBe(true);
    const section = await drainNodes([node]);
    expect([node.inFlight, clock.waiting]).toEqual([0, 0]);
    await Promise.all(requests);
    section[Symbol.dispose]();
    expect(isPending(user.write(0, buffer()))).toBe(true);
    expect(clock.waiting).toBe(1);
  });
});

it('two nodes take turns under one group', async () => {
  const [a, b] = [await limited('a'), await limited('b', 'slow')];
  fill(a.user);
  const order: string[] = [];
  const all = [...Array<typeof a>(4).fill(a), b, b].map(async ({ node, user }) => {
    await user.read(0, buffer());
    order.push(node.name);
  });
  for (let step = 0; step < 20; step++) {
    clock.advance(100);
    await clock.nextTurn();
    await clock.nextTurn();
  }
  await Promise.all(all);
  expect(order.slice(0, 4).sort()).toEqual(['a', 'a', 'b', 'b']);
});

it('goes on under another group when it is reopened, which then cannot go', async () => {
  const { node, user } = await limited('t');
  fill(user);
  const reopen = (name: string, fails: boolean): Promise<void> =>
    engine.graph.turn(async () => {
      using _section = await drainNodes([node]);
      const prepared = await prepareReopen(node, node.settings, { ...node.openOptions, 'throttle-group': name });
      try {
        runTransaction((transaction) => {
          prepared.apply(transaction);
          if (fails) throw new Error('aborted');
        });
      } finally {
        await prepared.settle();
      }
    });
  const remove = (id: string) => (): void => engine.objects.remove(id);
  await expect(reopen('free', true)).rejects.toThrow('aborted');
  expect(isPending(user.read(0, buffer()))).toBe(true);
  await expect(reopen('none', false)).rejects.toThrow("Throttle group 'none' does not exist");
  expect(remove('g')).toThrow("Cannot delete throttle group 'g' with active references");
  await reopen('free', false);
  for (let index = 0; index < 100; index++) expect(isPending(user.read(0, buffer()))).toBe(false);
  expect(remove('free')).toThrow("Cannot delete throttle group 'free' with active references");
  remove('g')();
  expect(node.state.strongOptions).toEqual({ 'throttle-group': 'free' });
});
