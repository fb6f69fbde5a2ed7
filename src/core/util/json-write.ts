/* The writer of JSON, with QEMU's layout and order of members. Rule source: observed answers of QEMU 11.1's monitor. */
import { JsonDouble, keysOf } from './json.ts';
import { jsonKeyOrder } from './json-order.ts';
import { decodeCharacters, isUnicodeCharacter } from './json-text.ts';
import { encodeName } from './name-codec.ts';
import { formatGeneral } from './printf.ts';

export interface WriteJsonOptions {
  /** Four blanks a level, as QEMU's pretty monitor and `--output=json`. */
  readonly pretty?: boolean;
  /** 'qemu' (default) prints members in the order of QEMU's hash tables. */
  readonly order?: 'qemu' | 'insertion';
}

/** Prints a value in pure ASCII, as QEMU does. Members that are undefined are left out. Plain numbers that are no integers are printed as doubles. */
export function writeJson(value: unknown, options: WriteJsonOptions = {}): string {
  const writer = new JsonWriter(value, options);
  const first = writer.next();
  if (writer.isDone) return first;
  const pieces = [Buffer.from(first, 'latin1')];
  while (!writer.isDone) pieces.push(Buffer.from(writer.next(), 'latin1'));
  return Buffer.concat(pieces).toString('latin1');
}

/** The same as bytes, with `end` behind it, in pieces of some KiB that are made when they are asked for: `value` must not change meanwhile. */
export function* jsonPieces(value: unknown, end: string, options: WriteJsonOptions = {}): Generator<Uint8Array, void> {
  const writer = new JsonWriter(value, options);
  do {
    const text = writer.next();
    yield Buffer.from(writer.isDone ? text + end : text, 'latin1');
  } while (!writer.isDone);
}

/** Letters after which the text so far becomes bytes: a long text of many small ones costs many times its length. */
const pieceLength = 16384;

/** An array or an object that is being written. */
interface Level {
  readonly isArray: boolean;
  readonly members: Readonly<Record<string | number, unknown>>;
  /** Of an object. */
  readonly keys: readonly string[];
  readonly count: number;
  at: number;
  isEmpty: boolean;
  /** '' for the compact form, else a line end and the indentation of the line that the value stands on. */
  readonly lineStart: string;
  readonly inner: string;
}

class JsonWriter {
  readonly #isSorted: boolean;
  readonly #levels: Level[] = [];
  #text = '';

  constructor(value: unknown, { pretty, order }: WriteJsonOptions) {
    this.#isSorted = order !== 'insertion';
    this.#begin(value, pretty === true ? '\n' : '');
  }

  get isDone(): boolean {
    return this.#levels.length === 0;
  }

  /** What comes next, up to about a piece. */
  next(): string {
    for (let level = this.#levels.at(-1); level !== undefined && this.#text.length <= pieceLength; level = this.#levels.at(-1)) this.#step(level);
    const text = this.#text;
    this.#text = '';
    return text;
  }

  #step(level: Level): void {
    const { isArray, members, keys, count, lineStart, inner } = level;
    if (level.at === count) {
      this.#text += isArray ? `${lineStart}]` : `${lineStart}}`;
      this.#levels.pop();
      return;
    }
    const key = isArray ? level.at : (keys[level.at] ?? '');
    level.at++;
    const member = members[key];
    if (!isArray && member === undefined) return;
    this.#text += level.isEmpty ? inner : lineStart === '' ? ', ' : `,${inner}`;
    level.isEmpty = false;
    if (!isArray) this.#text += `${writeString(String(key))}: `;
    this.#begin(member, inner);
  }

  #begin(value: unknown, lineStart: string): void {
    if (typeof value !== 'object' || value === null || value instanceof JsonDouble) {
      this.#text += scalarText(value);
      return;
    }
    const isArray = Array.isArray(value);
    this.#text += isArray ? '[' : '{';
    const names = isArray ? [] : keysOf(value);
    const keys = this.#isSorted && !isArray ? jsonKeyOrder(names) : names;
    const count = isArray ? value.length : keys.length;
    const inner = lineStart === '' ? '' : `${lineStart}    `;
    this.#levels.push({ isArray, members: value as Level['members'], keys, count, at: 0, isEmpty: true, lineStart, inner });
  }
}

function scalarText(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return writeString(value);
    case 'number':
      if (!Number.isInteger(value)) return formatGeneral(value, 17);
      return Number.isSafeInteger(value) ? String(value + 0) : BigInt(value).toString();
    case 'bigint':
      return value.toString();
    case 'boolean':
      return value ? 'true' : 'false';
    default:
      return value instanceof JsonDouble ? formatGeneral(value.value, 17) : 'null';
  }
}

const needsEscape = /[\ud800-\udbff][\udc00-\udfff]|[\udc80-\udcff]+|[\u0000-\u001f"\\\u007f-\uffff]/g;
const shortEscapes: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};

function hexEscape(unit: number): string {
  return `\\u${unit.toString(16).toUpperCase().padStart(4, '0')}`;
}

/**
 * `found` is one code unit, a surrogate pair, or a run of a name's bytes that are no text. What is no character in QEMU's
 * eyes is printed as U+FFFD, once for all the bytes that would have been one.
 */
function escapeCharacter(found: string): string {
  const short = shortEscapes[found];
  if (short !== undefined) return short;
  const first = found.charCodeAt(0);
  if (first >= 0xdc80 && first <= 0xdcff) return Array.from(decodeCharacters(encodeName(found)), (code) => (code === 0 ? '\\u0000' : '\\uFFFD')).join('');
  if (!isUnicodeCharacter(found.codePointAt(0) ?? 0)) return '\\uFFFD';
  return found.length === 1 ? hexEscape(first) : hexEscape(first) + hexEscape(found.charCodeAt(1));
}

/** Texts without a letter to escape, as most are. */
const isPlain = /^[\u0020\u0021\u0023-\u005b\u005d-\u007e]*$/;

function writeString(text: string): string {
  return isPlain.test(text) ? `"${text}"` : `"${text.replace(needsEscape, escapeCharacter)}"`;
}
