/* The `info …` commands of the human monitor: they collect facts, the texts are in src/texts. Rule source: observed behaviour of QEMU 11.1. */

import { chainNodes } from '../core/block/chain.ts';
import { nodeFilename } from '../core/block/filename.ts';
import { type ImageInfo, imageInfo } from '../core/block/info.ts';
import type { BlockNode } from '../core/block/node.ts';
import { snapshotsOf } from '../core/block/snapshots.ts';
import type { Engine } from '../engine/engine.ts';
import type { DiskDevice } from '../machine/disk-device.ts';
import { type BlockFacts, blockText, jobsText, type MediumFacts, snapshotsText, statsText, statusText, versionText } from '../texts/hmp-info.ts';
import type { HmpCommand } from './hmp-command.ts';
import { packageText, qemuVersion } from './monitor.ts';

export const infoCommands: readonly HmpCommand[] = [
  {
    name: 'block',
    flags: 'nv',
    args: [{ name: 'device', type: 'B', isOptional: true }],
    params: '[-n] [-v] [device]',
    help: 'show info of one block device or all block devices (-n: show named nodes; -v: show details)',
    run: (given, { engine }) => infoBlock(engine, { isNodes: given.has('n'), isVerbose: given.has('v'), device: given.optional('device') }),
  },
  { name: 'block-jobs', params: '', help: 'show progress of ongoing block device operations', run: (_given, { engine }) => jobsText(engine.jobs.blockJobs()) },
  {
    name: 'blockstats',
    params: '',
    help: 'show block device statistics',
    run: (_given, { engine }) => statsText(disksOf(engine).map((disk) => ({ name: disk.hasDrive ? disk.id : '', stats: disk.stats }))),
  },
  {
    name: 'snapshots',
    params: '',
    help: 'show the currently saved VM snapshots',
    run: (_given, { engine }) =>
      snapshotsText(disksOf(engine).map((disk) => ({ id: disk.id, snapshots: disk.node === undefined ? [] : snapshotsOf(disk.node) }))),
  },
  {
    name: 'status',
    params: '',
    help: 'show the current VM status (running|paused)',
    run: (_given, { engine }) => statusText(engine.machine?.runState ?? 'running'),
  },
  { name: 'version', params: '', help: 'show the version of QEMU', run: () => versionText(qemuVersion, packageText) },
];

const disksOf = (engine: Engine): readonly DiskDevice[] => engine.machine?.disks ?? [];

interface Shown {
  readonly name: string;
  readonly node: BlockNode | undefined;
  readonly disk: DiskDevice | undefined;
}

/** A blank line stands between entries, and before the one asked for when others came before it. */
async function infoBlock(
  engine: Engine,
  options: { readonly isNodes: boolean; readonly isVerbose: boolean; readonly device: string | undefined },
): Promise<string> {
  const all: Shown[] = options.isNodes
    ? [...engine.graph.nodes].reverse().map((node) => ({ name: node.name, node, disk: undefined }))
    : disksOf(engine).map((disk) => ({ name: disk.id, node: disk.node, disk }));
  let text = '';
  for (const [index, shown] of all.entries()) {
    const isAsked = options.device === undefined || (shown.name === options.device && (shown.disk?.hasDrive ?? true));
    if (isAsked) text += `${index > 0 ? '\n' : ''}${blockText(await factsOf(shown, options.isVerbose))}`;
  }
  return text;
}

async function factsOf({ name, node, disk }: Shown, isVerbose: boolean): Promise<BlockFacts> {
  const device = disk === undefined ? undefined : { id: disk.id, isAttached: disk.isAttached };
  return { name, device, medium: node === undefined ? undefined : await mediumFacts(node, isVerbose) };
}

async function mediumFacts(node: BlockNode, isVerbose: boolean): Promise<MediumFacts> {
  const { cache, detectZeroes } = node.settings;
  const chain = chainNodes(node);
  const images: ImageInfo[] = [];
  if (isVerbose) for (const image of chain) images.push(await imageInfo(image, true));
  return {
    nodeName: node.name,
    filename: nodeFilename(node),
    driver: node.driver.name,
    isReadOnly: node.readOnly,
    isEncrypted: node.state.info?.().encrypted ?? false,
    isDirect: cache.direct,
    ignoresFlushes: cache.noFlush,
    detectZeroes,
    backing: node.backing === undefined ? undefined : { filename: nodeFilename(node.backing.node), depth: chain.length - 1 },
    images: isVerbose ? images : undefined,
  };
}
