/*
 * Repair at open: an image with the dirty bit was not closed by its last writer, so its refcounts may lag behind its tables.
 * Rule source: observed behaviour at a writable open.
 */
import { BlockError } from '../core/util/errors.ts';
import { checkImage } from './check.ts';
import type { Qcow2Image } from './image.ts';

/** Sets refcounts right and clears the dirty bit. Rejects when the image stays corrupt. */
export async function repairDirty(image: Qcow2Image): Promise<void> {
  let result: Awaited<ReturnType<typeof checkImage>>;
  try {
    // a check puts its own in place of it meanwhile
    const { warn } = image;
    const say = (line: string): void => warn(line);
    result = await checkImage(image, { leaks: true, errors: true }, { line: say, error: say });
  } catch (error) {
    throw error instanceof BlockError ? error.prepend('Could not repair dirty image: ') : error;
  }
  if (result.checkErrors > 0 || result.corruptions > 0) throw new BlockError('Could not repair dirty image: Input/output error', { code: 'EIO' });
}
