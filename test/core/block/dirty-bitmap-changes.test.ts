import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { blockDeviceInfo } from '../../../src/core/block/device-info.ts';
import { bitmapInfo, type DirtyBitmap } from '../../../src/core/block/dirty-bitmap.ts';
import { FakeNode, type FakeOptions, userOf } from '../../support/fake-node.ts';

const kib = 1024;

function disk(options: FakeOptions = {}): FakeNode {
  return new FakeNode('n', { size: 64 * kib, ...options });
}

const dirty = (bitmap: DirtyBitmap): string => [...bitmap.runs()].map(({ offset, length }) => `${offset}+${length}`).join(' ');
const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(1);

describe('clearing and merging', () => {
  it('clears all, and can be taken back', () => {
    const bitmap = disk().node.dirtyBitmaps.add({ name: 'b', granularity: 512 });
    bitmap.set(512, 512);
    const undo = bitmap.clear();
    expect(bitmap.count).toBe(0);
    bitmap.set(2048, 512);
    undo();
    expect(dirty(bitmap)).toBe('512+512');
  });

  it.each([
    [512, 4096, '0+4096 8192+8192'],
    [4096, 512, '0+4096 8192+512 12288+4096'],
    [1024, 1024, '0+1024 8192+1024 12288+1024'],
  ])('adds what another of %i bytes a bit says to one of %i', (fromGrain, toGrain, expected) => {
    const { dirtyBitmaps } = disk().node;
    const from = dirtyBitmaps.add({ name: 'from', granularity: fromGrain });
    const to = dirtyBitmaps.add({ name: 'to', granularity: toGrain });
    from.set(0, 512);
    from.set(12 * kib, 512);
    to.set(8 * kib, 512);
    const before = dirty(to);
    const undo = to.merge(from);
    expect(dirty(to)).toBe(expected);
    undo();
    expect(dirty(to)).toBe(before);
    expect(from.count).toBe(2 * fromGrain);
  });

  it('refuses what cannot be merged', () => {
    const { dirtyBitmaps } = disk().node;
    const other = disk({ size: 32 * kib }).node.dirtyBitmaps.add({ name: 'other', granularity: 512 });
    const to = dirtyBitmaps.add({ name: 'to', granularity: 512 });
    const from = dirtyBitmaps.add({ name: 'from', granularity: 512 });
    expect(() => to.merge(other)).toThrow("Bitmaps are of different sizes (destination size is 65536, source size is 32768) and can't be merged");
    from.isReadOnly = true;
    to.merge(from);
    from.isInconsistent = true;
    expect(() => to.merge(from)).toThrow("Bitmap 'from' is inconsistent and cannot be used");
    to.isReadOnly = true;
    expect(() => to.merge(from)).toThrow("Bitmap 'to' is readonly and cannot be modified");
  });
});

describe('an operation that works with a bitmap', () => {
  it('has it still and busy while a successor records', async () => {
    const { node } = disk();
    const user = userOf(node);
    const bitmap = node.dirtyBitmaps.add({ name: 'b', granularity: 512 });
    await user.write(0, bytes(512));
    const successor = node.dirtyBitmaps.createSuccessor(bitmap);
    await user.write(1024, bytes(512));
    expect([dirty(bitmap), dirty(successor)]).toEqual(['0+512', '1024+512']);
    expect(bitmapInfo(bitmap)).toEqual({ name: 'b', count: 512, granularity: 512, recording: true, busy: true, persistent: false });
    expect(bitmapInfo(successor)).toEqual({ count: 512, granularity: 512, recording: true, busy: false, persistent: false });
    expect(() => node.dirtyBitmaps.createSuccessor(bitmap)).toThrow('currently in use by another operation');
  });

  it('ends well: the successor is the bitmap from now on', async () => {
    const { node } = disk();
    const bitmap = node.dirtyBitmaps.add({ name: 'b', granularity: 512, isPersistent: true });
    bitmap.set(0, 512);
    node.dirtyBitmaps.createSuccessor(bitmap);
    await userOf(node).write(1024, bytes(512));
    const heir = node.dirtyBitmaps.abdicate(bitmap);
    expect(node.dirtyBitmaps.get('b')).toBe(heir);
    expect([...node.dirtyBitmaps].length).toBe(1);
    expect([dirty(heir), heir.isPersistent, heir.isBusy, heir.isEnabled]).toEqual(['1024+512', true, false, true]);
  });

  it.each([true, false])('ends badly: nothing is lost (recording: %s)', async (isEnabled) => {
    const { node } = disk();
    const bitmap = node.dirtyBitmaps.add({ name: 'b', granularity: 512, isEnabled });
    bitmap.set(0, 512);
    node.dirtyBitmaps.createSuccessor(bitmap);
    expect(bitmap.isRecording).toBe(isEnabled);
    await userOf(node).write(1024, bytes(512));
    node.dirtyBitmaps.reclaim(bitmap);
    expect([...node.dirtyBitmaps]).toEqual([bitmap]);
    expect([dirty(bitmap), bitmap.isBusy, bitmap.isEnabled, bitmap.successor]).toEqual([isEnabled ? '0+512 1024+512' : '0+512', false, isEnabled, undefined]);
    expect(() => node.dirtyBitmaps.reclaim(bitmap)).toThrow('bitmap has no successor');
  });
});

describe('what query commands tell', () => {
  it('is each bitmap, and that one is inconsistent', async () => {
    const { node } = disk();
    expect(await blockDeviceInfo(node, true)).not.toHaveProperty('dirty-bitmaps');
    node.dirtyBitmaps.add({ name: 'a', granularity: 512, isInconsistent: true, isEnabled: false, isPersistent: true });
    node.dirtyBitmaps.add({ name: 'b', granularity: 65536 });
    expect((await blockDeviceInfo(node, true))['dirty-bitmaps']).toEqual([
      { name: 'b', count: 0, granularity: 65536, recording: true, busy: false, persistent: false },
      { name: 'a', count: 0, granularity: 512, recording: false, busy: false, persistent: true, inconsistent: true },
    ]);
  });
});

describe('bitmaps and a model', () => {
  it('agree after any history of changes', async () => {
    const size = 40_000;
    const step = fc.oneof(
      fc.record({ kind: fc.constantFrom('write', 'zero', 'discard', 'reset'), offset: fc.nat(size - 1), length: fc.integer({ min: 1, max: 9000 }) }),
      fc.record({ kind: fc.constant('clear'), offset: fc.constant(0), length: fc.constant(0) }),
      fc.record({ kind: fc.constant('bytes'), offset: fc.constant(0), length: fc.constant(0) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(512, 1024, 16384), fc.array(step, { maxLength: 30 }), fc.boolean(), async (granularity, steps, isPending) => {
        const fake = disk({ size });
        const user = userOf(fake.node);
        const bitmap = fake.node.dirtyBitmaps.add({ name: 'b', granularity });
        const grains = Math.ceil(size / granularity);
        let model = new Array<boolean>(grains).fill(false);
        for (const { kind, offset, length: wanted } of steps) {
          const length = Math.min(wanted, size - offset);
          if (isPending) fake.hold('write', 'zero', 'discard');
          let request: unknown;
          if (kind === 'write') request = user.write(offset, bytes(length));
          else if (kind === 'zero') request = user.zero(offset, length);
          else if (kind === 'discard') request = user.discard(offset, length);
          else if (kind === 'reset') {
            bitmap.reset(offset, length);
            model = model.map((isSet, grain) => isSet && !(grain * granularity >= offset && Math.min(size, (grain + 1) * granularity) <= offset + length));
            continue;
          } else if (kind === 'clear') {
            bitmap.clear();
            model.fill(false);
            continue;
          } else {
            const whole = new Uint8Array(bitmap.byteLength);
            bitmap.serialise(0, whole);
            bitmap.clear();
            bitmap.deserialise(0, whole);
            continue;
          }
          if (isPending) await fake.releaseAll();
          await request;
          for (let grain = Math.floor(offset / granularity); grain * granularity < offset + length; grain++) model[grain] = true;
        }
        const shown = new Array<boolean>(grains).fill(false);
        for (const run of bitmap.runs()) for (let at = run.offset; at < run.offset + run.length; at += granularity) shown[Math.floor(at / granularity)] = true;
        expect(shown).toEqual(model);
        expect(bitmap.count).toBe(model.filter(Boolean).length * granularity);
      }),
      { numRuns: 60 },
    );
  });
});
