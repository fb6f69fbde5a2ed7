/*
 * What `info` tells about a node, as data: QAPI's ImageInfo with its children. Printing belongs to the programs.
 * Knows no format: drivers give their own part.
 */

import { alignUp } from '../util/math.ts';
import { childRole, type FormatInfo, type Limits } from './driver.ts';
import { mediumName, nodeFilename } from './filename.ts';
import type { BlockNode } from './node.ts';
import { combineFilename, isRelativeName } from './options.ts';
import { snapshotsOf } from './snapshots.ts';
import type { SnapshotInfo } from './stores.ts';

/** Images are told of in whole sectors. */
const sector = 512;

export interface ImageInfo {
  readonly filename: string;
  readonly format: string;
  readonly isProtocol: boolean;
  readonly virtualSize: number;
  readonly actualSize: number | undefined;
  readonly clusterSize: number | undefined;
  readonly isEncrypted: boolean;
  readonly isCompressed: boolean;
  /** Undefined: the driver has no such thing. */
  readonly isDirty: boolean | undefined;
  readonly backing: { readonly filename: string; readonly full: string | undefined; readonly format: string | undefined } | undefined;
  readonly snapshots: readonly SnapshotInfo[];
  readonly specific: { readonly type: string; readonly data: Readonly<Record<string, unknown>> } | undefined;
  /** Members as QAPI names them; undefined unless asked for. */
  readonly limits: Readonly<Record<string, number>> | undefined;
  readonly children: readonly { readonly name: string; readonly info: ImageInfo }[];
}

/** Collects the information of a node and of the nodes below it; its own backing chain is left out, it is told apart. */
export async function imageInfo(node: BlockNode, withLimits: boolean): Promise<ImageInfo> {
  return infoOf(node, withLimits, true);
}

async function infoOf(node: BlockNode, withLimits: boolean, isTop: boolean): Promise<ImageInfo> {
  const { state } = node;
  const format = formatInfo(node);
  const recorded = state.imageBacking;
  const children: { name: string; info: ImageInfo }[] = [];
  // the newest first
  for (const child of [...node.children].reverse()) {
    if (!isTop || (child.roles & childRole.cow) === 0) children.push({ name: child.name, info: await infoOf(child.node, withLimits, false) });
  }
  return {
    filename: nodeFilename(node),
    format: node.driver.name,
    isProtocol: node.driver.kind === 'protocol',
    virtualSize: alignUp(node.size(), sector),
    actualSize: await allocatedSize(node),
    clusterSize: format?.clusterSize,
    isEncrypted: state.info?.().encrypted ?? false,
    isCompressed: state.info?.().compressed ?? false,
    isDirty: format?.dirty ?? (hasInfo(node) ? false : undefined),
    backing: recorded === undefined ? undefined : { filename: recorded.filename, full: fullBackingName(node, recorded.filename), format: recorded.format },
    snapshots: snapshotsOf(node),
    specific: state.info?.().specific ?? (isFile(node) ? { type: 'file', data: {} } : undefined),
    limits: withLimits ? limitsOf(node) : undefined,
    children,
  };
}

/** The backing name as recorded, seen from the image; undefined when there is no base to start from. */
export function fullBackingName(node: BlockNode, backing: string): string | undefined {
  const base = mediumName(node);
  if (typeof base === 'string') return combineFilename(base, backing);
  return isRelativeName(backing) ? undefined : backing;
}

/** Bytes on the medium; undefined when a node below cannot tell. */
async function allocatedSize(node: BlockNode): Promise<number | undefined> {
  const { state } = node;
  if (state.allocatedSize !== undefined) return state.allocatedSize();
  // what a filter has beside the node that it presents is not its own
  if (node.filtered !== undefined) return allocatedSize(node.filtered.node);
  let sum: number | undefined;
  for (const child of node.children) {
    if ((child.roles & (childRole.data | childRole.metadata)) === 0) continue;
    const size = await allocatedSize(child.node);
    if (size === undefined) return undefined;
    sum = (sum ?? 0) + size;
  }
  return sum;
}

/** The node that a node passes through. */
function passedNode(node: BlockNode): BlockNode | undefined {
  return (node.filtered ?? (node.driver.isFilterLike === true ? node.primary : undefined))?.node;
}

/** What a node says of clusters and of being clean: the driver itself, or the node that it passes through. */
export function formatInfo(node: BlockNode): FormatInfo | undefined {
  const below = passedNode(node);
  return node.state.info?.() ?? (below === undefined ? undefined : formatInfo(below));
}

/** A medium that is told of as a file is; drives for discs say nothing of themselves. */
function isFile({ driver }: BlockNode): boolean {
  return driver.isMedium === true && driver.isRemovable !== true;
}

/** Whether the node, or the one that it passes through, answers questions about its format at all. */
export function hasInfo(node: BlockNode): boolean {
  if (node.state.info !== undefined || isFile(node)) return true;
  const below = passedNode(node);
  return below !== undefined && hasInfo(below);
}

function limitsOf(node: BlockNode): Record<string, number> {
  const { limits } = node;
  const isFilterLike = node.driver.isFilterLike === true;
  const passesThrough = node.driver.kind === 'filter' || isFilterLike;
  // filters that have no wish of their own take any request: the engine aligns it for the medium below
  const ownAlign = passesThrough && limits.requestAlign === node.primary?.node.limits.requestAlign ? 1 : limits.requestAlign;
  const discardAlign = discardAlignOf(node);
  const isDiscardAlignTold = discardAlign > 1 && (passesThrough || discardAlign !== limits.requestAlign || limits.medium !== undefined);
  const maxHwTransfer = smallest(node, (medium) => medium.maxHwTransfer);
  const maxHwIov = smallest(node, (medium) => medium.maxHwIov);
  return {
    'request-alignment': node.isProbed && isFilterLike ? sector : ownAlign,
    ...(limits.maxTransfer === 0 ? {} : { 'max-transfer': limits.maxTransfer }),
    ...(maxHwTransfer === undefined ? {} : { 'max-hw-transfer': maxHwTransfer }),
    // alignment of discards comes up through filters, that of zero writes does not
    ...(passesThrough || limits.zeroAlign <= 1 || limits.zeroAlign === limits.requestAlign ? {} : { 'write-zeroes-alignment': limits.zeroAlign }),
    ...(isDiscardAlignTold ? { 'discard-alignment': discardAlign } : {}),
    'min-mem-alignment': memoryAlign(node),
    'opt-mem-alignment': 4096,
    'max-iov': 1024,
    ...(maxHwIov === undefined ? {} : { 'max-hw-iov': maxHwIov }),
  };
}

/** The driver's own, or the largest of what a node passes on. */
function discardAlignOf(node: BlockNode): number {
  if (node.driver.kind !== 'filter' && node.driver.isFilterLike !== true) return node.limits.discardAlign;
  return Math.max(1, ...dataChildren(node).map(discardAlignOf));
}

/** Alignment of memory: the largest that a medium below asks for. */
function memoryAlign(node: BlockNode): number {
  if (node.driver.isMedium === true) return node.limits.medium?.memoryAlign ?? node.limits.requestAlign;
  const below = dataChildren(node).map(memoryAlign);
  return below.length === 0 ? 512 : Math.max(...below);
}

/** The smallest limit of the media below; none has one: undefined. */
function smallest(node: BlockNode, limit: (medium: NonNullable<Limits['medium']>) => number): number | undefined {
  const own = node.limits.medium === undefined || node.driver.isMedium !== true ? 0 : limit(node.limits.medium);
  const all = [own, ...dataChildren(node).map((below) => smallest(below, limit) ?? 0)].filter((value) => value > 0);
  return all.length === 0 ? undefined : Math.min(...all);
}

/** Children from which the guest's data may come: their limits are limits of the node. */
function dataChildren(node: BlockNode): readonly BlockNode[] {
  return node.children.filter(({ roles }) => (roles & (childRole.data | childRole.filtered | childRole.cow)) !== 0).map((child) => child.node);
}

/** ImageInfo as QAPI has it, for writeJson. */
export function infoJson(info: ImageInfo): Record<string, unknown> {
  return {
    filename: info.filename,
    format: info.format,
    'dirty-flag': info.isDirty,
    'actual-size': info.actualSize,
    'virtual-size': info.virtualSize,
    'cluster-size': info.clusterSize,
    encrypted: info.isEncrypted ? true : undefined,
    compressed: info.isCompressed ? true : undefined,
    'backing-filename': info.backing?.filename,
    'full-backing-filename': info.backing?.full,
    'backing-filename-format': info.backing?.format,
    snapshots: info.snapshots.length === 0 ? undefined : info.snapshots.map(snapshotJson),
    'format-specific': info.specific,
    limits: info.limits,
    children: info.children.map(({ name, info: child }) => ({ name, info: infoJson(child) })),
  };
}

function snapshotJson(snapshot: SnapshotInfo): Record<string, unknown> {
  return {
    id: snapshot.id,
    name: snapshot.name,
    'vm-state-size': snapshot.vmStateSize,
    'date-sec': snapshot.dateSec,
    'date-nsec': snapshot.dateNsec,
    'vm-clock-sec': Number(snapshot.vmClockNsec / 1_000_000_000n),
    'vm-clock-nsec': Number(snapshot.vmClockNsec % 1_000_000_000n),
    icount: snapshot.icount,
  };
}
