/* What the shell says first: what it talks to, which disks there are, and the word that leads on. */
import { nodeFilename } from '../core/block/filename.ts';
import { isJsonObject } from '../core/util/json.ts';
import { formatSize } from '../core/util/size.ts';
import { packageOf, type Transport } from './transport.ts';

export function bannerText(transport: Transport, isHmp: boolean): string {
  const { engine, greeting, isOurs } = transport;
  const qmp = greeting['QMP'];
  const version = isJsonObject(qmp) && isJsonObject(qmp['version']) ? qmp['version']['qemu'] : undefined;
  const number = isJsonObject(version) ? `${String(version['major'])}.${String(version['minor'])}.${String(version['micro'])}` : undefined;
  const lines = [`Welcome to the ${isHmp ? 'HMP' : 'QMP low-level'} shell!`];
  if (engine !== undefined) {
    lines.push(`A simulated machine in this process (${packageOf(greeting)}); its answers are those of QEMU ${number ?? ''}.`);
    const disks = engine.machine?.disks ?? [];
    for (const { id, node } of disks) {
      lines.push(`  disk ${id}${node === undefined ? '' : `: ${nodeFilename(node)} (${node.driver.name}, ${formatSize(node.size())})`}`);
    }
    if (disks.length === 0) lines.push('  no disks: --disk NAME=FILE gives it one');
  } else if (isOurs) lines.push(`Connected to ${packageOf(greeting)}, a simulated machine; its answers are those of QEMU ${number ?? ''}.`);
  else lines.push(number === undefined ? 'Connected' : `Connected to QEMU ${number}`);
  lines.push("'help' lists the commands, Tab completes them.");
  return `${lines.join('\n')}\n\n`;
}
