/*
 * `blockers`: which operations are blocked on which node, why and by whom. From the engine's operation blockers where the
 * machine is in this process; a server does not tell them. Text only, no terminal.
 */
import { blockOps } from '../core/block/op-blockers.ts';
import { BlockError } from '../core/util/errors.ts';
import { type Painter, plainPainter } from './render.ts';
import type { Transport } from './transport.ts';

export async function blockersView(transport: Transport, name: string | undefined, painter: Painter = plainPainter): Promise<string> {
  const { engine } = transport;
  if (engine === undefined) {
    throw new BlockError('blockers: a server does not tell its operation blockers', {
      code: 'ENOTSUP',
      hint: "'graph -v' shows who uses which node; a command that is blocked names the reason",
    });
  }
  const { graph } = engine;
  const found = name === undefined ? undefined : graph.findDeviceOrNode(name);
  if (name !== undefined && found === undefined) throw new BlockError(`Cannot find device='${name}' nor node-name='${name}'`, { code: 'ERR_NOT_FOUND' });
  const lines: string[] = [];
  for (const node of found === undefined ? graph.nodes : [found]) {
    const byReason = new Map<string, { ops: string[]; owner: string }>();
    for (const { op, reason, owner } of node.blockers.list()) {
      const entry = byReason.get(`${reason}\n${owner}`) ?? { ops: [], owner };
      entry.ops.push(op);
      byReason.set(`${reason}\n${owner}`, entry);
    }
    if (byReason.size === 0) continue;
    const isDevice = node.displayName !== node.name;
    lines.push(`${painter.name(node.displayName)}${isDevice ? painter.soft(` (node ${node.name})`) : ''}`);
    for (const [key, { ops, owner }] of byReason) {
      lines.push(`  ${key.split('\n')[0]} ${painter.soft(`(by ${owner})`)}`, `    blocked: ${opsText(ops)}`);
    }
  }
  if (lines.length === 0) return name === undefined ? 'No operation is blocked on any node.\n' : `No operation is blocked on '${name}'.\n`;
  return `${lines.join('\n')}\n`;
}

/** All but a few are told by what is left. */
function opsText(ops: readonly string[]): string {
  const free = blockOps.filter((op) => !ops.includes(op));
  if (free.length === 0) return 'every operation';
  return free.length < blockOps.length / 2 ? `every operation but ${free.join(', ')}` : ops.join(', ');
}
