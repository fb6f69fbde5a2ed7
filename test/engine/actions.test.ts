/* Actions: opened first, applied in one drained section in order, all or none, and cleaned up; bugs fail the command only. */
import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend, writerPerms } from '../../src/core/block/backend.ts';
import type { BlockNode } from '../../src/core/block/node.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { type Action, runAction, runActions } from '../../src/engine/ops/action.ts';
import { addNodeAction, deleteNodeAction } from '../../src/engine/ops/nodes.ts';
import { type ActionArgs, actionOf, runTransaction } from '../../src/engine/ops/transaction.ts';
import { type MemoryEngine, memoryEngine } from '../support/memory-engine.ts';

let made: MemoryEngine;
afterEach(() => made.engine.close());

/** Nodes a and b of 64 KiB, whatever the storage. */
async function twoNodes(): Promise<MemoryEngine> {
  made = memoryEngine();
  for (const name of ['a', 'b']) await made.engine.addNode({ driver: 'null-co', 'node-name': name, size: 65536 });
  return made;
}

/** What can be seen of the graph and its bitmaps. */
function picture({ engine }: MemoryEngine): unknown {
  return {
    jobs: engine.jobs.list().map((job) => job.id),
    nodes: [...engine.graph.nodes].map((node) => ({
      name: node.name,
      owned: node.monitorOwned,
      quiesced: node.quiesceCount,
      blocked: node.blockers.isBlocked('backup-source'),
      parents: node.parents.map((edge) => `${edge.parent.describe()} ${edge.name} ${edge.perm} ${edge.shared}`),
      children: node.children.map((edge) => `${edge.node.name} ${edge.perm} ${edge.shared}`),
      bitmaps: [...node.dirtyBitmaps].map((bitmap) => `${bitmap.name} ${bitmap.count} ${bitmap.isEnabled} ${bitmap.isBusy}`),
    })),
  };
}

interface Script {
  readonly log: string[];
  action(name: string, given?: { open?: unknown; apply?: unknown; clean?: unknown; drains?: boolean; waits?: boolean }): Action<string>;
}

function script(): Script {
  const log: string[] = [];
  const part = (name: string, error: unknown): void => {
    log.push(name);
    if (error !== undefined) throw error;
  };
  return {
    log,
    action: (name, { open, apply, clean, drains = false, waits = false } = {}) => ({
      drains,
      open: async () => part(`open ${name}`, open),
      apply: (transaction) => {
        transaction.add({ commit: () => log.push(`commit ${name}`), abort: () => log.push(`abort ${name}`) });
        part(`apply ${name}`, apply);
        return waits ? Promise.resolve(name) : name;
      },
      clean: async () => part(`clean ${name}`, clean),
    }),
  };
}

describe('the order', () => {
  it('is open all, apply all, commit and clean newest first', async () => {
    const { engine } = await twoNodes();
    const { log, action } = script();
    expect(await runActions(engine, [action('1'), action('2', { waits: true }), action('3')])).toEqual(['1', '2', '3']);
    expect(log).toEqual([
      ...['open 1', 'open 2', 'open 3', 'apply 1', 'apply 2', 'apply 3'],
      ...['commit 3', 'commit 2', 'commit 1', 'clean 3', 'clean 2', 'clean 1'],
    ]);
  });

  it.each([0, 1, 2])('a failure of action %i takes back it and those before; the others are not tried', async (bad) => {
    const { engine } = await twoNodes();
    const { log, action } = script();
    const actions = [0, 1, 2].map((index) => action(String(index), index === bad ? { apply: new BlockError('no', { code: 'EBUSY' }) } : {}));
    await expect(runActions(engine, actions)).rejects.toMatchObject({ message: 'no', code: 'EBUSY' });
    const tried = [0, 1, 2].slice(0, bad + 1);
    expect(log.filter((line) => /apply|commit|abort/.test(line))).toEqual([
      ...tried.map((index) => `apply ${index}`),
      ...tried.reverse().map((index) => `abort ${index}`),
    ]);
    expect(log.slice(-3)).toEqual(['clean 2', 'clean 1', 'clean 0']);
  });

  it.each([0, 1, 2])('a failed open of action %i is told at its place: what stands before it is applied and may fail first', async (bad) => {
    const { engine } = await twoNodes();
    const { log, action } = script();
    const actions = [0, 1, 2].map((index) => action(String(index), index === bad ? { open: new BlockError('no such file', { code: 'EIO' }) } : {}));
    await expect(runActions(engine, actions)).rejects.toThrow('no such file');
    expect(log.filter((line) => line.startsWith('open'))).toEqual([0, 1, 2].slice(0, bad + 1).map((index) => `open ${index}`));
    expect(log.filter((line) => line.startsWith('apply'))).toEqual([0, 1, 2].slice(0, bad).map((index) => `apply ${index}`));
    expect(log.filter((line) => line.startsWith('commit'))).toEqual([]);
    const first = action('first', { apply: new BlockError('earlier', { code: 'EIO' }) });
    await expect(runActions(engine, [first, ...actions])).rejects.toThrow('earlier');
  });

  it('every clean is tried; the first error is told', async () => {
    const { engine } = await twoNodes();
    const { log, action } = script();
    const actions = [
      action('1', { clean: new BlockError('close 1', { code: 'EIO' }) }),
      action('2', { clean: new BlockError('close 2', { code: 'EIO' }) }),
      action('3'),
    ];
    await expect(runActions(engine, actions)).rejects.toThrow('close 2');
    expect(log.slice(-3)).toEqual(['clean 3', 'clean 2', 'clean 1']);
  });

  it('opens run without the graph turn, all else in one', async () => {
    const { engine } = await twoNodes();
    const order: string[] = [];
    let go: () => void = () => {};
    const opening = new Promise<void>((resolve) => {
      go = resolve;
    });
    const slow = runAction(engine, { drains: false, open: () => opening, apply: () => void order.push('slow') });
    await runAction(engine, { drains: false, apply: () => void order.push('quick') });
    go();
    await slow;
    expect(order).toEqual(['quick', 'slow']);
  });
});

describe('the drained section', () => {
  const counts = (nodes: Iterable<BlockNode>): number[] => [...nodes].map((node) => node.quiesceCount);

  it.each([
    { given: {}, drains: false, count: 0 },
    { given: {}, drains: true, count: 1 },
    { given: { drains: true }, drains: false, count: 1 },
  ])('is there when an action or the caller needs it: $drains', async ({ given, drains, count }) => {
    const { engine } = await twoNodes();
    const seen: number[][] = [];
    const look: Action = {
      drains: false,
      apply: () => void seen.push(counts(engine.graph.nodes)),
      clean: async () => void seen.push(counts(engine.graph.nodes)),
    };
    await runActions<unknown>(engine, [script().action('1', given), look], { drains });
    // over every node while actions are applied, over none when they are cleaned up
    expect(seen).toEqual([
      [count, count],
      [0, 0],
    ]);
  });

  it('ends when an action fails', async () => {
    const { engine } = await twoNodes();
    await expect(runAction(engine, script().action('1', { drains: true, apply: new BlockError('no', { code: 'EIO' }) }))).rejects.toThrow('no');
    expect(counts(engine.graph.nodes)).toEqual([0, 0]);
  });
});

describe('a bug', () => {
  it('fails the command with one line and a code, and takes back what it did', async () => {
    const { engine } = await twoNodes();
    const { log, action } = script();
    const failed = runActions(engine, [action('1'), action('2', { apply: new TypeError('x is undefined\nat somewhere') })]);
    await expect(failed).rejects.toMatchObject({ name: 'BlockError', code: 'ERR_INTERNAL', message: 'internal error: TypeError: x is undefined' });
    expect(log.filter((line) => /abort/.test(line))).toEqual(['abort 2', 'abort 1']);
    await runAction(engine, action('3'));
  });

  it('breaks the nodes that the action sent requests to, and no other', async () => {
    const { engine } = await twoNodes();
    const [a, b] = [...engine.graph.nodes];
    const users = [a, b].map((node) => {
      const backend = new BlockBackend(engine.graph, writerPerms);
      if (node !== undefined) backend.insert(node);
      return backend;
    });
    const bad: Action = {
      drains: true,
      apply: async () => {
        throw new RangeError('absurd');
      },
      touched: () => (a === undefined ? [] : [a]),
    };
    await expect(runAction(engine, bad)).rejects.toThrow('internal error: RangeError: absurd');
    const into = new Uint8Array(512);
    const told = { code: 'EIO', message: "Node 'a' is broken: internal error: RangeError: absurd" };
    for (const request of [() => users[0]?.read(0, into), () => users[0]?.write(0, into), () => users[0]?.zero(0, 512)]) {
      await expect((async () => request())()).rejects.toMatchObject(told);
    }
    expect(users[0]?.size()).toBe(65536);
    await users[1]?.read(0, into);
    for (const user of users) await user.remove();
    // a failed write may have reached the medium: the end tells that nobody could flush it
    await expect(engine.close()).rejects.toMatchObject(told);
    expect([...engine.graph.nodes]).toEqual([]);
    // a second close would tell the same again
    made = memoryEngine();
  });

  it('of the medium is no bug: the node lives on', async () => {
    const { engine } = await twoNodes();
    const a = engine.graph.find('a');
    const bad: Action = {
      drains: false,
      apply: () => {
        throw new BlockError('Input/output error', { code: 'EIO' });
      },
      touched: () => (a === undefined ? [] : [a]),
    };
    const before = a?.state;
    await expect(runAction(engine, bad)).rejects.toThrow('Input/output error');
    expect(a?.state).toBe(before);
  });

  it('in taking back does not hide why the command failed, nor stop the rest', async () => {
    const { engine } = await twoNodes();
    const { log, action } = script();
    const broken: Action<string> = {
      drains: false,
      apply: (transaction) => {
        transaction.add({
          abort: () => {
            throw new TypeError('bug');
          },
        });
        throw new BlockError('the reason', { code: 'EIO' });
      },
    };
    await expect(runActions(engine, [action('1'), broken])).rejects.toThrow('the reason');
    expect(log).toContain('abort 1');
  });

  it('in a commit is told, and the others take effect', async () => {
    const { engine } = await twoNodes();
    const { log, action } = script();
    const broken: Action<string> = {
      drains: false,
      apply: (transaction) => {
        transaction.add({
          commit: () => {
            throw new TypeError('bug');
          },
        });
        return '';
      },
    };
    await expect(runActions(engine, [action('1'), broken])).rejects.toMatchObject({ code: 'ERR_INTERNAL' });
    expect(log).toContain('commit 1');
    expect(log).not.toContain('abort 1');
  });
});

describe('actions of nodes', () => {
  it('a new node is there when all are carried out, and gone when one fails', async () => {
    const where = await twoNodes();
    const { engine } = where;
    const before = picture(where);
    const add = (): Action<BlockNode> => addNodeAction(engine, { driver: 'null-co', 'node-name': 'n' });
    await expect(runActions<unknown>(engine, [add(), script().action('x', { apply: new BlockError('no', { code: 'EIO' }) })])).rejects.toThrow('no');
    expect(picture(where)).toEqual(before);
    const node = await runAction(engine, add());
    expect([node.name, node.monitorOwned, engine.graph.find('n') === node]).toEqual(['n', true, true]);
  });

  it('a later action deletes what an earlier one made; a deletion that is taken back leaves its node', async () => {
    const where = await twoNodes();
    const { engine } = where;
    const before = picture(where);
    await runActions<unknown>(engine, [addNodeAction(engine, { driver: 'null-co', 'node-name': 'n' }), deleteNodeAction(engine, 'n')]);
    expect(picture(where)).toEqual(before);
    await expect(runActions<unknown>(engine, [deleteNodeAction(engine, 'a'), deleteNodeAction(engine, 'a')])).rejects.toThrow(
      'Node a is not owned by the monitor',
    );
    expect(picture(where)).toEqual(before);
    await runAction(engine, deleteNodeAction(engine, 'a'));
    expect(engine.graph.find('a')).toBeUndefined();
  });
});

describe('transaction', () => {
  const bitmap = (verb: 'remove' | 'clear' | 'enable' | 'disable', name: string): ActionArgs => ({
    type: `block-dirty-bitmap-${verb}`,
    data: { node: 'a', name },
  });
  const add = (name: string, disabled = false): ActionArgs => ({ type: 'block-dirty-bitmap-add', data: { node: 'a', name, granularity: 4096, disabled } });
  const merge = (target: string, ...bitmaps: string[]): ActionArgs => ({ type: 'block-dirty-bitmap-merge', data: { node: 'a', target, bitmaps } });
  const backup: ActionArgs = { type: 'blockdev-backup', data: { 'job-id': 'j', device: 'a', target: 'b', sync: 'none' } };

  async function withBitmaps(): Promise<MemoryEngine> {
    const where = await twoNodes();
    await runTransaction(where.engine, [add('old'), add('still', true)], false);
    where.engine.graph.find('a')?.dirtyBitmaps.get('old').set(0, 4096);
    return where;
  }

  it('a chain of actions that name what the earlier ones made', async () => {
    const { engine } = await withBitmaps();
    await runTransaction(engine, [add('new'), merge('new', 'old'), bitmap('disable', 'new'), bitmap('clear', 'old'), bitmap('enable', 'still'), backup], false);
    const bitmaps = engine.graph.find('a')?.dirtyBitmaps;
    expect([...(bitmaps ?? [])].map(({ name, count, isEnabled }) => `${name} ${count} ${isEnabled}`)).toEqual(['new 4096 false', 'still 0 true', 'old 0 true']);
    expect(engine.jobs.find('j').status).toBe('running');
    await engine.jobs.find('j').cancel();
  });

  const all: readonly ActionArgs[] = [
    add('new'),
    merge('new', 'old'),
    bitmap('clear', 'old'),
    bitmap('enable', 'still'),
    bitmap('disable', 'old'),
    backup,
    bitmap('remove', 'still'),
  ];
  it.each(all.map((_, index) => index + 1))('nothing has changed when it is aborted after %i actions', async (count) => {
    const where = await withBitmaps();
    const before = picture(where);
    await expect(runTransaction(where.engine, [...all.slice(0, count), { type: 'abort' }], false)).rejects.toThrow('Transaction aborted using Abort action');
    expect(picture(where)).toEqual(before);
  });

  it('a bitmap that is to go keeps its name and is busy until the end', async () => {
    const { engine } = await withBitmaps();
    await expect(runTransaction(engine, [bitmap('remove', 'old'), add('old')], false)).rejects.toThrow('Bitmap already exists: old');
    await expect(runTransaction(engine, [bitmap('remove', 'old'), bitmap('clear', 'old')], false)).rejects.toThrow("Bitmap 'old' is currently in use");
    await runTransaction(engine, [bitmap('remove', 'old')], false);
    expect(engine.graph.find('a')?.dirtyBitmaps.find('old')).toBeUndefined();
  });

  it('is one instant of all disks: requests in flight are waited for, whatever the actions need; a command alone does not wait', async () => {
    const { engine } = await withBitmaps();
    const node = engine.graph.find('b');
    const order: string[] = [];
    node?.enter();
    const clear = actionOf(engine, { type: 'block-dirty-bitmap-clear', data: { node: 'a', name: 'old' } });
    await runAction(engine, clear);
    const together = runTransaction(engine, [bitmap('clear', 'old')], false).then(() => order.push('transaction'));
    await new Promise((resolve) => setImmediate(resolve));
    order.push('request');
    node?.leave();
    await together;
    expect(order).toEqual(['request', 'transaction']);
    expect(node?.quiesceCount).toBe(0);
  });

  it('only backups end together', async () => {
    const { engine } = await withBitmaps();
    await expect(runTransaction(engine, [backup, bitmap('clear', 'old'), { type: 'abort' }], true)).rejects.toThrow(
      "Action 'block-dirty-bitmap-clear' does not support transaction property completion-mode = grouped",
    );
    await runTransaction(engine, [backup], true);
    await engine.jobs.find('j').cancel();
  });
});
