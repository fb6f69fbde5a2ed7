/*
 * Hostile images cost a program no more than 256 MiB over its start, and a daemon that opens one after another lives on and
 * answers. Times beside the peer: scripts/hostile-images.mjs.
 */
import { expect, it } from 'vitest';
import { costTold, measured } from '../faults/memory.ts';
import { peakMemory, Stage } from '../faults/stage.ts';
import { hostileImages, writeHostile } from '../support/hostile-images.ts';
import { projectRoot } from '../support/run.ts';

const quick = hostileImages.filter(({ isSlow }) => !isSlow);
/** Those on which a walk over everything is where the memory would go. */
const checked = quick.filter(({ name }) => /^(l1-million|l2-|refcount-table|compressed|extended|snapshot|size-2-60)/.test(name));

it.each(checked)('check -r all of $name keeps to 256 MiB', async (image) => {
  await using stage = new Stage(projectRoot);
  writeHostile(image, stage.path('image'));
  expect(costTold(await measured(stage, 'tsimg', ['check', '-q', '-r', 'all', 'image'], 120_000))).toMatch(/within 256 MiB$/);
});

it('a daemon that opens them all lives on, within 256 MiB', async () => {
  await using stage = new Stage(projectRoot);
  const daemon = await stage.daemon();
  await daemon.execute('query-version');
  const start = peakMemory(daemon.pid);
  for (const [index, image] of quick.entries()) {
    writeHostile(image, stage.path('image'));
    const node = `n${index}`;
    const added = await daemon.execute('blockdev-add', {
      driver: 'qcow2',
      'node-name': node,
      backing: null,
      file: { driver: 'file', filename: stage.path('image') },
    });
    expect(added, image.name).toBeDefined();
    await daemon.execute('query-named-block-nodes');
    if (added !== undefined && 'return' in added)
      expect(await daemon.execute('blockdev-del', { 'node-name': node }), image.name).toEqual(expect.objectContaining({ return: {} }));
  }
  expect(daemon.isAlive).toBe(true);
  expect(peakMemory(daemon.pid) - start).toBeLessThan(256 * 1024 * 1024);
});
