/* What nodes below take over from the node that opens them, and what is said of a backing file at opening. */
import { afterEach, describe, expect, it } from 'vitest';
import { nodeFilename } from '../../../src/core/block/filename.ts';
import type { BlockNode } from '../../../src/core/block/node.ts';
import type { OptionTree } from '../../../src/core/block/options.ts';
import { createImage } from '../../../src/engine/create.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { memoryEngine } from '../../support/memory-engine.ts';

const size = 1024 * 1024;
const file = (filename: string, more: OptionTree = {}): OptionTree => ({ driver: 'file', filename, ...more });

let engine: Engine;
let log: readonly string[];
afterEach(() => engine.close());

/** base ← middle ← top, all qcow2, the last recorded with its format. */
async function start(): Promise<void> {
  ({ engine, log } = memoryEngine());
  await createImage(engine, 'qcow2', 'base', { size });
  await createImage(engine, 'qcow2', 'middle', { size, backing_file: 'base', backing_fmt: 'qcow2' });
  await createImage(engine, 'qcow2', 'top', { size, backing_file: 'middle', backing_fmt: 'qcow2' });
}

const add = (options: OptionTree): Promise<BlockNode> => engine.addNode({ driver: 'qcow2', 'node-name': 'top', file: file('top'), ...options });

function below(node: BlockNode | undefined, ...names: readonly string[]): BlockNode {
  let at = node;
  for (const name of names) at = at?.child(name)?.node;
  return at ?? expect.fail(`nothing at ${names.join('.')}`);
}

describe('settings that nodes below take over', () => {
  it('a file has those of its image, and may fall back to reading unless that is said', async () => {
    await start();
    const top = await add({ cache: { direct: true, 'no-flush': true } });
    expect(below(top, 'file').settings).toMatchObject({ readOnly: false, autoReadOnly: true, discard: true, cache: { direct: true, noFlush: true } });
    expect(top.settings).toMatchObject({ autoReadOnly: false, discard: false });
  });

  it('a backing file is read only, with the cache and the sharing of the image above', async () => {
    await start();
    const top = await add({ 'read-only': true, 'force-share': true, 'auto-read-only': true, cache: { direct: true, 'no-flush': true } });
    for (const names of [['backing'], ['backing', 'backing']]) {
      const { settings } = below(top, ...names);
      expect(settings).toMatchObject({ readOnly: true, autoReadOnly: false, forceShare: true, noIo: false, discard: true, detectZeroes: 'off' });
      expect(settings.cache).toEqual({ direct: true, noFlush: true });
      expect(below(top, ...names, 'file').settings).toMatchObject({ readOnly: true, forceShare: true });
    }
    await engine.close();
    await start();
    expect(below(await add({}), 'backing').settings).toMatchObject({ readOnly: true, forceShare: false, cache: { direct: false, noFlush: false } });
  });

  it('what is said of a node goes before what it would take over', async () => {
    await start();
    const top = await add({
      'read-only': true,
      file: file('top', { 'read-only': false, discard: 'ignore', cache: { direct: false } }),
      cache: { direct: true },
    });
    expect(below(top, 'file').settings).toMatchObject({ readOnly: false, discard: false, cache: { direct: false } });
  });

  it('a filter passes on whether its image may fall back to reading; a format always lets its file', async () => {
    await start();
    const raw = await engine.addNode({ driver: 'raw', 'node-name': 'raw', file: file('base') });
    expect(below(raw, 'file').settings.autoReadOnly).toBe(false);
    const asked = await engine.addNode({ driver: 'raw', 'node-name': 'asked', 'auto-read-only': true, file: file('middle') });
    expect(below(asked, 'file').settings.autoReadOnly).toBe(true);
    const filter = await engine.addNode({ driver: 'preallocate', 'node-name': 'filter', file: { driver: 'raw', file: file('top') } });
    expect(below(filter, 'file').settings.autoReadOnly).toBe(false);
  });
});

describe('the format of what lies below', () => {
  it('has to be said below a filter and below a format', async () => {
    await start();
    for (const driver of ['raw', 'preallocate']) {
      await expect(engine.addNode({ driver, 'node-name': 'above', file: { file: file('top') } })).rejects.toThrow('Must specify either driver or file');
    }
  });

  it('is that of a file by its name, of a target as the filter says', async () => {
    await start();
    for (const driver of ['raw', 'preallocate']) {
      const above = await engine.addNode({ driver, 'node-name': driver, file: { filename: 'base' } });
      expect(below(above, 'file').driver.name).toBe('file');
    }
    const source = { driver: 'null-co', size };
    const filter = await engine.addNode({ driver: 'copy-before-write', 'node-name': 'cbw', file: source, target: { driver: 'qcow2', file: file('top') } });
    expect(below(filter, 'target').driver.name).toBe('qcow2');
  });
});

describe('a backing file', () => {
  const named = (node: BlockNode): string | undefined => node.backing?.node.name;

  it('is the one that the image records, and is not told as another', async () => {
    await start();
    const top = await add({});
    expect([top.isBackingOverridden, below(top, 'backing').driver.name, below(top, 'backing', 'backing').isBackingOverridden]).toEqual([false, 'qcow2', false]);
    expect(below(top, 'backing').implicit).toBe(true);
  });

  it('is told by what the image records, seen from the folder of the image', async () => {
    ({ engine } = memoryEngine());
    await createImage(engine, 'qcow2', 'dir/base', { size });
    await createImage(engine, 'qcow2', 'dir/top', { size, backing_file: 'base', backing_fmt: 'qcow2' });
    const top = await add({ file: file('dir/top') });
    expect([top.isBackingOverridden, nodeFilename(top), nodeFilename(below(top, 'backing'))]).toEqual([false, 'dir/top', 'dir/base']);
  });

  it('may be none, where the image names one that is told', async () => {
    await start();
    const top = await add({ backing: null });
    expect([top.backing, top.isBackingOverridden]).toEqual([undefined, true]);
    const base = await engine.addNode({ driver: 'qcow2', 'node-name': 'base', file: file('base'), backing: null });
    expect([base.backing, base.isBackingOverridden]).toEqual([undefined, false]);
    expect(log).not.toContainEqual(expect.stringContaining('TSIMG_WARNING'));
    await engine.addNode({ driver: 'qcow2', 'node-name': 'old', file: file('middle'), backing: '' });
    expect(engine.graph.find('old')?.backing).toBeUndefined();
    expect(log).toContainEqual(expect.stringContaining('TSIMG_WARNING'));
  });

  it('may be a node, or another image: told as another unless it is the one recorded', async () => {
    await start();
    await engine.addNode({ driver: 'qcow2', 'node-name': 'm', 'read-only': true, file: file('middle') });
    await engine.addNode({ driver: 'qcow2', 'node-name': 'b', 'read-only': true, file: file('base') });
    const same = await add({ backing: 'm' });
    expect([named(same), same.isBackingOverridden]).toEqual(['m', false]);
    const other = await add({ 'node-name': 'other', backing: 'b', 'read-only': true });
    expect([named(other), other.isBackingOverridden]).toEqual(['b', true]);
    const described = await add({ 'node-name': 'described', 'read-only': true, backing: { driver: 'qcow2', 'node-name': 'c', file: file('base') } });
    expect([named(described), described.isBackingOverridden, below(described, 'backing', 'file').name.startsWith('#block')]).toEqual(['c', true, true]);
  });

  it('keeps the name and the format of the image where only options are added', async () => {
    await start();
    const top = await add({ backing: { 'node-name': 'm', file: { 'node-name': 'f' } } });
    expect([named(top), below(top, 'backing', 'file').name, below(top, 'backing').driver.name, top.isBackingOverridden]).toEqual(['m', 'f', 'qcow2', false]);
  });

  it('cannot be given to a driver that has none, but for saying that there is none', async () => {
    await start();
    const raw = await engine.addNode({ driver: 'raw', 'node-name': 'raw', file: file('base'), backing: null });
    expect(raw.backing).toBeUndefined();
    await expect(engine.addNode({ driver: 'raw', 'node-name': 'no', file: file('top'), backing: { driver: 'null-co' } })).rejects.toThrow(
      "Block format 'raw' does not support the option 'backing.driver'",
    );
    await expect(engine.addNode({ driver: 'raw', 'node-name': 'no', file: file('top'), backing: 'raw' })).rejects.toThrow(
      "Block format 'raw' does not support the option 'backing'",
    );
  });
});
