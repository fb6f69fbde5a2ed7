/*
 * The shell's line grammar: `command key=value …` with dotted keys for nested objects, values that are numbers, booleans,
 * JSON or Python literals, or text. Knows no command and sends nothing. Rule source: observed behaviour of QEMU's
 * qmp-shell, with its faults mended: dotted keys below one parent stay together, components that count from 0 make a
 * list, blanks inside braces do not end a value, and quotes around a whole value are not part of it.
 */
import { BlockError } from '../core/util/errors.ts';
import { isJsonObject, type Json, JsonDouble, type JsonObject, newJsonObject, parseJson } from '../core/util/json.ts';

export interface ParsedCommand {
  readonly name: string;
  readonly args: JsonObject;
  /** What was taken in another way than it may have been meant. */
  readonly notes: readonly string[];
}

const usage = 'command format: <command-name> [arg-name1=arg1] ... [arg-nameN=argN';

function parseError(text: string): BlockError {
  return new BlockError(`Error while parsing command line: ${text}`, { code: 'ERR_PARSE', detail: usage });
}

/** Words of a line: blanks separate, except inside quotes and inside the braces or brackets that a word or a value begins with. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let at = 0;
  while (at < line.length) {
    if (isBlank(line[at])) {
      at++;
      continue;
    }
    const end = wordEnd(line, at);
    words.push(line.slice(at, end));
    at = end;
  }
  return words;
}

function isBlank(letter: string | undefined): boolean {
  return letter !== undefined && /\s/.test(letter);
}

function wordEnd(line: string, start: number): number {
  let at = start;
  while (at < line.length && !isBlank(line[at])) {
    const letter = line[at] ?? '';
    const opensValue = at === start || (line[at - 1] === '=' && line.indexOf('=', start) === at - 1);
    if (letter === '"' || letter === "'") at = (quoteEnd(line, at) ?? at) + 1;
    else if (opensValue && (letter === '{' || letter === '[')) at = (bracketEnd(line, at) ?? at) + 1;
    else at++;
  }
  return at;
}

/** The place of the quote that closes the one at `start`; undefined when none does: then it is a letter like others. */
function quoteEnd(line: string, start: number): number | undefined {
  for (let at = start + 1; at < line.length; at++) {
    if (line[at] === '\\') at++;
    else if (line[at] === line[start]) return at;
  }
  return undefined;
}

/** The place of a quote that nothing closes. */
function openQuote(text: string): number | undefined {
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== '"' && text[at] !== "'") continue;
    const end = quoteEnd(text, at);
    if (end === undefined) return at;
    at = end;
  }
  return undefined;
}

function bracketEnd(line: string, start: number): number | undefined {
  let depth = 0;
  for (let at = start; at < line.length; at++) {
    const letter = line[at] ?? '';
    if (letter === '"' || letter === "'") at = quoteEnd(line, at) ?? at;
    else if (letter === '{' || letter === '[') depth++;
    else if ((letter === '}' || letter === ']') && --depth === 0) return at;
  }
  return undefined;
}

/** Parses a line that is not empty. Throws BlockError with qmp-shell's words. */
export async function parseCommand(line: string): Promise<ParsedCommand> {
  const [name, ...words] = splitWords(line);
  if (name === undefined) throw parseError('Expected a command');
  return { name, ...(await parseArguments(words)) };
}

/** The `key=value` words of a command as an object. Throws BlockError with qmp-shell's words. */
export async function parseArguments(words: readonly string[]): Promise<{ readonly args: JsonObject; readonly notes: readonly string[] }> {
  const args = newJsonObject();
  const made = new Set<JsonObject>([args]);
  const notes: string[] = [];
  for (const word of words) {
    const equals = word.indexOf('=');
    if (equals < 0) throw parseError(`Expected a key=value pair, got '${word}'`);
    const key = word.slice(0, equals);
    const text = word.slice(equals + 1);
    const value = await parseValue(text);
    if (value === text && /^[[{]/.test(text)) notes.push(`'${key}' is sent as text: ${text} is neither JSON nor a Python literal`);
    place(args, key, value, made);
  }
  for (const key of Object.keys(args)) args[key] = withLists(args[key] ?? null, made);
  return { args, notes };
}

/** Puts a value where its dotted key says; `made` collects the objects that dotted keys made. */
function place(into: JsonObject, key: string, value: Json, made: Set<JsonObject>): void {
  const parts = key.split('.');
  const last = parts.pop() ?? key;
  const path: string[] = [];
  let at = into;
  for (const part of parts) {
    path.push(part);
    let next = at[part];
    if (next === undefined) {
      next = newJsonObject();
      made.add(next);
      at[part] = next;
    }
    // a value that is an object itself may be completed by dotted keys
    if (!isTree(next)) throw parseError(`Cannot use "${path.join('.')}" as both leaf and non-leaf key`);
    at = next;
  }
  const before = at[last];
  if (isTree(before)) throw parseError(`Cannot use "${key}" as both leaf and non-leaf key`);
  if (before !== undefined) throw parseError(`Cannot set "${key}" multiple times`);
  at[last] = value;
}

function isTree(value: Json | undefined): value is JsonObject {
  return value !== undefined && isJsonObject(value);
}

/** Objects made by dotted keys whose components count from 0 are lists (`bitmaps.0=b`). */
function withLists(value: Json, made: ReadonlySet<JsonObject>): Json {
  if (!isTree(value) || !made.has(value)) return value;
  const keys = Object.keys(value);
  for (const key of keys) value[key] = withLists(value[key] ?? null, made);
  const isList = keys.every((_, index) => Object.hasOwn(value, String(index)));
  return isList ? keys.map((_, index) => value[String(index)] ?? null) : value;
}

async function parseValue(text: string): Promise<Json> {
  if (/^[+-]?\d+(?:_\d+)*$/.test(text)) return integer(text);
  if (/^true$/i.test(text)) return true;
  if (/^false$/i.test(text)) return false;
  if (/^[[{]/.test(text)) return (await parseLiteral(text)) ?? text;
  const open = openQuote(text);
  if (open !== undefined) {
    throw new BlockError(`Error while parsing command line: No closing quotation for ${text[open]} in '${text}'`, { code: 'ERR_PARSE' });
  }
  const quoted = /^"((?:[^"\\]|\\.)*)"$|^'((?:[^'\\]|\\.)*)'$/s.exec(text);
  if (quoted !== null) return (quoted[1] ?? quoted[2] ?? '').replace(/\\(["'\\])/g, '$1');
  return text;
}

function integer(text: string): number | bigint {
  const value = BigInt(text.replace(/[_+]/g, ''));
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** JSON, or what people write instead: Python's True, False and None, trailing commas, bare keys. Undefined when it is neither. */
async function parseLiteral(text: string): Promise<Json | undefined> {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
  }
  const { default: json5 } = await import('json5');
  try {
    return fromJson5(json5.parse(withoutPython(text)));
  } catch {
    // json5 throws SyntaxError for whatever it does not understand
    return undefined;
  }
}

const pythonWords: Readonly<Record<string, string>> = { True: 'true', False: 'false', None: 'null' };

/** Python's words in JSON's spelling, those inside quotes excepted. */
function withoutPython(text: string): string {
  return text.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\b(?:True|False|None)\b/gs, (found) => pythonWords[found] ?? found);
}

function fromJson5(value: unknown): Json {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : new JsonDouble(value);
  if (Array.isArray(value)) return value.map(fromJson5);
  if (typeof value === 'object' && value !== null) {
    const object = newJsonObject();
    for (const [key, member] of Object.entries(value)) object[key] = fromJson5(member);
    return object;
  }
  return typeof value === 'string' || typeof value === 'boolean' ? value : null;
}
