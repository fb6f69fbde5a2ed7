/* What queries tell of nodes: images with their limits, devices with counters, the graph with its edges, names. */
import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import { blockDeviceInfo, blockGraph, deviceStats, nodeStats } from '../../../src/core/block/device-info.ts';
import { exactFilename, nodeFilename } from '../../../src/core/block/filename.ts';
import { imageInfo, infoJson } from '../../../src/core/block/info.ts';
import type { BlockNode } from '../../../src/core/block/node.ts';
import { runTransaction } from '../../../src/core/block/transaction.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { createImage } from '../../../src/engine/create.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { memoryEngine } from '../../support/memory-engine.ts';

let engine: Engine;
afterEach(() => engine.close());

const size = 1024 * 1024;

/** base ← top, both qcow2 in the folder `at`. */
async function chain(at = ''): Promise<{ readonly base: BlockNode; readonly top: BlockNode }> {
  engine = memoryEngine().engine;
  await createImage(engine, 'qcow2', `${at}base`, { size });
  await createImage(engine, 'qcow2', `${at}top`, { size, backing_file: 'base', backing_fmt: 'qcow2' });
  const base = await engine.addNode({
    driver: 'qcow2',
    'node-name': 'base',
    'read-only': true,
    file: { driver: 'file', 'node-name': 'fb', filename: `${at}base` },
  });
  const top = await engine.addNode({ driver: 'qcow2', 'node-name': 'top', file: { driver: 'file', 'node-name': 'ft', filename: `${at}top` }, backing: 'base' });
  return { base, top };
}

describe('what is told of an image', () => {
  it('is its own: size, clusters, and what lies on the medium', async () => {
    const { base } = await chain('dir/');
    const info = infoJson(await imageInfo(base, false));
    expect(info).toMatchObject({ filename: 'dir/base', format: 'qcow2', 'dirty-flag': false, 'virtual-size': size, 'cluster-size': 65536 });
    expect([info['encrypted'], info['compressed'], info['snapshots'], info['backing-filename'], info['limits']]).toEqual(Array(5).fill(undefined));
    expect(info['children']).toMatchObject([{ name: 'file', info: { filename: 'dir/base', format: 'file', 'dirty-flag': false, children: [] } }]);
    expect(info['format-specific']).toMatchObject({ type: 'qcow2', data: { compat: '1.1' } });
  });

  it('has the name of its backing file, as recorded and as seen from the image', async () => {
    const { top } = await chain('dir/');
    const info = infoJson(await imageInfo(top, false));
    expect(info).toMatchObject({ 'backing-filename': 'base', 'full-backing-filename': 'dir/base', 'backing-filename-format': 'qcow2' });
    expect((info['children'] as { name: string }[]).map(({ name }) => name)).toEqual(['file']);
  });

  it('counts a size in whole sectors, and adds up what its files take', async () => {
    const made = memoryEngine();
    engine = made.engine;
    const node = await engine.addNode({ driver: 'null-co', 'node-name': 'n', size: 513 });
    expect(await imageInfo(node, false)).toMatchObject({ virtualSize: 1024, isProtocol: true, format: 'null-co', children: [] });
  });

  it('passes through filters and raw, which have no format of their own', async () => {
    await chain('dir/');
    const raw = await engine.addNode({ driver: 'raw', 'node-name': 'raw', file: 'top' });
    const filter = await engine.addNode({ driver: 'copy-before-write', 'node-name': 'cbw', file: 'raw', target: { driver: 'null-co', size } });
    for (const node of [raw, filter]) expect(await imageInfo(node, false)).toMatchObject({ clusterSize: 65536, isDirty: false, specific: undefined });
    expect((await imageInfo(filter, false)).actualSize).toBe((await imageInfo(raw, false)).actualSize);
  });

  it('has its limits when they are asked for', async () => {
    const { top, base } = await chain('dir/');
    expect((await imageInfo(top, true)).limits).toEqual({
      'request-alignment': 1,
      'write-zeroes-alignment': 65536,
      'discard-alignment': 65536,
      'min-mem-alignment': 1,
      'opt-mem-alignment': 4096,
      'max-iov': 1024,
    });
    const file = base.primary?.node;
    expect(file === undefined ? undefined : (await imageInfo(file, true)).limits).toEqual({
      'request-alignment': 1,
      'min-mem-alignment': 1,
      'opt-mem-alignment': 4096,
      'max-iov': 1024,
    });
  });
});

describe('what is told of a device', () => {
  it('is the node, its chain, its children newest first, and its settings', async () => {
    const { top } = await chain();
    const info = await blockDeviceInfo(top, false);
    expect(info).toMatchObject({
      ...{ file: 'top', 'node-name': 'top', ro: false, drv: 'qcow2', backing_file: 'base', backing_file_depth: 1 },
      ...{ active: true, encrypted: false, detect_zeroes: 'off', write_threshold: 0 },
      cache: { writeback: true, direct: false, 'no-flush': false },
      image: { filename: 'top', 'backing-image': { filename: 'base' } },
    });
    expect(info['children']).toEqual([
      { child: 'backing', 'node-name': 'base' },
      { child: 'file', 'node-name': 'ft' },
    ]);
    expect([info['bps'], info['bps_rd'], info['bps_wr'], info['iops'], info['iops_rd'], info['iops_wr']]).toEqual([0, 0, 0, 0, 0, 0]);
    expect('dirty-bitmaps' in info).toBe(false);
    expect(info['image']).not.toHaveProperty('children');
  });

  it('is the node alone when it is to be flat', async () => {
    const { top } = await chain();
    const info = await blockDeviceInfo(top, true);
    expect([info['backing_file_depth'], 'backing-image' in (info['image'] as object)]).toEqual([0, false]);
  });

  it('has its bitmaps, also those that a driver keeps for itself', async () => {
    await chain();
    const node = await engine.addNode({ driver: 'copy-before-write', 'node-name': 'cbw', file: 'top', target: { driver: 'null-co', size } });
    const bitmaps = (await blockDeviceInfo(node, true))['dirty-bitmaps'];
    expect(bitmaps).toEqual([size, 0, size].map((count) => ({ granularity: 65536, count, recording: false, busy: false, persistent: false })));
  });
});

describe('counters', () => {
  it('are those of the guest on a device, and the highest write on a node', async () => {
    const { top } = await chain();
    const user = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write, shared: perm.all });
    user.insert(top);
    await user.write(4096, new Uint8Array(512));
    const counted = { readBytes: 1, readOperations: 2, writeBytes: 3, writeOperations: 4, flushOperations: 5, unmapBytes: 6, unmapOperations: 7 };
    const told = deviceStats({ name: 'hd0', qdev: '/machine/hd', node: top, stats: counted });
    expect(told).toMatchObject({ device: 'hd0', qdev: '/machine/hd', 'node-name': 'top', parent: { 'node-name': 'ft' }, backing: { 'node-name': 'base' } });
    expect(told['stats']).toMatchObject({
      ...{ rd_bytes: 1, rd_operations: 2, wr_bytes: 3, wr_operations: 4, flush_operations: 5, unmap_bytes: 6, unmap_operations: 7 },
      ...{ wr_highest_offset: 4608, account_invalid: true, account_failed: true, timed_stats: [] },
    });
    const values = Object.entries(told['stats'] as object).filter(
      ([name]) => /time_ns|merged|failed_|invalid_|zone_/.test(name) && !name.startsWith('account'),
    );
    expect(values.length).toBeGreaterThan(15);
    for (const [, value] of values) expect(value).toBe(0);
    await user.remove();
  });

  it('of an empty device are told without a node', async () => {
    engine = memoryEngine().engine;
    const stats = { readBytes: 0, readOperations: 0, writeBytes: 0, writeOperations: 0, flushOperations: 0, unmapBytes: 0, unmapOperations: 0 };
    const told = deviceStats({ name: 'cd', qdev: undefined, node: undefined, stats });
    expect(Object.keys(told)).toEqual(['device', 'stats']);
    expect(told['stats']).toMatchObject({ wr_highest_offset: 0, rd_bytes: 0, account_invalid: true });
  });

  it('of a node go down to its file, and to its backing only beside a device', async () => {
    const { top } = await chain();
    const own = nodeStats(top, true);
    expect([Object.keys(own), own['stats']]).toMatchObject([['node-name', 'stats', 'parent'], { rd_bytes: 0, account_invalid: false, account_failed: false }]);
    expect(own['parent']).toMatchObject({
      'node-name': 'ft',
      'driver-specific': { driver: 'file', 'discard-nb-ok': 0, 'discard-nb-failed': 0, 'discard-bytes-ok': 0 },
    });
    expect(nodeStats(top, false)['backing']).toMatchObject({ 'node-name': 'base' });
  });
});

describe('the graph as a query shows it', () => {
  it('numbers everything once, newest first, with what each edge needs and shares', async () => {
    const { base } = await chain();
    const user = new BlockBackend(engine.graph, { name: 'hd0', perm: perm.consistentRead, shared: perm.all });
    user.insert(base);
    const root = user.root === undefined ? [] : [user.root];
    const told = blockGraph(engine.graph, [{ type: 'block-backend', name: 'hd0', parent: user, edges: root }]);
    const nodes = told['nodes'] as { id: number; type: string; name: string }[];
    expect(nodes.at(-1)).toEqual({ id: 1, type: 'block-backend', name: 'hd0' });
    expect(new Set(nodes.map(({ id }) => id)).size).toBe(5);
    expect(
      nodes
        .slice(0, -1)
        .map(({ type, name }) => `${type} ${name}`)
        .sort(),
    ).toEqual(['base', 'fb', 'ft', 'top'].map((name) => `block-driver ${name}`));
    const idOf = (name: string): number | undefined => nodes.find((node) => node.name === name)?.id;
    const edges = told['edges'] as { parent: number; child: number; name: string; perm: string[]; 'shared-perm': string[] }[];
    expect(edges.at(-1)).toEqual({
      ...{ parent: 1, child: idOf('base'), name: 'root', perm: ['consistent-read'] },
      'shared-perm': ['resize', 'write-unchanged', 'write', 'consistent-read'],
    });
    const ofTop = edges.filter(({ parent }) => parent === idOf('top'));
    expect(ofTop.map(({ name, child }) => [name, child])).toEqual([
      ['file', idOf('ft')],
      ['backing', idOf('base')],
    ]);
    await user.remove();
  });
});

describe('the name of a node', () => {
  it('is the one that opens it again, or all its options', async () => {
    const { base, top } = await chain();
    expect([exactFilename(top), nodeFilename(top)]).toEqual(['top', 'top']);
    const raw = await engine.addNode({ driver: 'raw', 'node-name': 'raw', file: 'top' });
    expect([exactFilename(raw), nodeFilename(raw)]).toEqual([
      undefined,
      'json:{"driver": "raw", "file": {"driver": "qcow2", "file": {"driver": "file", "filename": "top"}}}',
    ]);
    const filter = await engine.addNode({ driver: 'copy-before-write', 'node-name': 'cbw', file: 'base', target: { driver: 'null-co', size } });
    expect([exactFilename(filter), nodeFilename(filter)]).toEqual([undefined, 'base']);
    runTransaction((transaction) => engine.graph.setBacking(top, null, transaction));
    expect([exactFilename(top), nodeFilename(top)]).toEqual([
      undefined,
      'json:{"backing": null, "driver": "qcow2", "file": {"driver": "file", "filename": "top"}}',
    ]);
    expect(nodeFilename(base)).toBe('base');
  });
});
