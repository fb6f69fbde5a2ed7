/*
 * Commit: what the layers above `base` hold goes into `base`, so that it reads as the top does. The copying is
 * image-copy.ts's; here are the users of the nodes meanwhile. Knows no command.
 */
import { BlockBackend, resizerPerms } from '../core/block/backend.ts';
import { freezeChain } from '../core/block/chain.ts';
import type { Graph } from '../core/block/graph.ts';
import type { BlockNode } from '../core/block/node.ts';
import { setReadOnly } from '../core/block/reopen-nodes.ts';
import { isPending } from '../core/util/maybe.ts';
import { type CopySettings, copyImages } from './image-copy.ts';
import { ImageReader } from './image-reader.ts';

/** Zero areas are passed on as such; this is only not nothing. */
const anyZeros = 512;

export interface CommitSettings extends Pick<CopySettings, 'rate' | 'onProgress' | 'budget' | 'parallel'> {
  readonly graph: Graph;
  /** A user of the top. Others that need the layers as they are keep it from beginning. */
  readonly top: BlockBackend;
  /** In the chain of `top`, below it; grows to its size. */
  readonly base: BlockNode;
}

/** Copies, and makes `base` durable. Rejects at the first error: what was copied until then is what the top showed anyway. */
export async function commitInto({ graph, top, base, ...how }: CommitSettings): Promise<void> {
  const reader = new ImageReader(top);
  using _frozen = freezeChain(reader.node, base, 'commit');
  const wasReadOnly = base.readOnly;
  if (wasReadOnly) await setReadOnly(graph, base, false);
  try {
    await using target = new BlockBackend(graph, resizerPerms);
    target.insert(base);
    if (target.size() < top.size()) await target.truncate(top.size(), { exact: true, prealloc: 'off' });
    const failure = (): string => 'Block job failed: ';
    await copyImages({ ...how, sources: [reader], target, base, sparse: anyZeros, detectsZeros: false, isTargetZero: false, failure });
    const flushed = target.flush();
    if (isPending(flushed)) await flushed;
  } finally {
    if (wasReadOnly) await setReadOnly(graph, base, true);
  }
}
