/*
 * Tab completion: command names, arguments and their words from the server's own schema, names of nodes, devices, jobs
 * and exports from its queries, files from the disk. Works with any server. Knows no terminal.
 */
import { readdirSync } from 'node:fs';
import { isJsonObject, type JsonObject } from '../core/util/json.ts';
import { workloadKinds } from '../machine/workload.ts';
import { offeredWords } from './offered.ts';
import { ownCommands, ownName } from './own-commands.ts';
import { parseArguments, splitWords } from './parse.ts';
import type { SchemaIndex } from './schema-index.ts';
import { infoItems } from './suggestions.ts';
import type { Transport } from './transport.ts';

export interface CompletionContext {
  readonly transport: Transport;
  /** Lines are human monitor commands. */
  readonly isHmp: boolean;
  readonly isInTransaction: boolean;
}

/** What may stand in place of the last word of `line` (which ends at the cursor), and that word. */
export async function complete(context: CompletionContext, line: string): Promise<[string[], string]> {
  const { words, last } = wordsBefore(line);
  const found = [...new Set(await candidates(context, words, last))].filter((candidate) => candidate.startsWith(last)).sort();
  const [only] = found;
  // a word that is complete is followed by a blank, so that the next Tab goes on
  if (found.length === 1 && only !== undefined && !/[=./(]$/.test(only)) return [[`${only} `], last];
  return [found, last];
}

/** Whole words before the cursor, and the one that is being typed. */
function wordsBefore(line: string): { words: string[]; last: string } {
  const words = splitWords(line);
  const last = /\s$/.test(line) || line === '' ? '' : (words.pop() ?? '');
  return { words, last };
}

async function candidates(context: CompletionContext, words: readonly string[], last: string): Promise<readonly string[]> {
  const { transport, isHmp, isInTransaction } = context;
  const [name, ...rest] = words;
  if (isInTransaction) return name === undefined ? actionTypes(await transport.schema()) : actionArguments(transport, name, rest, last);
  if (name === undefined) return isHmp ? [...ownNames(transport), ...(await transport.humanNames())] : lineStarts(transport);
  switch (name) {
    case '!':
      return files(last);
    case 'help':
      if (rest.length > 0) return isHmp ? [] : commandArguments(transport, rest[0] ?? '', rest.slice(1), last);
      return isHmp ? transport.humanNames() : lineStarts(transport);
    case 'graph':
      return rest.includes('-v') ? [] : ['-v'];
    case 'map':
    case 'blockers':
      return rest.length === 0 ? nodeNames(transport) : [];
    case 'guest':
      return guestWords(transport, rest);
    case 'wait':
      return waitWords(await transport.schema(), rest);
    case 'expect-error':
      if (rest.length === 0) return ['GenericError', 'CommandNotFound', 'DeviceNotActive', 'DeviceNotFound'];
      return candidates(context, rest.slice(1), last);
    case 'transaction(':
      return rest.length === 0 ? actionTypes(await transport.schema()) : actionArguments(transport, rest[0] ?? '', rest.slice(1), last);
    default:
      // a command may have a form in both monitors: `key=value` words belong to QMP
      if (isHmp || !(await transport.commandNames()).includes(name)) return humanWords(transport, name, rest);
      return [...(await commandArguments(transport, name, rest, last)), ...(last.includes('=') ? [] : await humanWords(transport, name, rest))];
  }
}

function ownNames(transport: Transport): string[] {
  return ownCommands(transport.engine !== undefined)
    .map(([usage]) => (usage.startsWith('transaction(') ? 'transaction(' : ownName(usage)))
    .filter((name) => /^[a-z]/.test(name));
}

async function lineStarts(transport: Transport): Promise<string[]> {
  const human = (await transport.humanNames()).filter((name) => name.length > 1);
  return [...(await transport.commandNames()), ...ownNames(transport), ...human];
}

async function guestWords(transport: Transport, rest: readonly string[]): Promise<readonly string[]> {
  if (rest.length === 0) return ['write', 'read', 'zero', 'discard', 'flush', 'run', 'stop', 'status'];
  if (rest.length === 1) return (transport.engine?.machine?.disks ?? []).map((disk) => disk.id);
  if (rest[0] !== 'run') return [];
  if (rest.at(-1) === '--workload') return workloadKinds;
  return rest.at(-1)?.startsWith('--') ? [] : ['--workload', '--seed', '--block-size', '--depth', '--rate', '--requests'];
}

function waitWords(schema: SchemaIndex, rest: readonly string[]): string[] {
  const [event] = rest;
  if (event === undefined) return schema.names('event');
  const type = schema.argumentType('event', event);
  return [...(type === undefined ? [] : schema.members(type)).map((member) => `${member.name}=`), 'timeout='];
}

/** The human monitor does not tell what its commands take: names of nodes and devices are the best guess. */
async function humanWords(transport: Transport, name: string, rest: readonly string[]): Promise<readonly string[]> {
  if (!(await transport.humanNames()).includes(name)) return [];
  if (name === 'info' && rest.length === 0) return infoItems(transport);
  if (name.startsWith('block_job_')) return names(transport, [['query-block-jobs', 'device']]);
  if (name === 'nbd_server_remove') return names(transport, [['query-block-exports', 'id']]);
  return nodeNames(transport);
}

// -- arguments of QMP commands ------------------------------------------------------------------------------------------
/** The type of a transaction's action; members `type` and `data`. */
function actionType(schema: SchemaIndex): string | undefined {
  const type = schema.argumentType('command', 'transaction');
  return type === undefined ? undefined : schema.typeAt(type, ['actions', '0']);
}

function actionTypes(schema: SchemaIndex): string[] {
  const type = actionType(schema);
  const tag = type === undefined ? undefined : schema.typeAt(type, ['type']);
  return tag === undefined ? [] : schema.words(tag);
}

async function actionArguments(transport: Transport, name: string, rest: readonly string[], last: string): Promise<string[]> {
  const schema = await transport.schema();
  const type = actionType(schema);
  const data = type === undefined ? undefined : schema.typeAt(type, ['data'], { type: name });
  return data === undefined ? [] : argumentWords(transport, schema, data, name, rest, last);
}

async function commandArguments(transport: Transport, name: string, rest: readonly string[], last: string): Promise<string[]> {
  const schema = await transport.schema();
  const type = schema.argumentType('command', name);
  return type === undefined ? [] : argumentWords(transport, schema, type, name, rest, last);
}

async function argumentWords(
  transport: Transport,
  schema: SchemaIndex,
  type: string,
  command: string,
  rest: readonly string[],
  last: string,
): Promise<string[]> {
  const known = await knownArguments(rest);
  const equals = last.indexOf('=');
  if (equals >= 0) {
    const key = last.slice(0, equals);
    const words = await valueWords(transport, schema, schema.typeAt(type, key.split('.'), known), command, key, last.slice(equals + 1));
    return words.map((word) => `${key}=${word}`);
  }
  const path = last.split('.').slice(0, -1);
  const prefix = path.map((part) => `${part}.`).join('');
  const above = schema.typeAt(type, path, known);
  if (above === undefined) return [];
  return schema.members(above, memberAt(known, path)).flatMap((member) => {
    const key = prefix + member.name;
    const isGiven = rest.some((word) => word.startsWith(`${key}=`));
    const isOpened = rest.some((word) => word.startsWith(`${key}.`));
    const whole = schema.takesText(member.type) && !isGiven && !isOpened ? [`${key}=`] : [];
    return schema.hasMembers(member.type) && !isGiven ? [...whole, `${key}.`] : whole;
  });
}

async function knownArguments(words: readonly string[]): Promise<JsonObject> {
  try {
    return (await parseArguments(words.filter((word) => word.includes('=')))).args;
  } catch {
    // what contradicts itself tells nothing
    return {};
  }
}

function memberAt(known: JsonObject, path: readonly string[]): JsonObject {
  let at = known;
  for (const step of path) {
    const next = at[step];
    if (next === undefined || !isJsonObject(next)) return {};
    at = next;
  }
  return at;
}

const nodeKeys = [
  'device',
  'node-name',
  'node',
  'target',
  'backing',
  'file',
  'source',
  'base-node',
  'top-node',
  'base',
  'top',
  'overlay',
  'replaces',
  'bottom',
];

async function valueWords(
  transport: Transport,
  schema: SchemaIndex,
  type: string | undefined,
  command: string,
  key: string,
  last: string,
): Promise<readonly string[]> {
  const words = type === undefined ? [] : offeredWords(transport, command, key, schema.words(type));
  const name = key.split('.').at(-1) ?? key;
  if (words.length > 0 && type !== undefined && !schema.takesText(type)) return words;
  if (name === 'filename' || name === 'path') return [...words, ...files(last)];
  const isJob = /^(?:block-)?job-/.test(command);
  if (isJob && (name === 'device' || name === 'id')) return names(transport, [['query-jobs', 'id']]);
  if (command === 'block-export-del' || command === 'nbd-server-remove') return name === 'mode' ? words : names(transport, [['query-block-exports', 'id']]);
  return nodeKeys.includes(name) ? [...words, ...(await nodeNames(transport))] : words;
}

// -- what there is ------------------------------------------------------------------------------------------------------
function nodeNames(transport: Transport): Promise<string[]> {
  return names(transport, [
    ['query-block', 'device'],
    ['query-named-block-nodes', 'node-name'],
  ]);
}

async function names(transport: Transport, queries: readonly (readonly [command: string, key: string])[]): Promise<string[]> {
  const found: string[] = [];
  for (const [command, key] of queries) {
    const { return: list } = await transport.execute({ execute: command });
    if (Array.isArray(list)) for (const entry of list) if (isJsonObject(entry) && entry[key]) found.push(String(entry[key]));
  }
  return found;
}

/** Files that begin so; folders end with a slash. */
function files(text: string): string[] {
  const folder = text.slice(0, text.lastIndexOf('/') + 1);
  try {
    return readdirSync(folder === '' ? '.' : folder, { withFileTypes: true }).map((entry) => `${folder}${entry.name}${entry.isDirectory() ? '/' : ''}`);
  } catch {
    // no such folder: nothing to offer
    return [];
  }
}
