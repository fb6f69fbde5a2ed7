import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import type { BlockNode } from '../../../src/core/block/node.ts';
import { runTransaction } from '../../../src/core/block/transaction.ts';
import { MemoryStorage } from '../../../src/core/storage/memory.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { memoryEngine } from '../../support/memory-engine.ts';

let engine: Engine;

afterEach(() => engine.close());

async function withDisk(): Promise<BlockNode> {
  const made = memoryEngine();
  engine = made.engine;
  made.media.set('disk', new MemoryStorage('disk', { size: 1024 * 1024 }));
  return engine.addNode({ driver: 'raw', 'node-name': 'disk', file: { driver: 'file', filename: 'disk' } });
}

describe('permissions', () => {
  it('refuses a second user that needs what the first does not share, and changes nothing', async () => {
    const node = await withDisk();
    const writer = new BlockBackend(engine.graph, {
      name: 'hd0',
      perm: perm.consistentRead | perm.write,
      shared: perm.consistentRead | perm.writeUnchanged | perm.resize,
    });
    writer.insert(node);
    const before = node.parents.length;
    const second = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write, shared: perm.all });
    expect(() => second.insert(node)).toThrow(
      "Permission conflict on node 'disk': permissions 'write' are both required by an unnamed block device (uses node 'disk' as 'root' child) and unshared by block device 'hd0' (uses node 'disk' as 'root' child).",
    );
    expect(node.parents.length).toBe(before);
    expect(second.node).toBeUndefined();
    await writer.remove();
    second.insert(node);
    await second.remove();
  });

  it('passes the permissions of a raw node through to its file and back', async () => {
    const node = await withDisk();
    const file = node.children[0];
    expect([file?.perm, file?.shared]).toEqual([perm.none, perm.all]);
    const writer = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write, shared: perm.consistentRead });
    writer.insert(node);
    expect([file?.perm, file?.shared]).toEqual([perm.consistentRead | perm.write, perm.consistentRead]);
    await writer.remove();
    expect([file?.perm, file?.shared]).toEqual([perm.none, perm.all]);
  });

  it('refuses writers of a read-only node', async () => {
    const made = memoryEngine();
    engine = made.engine;
    made.media.set('disk', new MemoryStorage('disk', { size: 4096 }));
    const node = await engine.addNode({ driver: 'raw', 'node-name': 'ro', 'read-only': true, file: { driver: 'file', filename: 'disk' } });
    const writer = new BlockBackend(engine.graph, { perm: perm.write, shared: perm.all });
    expect(() => writer.insert(node)).toThrow('Block node is read-only');
    expect(node.parents).toEqual([]);
  });
});

describe('names', () => {
  it('refuses a name twice, too long, malformed', async () => {
    await withDisk();
    const add = (name: string): Promise<unknown> => engine.addNode({ driver: 'null-co', 'node-name': name });
    await expect(add('disk')).rejects.toThrow("Duplicate nodes with node-name='disk'");
    await expect(add('x y')).rejects.toThrow("Invalid node-name: 'x y'");
    await expect(add('n'.repeat(32))).rejects.toThrow('Node name too long');
    await add('n'.repeat(31));
  });

  it('names nodes that the user did not name #blockNNN', async () => {
    const node = await withDisk();
    expect(node.children[0]?.node.name).toMatch(/^#block\d+$/);
  });
});

describe('opening', () => {
  it('takes everything down again when an option is left over', async () => {
    const made = memoryEngine();
    engine = made.engine;
    made.media.set('disk', new MemoryStorage('disk', { size: 4096 }));
    await expect(engine.addNode({ driver: 'raw', 'node-name': 'x', foo: 'bar', file: { driver: 'file', filename: 'disk' } })).rejects.toThrow(
      "Block format 'raw' does not support the option 'foo'",
    );
    expect([...engine.graph.nodes]).toEqual([]);
  });

  it('tells which file is missing', async () => {
    engine = memoryEngine().engine;
    await expect(engine.addNode({ driver: 'raw', 'node-name': 'x', file: { driver: 'file', filename: 'nosuch' } })).rejects.toThrow(
      "Could not open 'nosuch': No such file or directory",
    );
    expect([...engine.graph.nodes]).toEqual([]);
  });

  it('closes children that nobody else uses when a node is released', async () => {
    const node = await withDisk();
    node.monitorOwned = false;
    await engine.graph.releaseUnused(node);
    expect([...engine.graph.nodes]).toEqual([]);
  });
});

describe('edges', () => {
  it('refuses a cycle', async () => {
    const node = await withDisk();
    const file = node.children[0]?.node;
    expect(() => runTransaction((transaction) => engine.graph.attach('backing', 8, file ?? node, node, transaction))).toThrow(/would create a cycle/);
  });
});
