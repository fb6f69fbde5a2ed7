/*
 * The two grammars of "a=b,c=d": the strict one with dotted keys that builds nested objects (--blockdev, --export), and
 * the older one of flat options where a flag may stand alone (-o, --image-opts, -drive). Also dotted keys ↔ nested objects.
 * Values stay strings. Rule source: observed answers of qemu-storage-daemon and qemu-img 11.1.
 */

import { BlockError } from './errors.ts';

export type KeyValue = string | KeyValues | KeyValue[];
/** Objects without prototype: any key is an ordinary one. */
export interface KeyValues {
  [key: string]: KeyValue;
}

const maxFragment = 127;

/** Strict grammar: every word is `key=value`, only the first may be a value of `impliedKey`. Throws BlockError, also when help is asked for. */
export function parseKeyValues(text: string, impliedKey?: string): KeyValues {
  const { values, help } = parseKeyValuesOrHelp(text, impliedKey);
  if (help) throw new BlockError('Help is not available for this option', { code: 'ERR_OPTION' });
  return values;
}

/** As parseKeyValues, for options that have help: `help` or `?` as a word of its own asks for it. */
export function parseKeyValuesOrHelp(text: string, impliedKey?: string): { values: KeyValues; help: boolean } {
  const values = Object.create(null) as KeyValues;
  let help = false;
  let at = 0;
  let implied = impliedKey;
  while (at < text.length) {
    const length = keyLength(text, at);
    const word = text.slice(at, at + length);
    const hasValue = text[at + length] === '=';
    if (!hasValue && (word === 'help' || word === '?')) {
      help = true;
      at += length + 1;
      implied = undefined;
      continue;
    }
    if (!hasValue && implied !== undefined && length > 0) {
      put(values, checkedFragments(implied), word);
      at += length + 1;
    } else {
      const path = checkedFragments(word);
      if (!hasValue) throw new BlockError(`Expected '=' after parameter '${word}'`, { code: 'ERR_PARSE' });
      const value = unescapedValue(text, at + length + 1);
      put(values, path, value.text);
      at = value.next;
    }
    implied = undefined;
  }
  return { values: listed(values, '') as KeyValues, help };
}

function keyLength(text: string, at: number): number {
  let end = at;
  while (end < text.length && text[end] !== '=' && text[end] !== ',') end++;
  return end - at;
}

/** Reads up to a single comma; `,,` is a comma of the value. `next` is past the separator. */
function unescapedValue(text: string, from: number): { text: string; next: number } {
  let value = '';
  let at = from;
  for (;;) {
    const comma = text.indexOf(',', at);
    if (comma < 0) return { text: value + text.slice(at), next: text.length };
    value += text.slice(at, comma);
    if (text[comma + 1] !== ',') return { text: value, next: comma + 1 };
    value += ',';
    at = comma + 2;
  }
}

const fragmentPattern = /^(?:\d+|(?:__[A-Za-z0-9.-]*_)?[A-Za-z][A-Za-z0-9_-]*)/;

/** Splits a dotted key into its checked fragments. */
function checkedFragments(key: string): string[] {
  const fragments: string[] = [];
  for (let at = 0; ; ) {
    const fragment = fragmentPattern.exec(key.slice(at))?.[0] ?? '';
    const end = at + fragment.length;
    const isFirstIndex = at === 0 && /^\d/.test(fragment);
    if (fragment === '' || isFirstIndex || (end < key.length && key[end] !== '.')) {
      throw new BlockError(`Invalid parameter '${key}'`, { code: 'ERR_OPTION' });
    }
    if (fragment.length > maxFragment) {
      const part = fragment.length === key.length ? '' : ' fragment';
      throw new BlockError(`Parameter${part} '${fragment}' is too long`, { code: 'ERR_OPTION' });
    }
    fragments.push(fragment);
    if (end === key.length) return fragments;
    at = end + 1;
  }
}

function put(values: KeyValues, path: readonly string[], value: string): void {
  let level = values;
  path.forEach((fragment, index) => {
    const existing = level[fragment];
    const isLast = index === path.length - 1;
    const conflicts = existing !== undefined && (typeof existing === 'string') !== isLast;
    if (conflicts) throw inconsistent(path.slice(0, index + 1).join('.'));
    if (isLast) {
      level[fragment] = value;
      return;
    }
    const next = (existing ?? Object.create(null)) as KeyValues;
    level[fragment] = next;
    level = next;
  });
}

function inconsistent(name: string): BlockError {
  return new BlockError(`Parameters '${name}.*' used inconsistently`, { code: 'ERR_OPTION' });
}

/** Turns objects whose keys are all indices into lists, from the inside out. */
function listed(value: KeyValue, name: string): KeyValue {
  if (typeof value === 'string' || Array.isArray(value)) return value;
  const keys = Object.keys(value);
  for (const key of keys) {
    const member = value[key];
    if (member !== undefined) value[key] = listed(member, name === '' ? key : `${name}.${key}`);
  }
  const indices = keys.filter((key) => /^\d/.test(key));
  if (indices.length === 0) return value;
  if (indices.length !== keys.length) throw inconsistent(name);
  const elements = new Map<number, KeyValue>();
  for (const key of indices) {
    const member = value[key];
    if (member !== undefined) elements.set(Number(key), member);
  }
  const list: KeyValue[] = [];
  for (let i = 0; i < elements.size; i++) {
    const element = elements.get(i);
    if (element === undefined) throw new BlockError(`Parameter '${name}.${i}' missing`, { code: 'ERR_OPTION' });
    list.push(element);
  }
  return list;
}

/** One word of the older grammar. `isFlag`: it stood without a value. */
export interface OptionWord {
  readonly name: string;
  readonly value: string;
  readonly isFlag: boolean;
}

/** Older grammar, in order and with repetitions: `key=value`, `flag` (on), `noflag` (off); a first word without `=` is the value of `impliedKey`. */
export function parseOptionWords(text: string, impliedKey?: string): OptionWord[] {
  const words: OptionWord[] = [];
  let at = 0;
  let implied = impliedKey;
  while (at < text.length) {
    const length = keyLength(text, at);
    const name = text.slice(at, at + length);
    if (text[at + length] === '=') {
      const value = unescapedValue(text, at + length + 1);
      words.push({ name, value: value.text, isFlag: false });
      at = value.next;
    } else if (implied !== undefined) {
      const value = unescapedValue(text, at);
      words.push({ name: implied, value: value.text, isFlag: false });
      at = value.next;
    } else {
      const isOff = name.startsWith('no');
      words.push({ name: isOff ? name.slice(2) : name, value: isOff ? 'off' : 'on', isFlag: true });
      at += length + 1;
    }
    implied = undefined;
  }
  return words;
}

/** parseOptionWords as a flat object; of repeated keys the last wins. The key `id` is dropped unless `keepId`: it names option groups, not options. */
export function parseOptionString(text: string, impliedKey?: string, options: { keepId?: boolean } = {}): Record<string, string> {
  const result = Object.create(null) as Record<string, string>;
  for (const { name, value } of parseOptionWords(text, impliedKey)) {
    if (name !== 'id' || options.keepId === true) result[name] = value;
  }
  return result;
}

/** Whether a `-o` argument is no list: empty, or beginning or ending with a comma of its own. Such arguments cannot be joined. */
export function isValidOptionList(text: string): boolean {
  if (text === '' || text.startsWith(',')) return false;
  const commas = /,*$/.exec(text)?.[0].length ?? 0;
  return commas % 2 === 0;
}

/** Whether `help` or `?` is one of the words of a `-o` argument. */
export function hasHelpWord(text: string): boolean {
  for (let at = 0; at < text.length; ) {
    const word = unescapedValue(text, at);
    if (word.text === 'help' || word.text === '?') return true;
    at = word.next;
  }
  return false;
}

/** Writes a value so that the grammars above read it back: commas doubled. */
export function escapeCommas(value: string): string {
  return value.replaceAll(',', ',,');
}

/** Nested objects and lists as one flat object with dotted keys (`a.b`, `l.0`); where a dotted key and a nested member meet, the nested one wins. Empty objects and lists stay values. */
export function flatten(nested: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const flat = Object.create(null) as Record<string, unknown>;
  const visit = (entries: readonly (readonly [string, unknown])[], prefix: string): void => {
    const inner: [string, readonly (readonly [string, unknown])[]][] = [];
    for (const [key, value] of entries) {
      const members = membersOf(value);
      if (members.length === 0) flat[prefix + key] = value;
      else inner.push([key, members]);
    }
    for (const [key, members] of inner) visit(members, `${prefix}${key}.`);
  };
  visit(Object.entries(nested), '');
  return flat;
}

function membersOf(value: unknown): readonly (readonly [string, unknown])[] {
  return Array.isArray(value) || isPlainObject(value) ? Object.entries(value) : [];
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** The reverse of flatten: dotted keys (and nested members among them) as nested objects, all-index levels as lists. Throws BlockError where keys contradict each other. */
export function unflatten(mixed: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const root = new Map<string, unknown>();
  for (const [name, value] of Object.entries(flatten(mixed))) {
    const path = name.split('.');
    const last = path.pop() ?? '';
    let level = root;
    for (const fragment of path) {
      const existing = level.get(fragment) ?? new Map<string, unknown>();
      if (!(existing instanceof Map)) throw new BlockError('Cannot mix scalar and non-scalar keys', { code: 'ERR_OPTION' });
      level.set(fragment, existing);
      level = existing as Map<string, unknown>;
    }
    if (level.has(last)) throw new BlockError('Cannot mix scalar and non-scalar keys', { code: 'ERR_OPTION' });
    level.set(last, value);
  }
  const object = Object.create(null) as Record<string, unknown>;
  for (const [key, member] of root) object[key] = grown(member);
  return object;
}

/** A level of keys as list or object. */
function grown(value: unknown): unknown {
  if (!(value instanceof Map)) return value;
  const entries = [...(value as Map<string, unknown>)];
  const indices = entries.map(([key]) => (/^\d+$/.test(key) ? Number(key) : -1)).filter((index) => index >= 0);
  if (indices.length > 0) {
    if (indices.length !== entries.length) throw new BlockError('Cannot mix list and non-list keys', { code: 'ERR_OPTION' });
    const largest = indices.reduce((most, index) => Math.max(most, index), 0);
    if (largest !== entries.length - 1) {
      throw new BlockError(`List indices are not contiguous, saw ${entries.length} elements but ${largest} largest index`, { code: 'ERR_OPTION' });
    }
    const list: unknown[] = [];
    for (const [key, member] of entries) list[Number(key)] = grown(member);
    return list;
  }
  const object = Object.create(null) as Record<string, unknown>;
  for (const [key, member] of entries) object[key] = grown(member);
  return object;
}
