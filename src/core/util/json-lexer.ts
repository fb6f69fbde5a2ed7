/*
 * Bytes to JSON tokens, as a stream: QEMU's lexical rules (single quotes, its idea of a lexical error, how it recovers)
 * and its way of counting lines and columns. Knows nothing of the grammar above tokens.
 * Rule source: observed answers of QEMU 11.1's monitor, byte for byte.
 */

export type TokenKind = '{' | '}' | '[' | ']' | ':' | ',' | 'string' | 'integer' | 'float' | 'keyword' | 'error' | 'end';

/** `bytes` is only valid during the call. `length` may exceed `bytes.length` when the token was too long to keep. */
export type TokenSink = (kind: TokenKind, bytes: Uint8Array, length: number, line: number, column: number) => void;

const START = 0;
const RECOVERY = 1;
const KEYWORD = 2;
const DOUBLE_QUOTED = 3;
const DOUBLE_ESCAPE = 4;
const SINGLE_QUOTED = 5;
const SINGLE_ESCAPE = 6;
const MINUS = 7;
const ZERO = 8;
const DIGITS = 9;
const POINT = 10;
const FRACTION = 11;
const EXPONENT = 12;
const EXPONENT_SIGN = 13;
const EXPONENT_DIGITS = 14;

const tab = 0x09;
const newline = 0x0a;
const carriageReturn = 0x0d;
const space = 0x20;
const quote = 0x22;
const apostrophe = 0x27;
const backslash = 0x5c;

const structural: Readonly<Record<number, TokenKind>> = {
  123: '{',
  125: '}',
  91: '[',
  93: ']',
  58: ':',
  44: ',',
};

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

/** Bytes at which the lexer begins anew after garbage. Blanks and tabs are not among them, other control characters are. */
function endsRecovery(byte: number): boolean {
  return (byte < space && byte !== tab) || byte >= 0xfe || structural[byte] !== undefined;
}

export class JsonLexer {
  readonly #sink: TokenSink;
  readonly #maxKept: number;
  #state = START;
  #line = 1;
  #column = 0;
  #startLine = 1;
  #startColumn = 1;
  #token = new Uint8Array(256);
  #length = 0;

  /** `maxKept`: bytes of one token that are remembered; longer tokens are only counted. */
  constructor(sink: TokenSink, maxKept: number) {
    this.#sink = sink;
    this.#maxKept = maxKept;
  }

  feed(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) {
      if (this.#state === DOUBLE_QUOTED || this.#state === SINGLE_QUOTED) {
        const run = this.#plainRun(bytes, i);
        if (run > i) {
          this.#append(bytes.subarray(i, run));
          this.#column += run - i;
          i = run - 1;
          continue;
        }
      }
      this.#byte(bytes[i] ?? 0);
    }
  }

  /** The input ends: the last token is complete or broken; an 'end' token follows. */
  end(): void {
    this.#column++;
    let column = this.#column;
    if (this.#state !== START && this.#state !== RECOVERY) {
      this.#emit(this.#complete() ?? 'error');
      column++;
    }
    this.#state = START;
    this.#sink('end', this.#token.subarray(0, 0), 0, this.#line, column);
  }

  /** The index after the bytes of a quoted string that need no decision. */
  #plainRun(bytes: Uint8Array, from: number): number {
    const closing = this.#state === DOUBLE_QUOTED ? quote : apostrophe;
    let i = from;
    for (; i < bytes.length; i++) {
      const byte = bytes[i] ?? 0;
      if (byte === closing || byte === backslash || byte < space || byte >= 0xfe) break;
    }
    return i;
  }

  #byte(byte: number): void {
    this.#column++;
    if (byte === newline) {
      this.#column = 0;
      this.#line++;
    }
    // A token that begins at the byte which ended the one before is reported one column late: so does QEMU.
    for (let late = 0; !this.#step(byte, late); late++);
  }

  /** One transition; false when the byte only ended a token and has to be looked at again. */
  #step(byte: number, late: number): boolean {
    switch (this.#state) {
      case START:
        this.#startLine = this.#line;
        this.#startColumn = this.#column + late;
        return this.#begin(byte);
      case RECOVERY:
        if (!endsRecovery(byte)) return true;
        this.#state = START;
        return false;
      case KEYWORD:
        if (byte >= 0x61 && byte <= 0x7a) return this.#push(byte, KEYWORD);
        return this.#lookahead('keyword');
      case DOUBLE_QUOTED:
        return this.#inString(byte, quote, DOUBLE_ESCAPE);
      case SINGLE_QUOTED:
        return this.#inString(byte, apostrophe, SINGLE_ESCAPE);
      case DOUBLE_ESCAPE:
      case SINGLE_ESCAPE:
        if (byte < space || byte >= 0xfe) return this.#fail(byte);
        return this.#push(byte, this.#state === DOUBLE_ESCAPE ? DOUBLE_QUOTED : SINGLE_QUOTED);
      default:
        return this.#inNumber(byte);
    }
  }

  #begin(byte: number): boolean {
    if (byte === space || byte === tab || byte === newline || byte === carriageReturn) return true;
    if (byte === quote) return this.#push(byte, DOUBLE_QUOTED);
    if (byte === apostrophe) return this.#push(byte, SINGLE_QUOTED);
    if (byte === 0x2d) return this.#push(byte, MINUS);
    if (byte === 0x30) return this.#push(byte, ZERO);
    if (isDigit(byte)) return this.#push(byte, DIGITS);
    if (byte >= 0x61 && byte <= 0x7a) return this.#push(byte, KEYWORD);
    const kind = structural[byte];
    if (kind === undefined) return this.#fail(byte);
    this.#push(byte, START);
    this.#emit(kind);
    return true;
  }

  #inString(byte: number, closing: number, escaped: number): boolean {
    if (byte === closing) {
      this.#push(byte, this.#state);
      this.#emit('string');
      return true;
    }
    if (byte < space || byte >= 0xfe) return this.#fail(byte);
    return this.#push(byte, byte === backslash ? escaped : this.#state);
  }

  #inNumber(byte: number): boolean {
    const digit = isDigit(byte);
    const exponent = byte === 0x65 || byte === 0x45;
    switch (this.#state) {
      case MINUS:
        if (!digit) return this.#fail(byte);
        return this.#push(byte, byte === 0x30 ? ZERO : DIGITS);
      case ZERO:
        if (digit) return this.#fail(byte);
        break;
      case DIGITS:
        if (digit) return this.#push(byte, DIGITS);
        break;
      case POINT:
        return digit ? this.#push(byte, FRACTION) : this.#fail(byte);
      case FRACTION:
        if (digit) return this.#push(byte, FRACTION);
        if (exponent) return this.#push(byte, EXPONENT);
        return this.#lookahead('float');
      case EXPONENT:
        if (byte === 0x2b || byte === 0x2d) return this.#push(byte, EXPONENT_SIGN);
        return digit ? this.#push(byte, EXPONENT_DIGITS) : this.#fail(byte);
      case EXPONENT_SIGN:
        return digit ? this.#push(byte, EXPONENT_DIGITS) : this.#fail(byte);
      default:
        if (digit) return this.#push(byte, EXPONENT_DIGITS);
        return this.#lookahead('float');
    }
    if (byte === 0x2e) return this.#push(byte, POINT);
    // `0e1` is 0 and a keyword to QEMU
    if (exponent && this.#state === DIGITS) return this.#push(byte, EXPONENT);
    return this.#lookahead('integer');
  }

  /** What the unfinished token would be if it ended here; undefined when it is broken. */
  #complete(): TokenKind | undefined {
    switch (this.#state) {
      case KEYWORD:
        return 'keyword';
      case ZERO:
      case DIGITS:
        return 'integer';
      case FRACTION:
      case EXPONENT_DIGITS:
        return 'float';
      default:
        return undefined;
    }
  }

  #push(byte: number, state: number): true {
    if (this.#length < this.#maxKept) {
      this.#reserve(this.#length + 1);
      this.#token[this.#length] = byte;
    }
    this.#length++;
    this.#state = state;
    return true;
  }

  #append(run: Uint8Array): void {
    const kept = Math.min(run.length, Math.max(0, this.#maxKept - this.#length));
    if (kept > 0) {
      this.#reserve(this.#length + kept);
      this.#token.set(kept === run.length ? run : run.subarray(0, kept), this.#length);
    }
    this.#length += run.length;
  }

  #reserve(size: number): void {
    if (size <= this.#token.length) return;
    const grown = new Uint8Array(Math.max(size, Math.min(this.#token.length * 2, this.#maxKept)));
    grown.set(this.#token.subarray(0, this.#length));
    this.#token = grown;
  }

  #lookahead(kind: TokenKind): false {
    this.#emit(kind);
    return false;
  }

  #fail(byte: number): true {
    this.#push(byte, RECOVERY);
    this.#emit('error');
    this.#state = RECOVERY;
    return true;
  }

  #emit(kind: TokenKind): void {
    const length = this.#length;
    const token = this.#token.subarray(0, Math.min(length, this.#maxKept));
    this.#state = START;
    this.#length = 0;
    if (this.#token.length > 65536) this.#token = new Uint8Array(256); // do not hold on to the memory of one huge string
    this.#sink(kind, token, length, this.#startLine, this.#startColumn);
  }
}
