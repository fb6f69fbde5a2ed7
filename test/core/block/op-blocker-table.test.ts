/*
 * Operation × state of a node: what each management command answers while the node is idle, somebody's backing, source or
 * target of a backup, exported, or a guest's disk. Over QMP where the command exists; the other operations by what blocks
 * them on the node. Answers are those of qemu-storage-daemon and qemu-system 11.1.2; for operations that today's QEMU
 * checks nowhere the rule of the 2013 series: a backing node lets through commit-target, stream and backup only.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { type BlockOp, blockOps } from '../../../src/core/block/op-blockers.ts';
import { MemoryStorage } from '../../../src/core/storage/memory.ts';
import { BlockError } from '../../../src/core/util/errors.ts';
import type { JsonObject } from '../../../src/core/util/json.ts';
import { createImage } from '../../../src/engine/create.ts';
import { Engine } from '../../../src/engine/engine.ts';
import { Machine } from '../../../src/machine/machine.ts';
import { allCommands } from '../../../src/monitor/catalogue.ts';
import { Monitor, type MonitorSession } from '../../../src/monitor/monitor.ts';
import { type TempFolder, tempFolder } from '../../support/tmp.ts';

const size = 1048576;
const states = ['idle', 'backing', 'backing in use', 'disk', 'backup source', 'fleecing source', 'backup target', 'exported', 'exported writable'] as const;
type State = (typeof states)[number];

interface Setting {
  readonly engine: Engine;
  readonly session: MonitorSession;
  readonly folder: TempFolder;
}

let setting: Setting | undefined;
afterEach(async () => {
  await setting?.engine.close();
  setting?.folder[Symbol.dispose]();
  setting = undefined;
});

/** Runs a command; its error's text, or `ok`. */
async function answer({ session }: Setting, execute: string, args: JsonObject): Promise<string> {
  const reply = (await session.execute({ execute, arguments: args })) as { error?: { desc: string } };
  return reply.error?.desc ?? 'ok';
}

async function mustDo(where: Setting, execute: string, args: JsonObject): Promise<void> {
  const text = await answer(where, execute, args);
  if (text !== 'ok') throw new Error(`${execute}: ${text}`);
}

/** Node `x` in the given state, nodes `s`, `s2` and `t` of its size, qcow2 images `o` and `o2` for overlays. */
async function prepare(state: State): Promise<Setting> {
  const media = new Map<string, MemoryStorage>();
  const engine = new Engine({
    openStorage: async (path, how) => {
      let medium = media.get(path);
      if (medium === undefined) {
        if (how.create === 'never') throw new BlockError('No such file or directory', { code: 'ENOENT' });
        medium = new MemoryStorage(path);
        media.set(path, medium);
      }
      return medium;
    },
  });
  const machine = new Machine(engine);
  engine.machine = machine;
  const session = new Monitor(engine, { kind: 'machine', commands: allCommands, onQuit: () => {} }).openSession({ isNegotiated: true });
  const where: Setting = { engine, session, folder: tempFolder('table') };
  setting = where;
  for (const name of ['x', 's', 's2', 't']) {
    media.set(name, new MemoryStorage(name, { size }));
    const options = { driver: 'raw', 'node-name': name, file: { driver: 'file', filename: name } };
    // a drive owns its node: nobody made it by blockdev-add
    if (name === 'x' && state === 'disk') await machine.addDisk('hd0', await engine.opener.openNode(options));
    else await mustDo(where, 'blockdev-add', options);
  }
  for (const name of ['o', 'o2']) await createImage(engine, 'qcow2', name, { size });
  const overlay = { driver: 'qcow2', 'node-name': 'ov', file: { driver: 'file', filename: 'o' }, backing: 'x' };
  const backup = (device: string, target: string): Promise<void> =>
    mustDo(where, 'blockdev-backup', { 'job-id': 'j', device, target, sync: 'none', 'filter-node-name': 'cbw' });
  if (state === 'backing' || state === 'fleecing source') await mustDo(where, 'blockdev-add', overlay);
  if (state === 'backing in use') await machine.addDisk('hd', await engine.opener.openNode(overlay));
  if (state === 'backup source') await backup('x', 't');
  if (state === 'fleecing source') await backup('x', 'ov');
  if (state === 'backup target') await backup('s', 'x');
  await mustDo(where, 'nbd-server-start', { addr: { type: 'unix', data: { path: where.folder.file('nbd.sock') } } });
  if (state.startsWith('exported'))
    await mustDo(where, 'block-export-add', { type: 'nbd', id: 'e', 'node-name': 'x', writable: state === 'exported writable' });
  return where;
}

const operations: Readonly<Record<string, (where: Setting) => Promise<string>>> = {
  'blockdev-del': (where) => answer(where, 'blockdev-del', { 'node-name': 'x' }),
  'drive_del (HMP)': async ({ session }) => {
    const reply = (await session.execute({ execute: 'human-monitor-command', arguments: { 'command-line': 'drive_del x' } })) as { return: string };
    return reply.return === '' ? 'ok' : reply.return.replace(/^Error: (.*)\r\n$/, '$1');
  },
  block_resize: (where) => answer(where, 'block_resize', { 'node-name': 'x', size: 2 * size }),
  'backup source': (where) => answer(where, 'blockdev-backup', { 'job-id': 'k', device: 'x', target: 's2', sync: 'none', 'filter-node-name': 'f2' }),
  'backup target': (where) => answer(where, 'blockdev-backup', { 'job-id': 'k', device: 's2', target: 'x', sync: 'none', 'filter-node-name': 'f2' }),
  'export ro': (where) => answer(where, 'block-export-add', { type: 'nbd', id: 'e2', 'node-name': 'x', name: 'again' }),
  'export rw': (where) => answer(where, 'block-export-add', { type: 'nbd', id: 'e2', 'node-name': 'x', name: 'again', writable: true }),
  'backing of a new overlay': (where) =>
    answer(where, 'blockdev-add', { driver: 'qcow2', 'node-name': 'ov2', file: { driver: 'file', filename: 'o2' }, backing: 'x' }),
  'file of a new node': (where) => answer(where, 'blockdev-add', { driver: 'raw', 'node-name': 'above', file: 'x' }),
  'file of a new filter': (where) => answer(where, 'blockdev-add', { driver: 'copy-before-write', 'node-name': 'f2', file: 'x', target: 's2' }),
  'disk of a guest': async ({ engine }) => {
    const node = engine.graph.find('x');
    if (node === undefined) throw new Error('x is gone');
    return (engine.machine?.addDisk('hd1', node) ?? Promise.resolve()).then(
      () => 'ok',
      (error: unknown) => (error instanceof BlockError ? error.message : Promise.reject(error)),
    );
  },
};

const B = "Node 'x' is busy: node is used as backing hd of 'ov'";
const J = "Node 'x' is busy: block device is in use by block job: backup";
const uses = {
  overlay: "node 'ov' (uses node 'x' as 'backing' child)",
  filterFile: "node 'cbw' (uses node 'x' as 'file' child)",
  filterTarget: "node 'cbw' (uses node 'x' as 'target' child)",
  secondTarget: "node 'f2' (uses node 'x' as 'target' child)",
  disk: "block device 'hd0' (uses node 'x' as 'root' child)",
  newDisk: "block device 'hd1' (uses node 'x' as 'root' child)",
  unnamed: "an unnamed block device (uses node 'x' as 'root' child)",
};
const P = (perm: string, required: string, unshared: string): string =>
  `Permission conflict on node 'x': permissions '${perm}' are both required by ${required} and unshared by ${unshared}.`;
const noNode = (text: string): string => `Could not create node: ${text}`;

/** One row an operation, one answer a state, in the order of `states`. */
const table: Readonly<Record<keyof typeof operations, readonly string[]>> = {
  'blockdev-del': ['ok', B, B, 'Node x is in use', 'Block device x is in use', B, J, 'Node x is in use', 'Node x is in use'],
  'drive_del (HMP)': ['ok', B, B, 'Node x is not owned by the monitor', 'Block device x is in use', B, J, 'Node x is in use', 'Node x is in use'],
  block_resize: [
    'ok',
    B,
    B,
    'ok',
    P('resize', uses.unnamed, uses.filterFile),
    B,
    J,
    P('resize', uses.unnamed, uses.unnamed),
    P('resize', uses.unnamed, uses.unnamed),
  ],
  'backup source': ['ok', 'ok', 'ok', 'ok', 'ok', 'ok', J, 'ok', 'ok'],
  'backup target': [
    'ok',
    'ok',
    noNode(P('write', uses.secondTarget, uses.overlay)),
    noNode(P('write', uses.secondTarget, uses.disk)),
    noNode(P('write', uses.secondTarget, uses.filterFile)),
    noNode(P('write', uses.secondTarget, uses.filterFile)),
    J,
    'ok',
    'ok',
  ],
  'export ro': ['ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok'],
  'export rw': [
    'ok',
    'ok',
    P('write', uses.unnamed, uses.overlay),
    P('write', uses.unnamed, uses.disk),
    P('write', uses.unnamed, uses.filterFile),
    P('write', uses.unnamed, uses.filterFile),
    'ok',
    'ok',
    'ok',
  ],
  'backing of a new overlay': states.map(() => 'ok'),
  'file of a new node': states.map(() => 'ok'),
  'file of a new filter': states.map(() => 'ok'),
  'disk of a guest': [
    'ok',
    'ok',
    P('write', uses.newDisk, uses.overlay),
    P('write', uses.disk, uses.newDisk),
    P('write', uses.newDisk, uses.filterFile),
    P('write', uses.newDisk, uses.filterFile),
    P('write', uses.filterTarget, uses.newDisk),
    'ok',
    P('write', uses.unnamed, uses.newDisk),
  ],
};

describe.each(Object.keys(operations))('%s', (operation) => {
  it.each(states.map((state, index) => [state, table[operation]?.[index]] as const))('of a node that is: %s', async (state, expected) => {
    const where = await prepare(state);
    expect(await operations[operation]?.(where)).toBe(expected);
  });
});

const lets: readonly BlockOp[] = ['commit-target', 'stream', 'backup-source', 'backup-target'];

/** By state, the answer to an operation; undefined: none blocks it. */
const blocked: Readonly<Record<State, (op: BlockOp) => string | undefined>> = {
  idle: () => undefined,
  backing: (op) => (lets.includes(op) ? undefined : B),
  'backing in use': (op) => (lets.includes(op) ? undefined : B),
  disk: () => undefined,
  'backup source': () => undefined,
  'fleecing source': (op) => (lets.includes(op) ? undefined : B),
  'backup target': () => J,
  exported: () => undefined,
  'exported writable': () => undefined,
};

describe('operations of the 2013 list', () => {
  it.each(states)('on a node that is: %s', async (state) => {
    const { engine } = await prepare(state);
    const node = engine.graph.find('x');
    const found = (op: BlockOp): string | undefined => {
      try {
        node?.blockers.check(op);
        return undefined;
      } catch (error) {
        return error instanceof BlockError ? error.message : 'bug';
      }
    };
    expect(blockOps.map((op) => [op, found(op)])).toEqual(blockOps.map((op) => [op, blocked[state](op)]));
  });

  it.each(['backup source', 'fleecing source', 'backup target'] as const)(
    'are all blocked on the filter of the job, and free when it is over: %s',
    async (state) => {
      const { engine } = await prepare(state);
      const filter = engine.graph.find('cbw');
      expect(blockOps.filter((op) => filter?.blockers.isBlocked(op))).toEqual(blockOps);
      const node = engine.graph.find(state === 'fleecing source' ? 'ov' : 'x');
      await engine.jobs.cancelAll();
      expect(engine.graph.find('cbw')).toBeUndefined();
      expect(node?.blockers.isEmpty).toBe(true);
    },
  );

  it('name who blocks and why', async () => {
    const { engine } = await prepare('backup target');
    expect(engine.graph.find('x')?.blockers.list()[0]).toEqual({
      op: 'backup-source',
      reason: 'block device is in use by block job: backup',
      owner: "job 'j'",
    });
  });
});
