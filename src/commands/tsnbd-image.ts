/*
 * Opens the image that tsnbd serves, by filename or by a list of options, and checks where the export starts in it.
 * Knows no protocol. Rule source: observed behaviour of qemu-nbd 11.1.
 */

import { rawWarning } from '../cli/raw-warning.ts';
import type { Reporter } from '../cli/report.ts';
import { type BlockBackend, readerPerms, writerPerms } from '../core/block/backend.ts';
import { nodeFilename } from '../core/block/filename.ts';
import type { OptionTree } from '../core/block/options.ts';
import { BlockError } from '../core/util/errors.ts';
import { parseOptionWords, unflatten } from '../core/util/key-values.ts';
import { alignUp } from '../core/util/math.ts';
import type { Engine } from '../engine/engine.ts';
import { checkNativeAio } from './image-command.ts';
import { overlayOf } from './temporary-overlay.ts';
import type { NbdSettings } from './tsnbd-options.ts';

/** Whether the image itself is opened for reading only. */
function isKept({ readOnly, snapshot }: NbdSettings): boolean {
  return readOnly || snapshot;
}

/** Opens the image. Errors begin with `Failed to blk_new_open 'FILE': `. */
export async function openServedImage(engine: Engine, settings: NbdSettings, report: Reporter): Promise<BlockBackend> {
  try {
    const backend = settings.imageOpts ? await openByOptions(engine, settings) : await openByName(engine, settings);
    const node = backend.node;
    if (settings.aio === 'native') checkNativeAio(node);
    if (!isKept(settings) && node?.isProbed === true && node.driver.name === 'raw') report.stderr.write(rawWarning(nodeFilename(node)));
    return settings.snapshot && !settings.readOnly ? await overlayOf(engine, backend) : backend;
  } catch (error) {
    throw error instanceof BlockError ? error.prepend(`Failed to blk_new_open '${settings.file}': `) : error;
  }
}

function openByName(engine: Engine, settings: NbdSettings): Promise<BlockBackend> {
  return engine.openBackend({
    filename: settings.file,
    format: settings.format,
    readOnly: isKept(settings),
    cache: cacheFlags(settings.cache),
    discard: settings.discard,
    detectZeroes: settings.detectZeroes,
  });
}

/** What the command line asks for is the default; the options of the image may say otherwise. */
async function openByOptions(engine: Engine, settings: NbdSettings): Promise<BlockBackend> {
  const flat: Record<string, string> = {};
  for (const { name, value } of parseOptionWords(settings.file, 'file')) if (name !== 'id') flat[name] = value;
  const options = unflatten(flat) as OptionTree;
  const { direct, noFlush } = cacheFlags(settings.cache);
  const given = options['cache'];
  options['read-only'] ??= isKept(settings);
  if (!isKept(settings)) options['auto-read-only'] ??= false;
  options['discard'] ??= settings.discard ? 'unmap' : 'ignore';
  options['detect-zeroes'] ??= settings.detectZeroes;
  options['cache'] = { direct, 'no-flush': noFlush, ...(given instanceof Object ? given : {}) };
  const node = await engine.opener.openNode(options);
  return engine.attachBackend(node, isKept(settings) ? readerPerms : writerPerms);
}

function cacheFlags(mode: string): { direct: boolean; noFlush: boolean } {
  return { direct: ['none', 'off', 'directsync'].includes(mode), noFlush: mode === 'unsafe' };
}

/** Every write is flushed before it is answered. */
export function isWritethrough(mode: string): boolean {
  return mode === 'writethrough' || mode === 'directsync';
}

/** Where the export starts, checked against the size of the image in whole sectors. */
export function exportStart(offset: bigint, bytes: number): number {
  const size = alignUp(bytes, 512);
  if (offset >= 1n << 63n) throw new BlockError(`Value '${BigInt.asIntN(64, offset)}' is out of range for parameter 'offset'`, { code: 'ERR_OPTION' });
  if (offset > BigInt(size)) throw new BlockError(`Offset (${offset}) cannot be greater than size of the containing file (${size})`, { code: 'ERR_OPTION' });
  return Number(offset);
}
