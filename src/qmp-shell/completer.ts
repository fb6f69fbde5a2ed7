/* Tab completion from the same definitions that validate: command names, arguments, their words, node and job names. */

import { isJsonObject } from '../core/util/json.ts';
import { acceptedWords, describeMembers, describePath } from '../core/util/schema-describe.ts';
import { allCommands } from '../monitor/catalogue.ts';
import { hmpNames } from '../monitor/hmp.ts';
import { ownCommands } from './help-text.ts';
import type { Transport } from './transport.ts';

const nodeArguments = /(^|\.)(device|node-name|target|backing|node|file|id|name)$/;

/** What may stand in place of the last word of `line`, and that word. */
export async function complete(transport: Transport, line: string, isHmp: boolean): Promise<[string[], string]> {
  const words = line.split(/\s+/);
  const last = words.at(-1) ?? '';
  const fitting = (candidates: readonly string[]): [string[], string] => [candidates.filter((candidate) => candidate.startsWith(last)), last];
  if (words.length <= 1) {
    const own = ownCommands.map(([usage]) => usage.split(/[\s(,]/)[0] ?? '').filter((name) => /^[a-z]/.test(name));
    const names = isHmp ? [...hmpNames] : [...(await transport.commandNames()), ...own, ...hmpNames.filter((name) => name.length > 1)];
    return fitting([...new Set(names)].sort());
  }
  const [command] = words;
  if (command === 'graph') return fitting(['-v']);
  if (command === 'guest' && words.length === 2) return fitting(['write', 'read', 'zero', 'discard', 'flush', 'run', 'stop', 'status']);
  if (command === 'map' || command === 'blockers' || command === 'guest' || (command !== undefined && hmpNames.includes(command) && !last.includes('='))) {
    return fitting(await names(transport));
  }
  const definition = allCommands.find((candidate) => candidate.name === command);
  if (definition === undefined) return [[], last];
  const equals = last.indexOf('=');
  const known = Object.fromEntries(
    words.slice(1, -1).flatMap((word) => (word.includes('=') ? [[word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]] : [])),
  );
  if (equals < 0) {
    const given = new Set(Object.keys(known));
    return fitting(describeMembers(definition.args, known).flatMap((member) => (given.has(member.name) ? [] : [`${member.name}=`])));
  }
  const key = last.slice(0, equals);
  const value = describePath(definition.args, key.split('.'), known);
  const candidates = value === undefined ? [] : [...acceptedWords(value)];
  if (nodeArguments.test(key)) candidates.push(...(await names(transport)));
  return fitting(candidates.map((candidate) => `${key}=${candidate}`));
}

/** Names of nodes, devices and jobs. */
async function names(transport: Transport): Promise<string[]> {
  const found: string[] = [];
  for (const [command, key] of [
    ['query-block', 'device'],
    ['query-named-block-nodes', 'node-name'],
    ['query-jobs', 'id'],
  ] as const) {
    const { return: list } = await transport.execute({ execute: command });
    if (Array.isArray(list)) for (const entry of list) if (isJsonObject(entry) && entry[key]) found.push(String(entry[key]));
  }
  return [...new Set(found)];
}
