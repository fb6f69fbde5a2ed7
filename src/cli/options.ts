/*
 * Option tables: one definition of a command's options, from which the parser, its types, the help text, completion and
 * the manual's check come. Knows no command. Rule source: GNU conventions through getopt.ts.
 */

import { type ArgumentRule, getopt, type LongOption, type ShortOption } from './getopt.ts';

export interface OptionSpec {
  /** The long name; by default the key in kebab case. `null`: none. */
  readonly long?: string | null;
  /** The one-letter name. */
  readonly short?: string;
  /** The name of the option's argument in help; without it the option is a flag. */
  readonly arg?: string;
  /** The argument may be left out (then it must be attached: `-xARG`, `--long=ARG`). */
  readonly argOptional?: boolean;
  /** Every occurrence counts; otherwise the last wins. */
  readonly many?: boolean;
  /** Further spellings. */
  readonly also?: readonly string[];
  /** Parsing stops when the option is met: `--help`, `--version`. */
  readonly stops?: boolean;
  readonly hidden?: boolean;
  /** One or more lines for help. */
  readonly help: string;
  /** What completes the argument: a kind of value ('format', 'file', …) or the words themselves. */
  readonly complete?: string | readonly string[];
}
export type OptionTable = Readonly<Record<string, OptionSpec>>;

type Value<S extends OptionSpec> = S extends { readonly arg: string }
  ? S extends { readonly many: true }
    ? string[]
    : string | undefined
  : S extends { readonly many: true }
    ? number
    : boolean;
/** The values of a table's options: flags are booleans (counts with `many`), others the last argument or all of them. */
export type Parsed<T extends OptionTable> = { -readonly [K in keyof T]: Value<T[K]> };

/** Keeps the literal types of a table, so that Parsed can tell flags from options with arguments. */
export function defineOptions<const T extends OptionTable>(table: T): T {
  return table;
}

/** `-h, --help`, for every table. */
export const helpOption: { readonly short: 'h'; readonly stops: true; readonly help: string } = {
  short: 'h',
  stops: true,
  help: 'print this help and exit',
};

/** Understood as the first word only, and so in no table that is parsed: for help texts. */
export const completionOption: OptionSpec = {
  arg: 'bash|zsh|fish',
  help: 'print the script that makes a shell complete the options\n(has to be the first word)',
};

export interface ParseSettings {
  /** false: the first operand ends the options (options before a sub-command). POSIXLY_CORRECT in `env` does the same. */
  readonly permute?: boolean;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Lets a word that begins with `-` be an operand; `previous` is the word before it when that was an operand. */
  readonly acceptsAsOperand?: (word: string, previous: string | undefined) => boolean;
  /** Called at every occurrence, in order: what it throws comes before mistakes further on. */
  readonly onOption?: (key: string, value: string | undefined) => void;
}

export interface ParseResult<T extends OptionTable> {
  readonly options: Parsed<T>;
  readonly operands: string[];
  /** Every occurrence in the order given: for commands that act in that order. */
  readonly order: readonly { readonly key: keyof T & string; readonly value: string | undefined }[];
  /** The option with `stops` that ended parsing; what follows it was not looked at. */
  readonly stoppedAt: (keyof T & string) | undefined;
}

function kebabCase(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The long name of an option; undefined when it has none. */
export function longName(key: string, spec: OptionSpec): string | undefined {
  return spec.long === undefined ? kebabCase(key) : (spec.long ?? undefined);
}

/** All spellings of an option with their dashes: the short one, the long one, the others. */
export function spellings(key: string, spec: OptionSpec): string[] {
  const names: string[] = [];
  if (spec.short !== undefined) names.push(`-${spec.short}`);
  const long = longName(key, spec);
  if (long !== undefined) names.push(`--${long}`);
  for (const other of spec.also ?? []) names.push(other.length === 1 ? `-${other}` : `--${other}`);
  return names;
}

function argumentRule(spec: OptionSpec): ArgumentRule {
  if (spec.arg === undefined) return 'none';
  return spec.argOptional === true ? 'optional' : 'required';
}

/** Parses the words after a command's name. Throws UsageError; abbreviations resolve in table order. */
export function parseOptions<T extends OptionTable>(argv: readonly string[], table: T, settings: ParseSettings = {}): ParseResult<T> {
  const values: Record<string, boolean | number | string | undefined | string[]> = {};
  const long: LongOption[] = [];
  const short = new Map<string, ShortOption>();
  for (const [key, spec] of Object.entries(table)) {
    const many = spec.many === true;
    values[key] = spec.arg === undefined ? (many ? 0 : false) : many ? [] : undefined;
    const argument = argumentRule(spec);
    for (const name of spellings(key, spec)) {
      if (name.startsWith('--')) long.push({ name: name.slice(2), argument, id: key });
      else short.set(name.slice(1), { argument, id: key });
    }
  }
  const operands: string[] = [];
  const order: { key: string; value: string | undefined }[] = [];
  let stoppedAt: string | undefined;
  const permute = settings.permute !== false && settings.env?.['POSIXLY_CORRECT'] === undefined;
  for (const event of getopt(argv, { long, short, permute, acceptsAsOperand: settings.acceptsAsOperand })) {
    if (event.kind === 'operand') {
      operands.push(event.word);
      continue;
    }
    const { id, value } = event;
    order.push({ key: id, value });
    settings.onOption?.(id, value);
    const before = values[id];
    if (Array.isArray(before)) before.push(value ?? '');
    else if (typeof before === 'number') values[id] = before + 1;
    else values[id] = table[id]?.arg === undefined ? true : (value ?? '');
    if (table[id]?.stops === true) {
      stoppedAt = id;
      break;
    }
  }
  return { options: values as Parsed<T>, operands, order, stoppedAt };
}

/** Whether the words ask for shell completion, which completion.ts answers: `--completion SHELL`, or the script's question. */
export function asksForCompletion(argv: readonly string[]): boolean {
  return argv[0] === '--completion' || argv[0] === '--get-yargs-completions';
}
