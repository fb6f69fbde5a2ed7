/*
 * What query commands tell of nodes in the graph: QAPI's BlockDeviceInfo, BlockStats and XDbgBlockGraph as data.
 * Rule source: observed answers of QEMU 11.1.
 */
import { type PermBits, permQapiNames } from '../util/perm-bits.ts';
import { chainNodes, nextInChain, skipFilters } from './chain.ts';
import type { Child, Parent } from './child.ts';
import { bitmapInfo } from './dirty-bitmap.ts';
import { nodeFilename } from './filename.ts';
import type { Graph } from './graph.ts';
import { imageInfo, infoJson } from './info.ts';
import type { BlockNode } from './node.ts';

type Data = Record<string, unknown>;

/** BlockDeviceInfo. `flat`: without the backing chain. */
export async function blockDeviceInfo(node: BlockNode, flat: boolean): Promise<Data> {
  const { settings } = node;
  const bitmaps = dirtyBitmaps(node);
  return {
    file: nodeFilename(node),
    'node-name': node.name,
    ro: node.readOnly,
    drv: node.driver.name,
    ...(node.backing === undefined ? {} : { backing_file: nodeFilename(skipFilters(node.backing.node)) }),
    backing_file_depth: flat ? 0 : chainNodes(node).length - 1,
    ...(bitmaps.length === 0 ? {} : { 'dirty-bitmaps': bitmaps }),
    children: [...node.children].reverse().map((child) => ({ child: child.name, 'node-name': child.node.name })),
    active: true,
    encrypted: node.state.info?.().encrypted ?? false,
    detect_zeroes: settings.detectZeroes,
    bps: 0,
    bps_rd: 0,
    bps_wr: 0,
    iops: 0,
    iops_rd: 0,
    iops_wr: 0,
    image: await deviceImage(node, flat),
    cache: { writeback: true, direct: settings.cache.direct, 'no-flush': settings.cache.noFlush },
    write_threshold: 0,
  };
}

/** The node's bitmaps and those that its driver keeps for itself. */
function dirtyBitmaps(node: BlockNode): Data[] {
  const own = node.state.ownBitmaps?.() ?? [];
  return [...[...node.dirtyBitmaps].map(bitmapInfo), ...own.map((bitmap) => ({ ...bitmap, recording: false, busy: false, persistent: false }))];
}

async function deviceImage(node: BlockNode, flat: boolean): Promise<Data> {
  const { children: _children, ...image } = infoJson(await imageInfo(node, true));
  const below = flat ? undefined : nextInChain(node);
  return below === undefined ? image : { ...image, 'backing-image': await deviceImage(below, false) };
}

/** Requests of a guest on a device. */
export interface DeviceStats {
  readBytes: number;
  readOperations: number;
  writeBytes: number;
  writeOperations: number;
  flushOperations: number;
  unmapBytes: number;
  unmapOperations: number;
}

/** BlockStats of a device that may have no medium. */
export function deviceStats(device: {
  readonly name: string;
  readonly qdev: string | undefined;
  readonly node: BlockNode | undefined;
  readonly stats: DeviceStats;
}): Data {
  const { name, qdev, node } = device;
  return {
    device: name,
    ...(qdev === undefined ? {} : { qdev }),
    ...(node === undefined ? {} : nodeStats(node, false)),
    stats: statsData(device.stats, node?.highestWrite ?? 0),
  };
}

/** BlockStats of a node, with those of its file and, unless `isPerNode`, of its backing node. */
export function nodeStats(node: BlockNode, isPerNode: boolean): Data {
  const file = node.primary;
  const backing = isPerNode ? undefined : node.backing;
  return {
    'node-name': node.name,
    stats: statsData(undefined, node.highestWrite),
    ...(node.driver.isMedium === true
      ? { 'driver-specific': { driver: node.driver.name, 'discard-nb-ok': 0, 'discard-nb-failed': 0, 'discard-bytes-ok': 0 } }
      : {}),
    ...(file === undefined ? {} : { parent: nodeStats(file.node, isPerNode) }),
    ...(backing === undefined ? {} : { backing: nodeStats(backing.node, false) }),
  };
}

function statsData(stats: DeviceStats | undefined, highest: number): Data {
  return {
    rd_bytes: stats?.readBytes ?? 0,
    wr_bytes: stats?.writeBytes ?? 0,
    zone_append_bytes: 0,
    unmap_bytes: stats?.unmapBytes ?? 0,
    rd_operations: stats?.readOperations ?? 0,
    wr_operations: stats?.writeOperations ?? 0,
    zone_append_operations: 0,
    flush_operations: stats?.flushOperations ?? 0,
    unmap_operations: stats?.unmapOperations ?? 0,
    rd_total_time_ns: 0,
    wr_total_time_ns: 0,
    zone_append_total_time_ns: 0,
    flush_total_time_ns: 0,
    unmap_total_time_ns: 0,
    wr_highest_offset: highest,
    rd_merged: 0,
    wr_merged: 0,
    zone_append_merged: 0,
    unmap_merged: 0,
    failed_rd_operations: 0,
    failed_wr_operations: 0,
    failed_zone_append_operations: 0,
    failed_flush_operations: 0,
    failed_unmap_operations: 0,
    invalid_rd_operations: 0,
    invalid_wr_operations: 0,
    invalid_zone_append_operations: 0,
    invalid_flush_operations: 0,
    invalid_unmap_operations: 0,
    account_invalid: stats !== undefined,
    account_failed: stats !== undefined,
    timed_stats: [],
  };
}

/** A user of nodes that is no node itself, with its edges, newest first. */
export interface GraphUser {
  readonly type: 'block-backend' | 'block-job';
  readonly name: string;
  readonly parent: Parent;
  readonly edges: readonly Child[];
}

/** XDbgBlockGraph of `users` in the order given and all nodes, oldest first; printed newest first, as QEMU does. */
export function blockGraph(graph: Graph, users: readonly GraphUser[]): Data {
  const ids = new Map<object, number>();
  const idOf = (thing: object): number => {
    const known = ids.get(thing);
    if (known !== undefined) return known;
    ids.set(thing, ids.size + 1);
    return ids.size;
  };
  const nodes: Data[] = [];
  const edges: Data[] = [];
  const add = (thing: object, type: string, name: string, its: readonly Child[]): void => {
    nodes.push({ id: idOf(thing), type, name });
    for (const edge of its) {
      edges.push({ parent: idOf(thing), child: idOf(edge.node), name: edge.name, perm: permList(edge.perm), 'shared-perm': permList(edge.shared) });
    }
  };
  for (const { type, name, parent, edges: its } of users) add(parent, type, name, its);
  for (const node of graph.nodes) add(node, 'block-driver', node.name, [...node.children].reverse());
  return { nodes: nodes.reverse(), edges: edges.reverse() };
}

function permList(bits: PermBits): string[] {
  return permQapiNames.filter((_, index) => (bits & (1 << index)) !== 0).reverse();
}
