/* The image that tsio has open: opened by the program's options or by the command `open`, with a temporary overlay if wanted. */

import { UsageError } from '../cli/getopt.ts';
import type { Reporter } from '../cli/report.ts';
import { type BlockBackend, writerPerms } from '../core/block/backend.ts';
import { BlockError } from '../core/util/errors.ts';
import type { Engine } from '../engine/engine.ts';
import { checkNativeAio, openBare } from './image-command.ts';
import { overlayOf } from './temporary-overlay.ts';
import type { OpenSettings } from './tsio-options.ts';

/** Opens the image. Errors begin with `can't open device FILE: `. */
export async function openExercised(engine: Engine, report: Reporter, settings: OpenSettings): Promise<BlockBackend> {
  const { filename } = settings;
  try {
    if (settings.copyOnRead && settings.readOnly) throw new BlockError("Can't use copy-on-read on read-only device", { code: 'EINVAL' });
    let backend = await openImage(engine, report, settings);
    try {
      if (settings.nativeAio) checkNativeAio(backend.node);
      if (settings.snapshot && !settings.readOnly) backend = await overlayOf(engine, backend);
      return settings.copyOnRead ? await copyingUp(engine, backend) : backend;
    } catch (error) {
      await engine.closeBackend(backend);
      throw error;
    }
  } catch (error) {
    throw error instanceof BlockError && !(error instanceof UsageError)
      ? error.prepend(filename === undefined ? "can't open: " : `can't open device ${filename}: `)
      : error;
  }
}

function openImage(engine: Engine, report: Reporter, settings: OpenSettings): Promise<BlockBackend> {
  const { filename, options } = settings;
  const words = [options, filename === undefined || options === undefined ? undefined : `file.filename=${filename.replaceAll(',', ',,')}`];
  const byOptions = words.filter((word) => word !== undefined).join(',');
  const isByName = options === undefined && filename !== undefined;
  return openBare(engine, report, {
    filename: isByName ? filename : byOptions,
    format: settings.format,
    imageOpts: !isByName,
    cache: settings.cache,
    forceShare: settings.forceShare,
    shareConflict: '-U conflicts with image options',
    writable: !settings.readOnly && !settings.snapshot,
    discard: settings.discard,
    hasNoFirstName: true,
  });
}

/** A user of the same image that keeps in it what it reads from below. */
async function copyingUp(engine: Engine, image: BlockBackend): Promise<BlockBackend> {
  const { node } = image;
  if (node === undefined) return image;
  const filter = await engine.opener.openNode({ driver: 'copy-on-read', file: node.name, discard: node.settings.discard ? 'unmap' : 'ignore' });
  filter.isHidden = true;
  const backend = await engine.attachBackend(filter, writerPerms);
  await image.remove();
  return backend;
}
