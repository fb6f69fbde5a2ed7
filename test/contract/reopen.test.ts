/* Reopening, over every driver: other settings come into force as a whole or not at all; locks are never let go between. */

import { chmodSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlockBackend } from '../../src/core/block/backend.ts';
import { drainNodes } from '../../src/core/block/drain.ts';
import { readNode } from '../../src/core/block/io.ts';
import type { BlockNode } from '../../src/core/block/node.ts';
import type { OptionTree } from '../../src/core/block/options.ts';
import { prepareReopen } from '../../src/core/block/reopen.ts';
import { runTransaction } from '../../src/core/block/transaction.ts';
import type { Json } from '../../src/core/util/json.ts';
import { perm } from '../../src/core/util/perm-bits.ts';
import { createImage } from '../../src/engine/create.ts';
import { driverEntries } from '../../src/engine/drivers.ts';
import { Engine } from '../../src/engine/engine.ts';
import { addThrottleGroup } from '../support/throttle-group.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';
import { makeVault, vaultSecret } from '../support/vault.ts';

let folder: TempFolder;
let engine: Engine;
beforeEach(async () => {
  folder = tempFolder('reopen');
  engine = new Engine();
  writeFileSync(folder.file('disk'), new Uint8Array(65536).fill(7));
  await createImage(engine, 'qcow2', folder.file('image'), { size: 65536 });
  addThrottleGroup(engine, 'g');
  await makeVault(engine, folder.file('vault'), { size: 65536 });
});
afterEach(async () => {
  await engine.close();
  folder[Symbol.dispose]();
});

const file = (name = 'disk'): OptionTree => ({ driver: 'file', filename: folder.file(name) });
const trees: Readonly<Record<string, () => OptionTree>> = {
  file,
  'null-co': () => ({ driver: 'null-co', size: 65536, 'read-zeroes': true }),
  'null-aio': () => ({ driver: 'null-aio', size: 65536, 'read-zeroes': true }),
  raw: () => ({ driver: 'raw', file: file() }),
  qcow2: () => ({ driver: 'qcow2', file: file('image') }),
  luks: () => ({ driver: 'luks', 'key-secret': vaultSecret, file: file('vault') }),
  'copy-on-read': () => ({ driver: 'copy-on-read', file: file() }),
  blkdebug: () => ({ driver: 'blkdebug', image: file() }),
  blkverify: () => ({ driver: 'blkverify', test: file('disk'), raw: file('vault') }),
  quorum: () => ({ driver: 'quorum', 'vote-threshold': 1, children: [file()] as Json[] }),
  blklogwrites: () => ({ driver: 'blklogwrites', file: file(), log: file('vault') }),
  compress: () => ({ driver: 'compress', file: { driver: 'qcow2', file: file('image') } }),
  throttle: () => ({ driver: 'throttle', 'throttle-group': 'g', file: file() }),
  preallocate: () => ({ driver: 'preallocate', file: file() }),
  'copy-before-write': () => ({ driver: 'copy-before-write', file: file(), target: { driver: 'null-co', size: 65536 } }),
  'snapshot-access': () => ({ driver: 'snapshot-access', file: trees['copy-before-write']?.() }),
};
/** The peer says the same of its filters. */
const refusing = ['blklogwrites', 'quorum', 'blkverify', 'copy-on-read', 'compress', 'copy-before-write', 'snapshot-access'];

const add = (driver: string, more: OptionTree = {}): Promise<BlockNode> => engine.addNode({ ...trees[driver]?.(), 'node-name': 'n', ...more });
const withReadOnly = (node: BlockNode, readOnly: boolean): Promise<void> => reopen(node, { ...node.settings, readOnly });

async function reopen(node: BlockNode, settings: BlockNode['settings'], fails = false): Promise<void> {
  await engine.graph.turn(async () => {
    using _section = await drainNodes([node]);
    const prepared = await prepareReopen(node, settings);
    try {
      runTransaction((transaction) => {
        prepared.apply(transaction);
        if (fails) throw new Error('aborted');
      });
    } finally {
      await prepared.settle();
    }
  });
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

async function firstByte(node: BlockNode): Promise<number> {
  const into = new Uint8Array(1);
  await readNode(node, 0, into, 0);
  return into[0] ?? -1;
}

it('every driver is here but the one that is as file', () => {
  expect(driverEntries.map(({ name }) => name).filter((name) => !(name in trees))).toEqual(['host_device', 'host_cdrom']);
});

describe.each(Object.keys(trees).filter((name) => !refusing.includes(name)))('%s', (driver) => {
  it('becomes read-only and writable again, with what lies there', async () => {
    const node = await add(driver);
    const before = await firstByte(node);
    const count = descriptors();
    await withReadOnly(node, true);
    expect([node.readOnly, await firstByte(node)]).toEqual([true, before]);
    const writer = new BlockBackend(engine.graph, { perm: perm.write, shared: perm.all });
    expect(() => writer.insert(node)).toThrow('Block node is read-only');
    await withReadOnly(node, false);
    writer.insert(node);
    await writer.write(0, new Uint8Array(1).fill(9));
    expect(await firstByte(node)).toBe(driver.startsWith('null-') ? 0 : 9);
    await writer.remove();
    await drainNodes([node]).then((section) => section[Symbol.dispose]());
    expect(descriptors()).toBe(count);
  });

  it('stays as it is when the transaction is aborted', async () => {
    const node = await add(driver);
    const count = descriptors();
    const { settings, limits } = node;
    await expect(reopen(node, { ...settings, readOnly: true, cache: { direct: false, noFlush: true } }, true)).rejects.toThrow('aborted');
    expect([node.settings, node.limits]).toEqual([settings, limits]);
    const writer = new BlockBackend(engine.graph, { perm: perm.write, shared: perm.all });
    writer.insert(node);
    await writer.write(0, new Uint8Array(512));
    await writer.remove();
    await drainNodes([node]).then((section) => section[Symbol.dispose]());
    expect(descriptors()).toBe(count);
  });

  it('does not become read-only under a writer', async () => {
    const node = await add(driver);
    const writer = new BlockBackend(engine.graph, { perm: perm.write, shared: perm.all });
    writer.insert(node);
    await expect(withReadOnly(node, true)).rejects.toThrow("Read-only block node 'n' cannot support read-write users");
    expect(node.readOnly).toBe(false);
    await writer.write(0, new Uint8Array(512));
    await writer.remove();
  });
});

describe.each(refusing)('%s', (driver) => {
  it('says that it cannot be reopened', async () => {
    const node = await add(driver);
    await expect(withReadOnly(node, true)).rejects.toThrow(`Block format '${driver}' used by node 'n' does not support reopening files`);
    expect(node.readOnly).toBe(false);
  });
});

describe('a file that is reopened', () => {
  it('keeps its locks through the change and after it, and gives them up with its last user', async () => {
    const node = await add('file');
    const owner = new BlockBackend(engine.graph, { perm: perm.consistentRead, shared: perm.consistentRead });
    owner.insert(node);
    await using other = new Engine();
    const write = (): Promise<string> =>
      other.openBackend({ filename: folder.file('disk'), format: 'raw', readOnly: false }).then(
        async (backend) => {
          await other.closeBackend(backend);
          return 'opened';
        },
        (error: Error) => error.message.replace(/^.*: /, ''),
      );
    const refused = 'Failed to get "write" lock';
    expect(await write()).toBe(refused);
    await engine.graph.turn(async () => {
      const prepared = await prepareReopen(node, { ...node.settings, readOnly: true });
      expect(await write()).toBe(refused);
      runTransaction((transaction) => prepared.apply(transaction));
    });
    await node.whenIdle();
    expect(await write()).toBe(refused);
    // what is asked for while both are open is in force after it
    await engine.graph.turn(async () => {
      const prepared = await prepareReopen(node, { ...node.settings, readOnly: false });
      owner.setPerm(perm.consistentRead, perm.all);
      runTransaction((transaction) => prepared.apply(transaction));
    });
    await node.whenIdle();
    expect(await write()).toBe('opened');
    await owner.remove();
  });

  it('is the same file, whatever its name leads to now', async () => {
    const node = await add('file');
    const count = descriptors();
    renameSync(folder.file('disk'), folder.file('moved'));
    await expect(withReadOnly(node, true)).rejects.toThrow('Could not reopen file: No such file or directory');
    writeFileSync(folder.file('disk'), new Uint8Array(65536));
    await expect(withReadOnly(node, true)).rejects.toThrow('Could not reopen file: Another file has its name now');
    expect([node.readOnly, await firstByte(node), descriptors()]).toEqual([false, 7, count]);
  });

  it.skipIf(process.getuid?.() === 0)('does not become writable where it may not be written', async () => {
    chmodSync(folder.file('disk'), 0o444);
    const node = await add('file', { 'read-only': true });
    await expect(withReadOnly(node, false)).rejects.toThrow('Could not reopen file: Permission denied');
    expect(node.readOnly).toBe(true);
  });
});
