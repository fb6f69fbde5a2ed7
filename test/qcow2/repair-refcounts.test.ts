import { expect, it } from 'vitest';
import { ReferenceCounts } from '../../src/qcow2/check-counts.ts';
import { placeRefcounts } from '../../src/qcow2/repair-refcounts.ts';

const clusterSize = 512;

function countsOf(clusters: number, isUsed: (cluster: number) => boolean): ReferenceCounts {
  const counts = new ReferenceCounts(clusterSize, clusters * clusterSize, 16);
  for (let cluster = 0; cluster < clusters; cluster++) if (isUsed(cluster)) counts.fill(1, cluster, cluster + 1);
  return counts;
}

it.each([
  ['a full image', 1000, () => true],
  ['every second cluster', 1000, (cluster: number) => cluster % 2 === 0],
  ['a long gap', 5000, (cluster: number) => cluster < 10 || cluster > 4000],
  ['a table that outgrows its first cluster', 5000, () => true],
] as const)('a rebuilt refcount structure counts everything and itself: %s', (_, clusters, isUsed) => {
  const refcountsPerBlock = 64;
  const counts = countsOf(clusters, isUsed);
  const { blocks, tableStart, tableClusters } = placeRefcounts(counts, { clusterSize, refcountsPerBlock });
  const taken = new Set([...blocks.values(), ...Array.from({ length: tableClusters }, (__, i) => tableStart + i)]);
  expect(taken.size).toBe(blocks.size + tableClusters);
  for (const cluster of taken) expect(cluster >= clusters || !isUsed(cluster)).toBe(true);
  for (let cluster = 0; cluster < counts.clusters; cluster++) {
    const isInUse = taken.has(cluster) || (cluster < clusters && isUsed(cluster));
    expect(counts.get(cluster)).toBe(isInUse ? 1 : 0);
    if (isInUse) expect(blocks.has(Math.floor(cluster / refcountsPerBlock))).toBe(true);
  }
  expect(tableClusters * clusterSize).toBeGreaterThan(Math.max(...blocks.keys()) * 8);
});

it('a block lies among the clusters that it counts, not in front of them', () => {
  const refcountsPerBlock = 64;
  const counts = countsOf(1000, (cluster) => cluster % 10 !== 9);
  const { blocks } = placeRefcounts(counts, { clusterSize, refcountsPerBlock });
  expect(blocks.size).toBe(16);
  for (const [index, cluster] of blocks) expect(Math.floor(cluster / refcountsPerBlock)).toBe(index);
});
