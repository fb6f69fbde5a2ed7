/* What `info …` of the human monitor prints. Rule source: observed output of QEMU 11.1. */

import { skipFilters } from '../core/block/block-status.ts';
import { nodeFilename } from '../core/block/filename.ts';
import type { BlockNode } from '../core/block/node.ts';
import type { JsonObject } from '../core/util/json.ts';
import type { System } from '../engine/system.ts';

interface Shown {
  readonly name: string;
  readonly node: BlockNode | undefined;
  readonly attachedTo: string | undefined;
}

const label = (text: string): string => `    ${text.padEnd(18)}`;

export function infoBlock(system: System, options: { readonly isNodes: boolean; readonly isVerbose: boolean; readonly device: string | undefined }): string {
  const all: Shown[] = options.isNodes
    ? [...system.engine.graph.nodes].reverse().map((node) => ({ name: node.name, node, attachedTo: undefined }))
    : (system.machine?.disks ?? []).map((disk) => ({ name: disk.hasDrive ? disk.id : disk.qomPath, node: disk.node, attachedTo: disk.qomPath }));
  const entries = all.map((shown) =>
    options.device === undefined || shown.name === options.device || shown.node?.name === options.device ? describe(shown, options.isNodes) : '',
  );
  return entries.filter((text) => text !== '').join('\n');
}

function describe({ name, node, attachedTo }: Shown, isNode: boolean): string {
  let text: string;
  if (node === undefined) text = `${name}: [not inserted]\n`;
  else {
    const title = isNode ? name : `${name} (${node.name})`;
    text = `${title}: ${nodeFilename(node)} (${node.driver.name}${node.readOnly ? ', read-only' : ''})\n`;
  }
  if (attachedTo !== undefined) text += `${label('Attached to:')}${attachedTo}\n`;
  if (node === undefined) return text;
  const { direct, noFlush } = node.settings.cache;
  text += `${label('Cache mode:')}writeback${direct ? ', direct' : ''}${noFlush ? ', ignore flushes' : ''}\n`;
  const { backing } = node;
  if (backing !== undefined) text += `${label('Backing file:')}${nodeFilename(skipFilters(backing.node))} (chain depth: ${chainDepth(node)})\n`;
  if (node.settings.detectZeroes !== 'off') text += `${label('Detect zeroes:')}${node.settings.detectZeroes}\n`;
  return text;
}

function chainDepth(node: BlockNode): number {
  let depth = 0;
  for (let at = node.backing; at !== undefined; at = at.node.backing) depth++;
  return depth;
}

export function infoBlockJobs(system: System): string {
  const jobs = system.jobs.list();
  if (jobs.length === 0) return 'No active jobs\n';
  return jobs.map((job) => `Type ${job.type}, device ${job.id}: Completed ${job.current} of ${job.total} bytes, speed limit ${job.speed} bytes/s\n`).join('');
}

export function infoStatus(system: System): string {
  return `VM status: ${system.machine?.runState ?? 'running'}\n`;
}

export function infoVersion(version: JsonObject): string {
  const { major, minor, micro } = version['qemu'] as { major: number; minor: number; micro: number };
  return `${major}.${minor}.${micro}${String(version['package'])}\n`;
}
