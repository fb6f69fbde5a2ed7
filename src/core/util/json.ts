/*
 * JSON as QEMU speaks it: the value model (integers exact, doubles apart), and the streaming parser with QEMU's messages,
 * limits and recovery. The writer is json-write.ts.
 * Knows nothing of commands or schemas. Rule source: RFC 8259 plus observed answers of QEMU 11.1's monitor.
 */

import { BlockError } from './errors.ts';
import { JsonLexer, type TokenKind } from './json-lexer.ts';
import { asciiText, readableText, stringValue } from './json-text.ts';
import { encodeName } from './name-codec.ts';

/** `number` and `bigint` are integers, always; a number written with a point or an exponent, or too large for 64 bits, is a JsonDouble. */
export type Json = null | boolean | number | bigint | string | JsonDouble | Json[] | JsonObject;
/** Objects made by the parser have no prototype, so `__proto__` is a name like any other. */
export interface JsonObject {
  [key: string]: Json;
}

/** A JSON number that is no integer in QEMU's eyes: `1.0`, `1e3`, 2^64. */
export class JsonDouble {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
  toJSON(): number {
    return this.value;
  }
}

export function newJsonObject(): JsonObject {
  return Object.create(null) as JsonObject;
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof JsonDouble);
}

const maxNesting = 1024;
const maxTokens = 2 * 1024 * 1024;
const maxTokenBytes = 64 * 1024 * 1024;

const int64Min = -(2n ** 63n);
const uint64Max = 2n ** 64n - 1n;

/** The members of parsed objects in the order of the text, where the object itself cannot keep it. */
const insertionOrder = new WeakMap<object, readonly string[]>();

/** The names of an object's members, in the order of the text when it was parsed. */
export function keysOf(object: object): readonly string[] {
  const keys = Object.keys(object);
  const noted = insertionOrder.get(object);
  return noted?.length === keys.length ? noted : keys;
}

/** An integer's text as number where that is exact, else bigint; as double where 64 bits do not hold it. */
function integerValue(text: string): Json {
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value + 0; // -0 is the integer 0
  const exact = BigInt(text);
  return exact >= int64Min && exact <= uint64Max ? exact : new JsonDouble(value);
}

type Expect = 'first-key' | 'key' | 'colon' | 'member' | 'object-comma' | 'first-element' | 'element' | 'array-comma';
type Frame = { object: JsonObject; key: string; order: string[] | undefined; expect: Expect } | { array: Json[]; expect: Expect };

/**
 * Parses a stream of JSON values. Every complete value goes to `onValue`, every mistake to `onError`, in the order of the input;
 * both are called from inside `feed` and `end`. After a mistake the rest of the broken value is skipped as QEMU skips it.
 * Memory is bounded: 64 MiB of token text, 2 Mi tokens, 1024 levels.
 */
export class JsonStream {
  readonly #onValue: (value: Json) => void;
  readonly #onError: (error: BlockError) => void;
  readonly #lexer: JsonLexer;
  #stack: Frame[] = [];
  #braces = 0;
  #brackets = 0;
  #tokens = 0;
  #tokenBytes = 0;
  #skipping = false;

  constructor(onValue: (value: Json) => void, onError: (error: BlockError) => void) {
    this.#onValue = onValue;
    this.#onError = onError;
    this.#lexer = new JsonLexer((kind, bytes, length, line, column) => {
      this.#token(kind, bytes, length, line, column);
    }, maxTokenBytes);
  }

  feed(chunk: Uint8Array | string): void {
    this.#lexer.feed(typeof chunk === 'string' ? encodeName(chunk) : chunk);
  }

  /** The input ends here: an unfinished value is an error. */
  end(): void {
    this.#lexer.end();
  }

  #token(kind: TokenKind, bytes: Uint8Array, length: number, line: number, column: number): void {
    if (kind === '{') this.#braces++;
    else if (kind === '}') this.#braces--;
    else if (kind === '[') this.#brackets++;
    else if (kind === ']') this.#brackets--;
    const report = (text: string): void => {
      this.#onError(new BlockError(`${line}:${column}: JSON parse error, ${text}`, { code: 'ERR_PARSE' }));
    };

    if (kind === 'error' || kind === 'end') {
      const silent = this.#skipping || (kind === 'end' && this.#tokens === 0);
      this.#reset();
      if (!silent) report(kind === 'end' ? 'premature end of input' : `stray '${readableText(bytes)}'`);
      return;
    }
    if (this.#skipping) {
      if (!this.#isNested()) this.#reset();
      return;
    }
    const excess = this.#exceededLimit(length);
    if (excess !== undefined) {
      this.#afterError();
      this.#onError(new BlockError(excess, { code: 'ERR_OPTION' }));
      return;
    }
    this.#tokens++;
    this.#tokenBytes += length;
    const outcome = this.#parse(kind, bytes);
    if (outcome === undefined) return;
    if ('error' in outcome) {
      this.#afterError();
      report(outcome.error);
    } else {
      this.#reset();
      this.#onValue(outcome.value);
    }
  }

  #exceededLimit(length: number): string | undefined {
    if (this.#tokenBytes + length + 1 > maxTokenBytes) return 'JSON token size limit exceeded';
    if (this.#tokens + 1 > maxTokens) return 'JSON token count limit exceeded';
    if (this.#braces + this.#brackets > maxNesting) return 'JSON nesting depth limit exceeded';
    return undefined;
  }

  #isNested(): boolean {
    return (this.#braces > 0 || this.#brackets > 0) && this.#braces >= 0 && this.#brackets >= 0;
  }

  #afterError(): void {
    if (!this.#isNested()) {
      this.#reset();
      return;
    }
    this.#stack = [];
    this.#skipping = true;
  }

  #reset(): void {
    this.#stack = [];
    this.#braces = 0;
    this.#brackets = 0;
    this.#tokens = 0;
    this.#tokenBytes = 0;
    this.#skipping = false;
  }

  /** One token of the grammar: nothing, a complete top-level value, or an error. */
  #parse(kind: TokenKind, bytes: Uint8Array): { value: Json } | { error: string } | undefined {
    const top = this.#stack[this.#stack.length - 1];
    if (top === undefined) return this.#value(kind, bytes);
    switch (top.expect) {
      case 'first-key':
        if (kind === '}') return this.#close();
        return this.#key(top, kind, bytes);
      case 'key':
        return this.#key(top, kind, bytes);
      case 'colon':
        if (kind !== ':') return { error: "expecting ':'" };
        top.expect = 'member';
        return undefined;
      case 'object-comma':
        if (kind === '}') return this.#close();
        if (kind !== ',') return { error: "expected ',' or '}'" };
        top.expect = 'key';
        return undefined;
      case 'first-element':
        if (kind === ']') return this.#close();
        return this.#value(kind, bytes);
      case 'array-comma':
        if (kind === ']') return this.#close();
        if (kind !== ',') return { error: "expected ',' or ']'" };
        top.expect = 'element';
        return undefined;
      default:
        return this.#value(kind, bytes);
    }
  }

  #key(top: Frame, kind: TokenKind, bytes: Uint8Array): { error: string } | undefined {
    if (kind !== 'string' || !('object' in top)) return { error: 'expecting key' };
    const text = stringValue(bytes);
    if ('error' in text) return text;
    top.key = text.value;
    top.expect = 'colon';
    return undefined;
  }

  #value(kind: TokenKind, bytes: Uint8Array): { value: Json } | { error: string } | undefined {
    switch (kind) {
      case '{':
        this.#stack.push({ object: newJsonObject(), key: '', order: undefined, expect: 'first-key' });
        return undefined;
      case '[':
        this.#stack.push({ array: [], expect: 'first-element' });
        return undefined;
      case 'string': {
        const text = stringValue(bytes);
        return 'error' in text ? text : this.#complete(text.value);
      }
      case 'integer':
        return this.#complete(integerValue(asciiText(bytes, 0, bytes.length)));
      case 'float':
        return this.#complete(new JsonDouble(Number(asciiText(bytes, 0, bytes.length))));
      case 'keyword': {
        const word = asciiText(bytes, 0, bytes.length);
        if (word === 'true') return this.#complete(true);
        if (word === 'false') return this.#complete(false);
        if (word === 'null') return this.#complete(null);
        return { error: `invalid keyword '${word}'` };
      }
      default:
        return { error: 'expecting value' };
    }
  }

  #close(): { value: Json } | { error: string } | undefined {
    const done = this.#stack.pop();
    if (done === undefined) return { error: 'expecting value' };
    if (!('object' in done)) return this.#complete(done.array);
    if (done.order !== undefined) insertionOrder.set(done.object, done.order);
    return this.#complete(done.object);
  }

  #complete(value: Json): { value: Json } | { error: string } | undefined {
    const top = this.#stack[this.#stack.length - 1];
    if (top === undefined) return { value };
    if ('object' in top) {
      if (top.key in top.object) return { error: 'duplicate key' };
      // JavaScript moves keys like "0" to the front of an object: their true place has to be noted
      if (top.order !== undefined) top.order.push(top.key);
      else if (/^\d/.test(top.key)) top.order = [...Object.keys(top.object), top.key];
      top.object[top.key] = value;
      top.expect = 'object-comma';
    } else {
      top.array.push(value);
      top.expect = 'array-comma';
    }
    return undefined;
  }
}

/** Parses a text that holds exactly one JSON value, as QEMU parses `json:` names and JSON option arguments. Throws BlockError. */
export function parseJson(text: string | Uint8Array): Json {
  let result: { value: Json } | { error: BlockError } | undefined;
  const more = (next: { value: Json } | { error: BlockError }): void => {
    if (result === undefined) result = next;
    else if ('value' in result) result = { error: new BlockError('Expecting at most one JSON value', { code: 'ERR_PARSE' }) };
  };
  const stream = new JsonStream(
    (value) => {
      more({ value });
    },
    (error) => {
      more({ error });
    },
  );
  stream.feed(text);
  stream.end();
  const final = result as { value: Json } | { error: BlockError } | undefined;
  if (final === undefined) throw new BlockError('Expecting a JSON value', { code: 'ERR_PARSE' });
  if ('error' in final) throw final.error;
  return final.value;
}
