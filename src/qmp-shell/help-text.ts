/* `help` of the shell: all commands, or one with its arguments. Summaries from the definitions here, arguments from the server. */
import { BlockError } from '../core/util/errors.ts';
import type { JsonObject } from '../core/util/json.ts';
import { allCommands } from '../monitor/catalogue.ts';
import { offeredWords } from './offered.ts';
import { exampleOf, wordsFor } from './option-words.ts';
import { ownCommands, ownName } from './own-commands.ts';
import { parseArguments } from './parse.ts';
import type { MemberInfo, SchemaIndex } from './schema-index.ts';
import { commandAdvice } from './suggestions.ts';
import type { Transport } from './transport.ts';

/** More words than this are told by their number. */
const maxWords = 32;

/** All commands, or the one that `words` begin with; `key=value` words behind it tell which of its arguments are of interest. */
export async function helpText(transport: Transport, words: readonly string[]): Promise<string> {
  const [name, ...rest] = words;
  if (name !== undefined) return commandText(transport, name, (await parseArguments(rest)).args);
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

async function commandText(transport: Transport, name: string, known: JsonObject): Promise<string> {
  const own = ownCommands(transport.engine !== undefined)
    .filter(([usage]) => ownName(usage) === name)
    .map(([usage, text]) => `${usage}\n    ${text}\n`);
  if (own.length > 0) return own.join('');
  if (!(await transport.commandNames()).includes(name)) {
    if (!(await transport.humanNames()).includes(name)) {
      throw new BlockError(`There is no command '${name}'`, { code: 'ERR_USAGE', hint: await commandAdvice(transport, name) });
    }
    const reply = await transport.execute({ execute: 'human-monitor-command', arguments: { 'command-line': `help ${name}` } });
    return `${String(reply['return'] ?? '').replaceAll('\r\n', '\n')}    a command of the human monitor, typed as it is\n`;
  }
  const schema = await transport.schema();
  const summary = allCommands.find((command) => command.name === name)?.summary;
  const type = schema.argumentType('command', name);
  const driver = typeof known['driver'] === 'string' ? known['driver'] : undefined;
  const members = type === undefined ? [] : schema.members(type, withOnlyWords(transport, schema, name, type, known));
  // what only some drivers take is of interest before one is chosen
  const shared = name === 'blockdev-add' && driver === undefined && type !== undefined ? sharedMembers(schema, type) : [];
  const lines = [`${name}${summary === undefined ? '' : ` – ${summary}`}`];
  if (schema.isDeprecated(name)) lines.push('    deprecated in QEMU 11.1');
  if (members.length === 0) lines.push('    no arguments');
  const rows = [...members.filter((member) => !member.isOptional), ...members.filter((member) => member.isOptional)];
  lines.push(...rows.map((member) => memberLine(transport, schema, name, driver, member)));
  if (shared.length > 0) lines.push('  of formats and filters:', ...shared.map((member) => memberLine(transport, schema, name, undefined, member)));
  if (name === 'blockdev-add' && driver === undefined) lines.push("  more with a driver: 'help blockdev-add driver=qcow2'");
  const example = exampleOf(
    name,
    driver,
    members.some((member) => !member.isOptional),
  );
  if (example !== undefined) lines.push('  example:', `    ${example}`);
  return `${lines.join('\n')}\n`;
}

/** What is known with the arguments that have one word only: the kind of an export, say. */
function withOnlyWords(transport: Transport, schema: SchemaIndex, command: string, type: string, known: JsonObject): JsonObject {
  const all: JsonObject = { ...known };
  for (const member of schema.members(type)) {
    const [word, ...others] = offeredWords(transport, command, member.name, schema.words(member.type));
    if (!member.isOptional && word !== undefined && others.length === 0) all[member.name] ??= word;
  }
  return all;
}

/** The node below and the one behind, as qcow2 takes them. */
function sharedMembers(schema: SchemaIndex, type: string): MemberInfo[] {
  return schema.members(type, { driver: 'qcow2' }).filter(({ name }) => name === 'file' || name === 'backing');
}

function memberLine(transport: Transport, schema: SchemaIndex, command: string, driver: string | undefined, member: MemberInfo): string {
  const remarks = [member.isOptional ? 'optional' : '', member.isDeprecated ? 'deprecated' : ''].filter((word) => word !== '');
  const offered = offeredWords(transport, command, member.name, schema.words(member.type));
  const kind = schema.takesText(member.type) && offered.length > 0 && offered.length <= maxWords ? offered.join('|') : schema.typeText(member.type);
  const about = wordsFor(command, driver, member.name);
  return `    ${member.name}=${remarks.length === 0 ? '' : ` (${remarks.join(', ')})`}  ${kind}${about === '' ? '' : ` – ${about}`}`;
}
