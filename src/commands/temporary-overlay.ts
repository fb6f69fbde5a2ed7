/* Writes that are not to last: a temporary overlay in place of the image itself. Rule source: observed behaviour of `-s`. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { type BlockBackend, writerPerms } from '../core/block/backend.ts';
import type { Engine } from '../engine/engine.ts';

/** A writer of a new, empty image above. Its file has no name any more: it goes with the program, however that ends. */
export async function overlayOf(engine: Engine, base: BlockBackend): Promise<BlockBackend> {
  const { node } = base;
  if (node === undefined) return base;
  const { createImage } = await import('../engine/create.ts');
  const path = join(process.env['TMPDIR'] ?? '/var/tmp', `vl.${randomBytes(6).toString('hex')}`);
  await createImage(engine, 'qcow2', path, { size: base.size() });
  try {
    const top = await engine.opener.openNode({ driver: 'qcow2', file: { driver: 'file', filename: path }, backing: node.name });
    const backend = await engine.attachBackend(top, writerPerms);
    await base.remove();
    return backend;
  } finally {
    engine.openStorage.remove?.(path);
  }
}
