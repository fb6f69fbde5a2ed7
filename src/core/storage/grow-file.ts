/*
 * A change of a file's size as images need it: what was empty gets a first block. Knows no node and no format.
 * Rule source: what `qemu-img map` and `info` tell of new raw images.
 */
import { BlockError } from '../util/errors.ts';
import type { Prealloc, Storage } from './storage.ts';

/**
 * Changes a medium's size. A file that was empty gets its first block written: whoever opens it for direct access can
 * then find out the alignment, which no hole tells. Without it the file is as good, so a failure is none.
 */
export async function growFile(storage: Storage, size: number, prealloc: Prealloc): Promise<void> {
  const before = await storage.size();
  await storage.truncate(size, prealloc);
  if (before !== 0 || size < 512 || prealloc === 'full' || storage.caps.kind !== 'file') return;
  try {
    await storage.write(0, new Uint8Array(size < 4096 ? 512 : 4096));
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
  }
}
