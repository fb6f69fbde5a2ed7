/*
 * Advice that takes the server's own commands and types: the word that was meant, the words that may stand, and commands that
 * QEMU has and this version has not. Works with any server. What to do first is the business of hints.ts.
 */
import { didYouMean, nearestWord } from '../core/util/did-you-mean.ts';
import { isJsonObject, type Json, type JsonObject } from '../core/util/json.ts';
import { isAbsentCommand, isAbsentInfo } from '../monitor/absent.ts';
import { helpOf, type Question } from './hints.ts';
import { offeredWords } from './offered.ts';
import { ownCommands, ownName } from './own-commands.ts';
import type { SchemaIndex } from './schema-index.ts';
import type { Transport } from './transport.ts';

/** Spellings of commands that are gone. */
const renamed: Readonly<Record<string, string>> = {
  'x-blockdev-del': 'blockdev-del',
  'x-blockdev-insert-medium': 'blockdev-insert-medium',
  'x-blockdev-remove-medium': 'blockdev-remove-medium',
  'x-blockdev-reopen': 'blockdev-reopen',
  change: 'blockdev-change-medium',
};

/** Advice about an error text of the server, or of the shell's own grammar; undefined when there is none. */
export async function suggestion(transport: Transport, message: string, question: Question): Promise<string | undefined> {
  const missing = /^The command (.*) has not been found$/s.exec(message)?.[1] ?? /^unknown command: '(.*)'/s.exec(message)?.[1];
  if (missing !== undefined) return commandAdvice(transport, missing);
  const surplus = /Parameter '([^']*)' is unexpected$/.exec(message)?.[1];
  if (surplus !== undefined) return argumentAdvice(transport, surplus, question);
  const refused = /Parameter '([^']*)' does not accept value '(.*)'$/s.exec(message);
  if (refused !== null) return valueAdvice(transport, refused[1] ?? '', refused[2] ?? '', question);
  return undefined;
}

/** Advice about a name that is no command. */
export async function commandAdvice(transport: Transport, name: string): Promise<string> {
  const today = renamed[name];
  if (today !== undefined) {
    const isHere = !(transport.isOurs && isAbsentCommand(today));
    return `it is spelled ${today} today${isHere ? '' : '; QEMU has it, this version of tsimg has not'}`;
  }
  const item = /^info (.*)$/.exec(name)?.[1];
  if (transport.isOurs && (item === undefined ? isAbsentCommand(name) : isAbsentInfo(item))) {
    return `QEMU has '${name}', this version of tsimg has not: ${item === undefined ? "'help' lists what it has" : "'info' lists what it has"}`;
  }
  const human = await transport.humanNames();
  if (item !== undefined) return didYouMean(item, await infoItems(transport)) || "'help info' lists the items";
  if (human.includes(name)) return `${name} is a command of the human monitor: type it as it is, or send it through human-monitor-command`;
  const own = ownCommands(transport.engine !== undefined).map(([usage]) => ownName(usage));
  return didYouMean(name, [...(await transport.commandNames()), ...own, ...human]) || "'help' lists the commands";
}

/** Items of `info`, from the monitor's own help. */
export async function infoItems(transport: Transport): Promise<string[]> {
  const { return: text } = await transport.execute({ execute: 'human-monitor-command', arguments: { 'command-line': 'help info' } });
  return typeof text === 'string' ? [...text.matchAll(/^info (\S+)/gm)].map((match) => match[1] ?? '') : [];
}

async function argumentAdvice(transport: Transport, path: string, question: Question): Promise<string> {
  const found = await membersBeside(transport, path, question);
  const parts = path.split('.');
  const last = parts.pop() ?? '';
  const meant = didYouMean(last, found).replace(/'(.*)'/, (_all, word: string) => `'${[...parts, word].join('.')}='`);
  return meant === '' ? helpOf(question) : `${meant} ${helpOf(question)}`;
}

/** For an argument that is missing: the word that was given in its place, if one looks like it. */
export async function misspelling(transport: Transport, message: string, question: Question): Promise<string | undefined> {
  const path = /Parameter '([^']*)' is missing$/.exec(message)?.[1];
  const { command, args } = question;
  if (path === undefined || command === undefined || args === undefined || !isJsonObject(args)) return undefined;
  const schema = await transport.schema();
  const type = schema.argumentType('command', command);
  const steps = stepsOf(path);
  const wanted = steps.pop() ?? '';
  const above = type === undefined ? undefined : schema.typeAt(type, steps, args);
  if (above === undefined) return undefined;
  const given = valueAt(args, steps);
  const names = schema.members(above, given).map(({ name }) => name);
  const typed = nearestWord(
    wanted,
    Object.keys(given).filter((name) => !names.includes(name)),
  );
  return typed === undefined ? undefined : `'${typed}=' is no argument: did you mean '${[...steps, wanted].join('.')}='? ${helpOf(question)}`;
}

function stepsOf(path: string): string[] {
  return path
    .replace(/\[(\d+)\]/g, '.$1')
    .split('.')
    .filter((step) => step !== '');
}

/** Names of the members that may stand where `path` does, those already given left out. */
async function membersBeside(transport: Transport, path: string, { command, args }: Question): Promise<string[]> {
  const schema = await transport.schema();
  const type = command === undefined ? undefined : schema.argumentType('command', command);
  if (type === undefined || args === undefined || !isJsonObject(args)) return [];
  const steps = stepsOf(path).slice(0, -1);
  const above = schema.typeAt(type, steps, args);
  if (above === undefined) return [];
  const known = valueAt(args, steps);
  return schema.members(above, known).flatMap(({ name }) => (Object.hasOwn(known, name) ? [] : [name]));
}

/** More words than this are a wall of text. */
const maxWords = 24;

async function valueAdvice(transport: Transport, name: string, value: string, question: Question): Promise<string | undefined> {
  const schema = await transport.schema();
  const type = question.command === undefined ? undefined : schema.argumentType('command', question.command);
  const steps = question.args === undefined ? undefined : pathOf(question.args, name, value);
  if (type === undefined || steps === undefined || question.args === undefined || !isJsonObject(question.args)) return undefined;
  const words = wordsAt(schema, type, steps, question.args);
  const offered = offeredWords(transport, question.command ?? '', name, words);
  if (transport.isOurs && words.includes(value)) return `QEMU has ${name}=${value}, this version of tsimg has not`;
  const meant = didYouMean(value, offered);
  const list = offered.length === 0 || offered.length > maxWords ? '' : `${name} is one of ${offered.join(', ')}`;
  return [meant, list].filter((part) => part !== '').join(' ') || undefined;
}

function wordsAt(schema: SchemaIndex, type: string, steps: readonly string[], args: JsonObject): string[] {
  const at = schema.typeAt(type, steps, args);
  return at === undefined ? [] : schema.words(at);
}

/** Where in the arguments a member of this name has this value. */
function pathOf(args: Json, name: string, value: string): string[] | undefined {
  if (typeof args !== 'object' || args === null) return undefined;
  const entries: [string, Json][] = Object.entries(args);
  for (const [key, member] of entries) {
    if (key === name && member === value) return [key];
    const below = pathOf(member, name, value);
    if (below !== undefined) return [key, ...below];
  }
  return undefined;
}

function valueAt(args: JsonObject, steps: readonly string[]): JsonObject {
  let at: Json = args;
  for (const step of steps) {
    if (Array.isArray(at)) at = at[Number(step)] ?? null;
    else if (isJsonObject(at)) at = at[step] ?? null;
  }
  return isJsonObject(at) ? at : {};
}
