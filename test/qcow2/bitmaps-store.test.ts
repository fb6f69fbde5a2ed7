/* Persistent bitmaps: from the node to the medium at close, and back at a writer's open. */
import { describe, expect, it } from 'vitest';
import type { DirtyBitmap } from '../../src/core/block/dirty-bitmap.ts';
import type { CreateValues } from '../../src/core/block/driver.ts';
import { measureBitmaps } from '../../src/qcow2/bitmaps.ts';
import { checkMedium, copyMedium, type Disk, filled, newMedium, openMedium } from './image-support.ts';

const values = { size: 1 << 20, cluster_size: 512 };

function bitmapOf(disk: Disk, name = 'b'): DirtyBitmap | undefined {
  return disk.backend.node?.dirtyBitmaps.find(name);
}

async function withBitmap(given: CreateValues = values, isEnabled = true): Promise<Disk> {
  const disk = await openMedium(await newMedium(given));
  disk.backend.node?.dirtyBitmaps.add({ name: 'b', granularity: 512, isPersistent: true, isEnabled });
  return disk;
}

describe('a persistent bitmap', () => {
  it('is stored at close, and goes on recording after the next open', async () => {
    const first = await withBitmap();
    await first.backend.write(0, filled(512, 1));
    await first.backend.write(900 * 1024, filled(1024, 1));
    await first.engine.close();
    expect(await checkMedium(first.medium)).toMatchObject({ corruptions: 0, leaks: 0, messages: [] });
    const second = await openMedium(first.medium);
    expect(bitmapOf(second)).toMatchObject({ isEnabled: true, isPersistent: true, isInconsistent: false, granularity: 512, count: 1536 });
    await second.backend.write(512, filled(512, 2));
    await second.engine.close();
    const third = await openMedium(second.medium);
    expect([...(bitmapOf(third)?.runs() ?? [])]).toEqual([
      { offset: 0, length: 1024 },
      { offset: 900 * 1024, length: 1024 },
    ]);
    await third.engine.close();
    expect(await checkMedium(third.medium)).toMatchObject({ corruptions: 0, leaks: 0, messages: [] });
  });

  it('that does not record stays so', async () => {
    const first = await withBitmap(values, false);
    await first.backend.write(0, filled(512, 1));
    await first.engine.close();
    const second = await openMedium(first.medium);
    expect(bitmapOf(second)).toMatchObject({ isEnabled: false, count: 0 });
    await second.engine.close();
  });

  it('is inconsistent when its writer never closed, and kept as that', async () => {
    const first = await withBitmap();
    await first.engine.close();
    const second = await openMedium(first.medium);
    await second.backend.write(0, filled(512, 1));
    await second.backend.flush();
    const cut = copyMedium(second.medium);
    await second.engine.close();
    const third = await openMedium(cut);
    expect(bitmapOf(third)).toMatchObject({ isInconsistent: true });
    await expect(third.backend.node?.state.truncate?.(1 << 19, { exact: true, prealloc: 'off' })).rejects.toThrow(
      "Bitmap 'b' is inconsistent and cannot be used",
    );
    await third.engine.close();
    const fourth = await openMedium(cut);
    expect(bitmapOf(fourth)).toMatchObject({ isInconsistent: true });
    await fourth.engine.close();
    expect(await checkMedium(cut)).toMatchObject({ corruptions: 0, messages: [] });
  });

  it('that was removed is gone from the medium, with its clusters', async () => {
    const first = await withBitmap();
    first.backend.node?.dirtyBitmaps.add({ name: 'other', granularity: 4096, isPersistent: true });
    await first.engine.close();
    const second = await openMedium(first.medium);
    const bitmap = bitmapOf(second);
    if (bitmap !== undefined) second.backend.node?.dirtyBitmaps.remove(bitmap);
    await second.engine.close();
    const third = await openMedium(second.medium);
    expect([...(third.backend.node?.dirtyBitmaps ?? [])].map(({ name }) => name)).toEqual(['other']);
    const other = bitmapOf(third, 'other');
    if (other !== undefined) third.backend.node?.dirtyBitmaps.remove(other);
    await third.engine.close();
    const fourth = await openMedium(third.medium);
    expect([...(fourth.backend.node?.dirtyBitmaps ?? [])]).toEqual([]);
    await fourth.engine.close();
    expect(await checkMedium(third.medium)).toMatchObject({ corruptions: 0, leaks: 0, messages: [] });
  });

  it('is measured as if every bit were stored: data, table and directory in whole clusters', async () => {
    const { backend, engine } = await withBitmap();
    const bitmaps = backend.node?.dirtyBitmaps;
    expect(measureBitmaps(bitmaps ?? [], 512)).toBe(512 + 512 + 512);
    expect(measureBitmaps(bitmaps ?? [], 65536)).toBe(3 * 65536);
    bitmaps?.add({ name: 'x'.repeat(1000), granularity: 512, isPersistent: true });
    bitmaps?.add({ name: 'of no medium', granularity: 512 });
    bitmaps?.add({ name: 'broken', granularity: 512, isPersistent: true, isInconsistent: true });
    // 32 bytes of directory for b, 1024 for the long name
    expect(measureBitmaps(bitmaps ?? [], 512)).toBe(2 * (512 + 512) + 1536);
    await engine.close();
  });

  it('keeps a name whose bytes are no text', async () => {
    const name = 'b\udcff';
    const { backend, engine, medium } = await openMedium(await newMedium(values));
    backend.node?.dirtyBitmaps.add({ name, granularity: 512, isPersistent: true });
    await engine.close();
    const again = await openMedium(medium);
    expect(bitmapOf(again, name)).toMatchObject({ name, isInconsistent: false });
    await again.engine.close();
  });
});
