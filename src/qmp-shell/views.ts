/*
 * The three pictures of the shell: the block graph as a tree, the operation blockers, and a map of what is allocated
 * where. `graph` works on any server; the others need the system in this process. Text only, no terminal.
 */
import { chainStatus, nodeStatus } from '../core/block/block-status.ts';
import type { BlockNode } from '../core/block/node.ts';
import { CopyBeforeWriteState } from '../core/drivers/copy-before-write.ts';
import { BlockError } from '../core/util/errors.ts';
import { isJsonObject, type Json, type JsonObject } from '../core/util/json.ts';
import { formatSize } from '../core/util/size.ts';
import type { System } from '../engine/system.ts';
import type { Transport } from './transport.ts';

async function ask(transport: Transport, command: string, args?: JsonObject): Promise<JsonObject[]> {
  const reply = await transport.execute({ execute: command, ...(args === undefined ? {} : { arguments: args }) });
  const value = reply['return'];
  if (command === 'x-debug-query-block-graph') return isJsonObject(value) ? [value] : [];
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}

const text = (value: Json | undefined): string => (value === undefined || value === null ? '' : String(value));

/** The block graph: users at the root, below each the nodes that it reaches. `isVerbose`: permissions of each edge. */
export async function graphView(transport: Transport, isVerbose: boolean): Promise<string> {
  const [graph] = await ask(transport, 'x-debug-query-block-graph');
  const infos = new Map((await ask(transport, 'query-named-block-nodes', { flat: true })).map((info) => [text(info['node-name']), info]));
  const exports = await ask(transport, 'query-block-exports');
  const jobs = await ask(transport, 'query-block-jobs');
  const nodes = (graph?.['nodes'] as JsonObject[] | undefined) ?? [];
  const edges = (graph?.['edges'] as JsonObject[] | undefined) ?? [];
  const byId = new Map(nodes.map((node) => [node['id'], node]));
  const lines: string[] = [];
  const describe = (node: JsonObject): string => {
    const name = text(node['name']);
    if (node['type'] === 'block-job') {
      const job = jobs.find((candidate) => candidate['device'] === name);
      return `job '${name}'${job === undefined ? '' : ` (${text(job['type'])}, ${text(job['status'])}, ${text(job['offset'])}/${text(job['len'])} bytes)`}`;
    }
    if (node['type'] === 'block-backend') return name === '' ? 'unnamed user' : `device '${name}'`;
    const info = infos.get(name);
    const exported = exports.filter((entry) => entry['node-name'] === name).map((entry) => text(entry['id']));
    return [
      name,
      info === undefined ? '' : ` [${text(info['drv'])}${info['ro'] === true ? ', read-only' : ''}]`,
      info?.['drv'] === 'file' ? ` ${text(info['file'])}` : '',
      exported.length === 0 ? '' : ` exported as ${exported.map((id) => `'${id}'`).join(', ')}`,
    ].join('');
  };
  const shown = new Set<Json>();
  const walk = (id: Json, indent: string): void => {
    const below = edges.filter((edge) => edge['parent'] === id);
    below.forEach((edge, index) => {
      const isLast = index === below.length - 1;
      const child = byId.get(edge['child']);
      if (child === undefined) return;
      const isKnown = shown.has(edge['child'] ?? null);
      const perms = isVerbose ? `  (needs ${permText(edge['perm'])}; shares ${permText(edge['shared-perm'])})` : '';
      lines.push(`${indent}${isLast ? '└─' : '├─'} ${text(edge['name'])}: ${describe(child)}${isKnown ? ' …' : ''}${perms}`);
      shown.add(edge['child'] ?? null);
      if (!isKnown) walk(edge['child'] ?? null, `${indent}${isLast ? '   ' : '│  '}`);
    });
  };
  const hasParent = new Set(edges.map((edge) => edge['child']));
  const roots = [...nodes].reverse().filter((node) => node['type'] !== 'block-driver' || !hasParent.has(node['id']));
  for (const root of roots) {
    if (root['type'] === 'block-backend' && !edges.some((edge) => edge['parent'] === root['id'])) continue;
    lines.push(describe(root));
    walk(root['id'] ?? null, '');
  }
  return lines.length === 0 ? 'The block graph is empty.\n' : `${lines.join('\n')}\n`;
}

function permText(list: Json | undefined): string {
  return Array.isArray(list) && list.length > 0 ? list.map(String).join(', ') : 'nothing';
}

/** Which operations are blocked on which node, why and by whom. */
export function blockersView(system: System, name: string | undefined): string {
  const nodes = name === undefined ? [...system.engine.graph.nodes] : [findNode(system, name)];
  const lines: string[] = [];
  for (const node of nodes) {
    const byReason = new Map<string, string[]>();
    for (const { op, reason, owner } of node.blockers.list()) {
      const key = `${reason} (by ${owner})`;
      byReason.set(key, [...(byReason.get(key) ?? []), op]);
    }
    if (byReason.size === 0) continue;
    lines.push(`${node.displayName}${node.displayName === node.name ? '' : ` (${node.name})`}`);
    for (const [reason, ops] of byReason) lines.push(`  ${reason}:`, `    ${ops.join(', ')}`);
  }
  if (lines.length === 0) return name === undefined ? 'No operation is blocked on any node.\n' : `No operation is blocked on '${name}'.\n`;
  return `${lines.join('\n')}\n`;
}

function findNode(system: System, name: string): BlockNode {
  const node = system.engine.graph.findDeviceOrNode(name);
  if (node === undefined) throw new BlockError(`Cannot find device='${name}' nor node-name='${name}'`);
  return node;
}

const mapCells = 64;

/** What of a node is allocated in itself, in its backing chain, or nowhere; and what copy-before-write has saved. */
export async function mapView(system: System, name: string): Promise<string> {
  const node = findNode(system, name);
  const size = node.size();
  if (size === 0) return `${name} is empty\n`;
  const cell = Math.max(512, Math.ceil(size / mapCells / 512) * 512);
  let picture = '';
  let here = 0;
  for (let at = 0; at < size; at += cell) {
    let mark = ' ';
    for (let inside = at; inside < Math.min(size, at + cell); ) {
      const left = Math.min(size, at + cell) - inside;
      const own = await nodeStatus(node, inside, left, true);
      const whole = await chainStatus(node, undefined, inside, own.length, true);
      const letter = own.allocated ? (own.zero ? '0' : '#') : whole.zero ? '.' : '-';
      if (own.allocated) here += Math.min(own.length, whole.length);
      mark = rank(letter) > rank(mark) ? letter : mark;
      inside += Math.min(own.length, whole.length);
    }
    picture += mark;
  }
  const lines = [
    `${name}: ${formatSize(size)}, a cell is ${formatSize(cell)}`,
    `|${picture}|`,
    '# here  0 zeros here  - from the backing chain  . nowhere (zeros)',
    `allocated here: ${here} bytes`,
  ];
  const saved = savedInto(node);
  if (saved !== undefined) lines.push(`saved by copy-before-write: ${saved.saved} of ${saved.clusters} clusters of ${formatSize(saved.clusterSize)}`);
  return `${lines.join('\n')}\n`;
}

function rank(letter: string): number {
  return ' .-0#'.indexOf(letter);
}

/** The filter that saves into `node`, or `node` itself when it is one. */
function savedInto(node: BlockNode): { saved: number; clusters: number; clusterSize: number } | undefined {
  const candidates = [node, ...node.parents.flatMap((edge) => (edge.parent.asNode === undefined ? [] : [edge.parent.asNode]))];
  for (const candidate of candidates) if (candidate.isOpen && candidate.state instanceof CopyBeforeWriteState) return candidate.state.savedClusters;
  return undefined;
}
