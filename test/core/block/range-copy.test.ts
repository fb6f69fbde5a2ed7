/* Moving ranges: what becomes of data, zeros and what is not there; which side failed; buffers that come back. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type BlockStatus, childRole, reqFlag } from '../../../src/core/block/driver.ts';
import { Graph } from '../../../src/core/block/graph.ts';
import { failedSide, RangeCopy } from '../../../src/core/block/range-copy.ts';
import { BlockError } from '../../../src/core/util/errors.ts';
import { isPending, type Maybe } from '../../../src/core/util/maybe.ts';
import { attachBelow, FakeNode, type FakeOptions, settled, userOf } from '../../support/fake-node.ts';

const unit = 4096;
const size = 8 * unit;

type Kind = 'data' | 'zero' | 'absent';
type Run = readonly [kind: Kind, length: number];

/** The runs of a disk, as a driver tells them. */
function told(runs: readonly Run[]): (offset: number) => BlockStatus {
  return (offset) => {
    let end = 0;
    for (const [kind, length] of runs) {
      end += length;
      if (offset < end) return { length: end - offset, data: kind === 'data', zero: kind === 'zero', allocated: kind !== 'absent' };
    }
    throw new BlockError('Input/output error', { code: 'EIO' });
  };
}

function make(options: FakeOptions = {}, targetSize = options.size ?? size): { source: FakeNode; target: FakeNode; copy: RangeCopy; graph: Graph } {
  const graph = new Graph();
  const source = new FakeNode('source', { size, ...options });
  const target = new FakeNode('target', { size: targetSize });
  source.bytes.fill(7);
  const [from, to] = [userOf(source.node, graph).root, userOf(target.node, graph).root];
  if (from === undefined || to === undefined) throw new Error('no edges');
  return { source, target, copy: new RangeCopy(from, to, unit), graph };
}

/** What an operation that may end at once or later rejects with. */
async function errorOf(operation: () => Maybe<unknown>): Promise<unknown> {
  try {
    await operation();
  } catch (error) {
    return error;
  }
  return expect.fail('no error');
}

const full = (): BlockError => new BlockError('No space left on device', { code: 'ENOSPC' });

afterEach(() => void vi.restoreAllMocks());

describe.each([
  ['at once', (status: (offset: number) => BlockStatus) => status],
  ['later', (status: (offset: number) => BlockStatus) => async (offset: number) => status(offset)],
] as const)('a source that tells its extents %s', (_how, wrap) => {
  it('is copied run by run, zeros as zeros', async () => {
    const runs: Run[] = [
      ['data', 2 * unit],
      ['zero', 3 * unit],
      ['data', unit],
      ['zero', 2 * unit],
    ];
    const { source, target, copy } = make({ status: wrap(told(runs)) });
    await copy.move(0, size);
    expect(target.log).toEqual(['write 0+8192', 'zero 8192+12288', 'write 20480+4096', 'zero 24576+8192']);
    expect(source.log).toEqual(['read 0+8192', 'read 20480+4096']);
    target.log.splice(0);
    await copy.move(unit, 3 * unit);
    expect(target.log).toEqual(['write 4096+4096', 'zero 8192+4096']);
  });

  it('is copied in whole units: one that is partly zero is data, and so is its rest', async () => {
    const runs: Run[] = [
      ['zero', unit + 512],
      ['data', unit - 512],
      ['data', 1024],
      ['zero', size],
    ];
    const { target, copy } = make({ status: wrap(told(runs)) });
    await copy.move(0, size);
    expect(target.log).toEqual(['zero 0+4096', 'write 4096+4096', 'write 8192+4096', 'zero 12288+20480']);
  });

  it('ends where it ends, not at a unit', async () => {
    const end = 2 * unit + 100;
    const { target, copy } = make({
      size: end,
      status: wrap(
        told([
          ['data', unit],
          ['zero', unit + 100],
        ]),
      ),
    });
    await copy.move(0, end);
    expect(target.log).toEqual(['write 0+4096', 'zero 4096+4196']);
  });

  it('is copied as data where it cannot tell', async () => {
    const { target, copy } = make({ status: wrap(told([['zero', unit]])) });
    await copy.move(0, 3 * unit);
    expect(target.log).toEqual(['zero 0+4096', 'write 4096+4096', 'write 8192+4096']);
    const broken = make({
      status: wrap(() => {
        throw new TypeError('a bug');
      }),
    });
    expect(await errorOf(() => broken.copy.move(0, unit))).toBeInstanceOf(TypeError);
    expect(broken.target.log).toEqual([]);
  });

  it('may leave out what its top layer does not hold', async () => {
    const runs: Run[] = [
      ['absent', unit],
      ['data', unit],
      ['absent', unit],
      ['zero', 5 * unit],
    ];
    const { source, target, copy, graph } = make({ status: wrap(told(runs)), driver: { supportsBacking: true } });
    const base = new FakeNode('base', { size });
    attachBelow(graph, source.node, base.node, childRole.cow, 'backing');
    expect(await copy.ownRun(0, size)).toEqual({ length: unit, isHeld: false });
    expect(await copy.ownRun(unit, size)).toEqual({ length: unit, isHeld: true });
    expect(await copy.ownRun(3 * unit, unit)).toEqual({ length: unit, isHeld: true });
    await copy.move(0, size);
    expect(target.log).toEqual(['write 0+4096', 'write 4096+4096', 'write 8192+4096', 'zero 12288+20480']);
    target.log.splice(0);
    copy.skipUnallocated = true;
    await copy.move(0, size);
    expect(target.log).toEqual(['write 4096+4096', 'zero 12288+20480']);
  });
});

describe('a copy', () => {
  it('ends at once when both sides do', () => {
    const { copy, target } = make();
    expect(isPending(copy.move(unit, 3 * unit))).toBe(false);
    expect(target.bytes.subarray(unit, 3 * unit).every((byte) => byte === 7)).toBe(true);
    expect([target.bytes[unit - 1], target.bytes[3 * unit]]).toEqual([0, 0]);
  });

  it('waits for a slow side and goes on behind it', async () => {
    const { copy, source, target } = make({
      status: told([
        ['data', unit],
        ['zero', 7 * unit],
      ]),
    });
    target.hold('write');
    let isOver = false;
    const all = Promise.resolve(copy.move(0, size)).then(() => {
      isOver = true;
    });
    await settled();
    expect([source.log, target.log, isOver]).toEqual([['read 0+4096'], ['write 0+4096'], false]);
    await target.release();
    await all;
    expect(target.log).toEqual(['write 0+4096', 'zero 4096+28672']);
  });

  it('compresses data, not zeros', async () => {
    const { copy, target } = make({
      status: told([
        ['data', unit],
        ['zero', 7 * unit],
      ]),
    });
    copy.compress = true;
    await copy.move(0, size);
    expect(target.log).toEqual([`write 0+4096 flags ${reqFlag.compressed}`, 'zero 4096+28672']);
  });

  it('discards from the source what was copied, and what was zero', async () => {
    const { copy, source } = make({
      status: told([
        ['data', unit],
        ['zero', 7 * unit],
      ]),
    });
    copy.discardSource = true;
    await copy.move(0, size);
    expect(source.log).toEqual(['read 0+4096', 'discard 0+4096', 'discard 4096+28672']);
    source.log.splice(0);
    copy.discardSource = false;
    await copy.move(0, unit);
    expect(source.log).toEqual(['read 0+4096']);
  });

  it.each([false, true])('succeeds where the source cannot discard, and not over a bug (held back: %s)', async (isHeld) => {
    const { copy, source, target } = make();
    copy.discardSource = true;
    for (const error of [full(), new TypeError('a bug')]) {
      source.failure = { op: 'discard', error };
      if (isHeld) source.hold('discard');
      const outcome = (async () => copy.move(0, size))().then(
        () => 'copied',
        (reason: unknown) => reason,
      );
      await settled();
      await source.releaseAll();
      expect(await outcome).toBe(error instanceof BlockError ? 'copied' : error);
    }
    expect(target.log).toEqual(['write 0+32768', 'write 0+32768']);
  });

  it.each([false, true])('tells which side failed (held back: %s)', async (isHeld) => {
    const { copy, source, target } = make({
      status: told([
        ['data', unit],
        ['zero', 7 * unit],
      ]),
    });
    const sides = [
      ['read', source, 'read', 0],
      ['write', target, 'write', 0],
      ['zero', target, 'write', unit],
    ] as const;
    for (const [op, node, side, from] of sides) {
      const error = full();
      node.failure = { op, error };
      if (isHeld) node.hold(op);
      const outcome = errorOf(() => copy.move(from, size));
      await settled();
      await node.releaseAll();
      expect(await outcome).toBe(error);
      expect(failedSide(error)).toBe(side);
    }
    expect([failedSide(full()), failedSide('text'), failedSide(null)]).toEqual([undefined, undefined, undefined]);
  });

  it('fails on the side of the target when that is too short, before anything is read', async () => {
    const { copy, source, target } = make({}, size - unit);
    const error = await errorOf(() => copy.move(unit, size));
    expect(error).toMatchObject({ code: 'EIO', message: 'Input/output error' });
    expect([failedSide(error), source.log, target.log]).toEqual(['write', [], []]);
    await copy.move(0, size - unit);
    expect(target.log).toEqual(['write 0+28672']);
  });

  it('uses its buffers again, also after failures', async () => {
    const { copy, source, target } = make();
    const allocated = vi.spyOn(Buffer, 'allocUnsafeSlow');
    await copy.move(0, 2 * unit);
    await copy.move(0, 2 * unit);
    await copy.move(0, unit);
    source.failure = { op: 'read', error: full() };
    await errorOf(() => copy.move(0, unit));
    target.hold('write');
    const slow = copy.move(0, unit);
    await target.releaseAll();
    await slow;
    await copy.move(0, 2 * unit);
    expect(allocated.mock.calls).toEqual([[2 * unit]]);
    // one that is too small does not do
    await copy.move(0, 3 * unit);
    expect(allocated.mock.calls).toEqual([[2 * unit], [3 * unit]]);
    expect(target.log.at(-1)).toBe('write 0+12288');
  });

  it('takes buffers of a whole unit at least', async () => {
    const { copy } = make({ size: 100 });
    const allocated = vi.spyOn(Buffer, 'allocUnsafeSlow');
    await copy.move(0, 100);
    expect(allocated.mock.calls).toEqual([[unit]]);
  });

  it('is serialising only where the target leads to the source', () => {
    const graph = new Graph();
    const [source, target] = [new FakeNode('source'), new FakeNode('target')];
    const [from, to] = [userOf(source.node, graph).root, userOf(target.node, graph).root];
    if (from === undefined || to === undefined) throw new Error('no edges');
    expect(new RangeCopy(from, to, unit).writeFlags).toBe(reqFlag.none);
    attachBelow(graph, target.node, source.node, childRole.cow, 'backing');
    expect(new RangeCopy(from, to, unit).writeFlags).toBe(reqFlag.serialising);
    expect(new RangeCopy(to, from, unit).writeFlags).toBe(reqFlag.none);
  });
});
