/*
 * Changes of what an image records of itself. Rule source: observed behaviour of qemu-img amend 11.1.
 */
import type { CreateValues } from '../core/block/driver.ts';
import { BlockError } from '../core/util/errors.ts';
import { encryptPrefix } from '../crypto/luks-options.ts';
import type { Qcow2Image } from './image.ts';

/** Carries out `values`, options of `amend -o`. Throws the peer's message before anything changed. */
export async function amendImage(image: Qcow2Image, values: CreateValues, how: { readonly force: boolean }): Promise<void> {
  if (!Object.keys(values).some((name) => name.startsWith(encryptPrefix))) return;
  if (image.encryption === undefined) throw new BlockError("Can't amend encryption options - encryption not present", { code: 'EINVAL' });
  await image.encryption.amend(values, how);
}
