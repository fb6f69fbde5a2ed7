/* Opening apart: nobody sees or waits for what is not open, it is published whole, taken down whole, and can be given up. */
import { describe, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import { drainNodes } from '../../../src/core/block/drain.ts';
import type { OptionTree } from '../../../src/core/block/options.ts';
import { runTransaction } from '../../../src/core/block/transaction.ts';
import { delayed, FaultyStorage } from '../../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../../src/core/storage/memory.ts';
import type { LockChange, Storage } from '../../../src/core/storage/storage.ts';
import { BlockError } from '../../../src/core/util/errors.ts';
import { type PermBits, perm } from '../../../src/core/util/perm-bits.ts';
import { createImage } from '../../../src/engine/create.ts';
import { Engine } from '../../../src/engine/engine.ts';

const cluster = 65536;

/** An engine over media in memory that can hold reads, fail them, and count what is open and locked. */
class Stage implements AsyncDisposable {
  readonly media = new Map<string, MemoryStorage>();
  readonly engine: Engine;
  /** Paths of the media that are open now, one entry an open. */
  readonly open: string[] = [];
  /** Locks held now, by path. */
  readonly locks = new Map<string, PermBits>();
  /** Reads of these paths wait for `release`. */
  readonly held = new Set<string>();
  /** Opens of these paths wait for `release`. */
  readonly slow = new Set<string>();
  readonly failing = new Set<string>();
  #waiting: (() => void)[] = [];

  constructor(wrap: (storage: Storage) => Storage = (storage) => storage) {
    this.engine = new Engine({
      openStorage: async (path, how) => {
        let medium = this.media.get(path);
        if (medium === undefined) {
          if (how.create === 'never') throw new BlockError('No such file or directory', { code: 'ENOENT' });
          medium = new MemoryStorage(path);
          this.media.set(path, medium);
        }
        if (this.slow.has(path)) await this.#hold();
        return wrap(this.#counted(medium, path));
      },
    });
  }

  #hold(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #counted(medium: MemoryStorage, path: string): Storage {
    const { open, locks } = this;
    open.push(path);
    const faulty = new FaultyStorage(medium, {
      before: (op) => (op === 'read' && this.held.has(path) ? this.#hold() : undefined),
      fail: (op) => (op === 'read' && this.failing.has(path) ? new BlockError('Input/output error', { code: 'EIO' }) : undefined),
    });
    return Object.assign(faulty, {
      setLocks: (bits: PermBits): LockChange => {
        const before = locks.get(path) ?? 0;
        locks.set(path, bits);
        return { commit: () => {}, abort: () => void locks.set(path, before) };
      },
      [Symbol.asyncDispose]: async () => {
        open.splice(open.indexOf(path), 1);
        locks.delete(path);
      },
    });
  }

  release(): void {
    this.held.clear();
    this.slow.clear();
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async image(path: string): Promise<void> {
    await createImage(this.engine, 'qcow2', path, { size: 1024 * 1024 });
  }

  get names(): string[] {
    return [...this.engine.graph.nodes].map((node) => node.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
    await this.engine.close();
  }
}

async function turns(count = 50): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function qcow2(name: string, filename: string, more: OptionTree = {}): OptionTree {
  return { driver: 'qcow2', 'node-name': name, file: { driver: 'file', filename }, ...more };
}

async function message(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'no error',
    (error: Error) => error.message,
  );
}

describe.each([
  ['at once', (storage: Storage) => storage],
  ['always pending', delayed],
] as const)('a subtree on storage that answers %s', (_how, wrap) => {
  it('is published in the order in which its nodes were made, children before parents', async () => {
    await using stage = new Stage(wrap);
    await stage.image('a');
    await stage.image('b');
    const opened = await stage.engine.opener.openApart(qcow2('n', 'a', { backing: qcow2('m', 'b') }));
    expect(stage.names).toEqual([]);
    expect(stage.engine.graph.find('n')).toBeUndefined();
    runTransaction((transaction) => opened.publish(transaction));
    const [first, second, third, fourth] = stage.names;
    expect([second, fourth]).toEqual(['n', 'm']);
    expect([first, third].every((name) => name?.startsWith('#block'))).toBe(true);
    await opened.close();
    expect(stage.names).toEqual([]);
    expect(stage.open).toEqual([]);
  });

  it('is hidden again when the transaction is aborted, and can be published after that', async () => {
    await using stage = new Stage(wrap);
    await stage.image('a');
    const opened = await stage.engine.opener.openApart(qcow2('n', 'a'));
    expect(() =>
      runTransaction((transaction) => {
        opened.publish(transaction);
        expect(stage.names).toContain('n');
        throw new BlockError('no', { code: 'EIO' });
      }),
    ).toThrow('no');
    expect(stage.names).toEqual([]);
    runTransaction((transaction) => opened.publish(transaction));
    expect(stage.names).toHaveLength(2);
    await opened.close();
  });

  it('is taken down whole by close, published nodes below it left', async () => {
    await using stage = new Stage(wrap);
    await stage.image('a');
    const base = await stage.engine.addNode({ driver: 'file', 'node-name': 'f', filename: 'a' });
    const opened = await stage.engine.opener.openApart({ driver: 'qcow2', 'node-name': 'n', file: 'f' });
    expect(base.parents).toHaveLength(1);
    await opened.close();
    expect(base.parents).toEqual([]);
    expect(stage.open).toEqual(['a']);
    expect(stage.locks.get('a')).toBe(perm.none);
    await opened.close();
  });
});

describe('a medium that does not answer', () => {
  it.each(['held', 'slow'] as const)('holds up nobody (%s)', async (how) => {
    await using stage = new Stage();
    await stage.image('a');
    const { engine } = stage;
    stage[how].add('a');
    const adding = engine.addNode(qcow2('n', 'a'));
    await turns();
    expect(stage.names).toEqual([]);
    expect(engine.opener.waiting).toBe(1);
    await engine.addNode({ driver: 'null-co', 'node-name': 'other' });
    (await drainNodes([...engine.graph.nodes]))[Symbol.dispose]();
    stage.release();
    expect((await adding).name).toBe('n');
    expect(engine.opener.waiting).toBe(0);
  });

  it.each(['held', 'slow'] as const)('does not hold up the end; what comes late is closed (%s)', async (how) => {
    await using stage = new Stage();
    await stage.image('a');
    stage[how].add('a');
    const adding = message(stage.engine.addNode(qcow2('n', 'a')));
    await turns();
    await stage.engine.close();
    expect(await adding).toBe('Opening was given up');
    stage.release();
    await turns();
    expect(stage.open).toEqual([]);
  });

  it('does not hold up the end below a node that was published before it hung', async () => {
    await using stage = new Stage();
    await stage.image('a');
    await stage.engine.addNode({ driver: 'file', 'node-name': 'f', filename: 'a' });
    stage.held.add('a');
    const adding = message(stage.engine.addNode({ driver: 'qcow2', 'node-name': 'n', file: 'f' }));
    const probing = message(stage.engine.addNode({ 'node-name': 'p', file: 'f' }));
    await turns();
    expect(stage.engine.graph.find('f')?.parents).toHaveLength(2);
    await stage.engine.close();
    expect([await adding, await probing]).toEqual(['Opening was given up', 'Opening was given up']);
    // not under a request in flight: whatever gets the descriptor next would be read or written
    expect(stage.open).toEqual(['a']);
    stage.release();
    await turns();
    expect(stage.open).toEqual([]);
  });

  it('closes at the end what is open and waits for its turn', async () => {
    await using stage = new Stage();
    await stage.image('a');
    let go = (): void => {};
    const held = stage.engine.graph.turn(() => new Promise<void>((resolve) => (go = resolve)));
    const adding = message(stage.engine.addNode(qcow2('n', 'a')));
    await turns();
    expect(stage.open).toEqual(['a']);
    await stage.engine.close();
    expect(stage.open).toEqual([]);
    go();
    await held;
    expect(await adding).toBe('Opening was given up');
    expect(stage.names).toEqual([]);
    expect(await message(stage.engine.addNode({ driver: 'null-co', 'node-name': 'late' }))).toBe('Opening was given up');
  });
});

describe('names while others open', () => {
  it('tells the one who comes second in QEMU’s words, and takes it down', async () => {
    await using stage = new Stage();
    await stage.image('a');
    await stage.image('b');
    stage.held.add('a');
    const first = message(stage.engine.addNode(qcow2('n', 'a')));
    await turns();
    await stage.engine.addNode(qcow2('n', 'b'));
    stage.release();
    expect(await first).toBe("Duplicate nodes with node-name='n'");
    expect(stage.open).toEqual(['b']);
  });

  it('are looked up in the subtree itself first', async () => {
    await using stage = new Stage();
    await stage.image('a');
    await stage.image('b');
    const node = await stage.engine.addNode({
      driver: 'copy-before-write',
      'node-name': 'c',
      file: qcow2('s', 'a'),
      target: qcow2('t', 'b', { backing: 's' }),
    });
    expect(node.child('target')?.node.backing?.node).toBe(node.child('file')?.node);
  });

  it.each<[string, OptionTree, string]>([
    ['its own backing file', qcow2('n', 'a', { backing: 'n' }), "Making 'n' a backing child of 'n' would create a cycle"],
    ['its own file', { driver: 'qcow2', 'node-name': 'n', file: 'n' }, "Cannot find device='n' nor node-name='n'"],
    [
      'the name of its file',
      { driver: 'qcow2', 'node-name': 'n', file: { driver: 'file', 'node-name': 'n', filename: 'a' } },
      "Duplicate nodes with node-name='n'",
    ],
    ['backing of its backing', qcow2('n', 'a', { backing: qcow2('m', 'b', { backing: 'n' }) }), "Making 'm' a backing child of 'n' would create a cycle"],
  ])('refuse a node as %s', async (_what, options, expected) => {
    await using stage = new Stage();
    await stage.image('a');
    await stage.image('b');
    expect(await message(stage.engine.addNode(options))).toBe(expected);
    expect([stage.names, stage.open]).toEqual([[], []]);
  });

  it('of a node that goes away before it is attached are told as not found', async () => {
    await using stage = new Stage();
    await stage.image('a');
    await stage.image('b');
    const { graph } = stage.engine;
    const base = await stage.engine.addNode({ driver: 'null-co', 'node-name': 'base' });
    let go = (): void => {};
    const held = graph.turn(() => new Promise<void>((resolve) => (go = resolve)));
    const adding = message(stage.engine.addNode(qcow2('n', 'a', { backing: 'base' })));
    await turns();
    base.monitorOwned = false;
    await graph.releaseUnused(base);
    go();
    await held;
    expect(await adding).toBe("Cannot find device='base' nor node-name='base'");
    expect([stage.names, stage.open]).toEqual([[], []]);
  });
});

describe('one part that fails', () => {
  it.each<[string, OptionTree, string]>([
    ['the file', qcow2('n', 'nosuch'), "Could not open 'nosuch': No such file or directory"],
    ['the first read', qcow2('n', 'bad'), 'Could not read qcow2 header: Input/output error'],
    ['the probe', { 'node-name': 'n', file: { driver: 'file', filename: 'bad' } }, 'Input/output error'],
    ['the driver', { driver: 'nosuch', 'node-name': 'n', file: { driver: 'file', filename: 'a' } }, "Unknown driver 'nosuch'"],
    ['the name', qcow2('taken', 'a'), "Duplicate nodes with node-name='taken'"],
    ['an option', qcow2('n', 'a', { foo: 1 }), "Block format 'qcow2' does not support the option 'foo'"],
    ['an option of a protocol', { driver: 'null-co', 'node-name': 'n', foo: 1 }, "Block protocol 'null-co' doesn't support the option 'foo'"],
    ['a file that is not said', { driver: 'qcow2', 'node-name': 'n' }, 'A block device must be specified for "file"'],
    ['a file that is none', { driver: 'raw', 'node-name': 'n', file: null }, 'A block device must be specified for "file"'],
    ['a file without a name', { driver: 'raw', 'node-name': 'n', file: { 'node-name': 'm' } }, 'Must specify either driver or file'],
    ['neither driver nor file', { 'node-name': 'n' }, 'Must specify either driver or file'],
    ['a file that is not there', { driver: 'raw', 'node-name': 'n', file: 'nosuch' }, "Cannot find device='nosuch' nor node-name='nosuch'"],
    ['a name in the subtree', qcow2('n', 'a', { backing: qcow2('n', 'a') }), "Could not open backing file: Duplicate nodes with node-name='n'"],
    [
      'a setting',
      qcow2('n', 'a', { 'detect-zeroes': 'unmap', discard: 'ignore' }),
      'setting detect-zeroes to unmap is not allowed without setting discard operation to unmap',
    ],
    ['the backing file', qcow2('n', 'a', { backing: qcow2('m', 'nosuch') }), "Could not open backing file: Could not open 'nosuch': No such file or directory"],
    [
      'the backing file’s driver',
      qcow2('n', 'a', { backing: qcow2('m', 'bad') }),
      'Could not open backing file: Could not read qcow2 header: Input/output error',
    ],
    ['a name for the backing file', qcow2('n', 'a', { backing: 'nosuch' }), "Could not open backing file: Cannot find device='nosuch' nor node-name='nosuch'"],
    [
      'the second child of a filter',
      { driver: 'copy-before-write', 'node-name': 'n', file: qcow2('s', 'a'), target: qcow2('t', 'bad') },
      'Could not read qcow2 header: Input/output error',
    ],
    [
      'a user of a published node',
      { driver: 'copy-before-write', 'node-name': 'n', file: qcow2('s', 'a'), target: 'busy' },
      "Permission conflict on node 'busy': permissions 'write' are both required by node 'n' (uses node 'busy' as 'target' child) and unshared by an unnamed block device (uses node 'busy' as 'root' child).",
    ],
  ])('takes everything down: %s', async (_what, options, expected) => {
    await using stage = new Stage();
    await stage.image('a');
    await stage.image('bad');
    const { engine } = stage;
    await engine.addNode({ driver: 'null-co', 'node-name': 'taken' });
    const busy = await engine.addNode({ driver: 'null-co', 'node-name': 'busy', size: 1024 * 1024 });
    const reader = new BlockBackend(engine.graph, { perm: perm.consistentRead, shared: perm.consistentRead });
    reader.insert(busy);
    stage.failing.add('bad');
    await expect(engine.addNode(options)).rejects.toMatchObject({ message: expected, code: expect.stringMatching(/^E[A-Z_]+$/) });
    expect([stage.names, stage.open, [...stage.locks]]).toEqual([['taken', 'busy'], [], []]);
    expect(busy.parents).toHaveLength(1);
    await reader.remove();
  });

  it('a failed flush at the end is told after everything is closed', async () => {
    const flushes = { fail: false };
    await using stage = new Stage(
      (storage) =>
        new FaultyStorage(storage as MemoryStorage, {
          fail: (op) => (op === 'flush' && flushes.fail ? new BlockError('Input/output error', { code: 'EIO' }) : undefined),
        }),
    );
    await stage.image('a');
    const node = await stage.engine.addNode({ driver: 'raw', 'node-name': 'n', file: { driver: 'file', filename: 'a' } });
    const writer = new BlockBackend(stage.engine.graph, { perm: perm.write, shared: perm.all });
    writer.insert(node);
    await writer.write(cluster, new Uint8Array(512));
    flushes.fail = true;
    node.monitorOwned = false;
    expect(await message(writer.remove())).toBe('Input/output error');
    expect([stage.names, node.isOpen]).toEqual([[], false]);
  });
});
