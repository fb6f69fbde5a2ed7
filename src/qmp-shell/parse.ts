/*
 * The shell's line grammar: `command key=value …` with dotted keys for nested objects, values that are numbers, booleans,
 * JSON, or text. Rule source: QEMU's qmp-shell, with two of its faults mended: several dotted keys below one parent work,
 * and quotes around a value are not part of it.
 */
import { BlockError } from '../core/util/errors.ts';
import type { Json, JsonObject } from '../core/util/json.ts';

export interface ParsedCommand {
  readonly name: string;
  readonly args: JsonObject;
}

const usage = 'command format: <command-name>  [arg-name1=arg1] ... [arg-nameN=argN]';

/** Words of a line: blanks separate, except inside quotes and inside braces or brackets. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word = '';
  let quote = '';
  let depth = 0;
  for (let at = 0; at < line.length; at++) {
    const letter = line[at] ?? '';
    if (quote !== '') {
      word += letter;
      if (letter === '\\' && at + 1 < line.length) word += line[++at];
      else if (letter === quote) quote = '';
      continue;
    }
    if (letter === '"' || letter === "'") quote = letter;
    else if (letter === '{' || letter === '[') depth++;
    else if (letter === '}' || letter === ']') depth--;
    else if (/\s/.test(letter) && depth <= 0) {
      if (word !== '') words.push(word);
      word = '';
      continue;
    }
    word += letter;
  }
  if (word !== '') words.push(word);
  return words;
}

/** Parses a line that is not empty. Throws BlockError with qmp-shell's words. */
export async function parseCommand(line: string): Promise<ParsedCommand> {
  const [name, ...words] = splitWords(line);
  if (name === undefined) throw new BlockError('Error while parsing command line: empty command');
  const args: JsonObject = {};
  for (const word of words) {
    const equals = word.indexOf('=');
    if (equals <= 0) throw new BlockError(`Error while parsing command line: Expected a key=value pair, got '${word}'`, { detail: usage });
    place(args, word.slice(0, equals), await parseValue(word.slice(equals + 1)));
  }
  return { name, args };
}

function place(into: JsonObject, key: string, value: Json): void {
  const parts = key.split('.');
  const last = parts.pop() ?? key;
  let at = into;
  for (const part of parts) {
    const next = at[part];
    if (next === undefined) {
      const made: JsonObject = {};
      at[part] = made;
      at = made;
    } else if (next === null || typeof next !== 'object' || Array.isArray(next)) {
      throw new BlockError(`Error while parsing command line: Cannot use "${key}" as both leaf and non-leaf key`);
    } else at = next as JsonObject;
  }
  const before = at[last];
  if (before !== undefined) {
    const isTree = before !== null && typeof before === 'object';
    throw new BlockError(
      isTree
        ? `Error while parsing command line: Cannot use "${key}" as both leaf and non-leaf key`
        : `Error while parsing command line: Cannot set "${key}" multiple times`,
    );
  }
  at[last] = value;
}

async function parseValue(text: string): Promise<Json> {
  if (/^[+-]?\d[\d_]*$/.test(text)) {
    const value = BigInt(text.replace(/[_+]/g, ''));
    return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
  }
  if (/^true$/i.test(text)) return true;
  if (/^false$/i.test(text)) return false;
  if (/^[[{]/.test(text)) return parseLiteral(text);
  const quoted = /^"((?:[^"\\]|\\.)*)"$|^'((?:[^'\\]|\\.)*)'$/s.exec(text);
  if (quoted !== null) return (quoted[1] ?? quoted[2] ?? '').replace(/\\(.)/g, '$1');
  return text;
}

/** JSON, or what people write instead: single quotes, Python's True/False/None, trailing commas. */
async function parseLiteral(text: string): Promise<Json> {
  const { default: json5 } = await import('json5');
  try {
    return json5.parse(
      text
        .replace(/\bTrue\b/g, 'true')
        .replace(/\bFalse\b/g, 'false')
        .replace(/\bNone\b/g, 'null'),
    ) as Json;
  } catch {
    throw new BlockError(`Error while parsing command line: '${text}' is no valid JSON`, { detail: usage });
  }
}
