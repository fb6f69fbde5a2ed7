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
  const writer = new JsonWriter(options);
  writer.write(value);
  return writer.text();
}

/** The same as bytes, with `end` behind it. */
export function writeJsonBytes(value: unknown, end: string, options: WriteJsonOptions = {}): Uint8Array {
  const writer = new JsonWriter(options);
  writer.write(value);
  return writer.bytes(end);
}

/** Letters after which the text so far becomes bytes: a long text of many small ones costs many times its length. */
const pieceLength = 16384;

class JsonWriter {
  readonly #lineStart: string;
  readonly #isSorted: boolean;
  readonly #pieces: Buffer[] = [];
  #text = '';

  constructor({ pretty, order }: WriteJsonOptions) {
    this.#lineStart = pretty === true ? '\n' : '';
    this.#isSorted = order !== 'insertion';
  }

  write(value: unknown): void {
    this.#value(value, this.#lineStart);
  }

  text(): string {
    return this.#pieces.length === 0 ? this.#text : this.bytes('').toString('latin1');
  }

  bytes(end: string): Buffer {
    this.#pieces.push(Buffer.from(this.#text + end, 'latin1'));
    return Buffer.concat(this.#pieces);
  }

  /** `lineStart` is '' for the compact form, else a line end and the indentation of the line that the value stands on. */
  #value(value: unknown, lineStart: string): void {
    if (this.#text.length > pieceLength) {
      this.#pieces.push(Buffer.from(this.#text, 'latin1'));
      this.#text = '';
    }
    if (typeof value === 'object' && value !== null && !(value instanceof JsonDouble)) {
      const inner = lineStart === '' ? '' : `${lineStart}    `;
      if (Array.isArray(value)) this.#elements(value, lineStart, inner);
      else this.#members(value, lineStart, inner);
    } else this.#text += scalarText(value);
  }

  #elements(elements: readonly unknown[], lineStart: string, inner: string): void {
    this.#text += '[';
    let separator = inner;
    for (const element of elements) {
      this.#text += separator;
      this.#value(element, inner);
      separator = lineStart === '' ? ', ' : `,${inner}`;
    }
    this.#text += `${lineStart}]`;
  }

  #members(object: object, lineStart: string, inner: string): void {
    this.#text += '{';
    let separator = inner;
    const members = object as Readonly<Record<string, unknown>>;
    const keys = keysOf(object);
    for (const key of this.#isSorted ? jsonKeyOrder(keys) : keys) {
      const member = members[key];
      if (member === undefined) continue;
      this.#text += `${separator}${writeString(key)}: `;
      this.#value(member, inner);
      separator = lineStart === '' ? ', ' : `,${inner}`;
    }
    this.#text += `${lineStart}}`;
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
