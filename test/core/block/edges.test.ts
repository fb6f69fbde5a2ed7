/* Edges: chains with and without filters, backing links that change, nodes that are replaced, links that must stay. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import { chainLink, chainNodes, freezeChain, imageBelow, isReachable, nextInChain, skipFilters } from '../../../src/core/block/chain.ts';
import type { Child } from '../../../src/core/block/child.ts';
import type { BlockNode } from '../../../src/core/block/node.ts';
import type { OptionTree } from '../../../src/core/block/options.ts';
import { runTransaction, type Transaction } from '../../../src/core/block/transaction.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { createImage } from '../../../src/engine/create.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { memoryEngine } from '../../support/memory-engine.ts';

let engine: Engine;
/** base ← mid ← top, all qcow2; `spare` beside them. */
let base: BlockNode;
let mid: BlockNode;
let top: BlockNode;
let spare: BlockNode;

const size = 1024 * 1024;

async function image(name: string, backing: OptionTree[string]): Promise<BlockNode> {
  await createImage(engine, 'qcow2', name, { size });
  return engine.addNode({
    driver: 'qcow2',
    'node-name': name,
    'read-only': name === 'base',
    file: { driver: 'file', filename: name },
    ...(backing === undefined ? {} : { backing }),
  });
}

beforeEach(async () => {
  engine = memoryEngine().engine;
  base = await image('base', undefined);
  mid = await image('mid', 'base');
  top = await image('top', 'mid');
  spare = await image('spare', undefined);
});
afterEach(() => engine.close());

function filterAbove(name: string, file: string): Promise<BlockNode> {
  return engine.addNode({ driver: 'copy-before-write', 'node-name': name, file, target: 'spare' });
}

function edge(parent: BlockNode, name: string): Child {
  const found = parent.child(name);
  if (found === undefined) throw new Error(`${parent.name} has no ${name}`);
  return found;
}

function change(body: (transaction: Transaction) => void): string {
  try {
    runTransaction(body);
    return 'done';
  } catch (error) {
    return (error as Error).message;
  }
}

/** Every edge of the graph in the order of both lists, with what it needs and shares. */
function picture(): unknown {
  return [...engine.graph.nodes].map((node) => ({
    name: node.name,
    children: node.children.map((child) => [child.name, child.node.name, child.perm, child.shared]),
    parents: node.parents.map((child) => [child.name, child.parent.describe()]),
    blocked: node.blockers.list(),
    isBackingOverridden: node.isBackingOverridden,
  }));
}

describe('chains', () => {
  it('go down by backing files and through filters', async () => {
    const filter = await filterAbove('filter', 'mid');
    runTransaction((transaction) => engine.graph.setBacking(top, filter, transaction));
    expect(chainNodes(top)).toEqual([top, filter, mid, base]);
    expect(chainNodes(top, mid)).toEqual([top, filter]);
    expect(chainNodes(top, top)).toEqual([]);
    expect(chainLink(top)?.name).toBe('backing');
    expect(chainLink(filter)?.name).toBe('file');
    expect(chainLink(base)).toBeUndefined();
    expect(nextInChain(top)).toBe(filter);
    expect([skipFilters(filter), skipFilters(top)]).toEqual([mid, top]);
    expect([imageBelow(top), imageBelow(filter), imageBelow(mid), imageBelow(base)]).toEqual([mid, base, base, undefined]);
  });

  it('end at raw, which passes its file through and is no filter', async () => {
    const raw = await engine.addNode({ driver: 'raw', 'node-name': 'raw', file: 'spare' });
    expect(chainNodes(raw)).toEqual([raw]);
    expect(imageBelow(raw)).toBeUndefined();
  });

  it('tell what can be reached, however many ways lead there', async () => {
    expect([isReachable(top, base), isReachable(top, top), isReachable(base, top), isReachable(top, spare)]).toEqual([true, true, false, false]);
    // 2 ** 40 ways from the upper end to the lower
    let below = spare;
    for (let level = 0; level < 40; level++) {
      const above = await engine.addNode({ driver: 'null-co', 'node-name': `level${level}` });
      const at = below;
      runTransaction((transaction) => engine.graph.attach('one', 1, above, at, transaction));
      runTransaction((transaction) => engine.graph.attach('two', 1, above, at, transaction));
      below = above;
    }
    expect([isReachable(below, spare), isReachable(below, base)]).toEqual([true, false]);
  });
});

describe('setBacking', () => {
  it('replaces the link, with its blockers, and none is left of the old one', () => {
    runTransaction((transaction) => engine.graph.setBacking(top, spare, transaction));
    expect(top.backing?.node).toBe(spare);
    expect(mid.parents).toEqual([]);
    expect([mid.blockers.isEmpty, spare.blockers.isBlocked('resize')]).toEqual([true, true]);
    expect(top.isBackingOverridden).toBe(true);
  });

  it('takes the link away', () => {
    runTransaction((transaction) => engine.graph.setBacking(top, null, transaction));
    expect([top.backing, mid.parents, mid.blockers.isEmpty, top.isBackingOverridden]).toEqual([undefined, [], true, false]);
  });

  it('gives a first link, and does nothing for the one that is there', () => {
    runTransaction((transaction) => engine.graph.setBacking(base, spare, transaction));
    expect(base.backing?.node).toBe(spare);
    const before = picture();
    runTransaction((transaction) => engine.graph.setBacking(base, spare, transaction));
    runTransaction((transaction) => engine.graph.setBacking(spare, null, transaction));
    expect(picture()).toEqual(before);
  });

  it.each<[what: string, change: (transaction: Transaction) => void]>([
    ['setBacking', (transaction) => engine.graph.setBacking(top, spare, transaction)],
    ['setBacking to none', (transaction) => engine.graph.setBacking(top, null, transaction)],
    ['replaceNode', (transaction) => engine.graph.replaceNode(mid, spare, transaction)],
    ['replaceChild', (transaction) => engine.graph.replaceChild(edge(top, 'backing'), spare, transaction)],
    ['attach', (transaction) => void engine.graph.attach('backing', 8, spare, base, transaction)],
    ['detach', (transaction) => engine.graph.detach(edge(top, 'backing'), transaction)],
  ])('leaves everything as it was when it is aborted: %s', (_what, body) => {
    const before = picture();
    expect(
      change((transaction) => {
        body(transaction);
        expect(picture()).not.toEqual(before);
        throw new Error('aborted');
      }),
    ).toBe('aborted');
    expect(picture()).toEqual(before);
  });

  it('refuses a cycle, and a driver that knows no backing files', async () => {
    const raw = await engine.addNode({ driver: 'raw', 'node-name': 'raw', file: { driver: 'null-co' } });
    const before = picture();
    expect(change((transaction) => engine.graph.setBacking(base, top, transaction))).toBe("Making 'top' a backing child of 'base' would create a cycle");
    expect(change((transaction) => engine.graph.setBacking(raw, spare, transaction))).toBe("Driver 'raw' of node 'raw' does not support backing files");
    expect(picture()).toEqual(before);
  });

  it('refuses what the permissions of others do not allow', () => {
    const writer = new BlockBackend(engine.graph, { name: 'w', perm: perm.write, shared: perm.all & ~perm.consistentRead });
    const reader = new BlockBackend(engine.graph, { name: 'r', perm: perm.consistentRead, shared: perm.all });
    writer.insert(spare);
    reader.insert(top);
    const before = picture();
    expect(change((transaction) => engine.graph.setBacking(top, spare, transaction))).toContain(
      "Permission conflict on node 'spare': permissions 'consistent read' are both required by node 'top' (uses node 'spare' as 'backing' child)",
    );
    expect(picture()).toEqual(before);
  });
});

describe('replaceNode', () => {
  it('moves all parents that may move', async () => {
    const filter = await filterAbove('filter', 'mid');
    const guest = new BlockBackend(engine.graph, { name: 'hd', perm: perm.none, shared: perm.all });
    const job = new BlockBackend(engine.graph, { perm: perm.none, shared: perm.all, stayAtNode: true });
    guest.insert(mid);
    job.insert(mid);
    runTransaction((transaction) => engine.graph.replaceNode(mid, filter, transaction));
    expect([top.backing?.node, guest.node, job.node, filter.filtered?.node]).toEqual([filter, filter, mid, mid]);
    runTransaction((transaction) => engine.graph.replaceNode(filter, mid, transaction));
    expect([top.backing?.node, guest.node]).toEqual([mid, mid]);
  });

  it('takes the guard of a backing file along, and back when it is taken back', () => {
    const guarded = (): boolean[] => [mid, spare].map(({ blockers }) => blockers.isBlocked('resize'));
    expect(guarded()).toEqual([true, false]);
    const text = change((transaction) => {
      engine.graph.replaceNode(mid, spare, transaction);
      throw new Error('taken back');
    });
    expect([text, guarded()]).toEqual(['taken back', [true, false]]);
    runTransaction((transaction) => engine.graph.replaceNode(mid, spare, transaction));
    expect(guarded()).toEqual([false, true]);
    runTransaction((transaction) => engine.graph.detach(edge(top, 'backing'), transaction));
    expect(guarded()).toEqual([false, false]);
  });

  it('moves the edges that are named and no others', () => {
    const guest = new BlockBackend(engine.graph, { perm: perm.none, shared: perm.all });
    const other = new BlockBackend(engine.graph, { perm: perm.none, shared: perm.all });
    guest.insert(mid);
    other.insert(mid);
    const [root] = [guest.root].filter((child) => child !== undefined);
    runTransaction((transaction) => engine.graph.replaceNode(mid, spare, transaction, root === undefined ? [] : [root]));
    expect([guest.node, other.node, top.backing?.node]).toEqual([spare, mid, mid]);
  });

  it('fails as a whole for a named edge that may not move', async () => {
    const filter = await filterAbove('filter', 'mid');
    const job = new BlockBackend(engine.graph, { perm: perm.none, shared: perm.all, stayAtNode: true });
    job.insert(mid);
    const before = picture();
    const refused = (named: Child | undefined, to: BlockNode): string =>
      change((transaction) => engine.graph.replaceNode(mid, to, transaction, [edge(top, 'backing'), ...(named === undefined ? [] : [named])]));
    expect(refused(job.root, spare)).toBe("Should not change 'root' link to 'mid'");
    expect(refused(edge(filter, 'file'), filter)).toBe("Should not change 'file' link to 'mid'");
    expect(refused(edge(mid, 'backing'), spare)).toBe("Should not change 'backing' link to 'mid'");
    expect(refused(undefined, top)).toBe("Should not change 'backing' link to 'mid'");
    expect(picture()).toEqual(before);
    expect(change((transaction) => engine.graph.replaceNode(mid, mid, transaction))).toBe('done');
    expect(picture()).toEqual(before);
  });
});

describe('frozen links', () => {
  it('cannot be changed in any way until they are let go', () => {
    const frozen = freezeChain(top, base, "commit job 'c'");
    const before = picture();
    const link = edge(mid, 'backing');
    const text = "Cannot change frozen 'backing' link from 'mid' to 'base'";
    expect(change((transaction) => engine.graph.setBacking(mid, spare, transaction))).toBe(text);
    expect(change((transaction) => engine.graph.setBacking(mid, null, transaction))).toBe(text);
    expect(change((transaction) => engine.graph.detach(link, transaction))).toBe(text);
    expect(change((transaction) => engine.graph.replaceChild(link, spare, transaction))).toBe(text);
    expect(change((transaction) => engine.graph.replaceNode(base, spare, transaction))).toBe("Cannot change 'backing' link to 'base'");
    expect(change((transaction) => engine.graph.replaceNode(base, spare, transaction, [link]))).toBe("Cannot change 'backing' link to 'base'");
    expect(picture()).toEqual(before);
    expect(link.frozenBy).toBe("commit job 'c'");
    frozen[Symbol.dispose]();
    frozen[Symbol.dispose]();
    expect(link.frozenBy).toBeUndefined();
    expect(change((transaction) => engine.graph.setBacking(mid, spare, transaction))).toBe('done');
  });

  it('belong to one owner, from the top down to the base', () => {
    using _frozen = freezeChain(mid, undefined, 'one');
    expect(() => freezeChain(top, undefined, 'two')).toThrow("Cannot change 'backing' link from 'mid' to 'base'");
    // nothing of the failed one stays
    expect(edge(top, 'backing').frozenBy).toBeUndefined();
    using _upper = freezeChain(top, mid, 'two');
    expect([edge(top, 'backing').frozenBy, edge(mid, 'backing').frozenBy]).toEqual(['two', 'one']);
    expect(() => freezeChain(spare, base, 'three')).toThrow("'base' is not in the backing chain of 'spare'");
  });

  it('go through filters', async () => {
    const filter = await filterAbove('filter', 'mid');
    runTransaction((transaction) => engine.graph.setBacking(top, filter, transaction));
    using _frozen = freezeChain(top, mid, 'job');
    expect([edge(top, 'backing').frozenBy, edge(filter, 'file').frozenBy, edge(filter, 'target').frozenBy, edge(mid, 'backing').frozenBy]).toEqual([
      'job',
      'job',
      undefined,
      undefined,
    ]);
  });

  it('do not outlive the node above them', async () => {
    freezeChain(top, base, 'job');
    top.monitorOwned = false;
    await engine.graph.releaseUnused(top);
    expect(mid.parents).toEqual([]);
  });
});
