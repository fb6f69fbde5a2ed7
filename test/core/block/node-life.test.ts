/* Nodes in the graph: their names, who may use them for what, and their end. */
import { describe, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import { freezeChain } from '../../../src/core/block/chain.ts';
import type { Child } from '../../../src/core/block/child.ts';
import { childRole } from '../../../src/core/block/driver.ts';
import { duplicateName, Graph } from '../../../src/core/block/graph.ts';
import type { BlockNode } from '../../../src/core/block/node.ts';
import { blockOps } from '../../../src/core/block/op-blockers.ts';
import { runTransaction } from '../../../src/core/block/transaction.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { FakeNode, settled, userOf } from '../../support/fake-node.ts';

function published(graph: Graph, name: string, options: ConstructorParameters<typeof FakeNode>[1] = {}): FakeNode {
  const fake = new FakeNode(name, options);
  graph.addApart(fake.node);
  runTransaction((transaction) => graph.publish(fake.node, transaction));
  return fake;
}

function attach(graph: Graph, name: string, roles: number, above: FakeNode, below: FakeNode): Child {
  return runTransaction((transaction) => graph.attach(name, roles, above.node, below.node, transaction));
}

const names = (nodes: Iterable<BlockNode>): string[] => [...nodes].map(({ name }) => name);

/** What `body` throws. */
async function failureOf(body: () => unknown): Promise<unknown> {
  try {
    await body();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe('names of nodes', () => {
  it('are looked up among published nodes only', () => {
    const graph = new Graph();
    const { node } = new FakeNode('n');
    graph.addApart(node);
    expect([graph.find('n'), graph.has(node), graph.isApart(node)]).toEqual([undefined, true, true]);
    runTransaction((transaction) => graph.publish(node, transaction));
    expect([graph.find('n'), graph.has(node), graph.isApart(node)]).toEqual([node, true, false]);
    expect(graph.has(new FakeNode('n').node)).toBe(false);
  });

  it('are apart again when the publication is taken back', async () => {
    const graph = new Graph();
    const { node } = new FakeNode('n');
    graph.addApart(node);
    await failureOf(() =>
      runTransaction((transaction) => {
        graph.publish(node, transaction);
        throw new Error('taken back');
      }),
    );
    expect([graph.find('n'), graph.isApart(node)]).toEqual([undefined, true]);
    graph.dropApart(node);
    expect([graph.has(node), node.isOpen]).toEqual([false, false]);
  });

  it('belong to one node', async () => {
    const graph = new Graph();
    const { node } = published(graph, 'n');
    expect(await failureOf(() => graph.checkName('n'))).toMatchObject({ message: "Duplicate nodes with node-name='n'", code: 'EEXIST' });
    expect(duplicateName('n').code).toBe('EEXIST');
    const second = new FakeNode('n').node;
    graph.addApart(second);
    for (const unfit of [second, node, new FakeNode('m').node]) {
      expect(() => runTransaction((transaction) => graph.publish(unfit, transaction))).toThrow(`node ${unfit.name} is apart and its name is free`);
    }
    expect(graph.find('n')).toBe(node);
  });

  it('share their space with those of block devices, which go first', () => {
    const graph = new Graph();
    const { node } = published(graph, 'n');
    const { node: rootNode } = published(graph, 'root');
    expect(graph.findDeviceOrNode('n')).toBe(node);
    graph.checkName('hd0');
    graph.isDeviceName = (name) => name === 'hd0';
    graph.deviceNode = (name) => (name === 'hd0' || name === 'n' ? rootNode : undefined);
    expect(() => graph.checkName('hd0')).toThrow('node-name=hd0 is conflicting with a device id');
    expect([graph.findDeviceOrNode('hd0'), graph.findDeviceOrNode('n'), graph.findDeviceOrNode('x')]).toEqual([rootNode, rootNode, undefined]);
  });

  it('are refused with a code that says it is the name', async () => {
    const graph = new Graph();
    graph.isDeviceName = (name) => name === 'hd0';
    for (const name of ['x y', 'n'.repeat(32), 'hd0']) expect(await failureOf(() => graph.checkName(name))).toMatchObject({ code: 'ERR_NAME' });
  });

  it('that the engine gives are free, all different, and in no plain order', () => {
    const expected = Array.from(
      { length: 20 },
      (
        (graph) => () =>
          graph.implicitName()
      )(new Graph()),
    );
    const numbers = expected.map((name) => Number(/^#block(\d{3,})$/.exec(name)?.[1]));
    expect(new Set(numbers).size).toBe(20);
    expect(new Set(numbers.slice(1).map((value, index) => value - (numbers[index] ?? 0))).size).toBeGreaterThan(3);
    const graph = new Graph();
    published(graph, expected[0] ?? '');
    expect(graph.implicitName()).toBe(expected[1]);
  });

  it('are listed oldest first; users are numbered in their order', () => {
    const graph = new Graph();
    for (const name of ['a', 'b', 'c']) published(graph, name);
    expect(names(graph.nodes)).toEqual(['a', 'b', 'c']);
    expect(graph.countUser()).toBeLessThan(graph.countUser());
  });
});

describe('the graph turn', () => {
  it('lets one change run at a time, in their order, also after one that failed', async () => {
    const graph = new Graph();
    const log: string[] = [];
    const change = (name: string, failure?: Error): Promise<unknown> =>
      graph.turn(async () => {
        log.push(`${name} begins`);
        await settled();
        log.push(`${name} ends`);
        if (failure !== undefined) throw failure;
        return name;
      });
    const results = await Promise.allSettled([change('a'), change('b', new Error('no')), change('c')]);
    expect(log).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(results[0]).toMatchObject({ value: 'a' });
  });
});

describe('a node that is used as backing', () => {
  it('may only be committed to, streamed from and backed up, until it is no more', () => {
    const graph = new Graph();
    const [top, base] = [published(graph, 'top'), published(graph, 'base')];
    const edge = attach(graph, 'backing', childRole.cow, top, base);
    expect(blockOps.filter((op) => !base.node.blockers.isBlocked(op))).toEqual(['backup-source', 'backup-target', 'commit-target', 'stream']);
    expect(() => base.node.blockers.check('resize')).toThrow("Node 'base' is busy: node is used as backing hd of 'top'");
    expect(base.node.blockers.list()[0]).toMatchObject({ owner: "node 'top'" });
    runTransaction((transaction) => graph.detach(edge, transaction));
    expect(base.node.blockers.isEmpty).toBe(true);
    // an edge that is gone is gone
    runTransaction((transaction) => graph.detach(edge, transaction));
    expect([base.node.parents, top.node.children]).toEqual([[], []]);
  });

  it('is free for what else it is used', () => {
    const graph = new Graph();
    const [top, file] = [published(graph, 'top'), published(graph, 'file')];
    attach(graph, 'file', childRole.data, top, file);
    expect(file.node.blockers.isEmpty).toBe(true);
  });
});

describe('edges that move', () => {
  it('are the newest of their parent, as they were when it is taken back', async () => {
    const graph = new Graph();
    const [top, a, b, c] = [published(graph, 'top'), published(graph, 'a'), published(graph, 'b'), published(graph, 'c')];
    const first = attach(graph, 'one', childRole.data, top, a);
    attach(graph, 'two', childRole.data, top, b);
    const order = (): string[] => top.node.children.map((edge) => `${edge.name} ${edge.node.name}`);
    await failureOf(() =>
      runTransaction((transaction) => {
        graph.replaceChild(first, c.node, transaction);
        throw new Error('taken back');
      }),
    );
    expect(order()).toEqual(['one a', 'two b']);
    runTransaction((transaction) => graph.replaceChild(first, a.node, transaction));
    expect(order()).toEqual(['one a', 'two b']);
    runTransaction((transaction) => graph.replaceChild(first, c.node, transaction));
    expect(order()).toEqual(['two b', 'one c']);
    expect([a.node.parents, c.node.parents]).toEqual([[], [first]]);
    const circle = { message: "Making 'top' a one child of 'top' would create a cycle", code: 'ERR_IN_USE' };
    expect(await failureOf(() => runTransaction((transaction) => graph.replaceChild(first, top.node, transaction)))).toMatchObject(circle);
    expect(await failureOf(() => attach(graph, 'one', childRole.data, top, top))).toMatchObject(circle);
  });

  it('keep their order among the parents of a replaced node', () => {
    const graph = new Graph();
    const [old, fresh] = [published(graph, 'old'), published(graph, 'new')];
    const users = ['a', 'b', 'c'].map((name) => userOf(old.node, graph, name));
    const order = (node: BlockNode): unknown[] => node.parents.map((edge) => edge.parent.backendName);
    expect(order(old.node)).toEqual(['c', 'b', 'a']);
    runTransaction((transaction) => graph.replaceNode(old.node, fresh.node, transaction));
    expect([order(old.node), order(fresh.node)]).toEqual([[], ['c', 'b', 'a']]);
    expect(users.map(({ node }) => node)).toEqual([fresh.node, fresh.node, fresh.node]);
  });

  it('that must stay say who wants it so', async () => {
    const graph = new Graph();
    const [top, base, other] = [published(graph, 'top'), published(graph, 'base'), published(graph, 'other')];
    const edge = attach(graph, 'backing', childRole.cow, top, base);
    using _frozen = freezeChain(top.node, undefined, "stream job 's'");
    const kept = { code: 'EPERM', hint: "stream job 's' works on this chain" };
    expect(await failureOf(() => runTransaction((transaction) => graph.detach(edge, transaction)))).toMatchObject(kept);
    expect(await failureOf(() => runTransaction((transaction) => graph.replaceNode(base.node, other.node, transaction)))).toMatchObject(kept);
    expect(await failureOf(() => freezeChain(top.node, base.node, 'another'))).toMatchObject(kept);
    expect(await failureOf(() => freezeChain(base.node, other.node, 'another'))).toMatchObject({ code: 'EINVAL' });
    expect(await failureOf(() => runTransaction((transaction) => graph.setBacking(base.node, other.node, transaction)))).toMatchObject({ code: 'EINVAL' });
    expect(await failureOf(() => runTransaction((transaction) => graph.replaceNode(top.node, base.node, transaction, [edge])))).toMatchObject({
      message: "Should not change 'backing' link to 'top'",
      code: 'EINVAL',
    });
  });
});

describe('needs that change', () => {
  it('are refused as a whole when they conflict', () => {
    const graph = new Graph();
    const { node } = published(graph, 'n');
    const writer = userOf(node, graph, 'writer');
    const reader = new BlockBackend(graph, { perm: perm.consistentRead, shared: perm.all });
    reader.insert(node);
    expect(() => reader.setPerm(perm.consistentRead, perm.consistentRead)).toThrow('Permission conflict');
    expect([reader.root?.shared, reader.perms.shared]).toEqual([perm.all, perm.all]);
    writer.setPerm(perm.consistentRead, perm.all);
    reader.setPerm(perm.consistentRead, perm.consistentRead);
    expect([reader.root?.shared, writer.root?.perm]).toEqual([perm.consistentRead, perm.consistentRead]);
    expect(() => writer.setPerm(perm.consistentRead | perm.write, perm.all)).toThrow('Permission conflict');
  });
});

describe('the end of a node', () => {
  it('comes when nobody uses it, once, with all that only it used', async () => {
    const graph = new Graph();
    const [top, file, shared] = [published(graph, 'top'), published(graph, 'file'), published(graph, 'shared')];
    attach(graph, 'file', childRole.data, top, file);
    attach(graph, 'other', childRole.data, top, shared);
    const user = userOf(shared.node, graph);
    top.node.monitorOwned = true;
    await graph.releaseUnused(top.node);
    await graph.releaseUnused(file.node);
    expect(names(graph.nodes)).toEqual(['top', 'file', 'shared']);
    top.node.monitorOwned = false;
    await graph.releaseUnused(top.node);
    await graph.releaseUnused(top.node);
    expect([names(graph.nodes), top.log, file.log, shared.log]).toEqual([['shared'], ['close'], ['close'], []]);
    expect([top.node.isOpen, top.node.children]).toEqual([false, []]);
    await user.remove();
    expect(names(graph.nodes)).toEqual([]);
  });

  it('flushes what was written, and nothing else', async () => {
    const graph = new Graph();
    const fake = published(graph, 'n');
    const user = userOf(fake.node, graph);
    await user.write(0, new Uint8Array(1));
    await user.remove();
    expect(fake.log).toEqual(['write 0+1', 'flush', 'close']);
    const clean = published(graph, 'clean');
    await userOf(clean.node, graph).remove();
    expect(clean.log).toEqual(['close']);
  });

  it('tells the first failure when all is closed', async () => {
    const graph = new Graph();
    const [top, file] = [published(graph, 'top'), published(graph, 'file')];
    attach(graph, 'file', childRole.data, top, file);
    const closeFails = (fake: FakeNode, text: string): void => {
      fake.node.state.close = () => Promise.reject(new Error(text));
    };
    closeFails(top, 'top cannot be closed');
    closeFails(file, 'file cannot be closed');
    const user = userOf(top.node, graph);
    await user.write(0, new Uint8Array(1));
    top.failure = { op: 'flush', error: new Error('No space left on device') };
    await expect(user.remove()).rejects.toThrow('No space left on device');
    expect([names(graph.nodes), top.node.isOpen, file.node.isOpen]).toEqual([[], false, false]);
    const second = published(graph, 'second');
    closeFails(second, 'second cannot be closed');
    await expect(graph.releaseUnused(second.node)).rejects.toThrow('second cannot be closed');
    const [third, below] = [published(graph, 'third'), published(graph, 'below')];
    attach(graph, 'file', childRole.data, third, below);
    closeFails(below, 'below cannot be closed');
    await expect(graph.releaseUnused(third.node)).rejects.toThrow('below cannot be closed');
  });

  it('waits for what is in flight, but not for strays, behind which it is closed later', async () => {
    const graph = new Graph();
    for (const isStray of [false, true]) {
      const [top, file] = [published(graph, 'top'), published(graph, 'file')];
      attach(graph, 'file', childRole.data, top, file);
      if (isStray) graph.expectStrays(top.node);
      expect([graph.hasStrays(top.node), graph.hasStrays(file.node)]).toEqual([isStray, isStray]);
      top.node.enter();
      let isOver = false;
      const ending = graph.releaseUnused(top.node).then(() => (isOver = true));
      await settled();
      expect([isOver, top.log, names(graph.nodes)]).toEqual([isStray, [], ['file']]);
      top.node.leave();
      await ending;
      await settled();
      expect([top.log, file.log, names(graph.nodes)]).toEqual([['close'], ['close'], []]);
    }
  });
});
