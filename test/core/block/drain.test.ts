import { describe, expect, it } from 'vitest';
import type { Child, Parent } from '../../../src/core/block/child.ts';
import { drainNodes } from '../../../src/core/block/drain.ts';
import { childRole } from '../../../src/core/block/driver.ts';
import { Graph } from '../../../src/core/block/graph.ts';
import type { BlockNode } from '../../../src/core/block/node.ts';
import { runTransaction } from '../../../src/core/block/transaction.ts';
import { isPending, type Maybe } from '../../../src/core/util/maybe.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { FakeNode, settled, userOf } from '../../support/fake-node.ts';

/** Attaches `below` under `parent`. */
function attach(graph: Graph, parent: Parent, below: BlockNode, name = 'file'): Child {
  return runTransaction((transaction) => graph.attach(name, childRole.data, parent, below, transaction, { perm: perm.none, shared: perm.all }));
}

/** A parent that tells what it was told. */
class Watcher implements Parent {
  readonly told: string[] = [];
  /** How often it was asked whether it is idle. */
  asked = 0;
  idle: Maybe<void> = undefined;

  describe(): string {
    return 'a watcher';
  }

  quiesce(): void {
    this.told.push('quiesce');
  }

  resume(): void {
    this.told.push('resume');
  }

  whenIdle(): Maybe<void> {
    this.asked++;
    return this.idle;
  }
}

/** Whether a promise has settled, after everything ran that could. */
async function isOver(pending: Promise<unknown>): Promise<boolean> {
  let over = false;
  void pending.then(
    () => (over = true),
    () => (over = true),
  );
  await settled();
  return over;
}

const block = new Uint8Array(512).fill(7);

describe('a drained section', () => {
  it('waits for requests in flight and holds back those that come', async () => {
    const fake = new FakeNode('n');
    const user = userOf(fake.node);
    fake.hold('write');
    const write = Promise.resolve(user.write(0, block));
    const draining = drainNodes([fake.node]);
    expect(await isOver(draining)).toBe(false);
    const read = Promise.resolve(user.read(0, new Uint8Array(512)));
    await settled();
    expect(fake.log).toEqual(['write 0+512', 'quiesce']);
    await fake.release();
    const section = await draining;
    await write;
    expect(await isOver(read)).toBe(false);
    section[Symbol.dispose]();
    await read;
    expect(fake.log).toEqual(['write 0+512', 'quiesce', 'resume', 'read 0+512']);
    expect([fake.node.inFlight, fake.node.quiesceCount]).toEqual([0, 0]);
  });

  it('waits for requests that the node has although no user counts them', async () => {
    const fake = new FakeNode('n');
    fake.node.enter();
    const draining = drainNodes([fake.node]);
    expect(await isOver(draining)).toBe(false);
    fake.node.leave();
    (await draining)[Symbol.dispose]();
  });

  it('waits for the nodes above too, and holds back all users there', async () => {
    const graph = new Graph();
    const below = new FakeNode('below');
    const above = new FakeNode('above');
    const user = userOf(above.node, graph);
    attach(graph, above.node, below.node);
    above.hold('write');
    void Promise.resolve(user.write(0, block));
    const draining = drainNodes([below.node]);
    expect(await isOver(draining)).toBe(false);
    await above.release();
    const section = await draining;
    expect([below.node.quiesceCount, above.node.quiesceCount]).toEqual([1, 1]);
    const read = user.read(0, new Uint8Array(1));
    expect(isPending(read)).toBe(true);
    section[Symbol.dispose]();
    expect([below.node.quiesceCount, above.node.quiesceCount]).toEqual([0, 0]);
    await read;
  });

  it('does not touch the nodes below: their other users go on', async () => {
    const graph = new Graph();
    const below = new FakeNode('below');
    const above = new FakeNode('above');
    attach(graph, above.node, below.node);
    const other = userOf(below.node, graph);
    below.hold('read');
    const read = Promise.resolve(other.read(0, new Uint8Array(1)));
    const section = await drainNodes([above.node]);
    expect(below.node.quiesceCount).toBe(0);
    await below.releaseAll();
    await read;
    expect(isPending(other.read(0, new Uint8Array(1)))).toBe(false);
    section[Symbol.dispose]();
  });

  it('tells all to stop before it waits for the first', async () => {
    const graph = new Graph();
    const first = new FakeNode('first');
    const second = new FakeNode('second');
    const user = userOf(first.node, graph);
    const watcher = new Watcher();
    attach(graph, watcher, second.node);
    first.hold('read');
    void Promise.resolve(user.read(0, new Uint8Array(1)));
    const draining = drainNodes([first.node, second.node]);
    expect(watcher.told).toEqual(['quiesce']);
    await first.release();
    (await draining)[Symbol.dispose]();
    expect(watcher.told).toEqual(['quiesce', 'resume']);
  });

  it('waits for every parent, whichever it is told of last', async () => {
    const graph = new Graph();
    const fake = new FakeNode('n');
    const watcher = new Watcher();
    attach(graph, watcher, fake.node);
    let release = (): void => {};
    watcher.idle = new Promise<void>((resolve) => {
      release = () => {
        watcher.idle = undefined;
        resolve();
      };
    });
    const draining = drainNodes([fake.node]);
    expect(await isOver(draining)).toBe(false);
    release();
    (await draining)[Symbol.dispose]();
  });

  it('looks again after it has waited: one that ended may have begun another below', async () => {
    const graph = new Graph();
    const below = new FakeNode('below');
    const above = new FakeNode('above');
    const edge = attach(graph, above.node, below.node);
    above.node.enter();
    const draining = drainNodes([above.node, below.node]);
    await settled();
    below.hold('write');
    const child = Promise.resolve(edge.write(0, block));
    above.node.leave();
    expect(await isOver(draining)).toBe(false);
    await below.release();
    await child;
    (await draining)[Symbol.dispose]();
  });

  it('asks everybody above once, however many ways lead there', async () => {
    const graph = new Graph();
    const watcher = new Watcher();
    const fake = new FakeNode('lowest');
    let below = fake;
    for (let level = 0; level < 8; level++) {
      const above = new FakeNode(`level${level}`);
      attach(graph, above.node, below.node, 'one');
      attach(graph, above.node, below.node, 'two');
      below = above;
    }
    attach(graph, watcher, below.node);
    (await drainNodes([fake.node, below.node]))[Symbol.dispose]();
    expect([watcher.asked, watcher.told]).toEqual([1, ['quiesce', 'resume']]);
  });

  it('nests: requests go on when the last section is over', async () => {
    const fake = new FakeNode('n');
    const user = userOf(fake.node);
    const first = await drainNodes([fake.node]);
    const second = await drainNodes([fake.node, fake.node]);
    expect(fake.node.quiesceCount).toBe(2);
    const read = Promise.resolve(user.read(0, new Uint8Array(1)));
    first[Symbol.dispose]();
    expect(await isOver(read)).toBe(false);
    second[Symbol.dispose]();
    await read;
    // the driver is told of the first beginning and the last end only
    expect(fake.log).toEqual(['quiesce', 'resume', 'read 0+1']);
  });

  it('is over once, however often it is disposed of', async () => {
    const fake = new FakeNode('n');
    const outer = await drainNodes([fake.node]);
    const section = await drainNodes([fake.node]);
    section[Symbol.dispose]();
    section[Symbol.dispose]();
    expect(fake.node.quiesceCount).toBe(1);
    outer[Symbol.dispose]();
    expect(() => fake.node.resume()).toThrow('resume without quiesce');
  });

  it('ends under load: requests that keep coming are held back', async () => {
    const fake = new FakeNode('n');
    const user = userOf(fake.node);
    fake.hold('write');
    let isStopped = false;
    const lanes = Array.from({ length: 4 }, async (_, lane) => {
      while (!isStopped) await user.write(lane * 512, block);
    });
    await settled();
    const draining = drainNodes([fake.node]);
    for (let round = 0; round < 4; round++) await fake.release();
    const section = await draining;
    expect(fake.waiting).toEqual([]);
    isStopped = true;
    section[Symbol.dispose]();
    await fake.releaseAll();
    await Promise.all(lanes);
  });
});

describe('whoever is attached in a drained section', () => {
  it('is held back, and released when it leaves', async () => {
    const graph = new Graph();
    const fake = new FakeNode('n');
    const watcher = new Watcher();
    const section = await drainNodes([fake.node]);
    const edge = attach(graph, watcher, fake.node);
    expect(watcher.told).toEqual(['quiesce']);
    runTransaction((transaction) => graph.detach(edge, transaction));
    expect(watcher.told).toEqual(['quiesce', 'resume']);
    section[Symbol.dispose]();
    expect(watcher.told).toEqual(['quiesce', 'resume']);
  });

  it('is released at the end of the section when it stays', async () => {
    const fake = new FakeNode('n');
    const section = await drainNodes([fake.node]);
    const user = userOf(fake.node);
    const read = user.read(0, new Uint8Array(1));
    expect(isPending(read)).toBe(true);
    section[Symbol.dispose]();
    await read;
    expect(isPending(user.read(0, new Uint8Array(1)))).toBe(false);
  });

  it('passes it on to everybody above', async () => {
    const graph = new Graph();
    const below = new FakeNode('below');
    const above = new FakeNode('above');
    const watcher = new Watcher();
    attach(graph, watcher, above.node);
    const section = await drainNodes([below.node]);
    const edge = attach(graph, above.node, below.node);
    expect([above.node.quiesceCount, watcher.told]).toEqual([1, ['quiesce']]);
    runTransaction((transaction) => graph.detach(edge, transaction));
    expect([above.node.quiesceCount, watcher.told]).toEqual([0, ['quiesce', 'resume']]);
    section[Symbol.dispose]();
  });

  it('is as before when the change is taken back', async () => {
    const graph = new Graph();
    const fake = new FakeNode('n');
    const watcher = new Watcher();
    const edge = attach(graph, watcher, fake.node);
    const section = await drainNodes([fake.node]);
    expect(() =>
      runTransaction((transaction) => {
        graph.detach(edge, transaction);
        expect(watcher.told).toEqual(['quiesce', 'resume']);
        throw new Error('taken back');
      }),
    ).toThrow('taken back');
    expect(watcher.told).toEqual(['quiesce', 'resume', 'quiesce']);
    const other = new Watcher();
    expect(() =>
      runTransaction((transaction) => {
        graph.attach('root', childRole.data, other, fake.node, transaction, { perm: perm.none, shared: perm.all });
        throw new Error('taken back');
      }),
    ).toThrow('taken back');
    expect(other.told).toEqual(['quiesce', 'resume']);
    section[Symbol.dispose]();
    expect([watcher.told.at(-1), other.told.length]).toEqual(['resume', 2]);
  });

  it('follows an edge that moves between nodes that are drained and not', async () => {
    const graph = new Graph();
    const quiet = new FakeNode('quiet');
    const busy = new FakeNode('busy');
    const watcher = new Watcher();
    const edge = attach(graph, watcher, busy.node);
    const section = await drainNodes([quiet.node]);
    const move = (to: BlockNode): void => runTransaction((transaction) => graph.replaceChild(edge, to, transaction));
    move(quiet.node);
    expect(watcher.told).toEqual(['quiesce']);
    move(busy.node);
    expect(watcher.told).toEqual(['quiesce', 'resume']);
    expect(() =>
      runTransaction((transaction) => {
        graph.replaceChild(edge, quiet.node, transaction);
        throw new Error('taken back');
      }),
    ).toThrow('taken back');
    expect(watcher.told).toEqual(['quiesce', 'resume', 'quiesce', 'resume']);
    section[Symbol.dispose]();
  });
});
