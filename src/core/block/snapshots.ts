/*
 * Snapshots inside the image that a node shows: found below filters and raw, as QEMU finds them, and changed while nobody
 * uses the node. Rule source: observed behaviour of qemu-img snapshot.
 */
import { BlockError } from '../util/errors.ts';
import { drainNodes } from './drain.ts';
import type { Graph } from './graph.ts';
import { sizeHasChanged } from './io.ts';
import type { BlockNode } from './node.ts';
import type { SnapshotDetails, SnapshotInfo, SnapshotStore } from './stores.ts';

/** The node whose image keeps the snapshots of `node`: itself, or what it passes through. */
function keeperOf(node: BlockNode): BlockNode | undefined {
  let at: BlockNode | undefined = node;
  while (at !== undefined && at.state.snapshots === undefined) at = at.filtered?.node;
  return at;
}

/** The snapshots in the order of their table; none where the image cannot have any. */
export function snapshotsOf(node: BlockNode): readonly SnapshotInfo[] {
  return keeperOf(node)?.state.snapshots?.() ?? [];
}

/** Carries `change` out on the drained image, and tells its users of another size. Takes the graph turn. */
async function changeSnapshots(graph: Graph, node: BlockNode, unable: string, change: (store: SnapshotStore) => Promise<void>): Promise<void> {
  const keeper = keeperOf(node);
  const store = keeper?.state.snapshotStore;
  if (keeper === undefined || store === undefined) throw new BlockError(unable, { code: 'ENOTSUP' });
  if (keeper.readOnly) throw new BlockError('Block node is read-only', { code: 'EACCES' });
  await graph.turn(async () => {
    using _section = await drainNodes([keeper]);
    const before = keeper.size();
    await change(store);
    keeper.isDirty = true;
    if (keeper.size() !== before) sizeHasChanged(keeper);
  });
}

function checkSupported({ isSupported }: SnapshotStore): void {
  if (!isSupported) throw new BlockError('Operation not supported', { code: 'ENOTSUP' });
}

/** Keeps the disk as it is now. Rejects with QEMU's words. */
export async function createSnapshot(graph: Graph, node: BlockNode, details: SnapshotDetails): Promise<void> {
  await changeSnapshots(graph, node, 'Operation not supported', async (store) => {
    checkSupported(store);
    await store.create(details);
  });
}

/** Makes the disk what it was: `name` is an ID or a name. Rejects with QEMU's words. */
export async function applySnapshot(graph: Graph, node: BlockNode, name: string): Promise<void> {
  if ([...(keeperOf(node)?.dirtyBitmaps ?? [])].length > 0) throw new BlockError('Device has active dirty bitmaps', { code: 'EBUSY' });
  await changeSnapshots(graph, node, 'Block driver does not support snapshots', async (store) => {
    try {
      checkSupported(store);
      const list = snapshotsOf(node);
      const found = list.find(({ id }) => id === name) ?? list.find((snapshot) => snapshot.name === name);
      if (found === undefined) throw new BlockError('No such file or directory', { code: 'ENOENT' });
      await store.apply(found);
    } catch (error) {
      throw error instanceof BlockError ? error.prepend('Failed to load snapshot: ') : error;
    }
  });
}

/** Deletes the first snapshot of this name. Rejects with QEMU's words. */
export async function deleteSnapshot(graph: Graph, node: BlockNode, name: string): Promise<void> {
  const found = snapshotsOf(node).find((snapshot) => snapshot.name === name);
  if (found === undefined) throw new BlockError('snapshot not found', { code: 'ERR_NOT_FOUND' });
  await changeSnapshots(graph, node, 'Operation not supported', (store) => store.remove(found));
}

/** A snapshot by its ID, by its name, or by both. */
export interface SnapshotKey {
  readonly id?: string | undefined;
  readonly name?: string | undefined;
}

/** Makes a node that is read only show a snapshot of its own until it closes: the first one of `keys` that is there. */
export async function showSnapshot(graph: Graph, node: BlockNode, keys: readonly SnapshotKey[]): Promise<void> {
  const store = node.state.snapshotStore;
  if (store === undefined) {
    const text = `Block format '${node.driver.name}' used by device '${node.deviceName ?? ''}' does not support temporarily loading internal snapshots`;
    throw new BlockError(text, { code: 'ENOTSUP' });
  }
  const list = node.state.snapshots?.() ?? [];
  const matches = ({ id, name }: SnapshotKey): SnapshotInfo | undefined =>
    list.find((snapshot) => (id === undefined || snapshot.id === id) && (name === undefined || snapshot.name === name));
  const found = keys.map(matches).find((snapshot) => snapshot !== undefined);
  if (found === undefined) throw new BlockError("Can't find snapshot", { code: 'ERR_NOT_FOUND' });
  await graph.turn(async () => {
    using _section = await drainNodes([node]);
    await store.show(found);
  });
}
