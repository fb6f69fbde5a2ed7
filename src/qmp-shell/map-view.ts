/*
 * `map`: a picture of what of a node is allocated in itself, in its backing chain, or nowhere, and of what
 * copy-before-write has saved so far. Looks into the engine of this process. Text only, no terminal.
 */
import { chainStatus, nodeStatus } from '../core/block/block-status.ts';
import type { BlockNode } from '../core/block/node.ts';
import { CopyBeforeWriteState, type SavedClusters } from '../core/drivers/copy-before-write.ts';
import { BlockError } from '../core/util/errors.ts';
import { formatSize } from '../core/util/size.ts';
import type { Engine } from '../engine/engine.ts';
import { type Painter, plainPainter } from './render.ts';

const columns = 64;
const maxRows = 8;
/** Copying goes by clusters of this size at least: smaller cells would show nothing more. */
const smallestCell = 65536;

/** Marks of a cell, the later one wins where several fit. */
const marks = ' .-0#';

export async function mapView(engine: Engine, name: string, painter: Painter = plainPainter): Promise<string> {
  const node = engine.graph.findDeviceOrNode(name);
  if (node === undefined) throw new BlockError(`Cannot find device='${name}' nor node-name='${name}'`, { code: 'ERR_NOT_FOUND' });
  const size = node.size();
  if (size === 0) return `${name} is empty.\n`;
  const cell = cellSize(size);
  const { picture, here } = await allocation(engine, node, size, cell);
  const lines = [
    `${painter.name(name)} [${node.driver.name}], ${formatSize(size)}; a cell is ${formatSize(cell)}`,
    ...rows(picture, cell, size, painter, { '#': painter.name, '0': painter.name, '-': painter.soft, '.': painter.soft }),
    painter.soft('# data here   0 zeros here   - from the backing chain   . nowhere, reads as zeros'),
    `allocated here: ${here} of ${size} bytes`,
  ];
  const filter = savingFilter(node);
  if (filter !== undefined) {
    const { saved } = filter;
    lines.push(
      '',
      `copy-before-write (${filter.node.name}) has saved ${saved.saved} of ${saved.clusters} clusters of ${formatSize(saved.clusterSize)}`,
      ...rows(savedPicture(saved, size, cell), cell, size, painter, { '*': painter.good, '+': painter.good, '·': painter.soft }),
      painter.soft('* saved   + partly   · still as it was'),
    );
  }
  return `${lines.join('\n')}\n`;
}

/** A power of two, so that cells and clusters fit into each other, and at most 8 rows of 64 cells. */
function cellSize(size: number): number {
  let cell = smallestCell;
  while (cell * columns * maxRows < size) cell *= 2;
  return cell;
}

async function allocation(engine: Engine, node: BlockNode, size: number, cell: number): Promise<{ picture: string; here: number }> {
  let picture = '';
  let here = 0;
  for (let start = 0; start < size; start += cell) {
    const end = Math.min(size, start + cell);
    let mark = 0;
    for (let at = start; at < end; ) {
      const own = await nodeStatus(node, at, end - at, true);
      const whole = await chainStatus(node, undefined, at, own.length, true);
      const length = Math.max(1, Math.min(own.length, whole.length));
      if (own.allocated) here += length;
      mark = Math.max(mark, marks.indexOf(own.allocated ? (own.zero ? '0' : '#') : whole.zero ? '.' : '-'));
      at += length;
      await engine.budget.tick(4096);
    }
    picture += marks[mark] ?? ' ';
  }
  return { picture, here };
}

function savedPicture(saved: SavedClusters, size: number, cell: number): string {
  let picture = '';
  for (let start = 0; start < size; start += cell) {
    const end = Math.min(size, start + cell);
    let done = 0;
    let all = 0;
    for (let at = start - (start % saved.clusterSize); at < end; at += saved.clusterSize) {
      all++;
      if (saved.isSaved(at)) done++;
    }
    picture += done === 0 ? '·' : done === all ? '*' : '+';
  }
  return picture;
}

/** Rows of cells with the offset of the first one before them. */
function rows(picture: string, cell: number, size: number, painter: Painter, colours: Readonly<Record<string, (text: string) => string>>): string[] {
  const width = formatSize(size).length;
  const lines: string[] = [];
  for (let at = 0; at < picture.length; at += columns) {
    const label = at === 0 ? '0' : formatSize(at * cell);
    const cells = picture.slice(at, at + columns).replace(/(.)\1*/g, (run) => (colours[run[0] ?? ''] ?? String)(run));
    lines.push(`${painter.soft(`${label.padStart(Math.max(width, 8))} |`)}${cells}${painter.soft('|')}`);
  }
  return lines;
}

/** The filter that saves from or into `node`, or `node` itself when it is one. */
function savingFilter(node: BlockNode): { node: BlockNode; saved: SavedClusters } | undefined {
  const users = node.parents.flatMap((edge) => edge.parent.asNode ?? []);
  for (const candidate of [node, ...users]) {
    if (candidate.isOpen && candidate.state instanceof CopyBeforeWriteState) return { node: candidate, saved: candidate.state.savedClusters };
  }
  return undefined;
}
