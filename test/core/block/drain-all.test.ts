import { describe, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import { drainAll, drainNodes } from '../../../src/core/block/drain.ts';
import { Graph } from '../../../src/core/block/graph.ts';
import type { BlockNode } from '../../../src/core/block/node.ts';
import { runTransaction } from '../../../src/core/block/transaction.ts';
import type { Maybe } from '../../../src/core/util/maybe.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { FakeNode, settled, userOf } from '../../support/fake-node.ts';

function publish(graph: Graph, node: BlockNode): void {
  graph.addApart(node);
  runTransaction((transaction) => graph.publish(node, transaction));
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

describe('a driver that opens in a drained section', () => {
  it('is told at once', async () => {
    const fake = new FakeNode('n');
    const { state } = fake.node;
    const section = await drainNodes([fake.node]);
    fake.log.length = 0;
    fake.node.setState(undefined);
    fake.node.setState(state);
    expect(fake.log).toEqual(['quiesce']);
    section[Symbol.dispose]();
    expect(fake.log).toEqual(['quiesce', 'resume']);
  });
});

describe('a section over all nodes', () => {
  it('drains each, and those that are published meanwhile', async () => {
    const graph = new Graph();
    const first = new FakeNode('first');
    const second = new FakeNode('second');
    const late = new FakeNode('late');
    publish(graph, first.node);
    publish(graph, second.node);
    const user = userOf(second.node, graph);
    second.hold('read');
    void Promise.resolve(user.read(0, new Uint8Array(1)));
    const draining = drainAll(graph);
    expect(await isOver(draining)).toBe(false);
    await second.release();
    const section = await draining;
    publish(graph, late.node);
    expect([first, second, late].map(({ node }) => node.quiesceCount)).toEqual([1, 1, 1]);
    section[Symbol.dispose]();
    expect([first, second, late].map(({ node }) => node.quiesceCount)).toEqual([0, 0, 0]);
    const after = new FakeNode('after');
    publish(graph, after.node);
    expect(after.node.quiesceCount).toBe(0);
  });

  it('lets a node go whose publication is taken back', async () => {
    const graph = new Graph();
    const fake = new FakeNode('n');
    const section = await drainAll(graph);
    graph.addApart(fake.node);
    expect(() =>
      runTransaction((transaction) => {
        graph.publish(fake.node, transaction);
        expect(fake.node.quiesceCount).toBe(1);
        throw new Error('taken back');
      }),
    ).toThrow('taken back');
    expect(fake.node.quiesceCount).toBe(0);
    section[Symbol.dispose]();
    expect(fake.node.quiesceCount).toBe(0);
  });

  it('leaves out nodes on which requests may be for ever', async () => {
    const graph = new Graph();
    const fake = new FakeNode('n');
    publish(graph, fake.node);
    graph.expectStrays(fake.node);
    fake.node.enter();
    (await drainAll(graph))[Symbol.dispose]();
    expect(fake.log).toEqual([]);
  });

  it('is over when a node of it is closed before', async () => {
    const graph = new Graph();
    const fake = new FakeNode('n');
    publish(graph, fake.node);
    const section = await drainAll(graph);
    await graph.releaseUnused(fake.node);
    section[Symbol.dispose]();
    expect(fake.log).toEqual(['quiesce', 'close']);
    expect(graph.drainedSections.size).toBe(0);
  });
});

describe('a user that is taken away', () => {
  it('waits for its requests in flight, however many more would come', async () => {
    const fake = new FakeNode('n');
    const user = userOf(fake.node);
    fake.hold('write');
    const ends: string[] = [];
    const lane = async (): Promise<void> => {
      for (;;) {
        try {
          await user.write(0, block);
          ends.push('ok');
        } catch (error) {
          ends.push((error as Error).message);
          return;
        }
      }
    };
    const lanes = [lane(), lane()];
    const removing = user.remove();
    expect(await isOver(removing)).toBe(false);
    await fake.release();
    expect(await isOver(removing)).toBe(false);
    await fake.release();
    await removing;
    await Promise.all(lanes);
    expect(ends).toEqual(['ok', 'ok', 'No medium found', 'No medium found']);
    expect(() => user.write(0, block)).toThrow('No medium found');
  });

  it('lets requests that wait in a drained section find no medium', async () => {
    const graph = new Graph();
    const fake = new FakeNode('n');
    publish(graph, fake.node);
    const user = userOf(fake.node, graph);
    const section = await drainNodes([fake.node]);
    const errorOf = (pending: Maybe<unknown>): Promise<unknown> =>
      Promise.resolve(pending).then(
        () => 'ok',
        (error: { code: string }) => error.code,
      );
    const queued = [user.read(0, new Uint8Array(1)), user.write(0, block), user.zero(0, 512), user.discard(0, 512), user.flush(), user.status(0, 512)].map(
      errorOf,
    );
    await user.remove();
    expect(await Promise.all(queued)).toEqual(queued.map(() => 'ENOMEDIUM'));
    section[Symbol.dispose]();
    expect(fake.log).toEqual(['quiesce', 'close']);
  });

  it('looks at the size after a drained section, not before', async () => {
    const fake = new FakeNode('n', { size: 1024 });
    const user = userOf(fake.node);
    const section = await drainNodes([fake.node]);
    const beyond = Promise.resolve(user.write(512, block)).catch((error: { code: string }) => error.code);
    const within = Promise.resolve(user.write(0, block)).then(() => 'ok');
    await user.truncate(512, { exact: true, prealloc: 'off' });
    section[Symbol.dispose]();
    expect(await Promise.all([beyond, within])).toEqual(['EIO', 'ok']);
    expect(fake.bytes.length).toBe(512);
  });

  it('is away once, when two take it away at the same time', async () => {
    const graph = new Graph();
    const fake = new FakeNode('n');
    publish(graph, fake.node);
    const user = userOf(fake.node, graph);
    fake.hold('read');
    void Promise.resolve(user.read(0, new Uint8Array(1)));
    const both = Promise.all([user.remove(), user.remove()]);
    await fake.release();
    await both;
    expect([user.node, fake.node.parents.length]).toEqual([undefined, 0]);
    expect(fake.log.filter((line) => line === 'close')).toEqual(['close']);
    await new BlockBackend(graph, { perm: perm.none, shared: perm.all }).remove();
  });

  it('leaves the node open until what goes on behind its requests is over', async () => {
    const graph = new Graph();
    const fake = new FakeNode('n');
    publish(graph, fake.node);
    const user = userOf(fake.node, graph);
    fake.node.enter();
    const removing = user.remove();
    expect(await isOver(removing)).toBe(false);
    expect(fake.log).not.toContain('close');
    fake.node.leave();
    await removing;
    expect(fake.log).toContain('close');
  });
});
