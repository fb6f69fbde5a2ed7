/* Reference counts of a check against a plain map, and what they cost. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ReferenceCounts } from '../../src/qcow2/check-counts.ts';
import { Findings } from '../../src/qcow2/check-findings.ts';

const clusterSize = 512;

function findings(lines: string[] = []): Findings {
  const take = (text: string): void => void lines.push(text);
  return new Findings({ leaks: false, errors: false }, { line: take, error: take });
}

describe('reference counts', () => {
  it('say what a plain map says', () => {
    const reference = fc.record({ start: fc.nat(20_000), length: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 4090, max: 4200 })) });
    fc.assert(
      fc.property(fc.array(reference, { maxLength: 30 }), fc.constantFrom(64, 256), (references, window) => {
        const counts = new ReferenceCounts(clusterSize, 30_000 * clusterSize, 16);
        const model = new Map<number, number>();
        for (const { start, length } of references) {
          counts.add(start * clusterSize, length * clusterSize, findings());
          for (let at = start; at < start + length; at++) model.set(at, (model.get(at) ?? 0) + 1);
        }
        for (let at = 0; at < 25_000; at += 211) expect(counts.get(at)).toBe(model.get(at) ?? 0);
        for (const at of model.keys()) if (at % 97 === 0) expect(counts.get(at)).toBe(model.get(at));
        const used = [...new Set([...model.keys()].map((at) => Math.floor(at / window)))].sort((a, b) => a - b);
        expect([...counts.windows(window)]).toEqual(used);
        for (let at = 0; at < 25_000; at += 97) {
          const next = counts.nextPaged(at, 25_000);
          for (let passed = at; passed < next; passed++) if (model.has(passed)) throw new Error(`${passed} was passed over`);
          expect(counts.nextPaged(next, 25_000)).toBe(next);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('count every cluster that a range touches, to the byte', () => {
    const counts = new ReferenceCounts(clusterSize, 10 * clusterSize, 16);
    counts.add(clusterSize - 1, 2, findings());
    counts.add(clusterSize, 0, findings());
    expect([0, 1, 2].map((at) => counts.get(at))).toEqual([1, 1, 0]);
  });

  it('go beyond 16 bits where the image does', () => {
    const counts = new ReferenceCounts(clusterSize, 10 * clusterSize, 32);
    for (let i = 0; i < 70_000; i++) counts.add(0, 1, findings());
    expect(counts.get(0)).toBe(70_000);
    counts.fill(0, 0, 1);
    expect(counts.get(0)).toBe(0);
  });

  it('tell of a count that the image cannot hold, and stay at its limit', () => {
    const lines: string[] = [];
    const found = findings(lines);
    const counts = new ReferenceCounts(clusterSize, 10 * clusterSize, 1);
    for (let i = 0; i < 3; i++) counts.add(2 * clusterSize, 1, found);
    expect(counts.get(2)).toBe(1);
    expect(found.result.corruptions).toBe(2);
    expect(lines[0]).toBe('ERROR: overflow cluster offset=0x400');
    expect(lines).toHaveLength(4);
  });

  it('leave out what lies a cluster or more behind the end, and grow by what lies less', () => {
    const lines: string[] = [];
    const found = findings(lines);
    const counts = new ReferenceCounts(clusterSize, 10 * clusterSize + 1, 16);
    counts.add(10 * clusterSize, clusterSize, found);
    expect([counts.get(10), counts.clusters, found.result.corruptions]).toEqual([1, 11, 0]);
    counts.add(11 * clusterSize, clusterSize, found);
    expect([counts.get(11), found.result.corruptions]).toEqual([0, 1]);
    expect(lines).toEqual(['ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x1600 size 0x200']);
  });

  it('show an offset that a number does not hold', () => {
    const lines: string[] = [];
    new ReferenceCounts(clusterSize, 0, 16).add(2 ** 60, 512, findings(lines), 2n ** 60n + 1n);
    expect(lines[0]).toContain('offset 0x1000000000000001 size 0x200');
  });

  it('cost what is referenced, however long the file is said to be and however far apart it lies', () => {
    const before = process.memoryUsage().arrayBuffers;
    const counts = new ReferenceCounts(clusterSize, 0x7fffffff * clusterSize, 16);
    for (let i = 0; i < 100_000; i++) counts.add(((i * 7919 * 4099) % 0x7fffff00) * clusterSize, clusterSize, findings());
    for (let i = 0; i < 1000; i++) counts.add(i * 1_000_000 * clusterSize, 2_000_000 * clusterSize, findings());
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024);
    expect(counts.get(1_500_000)).toBeGreaterThanOrEqual(2);
  });
});
