/* `-l`: a snapshot of the source instead of the source. Rule source: observed behaviour of qemu-img 11.1. */
import type { Reporter } from '../cli/report.ts';
import type { Graph } from '../core/block/graph.ts';
import type { BlockNode } from '../core/block/node.ts';
import { type SnapshotKey, showSnapshot } from '../core/block/snapshots.ts';
import { BlockError } from '../core/util/errors.ts';
import { parseOptionWords } from '../core/util/key-values.ts';
import { warnOfFlag } from './image-command.ts';

/** Throws for a list of options that names no snapshot. */
export function checkSnapshotOption(value: string, report: Reporter): void {
  if (!value.startsWith('snapshot.')) return;
  for (const word of parseOptionWords(value)) {
    const { name } = word;
    warnOfFlag(word, report);
    if (name === 'snapshot.id' || name === 'snapshot.name') continue;
    report.message(`Invalid parameter '${name}'`);
    throw new BlockError(`Failed in parsing snapshot param '${value}'`, { code: 'ERR_PARSE' });
  }
}

/** Makes `node` show its snapshot `value`: an ID or a name, or `snapshot.id=…,snapshot.name=…`. */
export async function loadSnapshot(graph: Graph, node: BlockNode, value: string): Promise<void> {
  try {
    await showSnapshot(graph, node, keysOf(value));
  } catch (error) {
    throw error instanceof BlockError ? error.prepend('Failed to load snapshot: ') : error;
  }
}

function keysOf(value: string): SnapshotKey[] {
  if (!value.startsWith('snapshot.')) return [{ id: value }, { name: value }];
  const words = new Map(parseOptionWords(value).map(({ name, value: text }) => [name, text]));
  return [{ id: words.get('snapshot.id'), name: words.get('snapshot.name') }];
}
