/* `-l`: a snapshot of the source instead of the source. Rule source: observed behaviour of qemu-img 11.1. */
import type { Reporter } from '../cli/report.ts';
import type { BlockNode } from '../core/block/node.ts';
import { BlockError } from '../core/util/errors.ts';
import { parseOptionWords } from '../core/util/key-values.ts';

/** Throws for a list of options that names no snapshot. */
export function checkSnapshotOption(value: string, report: Reporter): void {
  if (!value.startsWith('snapshot.')) return;
  for (const { name } of parseOptionWords(value)) {
    if (name === 'snapshot.id' || name === 'snapshot.name') continue;
    report.message(`Invalid parameter '${name}'`);
    throw new BlockError(`Failed in parsing snapshot param '${value}'`, { code: 'ERR_PARSE' });
  }
}

/** Makes `node` show its snapshot `name`, an ID or a name. */
export function loadSnapshot(node: BlockNode | undefined, name: string, command: string): void {
  if (node?.state.snapshots === undefined) {
    throw new BlockError(
      `Failed to load snapshot: Block format '${node?.driver.name ?? ''}' used by device '' does not support temporarily loading internal snapshots`,
      { code: 'ENOTSUP' },
    );
  }
  const wanted = name.startsWith('snapshot.') ? parseOptionWords(name).map(({ value }) => value) : [name];
  const found = node.state.snapshots().some((snapshot) => wanted.includes(snapshot.id) || wanted.includes(snapshot.name));
  if (!found) throw new BlockError("Failed to load snapshot: Can't find snapshot", { code: 'ERR_NOT_FOUND' });
  throw new BlockError(`'${command} --snapshot' is not part of this version`, { code: 'ERR_ABSENT' });
}
