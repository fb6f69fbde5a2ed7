/* Commands of the qemu-io language that are no request: what an image is and where its data lie, its size, flush, sleep. */

import type { BlockBackend } from '../../core/block/backend.ts';
import { nodeStatus } from '../../core/block/block-status.ts';
import { skipFilters } from '../../core/block/chain.ts';
import { formatInfo, hasInfo } from '../../core/block/info.ts';
import type { Prealloc } from '../../core/storage/storage.ts';
import { BlockError } from '../../core/util/errors.ts';
import { specificLines } from '../../texts/image-info.ts';
import { byteCount, failureText, shortSize, UsageError } from './parse.ts';
import type { FreeContext, IoContext } from './requests.ts';

function isPrealloc(text: string): text is Prealloc {
  return ['off', 'metadata', 'falloc', 'full'].includes(text);
}

/** One that fails is told by the exit code alone, as with the peer. */
export async function flush({ backend }: IoContext): Promise<boolean> {
  try {
    await backend.flush();
    return true;
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return false;
  }
}

export async function length({ backend, out }: IoContext): Promise<boolean> {
  try {
    out(`${shortSize(backend.mediumSize((reason) => reason))}\n`);
    return true;
  } catch (error) {
    out(`getlength: ${failureText(error)}\n`);
    return false;
  }
}

export async function sleep({ given, clock }: FreeContext): Promise<boolean> {
  const [text = ''] = given.operands;
  if (!/^\d+$/.test(text)) throw new UsageError(`${text} is not a valid number`);
  await clock.sleep(Number(text));
  return true;
}

export async function truncate({ backend, given }: IoContext): Promise<boolean> {
  const size = byteCount(given.operands[0] ?? '');
  const mode = given.flags.get('m') ?? 'off';
  if (!isPrealloc(mode)) throw new BlockError(`Invalid preallocation mode '${mode}'`, { code: 'ERR_OPTION' });
  await backend.truncate(size, { exact: false, prealloc: mode });
  return true;
}

export async function info({ backend, out }: IoContext): Promise<boolean | string> {
  const { node: top } = backend;
  if (top === undefined) return true;
  const node = top.isHidden ? skipFilters(top) : top;
  // a protocol has two names, the same twice
  out(`format name: ${node.driver.name}\n`.repeat(node.driver.kind === 'protocol' || node.driver.hasProtocolName === true ? 2 : 1));
  if (!hasInfo(node)) return true;
  // clusters are those of what a filter shows; what else there is to tell is not its own
  const format = formatInfo(node);
  out(`cluster size: ${shortSize(format?.clusterSize ?? 0)}\nvm state offset: ${shortSize(format?.vmStateOffset ?? 0)}\n`);
  const lines = specificLines(node.state.info?.().specific?.data ?? {});
  return lines.length === 0 ? true : `${lines.join('\n')}\n`;
}

/** The run of equal allocation in the top layer at `offset`. */
async function allocationAt(backend: BlockBackend, offset: number, length: number): Promise<{ readonly isAllocated: boolean; readonly length: number }> {
  const { node } = backend;
  if (node === undefined) throw new BlockError('No medium found', { code: 'ENOMEDIUM' });
  let found: boolean | undefined;
  let total = 0;
  while (total < length) {
    const status = await nodeStatus(node, offset + total, length - total, false);
    if (found !== undefined && found !== status.allocated) break;
    found = status.allocated;
    total += status.length;
  }
  return { isAllocated: found ?? false, length: total };
}

export async function allocated({ backend, given, out }: IoContext): Promise<boolean> {
  const [offsetText = '', countText = '512'] = given.operands;
  const offset = byteCount(offsetText);
  const count = Math.max(0, Math.min(byteCount(countText), backend.size() - offset));
  let sum = 0;
  for (let at = 0; at < count; ) {
    const run = await allocationAt(backend, offset + at, count - at);
    if (run.isAllocated) sum += run.length;
    at += run.length;
  }
  out(`${sum}/${count} bytes allocated at offset ${shortSize(offset)}\n`);
  return true;
}

export async function map({ backend, out }: IoContext): Promise<boolean> {
  const size = backend.mediumSize((reason) => `Failed to query image length: ${reason}`);
  const hex = (value: number): string => `(0x${value.toString(16)})`;
  for (let at = 0; at < size; ) {
    const run = await allocationAt(backend, at, size - at);
    out(`${shortSize(run.length)} ${hex(run.length)} bytes ${run.isAllocated ? '    ' : 'not '}allocated at offset ${shortSize(at)} ${hex(at)}\n`);
    at += run.length;
  }
  return true;
}
