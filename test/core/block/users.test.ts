/* Users at the root of the graph, what passes through them, and nodes that a bug has broken. */
import { describe, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import { chainStatus, nodeStatus } from '../../../src/core/block/block-status.ts';
import { noLimits } from '../../../src/core/block/driver.ts';
import { Graph } from '../../../src/core/block/graph.ts';
import { runTransaction } from '../../../src/core/block/transaction.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { FakeNode, settled, userOf } from '../../support/fake-node.ts';
import { bytes, codeOf, how } from '../../support/requests.ts';

const reading = { perm: perm.consistentRead, shared: perm.all };

describe('a user without a node', () => {
  it('is read-only, without limits, and every request of it finds no medium', async () => {
    const user = new BlockBackend(new Graph(), reading);
    expect([user.node, user.root, user.readOnly, user.isWritable, user.limits]).toEqual([undefined, undefined, true, false, noLimits]);
    for (const request of [() => user.size(), () => user.read(0, bytes(1)), () => user.write(0, bytes(1)), () => user.flush()]) {
      expect(await codeOf(request)).toMatch(/^E[A-Z_]+$/);
    }
    await user.remove();
  });

  it('changes what it will need, and is attached with that', () => {
    const graph = new Graph();
    const { node } = new FakeNode('n');
    const user = new BlockBackend(graph, reading);
    user.setPerm(perm.write, perm.consistentRead);
    expect([user.perms, user.isWritable]).toEqual([{ perm: perm.write, shared: perm.consistentRead }, true]);
    user.insert(node);
    expect(user.root).toMatchObject({ name: 'root', perm: perm.write, shared: perm.consistentRead });
    expect(() => user.insert(node)).toThrow();
  });

  it('stays without when its insertion is taken back, alone or with more', () => {
    const graph = new Graph();
    const { node } = new FakeNode('n');
    const user = new BlockBackend(graph, { ...reading, edgeName: 'source' });
    expect(() =>
      runTransaction((transaction) => {
        user.insert(node, transaction);
        expect(user.root?.name).toBe('source');
        throw new Error('taken back');
      }),
    ).toThrow('taken back');
    expect([user.root, node.parents]).toEqual([undefined, []]);
    const writer = new BlockBackend(graph, { perm: perm.write, shared: perm.none });
    writer.insert(node);
    expect(() => user.insert(node)).toThrow("Permission conflict on node 'n'");
    expect(user.root).toBeUndefined();
  });
});

describe('a user with a node', () => {
  it('keeps what it has when a change of it conflicts', () => {
    const graph = new Graph();
    const { node } = new FakeNode('n');
    const [user, other] = [new BlockBackend(graph, reading), new BlockBackend(graph, { perm: perm.none, shared: perm.consistentRead })];
    user.insert(node);
    other.insert(node);
    expect(() => user.setPerm(perm.write, perm.all)).toThrow("Permission conflict on node 'n'");
    expect([user.perms, user.root?.perm]).toEqual([reading, perm.consistentRead]);
    user.setPerm(perm.none, perm.all);
    expect([user.perms, user.root?.perm]).toEqual([{ perm: perm.none, shared: perm.all }, perm.none]);
  });

  it('lets requests go when the last of its sections has ended, not before', async () => {
    const { node, log } = new FakeNode('n');
    const user = userOf(node);
    user.quiesce();
    user.quiesce();
    const read = user.read(0, bytes(512));
    await settled();
    user.resume();
    await settled();
    expect(log).not.toContain('read 0+512');
    user.resume();
    await read;
    expect(log).toContain('read 0+512');
    expect(() => user.resume()).toThrow('resume without quiesce');
    // one that is over holds nothing back any more
    void user.write(0, bytes(512));
    expect(log).toContain('write 0+512');
  });

  it('is taken away once, after what is in flight, by whoever is first', async () => {
    const graph = new Graph();
    const fake = new FakeNode('n');
    const user = userOf(fake.node, graph);
    fake.hold('read');
    const read = user.read(0, bytes(512));
    const removed: string[] = [];
    const both = [user.remove().then(() => removed.push('first')), user.remove().then(() => removed.push('second'))];
    await settled();
    expect([removed, user.node]).toEqual([[], fake.node]);
    await fake.releaseAll();
    await Promise.all([read, ...both]);
    expect([user.node, fake.node.parents]).toEqual([undefined, []]);
    // it may have another node after that
    const next = new FakeNode('m');
    user.insert(next.node);
    expect(user.size()).toBe(65536);
  });

  it('is told when the size of its node changes', async () => {
    const sizes: number[] = [];
    const fake = new FakeNode('n');
    const user: BlockBackend = new BlockBackend(new Graph(), {
      perm: perm.resize | perm.write,
      shared: perm.all,
      onSizeChanged: () => sizes.push(user.size()),
    });
    user.insert(fake.node);
    await user.truncate(4096, how);
    expect(sizes).toEqual([4096]);
  });
});

describe('a node that a bug has broken', () => {
  it('fails every request with one line, keeps its size, and is closed as it was', async () => {
    const fake = new FakeNode('n', { size: 8192 });
    const user = userOf(fake.node);
    fake.node.breakDown(new TypeError('x is undefined'));
    const requests = [
      () => user.read(0, bytes(512)),
      () => user.write(0, bytes(512)),
      () => user.zero(0, 512),
      () => user.discard(0, 512),
      () => user.flush(),
      () => user.truncate(512, how),
      () => nodeStatus(fake.node, 0, 512, true),
      () => chainStatus(fake.node, undefined, 0, 512, true),
    ];
    for (const request of requests) {
      await expect((async () => request())()).rejects.toMatchObject({ code: 'EIO', message: expect.stringMatching(/^Node 'n' is broken: .*x is undefined/) });
    }
    expect([user.size(), fake.log]).toEqual([8192, []]);
    // the first bug is the one that is told
    fake.node.breakDown(new TypeError('another'));
    await expect((async () => user.read(0, bytes(1)))()).rejects.toThrow('x is undefined');
    await fake.node.state.close();
    expect(fake.log).toEqual(['close']);
  });

  it('is of no size when even that cannot be told', () => {
    const fake = new FakeNode('n');
    fake.node.state.size = () => {
      throw new Error('lost');
    };
    fake.node.breakDown(new Error('bug'));
    expect(fake.node.size()).toBe(0);
    // nothing is open: there is nothing to break
    const closed = new FakeNode('m').node;
    closed.setState(undefined);
    closed.breakDown(new Error('bug'));
    expect(closed.isOpen).toBe(false);
  });
});
