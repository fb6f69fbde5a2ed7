/* `help` of the shell: all commands, or one with its arguments. Summaries from the definitions here, arguments from the server. */
import { BlockError } from '../core/util/errors.ts';
import { allCommands } from '../monitor/catalogue.ts';
import type { Transport } from './transport.ts';

type OwnCommand = readonly [usage: string, text: string];

const everywhere: readonly OwnCommand[] = [
  ['graph [-v]', 'the block graph as a tree; -v: what each edge needs and shares'],
  ['transaction( … )', 'several actions at one instant: one a line, then )'],
  ['wait EVENT [key=value …] [timeout=30s]', 'wait for an event, one that came before included'],
  ['expect-error CLASS ["TEXT"] COMMAND', 'COMMAND has to fail with this class, and with this text in its message'],
  ['! COMMAND', 'run a line of the system’s shell'],
  ['pretty [on|off|auto]', 'replies over several lines, in one line, or as they fit into the terminal; without a word: change'],
  ['help [COMMAND]', 'this text, or one command'],
  ['exit, quit, Ctrl-D', 'end'],
];

/** They look into the machine: a server does not let us. */
const inside: readonly OwnCommand[] = [
  ['blockers [NODE]', 'which operations are blocked on which node, why and by whom'],
  ['map NODE', 'what is allocated where, and what copy-before-write has saved'],
  ['guest write|read|zero|discard DISK OFFSET LENGTH [PATTERN]', 'requests of the simulated guest, while the machine runs; guest flush DISK'],
  ['guest run DISK [--workload KIND] [--seed N]', 'keep the guest writing; guest stop, guest status'],
];

/** The shell's own commands; those that look into the machine too when it is in this process. */
export function ownCommands(isInside: boolean): readonly OwnCommand[] {
  const [first, ...rest] = everywhere;
  if (!isInside || first === undefined) return everywhere;
  return [first, ...inside, ...rest];
}

/** The word that a usage begins with. */
export function ownName(usage: string): string {
  return usage.split(/[\s(,]/)[0] ?? '';
}

export async function helpText(transport: Transport, name: string | undefined): Promise<string> {
  if (name !== undefined) return commandText(transport, name);
  const names = [...(await transport.commandNames())].sort();
  const known = new Map(allCommands.map((command) => [command.name, command]));
  const width = Math.max(0, ...names.map((entry) => entry.length));
  const lines = names.map((entry) => `  ${entry.padEnd(width)}  ${known.get(entry)?.summary ?? ''}`.trimEnd());
  const own = ownCommands(transport.engine !== undefined).map(([usage, text]) => `  ${usage}\n      ${text}`);
  const human = (await transport.humanNames()).filter((entry) => entry.length > 1);
  const sections = [`Commands of the machine (QMP), as COMMAND key=value …:\n${lines.join('\n')}\n`];
  if (human.length > 0) sections.push(`Of the human monitor, typed as they are (help NAME tells more):\n${columns(human)}\n`);
  sections.push(`Of this shell:\n${own.join('\n')}\n`);
  return sections.join('\n');
}

/** Words in lines of at most 78 columns. */
function columns(words: readonly string[]): string {
  const lines: string[] = [];
  let line = ' ';
  for (const word of words) {
    if (line.length + word.length + 1 > 78) {
      lines.push(line);
      line = ' ';
    }
    line += ` ${word}`;
  }
  return [...lines, line].join('\n');
}

async function commandText(transport: Transport, name: string): Promise<string> {
  const own = ownCommands(transport.engine !== undefined)
    .filter(([usage]) => ownName(usage) === name)
    .map(([usage, text]) => `${usage}\n    ${text}\n`);
  if (own.length > 0) return own.join('');
  if (!(await transport.commandNames()).includes(name)) {
    if (!(await transport.humanNames()).includes(name)) throw new BlockError(`There is no command '${name}'`, { hint: "'help' lists the commands" });
    const reply = await transport.execute({ execute: 'human-monitor-command', arguments: { 'command-line': `help ${name}` } });
    return `${String(reply['return'] ?? '').replaceAll('\r\n', '\n')}    a command of the human monitor, typed as it is\n`;
  }
  const schema = await transport.schema();
  const summary = allCommands.find((command) => command.name === name)?.summary;
  const type = schema.argumentType('command', name);
  const members = (type === undefined ? [] : schema.members(type)).map((member) => {
    const remarks = [member.isOptional ? 'optional' : '', member.isDeprecated ? 'deprecated' : ''].filter((word) => word !== '');
    return `    ${member.name}=${remarks.length === 0 ? '' : ` (${remarks.join(', ')})`}  ${schema.typeText(member.type)}`;
  });
  const lines = [`${name}${summary === undefined ? '' : ` – ${summary}`}`];
  if (schema.isDeprecated(name)) lines.push('    deprecated in QEMU 11.1');
  lines.push(...(members.length === 0 ? ['    no arguments'] : members));
  return `${lines.join('\n')}\n`;
}
