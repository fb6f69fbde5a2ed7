/* The map of metadata behind the overlap check, against a plain map from cluster to kinds. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MetadataMap, overlapTemplates, type StructureBits, structure } from '../../src/qcow2/overlap.ts';

const clusterSize = 512;
const clusters = 48;
const kinds = Object.values(structure);
const names = [
  'qcow2_header',
  'active L1 table',
  'active L2 table',
  'refcount table',
  'refcount block',
  'snapshot table',
  'inactive L1 table',
  'inactive L2 table',
  'bitmap directory',
];

class Model {
  readonly kinds: StructureBits[] = new Array<StructureBits>(2 * clusters).fill(0);

  change(start: number, length: number, set: StructureBits, clear: StructureBits): void {
    for (let at = start; at < start + length; at++) this.kinds[at] = ((this.kinds[at] ?? 0) & ~clear) | set;
  }

  find(start: number, length: number, mask: StructureBits): string | undefined {
    let hit = 0;
    for (let at = start; at < start + length; at++) hit |= (this.kinds[at] ?? 0) & mask;
    return names.find((_name, bit) => (hit & (1 << bit)) !== 0);
  }
}

const range = fc.record({ start: fc.nat(clusters), length: fc.nat(6), kind: fc.constantFrom(...kinds) });
const step = fc.oneof(
  range.map((value) => ({ how: 'add', ...value }) as const),
  range.map((value) => ({ how: 'remove', ...value }) as const),
  fc.constantFrom(...kinds).map((kind) => ({ how: 'removeAll', kind }) as const),
  fc.record({ how: fc.constant('addMany' as const), ranges: fc.array(range, { maxLength: 8 }), kind: fc.constantFrom(...kinds) }),
);

describe('the map of metadata', () => {
  it('says what a map by clusters says', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 24 }), fc.array(range, { maxLength: 12 }), (steps, queries) => {
        const map = new MetadataMap(clusterSize);
        map.enabled = 511;
        const model = new Model();
        for (const change of steps) {
          if (change.how === 'removeAll') {
            map.removeAll(change.kind);
            model.change(0, 2 * clusters, 0, change.kind);
          } else if (change.how === 'addMany') {
            const ranges = change.ranges.filter(({ length }) => length > 0);
            map.addMany(
              Float64Array.from(ranges, ({ start }) => start),
              Float64Array.from(ranges, ({ start, length }) => start + length),
              change.kind,
            );
            for (const { start, length } of ranges) model.change(start, length, change.kind, 0);
          } else {
            const isAdding = change.how === 'add';
            const { start, length, kind } = change;
            if (isAdding) map.add(start * clusterSize, length * clusterSize, kind);
            else map.remove(start * clusterSize, length * clusterSize, kind);
            model.change(start, length, isAdding ? kind : 0, isAdding ? 0 : kind);
          }
        }
        for (const { start, length, kind } of queries) {
          expect(map.find(start * clusterSize, length * clusterSize, 0)).toBe(model.find(start, length, 511));
          expect(map.find(start * clusterSize, length * clusterSize, kind)).toBe(model.find(start, length, 511 & ~kind));
        }
        for (let at = 0; at < 2 * clusters; at++) expect(map.find(at * clusterSize, clusterSize, 0)).toBe(model.find(at, 1, 511));
      }),
      { numRuns: 400 },
    );
  });

  it('a range that touches one byte of a cluster touches it', () => {
    const map = new MetadataMap(clusterSize);
    map.add(3 * clusterSize + 511, 2, structure.activeL1);
    expect(map.find(3 * clusterSize, 1, 0)).toBe('active L1 table');
    expect(map.find(5 * clusterSize - 1, 1, 0)).toBe('active L1 table');
    expect(map.find(5 * clusterSize, 1, 0)).toBeUndefined();
    expect(map.find(3 * clusterSize - 1, 1, 0)).toBeUndefined();
    expect(map.find(3 * clusterSize - 1, 2, 0)).toBe('active L1 table');
  });

  it('a structure as long as a header can say costs no more than a short one', () => {
    const map = new MetadataMap(clusterSize);
    map.add(clusterSize, 0xffffffff * 8, structure.inactiveL1);
    expect(map.find(8 * 0xffffffff, clusterSize, 0)).toBe('inactive L1 table');
    expect(map.find(8 * 0xffffffff + 2 * clusterSize, clusterSize, 0)).toBeUndefined();
  });

  it('looks only at the kinds that are enabled: inactive L2 tables are not among the usual ones', () => {
    const map = new MetadataMap(clusterSize);
    map.add(0, clusterSize, structure.inactiveL2);
    map.add(0, clusterSize, structure.bitmapDirectory);
    expect(map.find(0, 1, 0)).toBe('bitmap directory');
    map.enabled = overlapTemplates['all'] ?? 0;
    expect(map.find(0, 1, 0)).toBe('inactive L2 table');
    map.enabled = overlapTemplates['none'] ?? 0;
    expect(map.find(0, 1, 0)).toBeUndefined();
  });
});
