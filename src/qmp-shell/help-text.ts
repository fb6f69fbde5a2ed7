/* `help` of the shell: all commands, or one with its arguments from its definition. */
import { BlockError } from '../core/util/errors.ts';
import { describeMembers } from '../core/util/schema-describe.ts';
import { allCommands } from '../monitor/catalogue.ts';
import { hmpNames } from '../monitor/hmp.ts';
import type { Transport } from './transport.ts';

export const ownCommands: readonly (readonly [usage: string, text: string])[] = [
  ['graph [-v]', 'the block graph as a tree; -v: what each edge needs and shares'],
  ['blockers [NODE]', 'which operations are blocked on which node, why and by whom'],
  ['map NODE', 'what is allocated where, and what copy-before-write has saved'],
  ['guest write|read|zero|discard DISK OFFSET LENGTH [PATTERN]', 'requests of the simulated guest'],
  ['guest run DISK [--workload KIND] [--seed N]', 'keep the guest writing; guest stop, guest status'],
  ['transaction( … )', 'several actions at one instant: one a line, then )'],
  ['wait EVENT [key=value …] [timeout=30s]', 'in scripts: wait for an event'],
  ['expect-error CLASS COMMAND', 'in scripts: the command must fail so'],
  ['! COMMAND', 'run a line of the system’s shell'],
  ['help [COMMAND]', 'this text, or one command'],
  ['exit, quit, Ctrl-D', 'end'],
];

export async function helpText(transport: Transport, name: string | undefined): Promise<string> {
  if (name !== undefined) return commandText(name);
  const names = await transport.commandNames();
  const known = new Map(allCommands.map((command) => [command.name, command]));
  const width = Math.max(...names.map((entry) => entry.length));
  const lines = [...names].sort().map((entry) => `  ${entry.padEnd(width)}  ${known.get(entry)?.summary ?? ''}`.trimEnd());
  const own = ownCommands.map(([usage, text]) => `  ${usage}\n      ${text}`);
  const human = hmpNames.filter((entry) => entry.length > 1);
  return `Commands of the machine (QMP), as COMMAND key=value …:\n${lines.join('\n')}\n\nOf the human monitor, as they are: ${human.join(', ')}\n\nOf this shell:\n${own.join('\n')}\n`;
}

function commandText(name: string): string {
  const command = allCommands.find((candidate) => candidate.name === name);
  if (command === undefined) {
    const own = ownCommands.find(([usage]) => usage.split(/[\s(,]/)[0] === name);
    if (own !== undefined) return `${own[0]}\n    ${own[1]}\n`;
    throw new BlockError(`There is no command '${name}'`);
  }
  const members = describeMembers(command.args).map((member) => {
    return `    ${member.name}${member.isOptional ? ' (optional)' : ''}: ${member.type}`;
  });
  const note = command.deprecated ? '    deprecated in QEMU 11.1\n' : '';
  return `${command.name} – ${command.summary}\n${note}${members.length === 0 ? '    no arguments' : members.join('\n')}\n`;
}
