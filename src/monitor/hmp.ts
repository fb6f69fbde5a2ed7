/*
 * The human monitor: a line in, text out. Commands are thin calls on the operations that QMP uses; their errors are text
 * (`Error: …`), never QMP errors. Lines end CR LF. Rule source: observed behaviour of QEMU 11.1.
 */
import { asBlockError } from '../core/util/internal-error.ts';
import type { CommandContext } from './command.ts';
import { blockCommands } from './hmp-block.ts';
import { type HmpCommand, parseLine } from './hmp-command.ts';
import { infoCommands } from './hmp-info.ts';

const otherCommands: readonly HmpCommand[] = [
  { name: 'cont|c', params: '', help: 'resume emulation', run: (_given, { engine }) => engine.machine?.cont() },
  {
    name: 'help|?',
    args: [{ name: 'name', type: 'S', isOptional: true }],
    params: '[cmd]',
    help: 'show the help',
    run: (given) => help(given.optional('name')),
  },
  {
    name: 'info',
    args: [{ name: 'item', type: 's', isOptional: true }],
    params: '[subcommand]',
    help: 'show various information about the system state',
    run: () => help('info'),
  },
  { name: 'quit|q', params: '', help: 'quit the emulator', run: (_given, { monitor }) => monitor.quit() },
  { name: 'stop|s', params: '', help: 'stop emulation', run: (_given, { engine }) => engine.machine?.stop() },
];

const hmpCommands: readonly HmpCommand[] = [...blockCommands, ...otherCommands].sort((a, b) => (a.name < b.name ? -1 : 1));

/** Names of the human monitor's commands, for completion and for the shell, which sends those that QMP lacks here. */
export const hmpNames: readonly string[] = hmpCommands.flatMap((command) => command.name.split('|'));

/** Runs one line; the text of its answer, lines ended by CR LF. Never rejects for what the user typed. */
export async function runHmp(line: string, context: CommandContext): Promise<string> {
  return (await answer(line, context)).replace(/\r?\n/g, '\r\n');
}

async function answer(line: string, context: CommandContext): Promise<string> {
  const found = findCommand(line);
  if (found === undefined) return '';
  const { command, shown, rest } = found;
  if (command === undefined) return `unknown command: '${shown}'\n`;
  const given = parseLine(command, rest, context.monitor.print);
  if (typeof given === 'string') return `${given}Try "help ${shown}" for more information\n`;
  try {
    const text = (await command.run(given, context)) ?? '';
    await context.monitor.printed();
    return text;
  } catch (thrown) {
    const error = asBlockError(thrown);
    if (error.code === 'ERR_INTERNAL') context.monitor.tellBug(thrown);
    return `Error: ${error.message}\n${error.detail === undefined ? '' : `${error.detail}\n`}`;
  }
}

/** The command that a line names; `shown` is what the line calls it. Undefined for an empty line. */
function findCommand(line: string): { command: HmpCommand | undefined; shown: string; rest: string } | undefined {
  const match = /^\s*(\S+)(.*)$/s.exec(line);
  if (match === null) return undefined;
  const [, name = '', rest = ''] = match;
  const command = hmpCommands.find((candidate) => candidate.name.split('|').includes(name));
  const item = name === 'info' ? /^\s*(\S+)(.*)$/s.exec(rest) : null;
  if (item === null) return { command, shown: name, rest };
  return { command: infoCommands.find((candidate) => candidate.name === item[1]), shown: `info ${item[1]}`, rest: item[2] ?? '' };
}

function help(name: string | undefined): string {
  const describe = (command: HmpCommand, prefix = ''): string => `${prefix}${command.name} ${command.params} -- ${command.help}\n`;
  if (name === undefined) return hmpCommands.map((command) => describe(command)).join('');
  if (name === 'info') return infoCommands.map((command) => describe(command, 'info ')).join('');
  const { command, shown = name } = findCommand(name) ?? {};
  if (command === undefined) return `unknown command: '${shown}'\n`;
  return describe(command, shown.startsWith('info ') ? 'info ' : '');
}
