/*
 * Bytes of JSON tokens to text: UTF-8 with QEMU's idea of validity (modified UTF-8 for U+0000, no noncharacters, no
 * surrogates), escapes of strings, and the readable form of garbage for error messages.
 * Knows nothing of tokens' grammar. Rule source: observed answers of QEMU 11.1's monitor.
 */

/** One decoded character: `code` is -1 when the bytes are no valid character; `next` is where to go on (always past `at`). */
interface Decoded {
  code: number;
  next: number;
}

const shared: Decoded = { code: 0, next: 0 };
const smallest = [0, 0, 0x80, 0x800, 0x10000, 0x200000, 0x4000000];

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

/** Decodes the character at `at` (< end) into an object that the next call reuses. */
function decodeAt(bytes: Uint8Array, at: number, end: number): Decoded {
  const lead = bytes[at] ?? 0;
  shared.next = at + 1;
  shared.code = lead;
  if (lead < 0x80) return shared;
  shared.code = -1;
  if (lead < 0xc0 || lead >= 0xfe) return shared;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf8 ? 4 : lead < 0xfc ? 5 : 6;
  let code = lead & (0x7f >> length);
  let i = 1;
  // a sequence that breaks off counts as one bad character together with the continuation bytes that are there
  while (i < length && at + i < end && isContinuation(bytes[at + i])) {
    code = code * 64 + ((bytes[at + i] ?? 0) & 0x3f);
    i++;
  }
  shared.next = at + i;
  if (i < length) return shared;
  if (code === 0 && length === 2) shared.code = 0;
  else if (code >= (smallest[length] ?? 0) && isUnicodeCharacter(code)) shared.code = code;
  return shared;
}

/** Whether a code point may appear in a string: no surrogates, no noncharacters, nothing above U+10FFFF. */
export function isUnicodeCharacter(code: number): boolean {
  if (code > 0x10ffff) return false;
  if (code >= 0xd800 && code <= 0xdfff) return false;
  if (code >= 0xfdd0 && code <= 0xfdef) return false;
  return (code & 0xfffe) !== 0xfffe;
}

/** Text for an error message: bad UTF-8 becomes U+FFFD, and a NUL byte ends it (QEMU prints C strings). */
export function readableText(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length && bytes[at] !== 0; ) {
    const start = at;
    while (at < bytes.length && (bytes[at] ?? 0) < 0x80 && bytes[at] !== 0) at++;
    text += asciiText(bytes, start, at);
    if (at === bytes.length || bytes[at] === 0) break;
    const { code, next } = decodeAt(bytes, at, bytes.length);
    text += String.fromCodePoint(code < 0 ? 0xfffd : code);
    at = next;
  }
  return text;
}

/** The code points of `bytes`, -1 for each that is no valid character. */
export function decodeCharacters(bytes: Uint8Array): number[] {
  const codes: number[] = [];
  for (let at = 0; at < bytes.length; at = shared.next) codes.push(decodeAt(bytes, at, bytes.length).code);
  return codes;
}

/** Text of a whole ASCII token (numbers, keywords, plain strings). */
export function asciiText(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
}

const simpleEscapes: Readonly<Record<string, string>> = {
  '"': '"',
  "'": "'",
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

/** The value of a string token (quotes included in `token`), or the text of the error that it contains. */
export function stringValue(token: Uint8Array): { value: string } | { error: string } {
  const end = token.length - 1;
  let at = 1;
  while (at < end && (token[at] ?? 0) < 0x80 && token[at] !== 0x5c) at++;
  let value = asciiText(token, 1, at);
  while (at < end) {
    const byte = token[at] ?? 0;
    if (byte === 0x5c) {
      const letter = String.fromCharCode(token[at + 1] ?? 0);
      if (letter === 'u') {
        const { code, next } = unicodeEscape(token, at);
        if (code < 0) return { error: `${readableText(token.subarray(at, at + 6))} is not a valid Unicode character` };
        value += String.fromCodePoint(code);
        at = next;
        continue;
      }
      const plain = simpleEscapes[letter];
      if (plain === undefined) return { error: 'invalid escape sequence in string' };
      value += plain;
      at += 2;
    } else if (byte < 0x80) {
      const start = at;
      while (at < end && (token[at] ?? 0) < 0x80 && token[at] !== 0x5c) at++;
      value += asciiText(token, start, at);
    } else {
      const { code, next } = decodeAt(token, at, end);
      if (code < 0) return { error: 'invalid UTF-8 sequence in string' };
      value += String.fromCodePoint(code);
      at = next;
    }
  }
  return { value };
}

/** Four hexadecimal digits of the token at `at`, or -1. */
function hex4(token: Uint8Array, at: number): number {
  let value = 0;
  for (let i = at; i < at + 4; i++) {
    const digit = Number.parseInt(String.fromCharCode(token[i] ?? 0), 16);
    if (Number.isNaN(digit)) return -1;
    value = value * 16 + digit;
  }
  return value;
}

/** The character written as `\uXXXX` (or a surrogate pair of them) at `at`; code -1 when it is none. */
function unicodeEscape(token: Uint8Array, at: number): Decoded {
  const high = hex4(token, at + 2);
  let code = high;
  let next = at + 6;
  if (high >= 0xd800 && high <= 0xdbff && token[next] === 0x5c && token[next + 1] === 0x75) {
    const low = hex4(token, next + 2);
    if (low >= 0xdc00 && low <= 0xdfff) {
      code = 0x10000 + (high - 0xd800) * 0x400 + (low - 0xdc00);
      next += 6;
    }
  }
  return { code: code >= 0 && isUnicodeCharacter(code) ? code : -1, next };
}
