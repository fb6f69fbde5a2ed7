/* What a backup with sync=none is for: a frozen view needs a target that reads through the source. Says so when it does not. */
import { chainChild } from '../core/block/block-status.ts';
import type { BlockNode } from '../core/block/node.ts';
import type { CommandContext } from './command.ts';

interface BackupArguments {
  readonly device: string;
  readonly target: string;
  readonly sync: string;
}

/** Notes, after such a backup has started, that its target is no view of the source. */
export function noteTargetWithoutSource({ engine, note }: CommandContext, args: BackupArguments): void {
  if (args.sync !== 'none') return;
  const source = engine.graph.findDeviceOrNode(args.device);
  const target = engine.graph.findDeviceOrNode(args.target);
  if (source === undefined || target === undefined || source === target) return;
  const below = new Set(chainOf(source));
  // the backup's own filter may stand above the source by now: what lies below both is the source itself
  if (chainOf(target).some((node, index) => index > 0 && below.has(node))) return;
  note(
    `blockdev-backup: '${args.target}' does not read through '${args.device}': it gets only what is overwritten, and shows zeros elsewhere. ` +
      `For a frozen view add it with backing=${args.device}`,
  );
}

function chainOf(top: BlockNode): BlockNode[] {
  const found: BlockNode[] = [];
  for (let at: BlockNode | undefined = top; at !== undefined; at = chainChild(at)) found.push(at);
  return found;
}
