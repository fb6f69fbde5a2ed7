/*
 * getopt_long of the GNU C library over data: bundles of one-letter options, abbreviated long options, permutation of
 * operands, `--`, and its messages. Knows no option of any program. Rule source: GNU manual "Parsing Long Options with
 * getopt_long", observed messages of qemu-img 11.1.
 */

import { didYouMean } from '../core/util/did-you-mean.ts';
import { BlockError } from '../core/util/errors.ts';

export type ArgumentRule = 'none' | 'required' | 'optional';

export interface LongOption {
  readonly name: string;
  readonly argument: ArgumentRule;
  /** Options with the same id mean the same: an abbreviation that fits several of them is not ambiguous. */
  readonly id: string;
}
export interface ShortOption {
  readonly argument: ArgumentRule;
  readonly id: string;
}
export interface GetoptSpec {
  readonly long: readonly LongOption[];
  readonly short: ReadonlyMap<string, ShortOption>;
  /** false: the first operand ends the options, as POSIXLY_CORRECT asks for everywhere. */
  readonly permute: boolean;
  /** Lets a word that begins with `-` be an operand; `previous` is the word before it when that was an operand. */
  readonly acceptsAsOperand?: ((word: string, previous: string | undefined) => boolean) | undefined;
}

export type GetoptEvent =
  | { readonly kind: 'option'; readonly id: string; readonly value: string | undefined }
  | { readonly kind: 'operand'; readonly word: string };

/** A mistake on the command line. `fromParser`: found by the option parser, whose messages carry the sub-command's name. */
export class UsageError extends BlockError {
  readonly fromParser: boolean;
  /** Whether the line "Try 'NAME --help' …" follows. */
  readonly showTry: boolean;

  constructor(message: string, options: { fromParser?: boolean; showTry?: boolean; hint?: string } = {}) {
    super(message, { code: 'ERR_USAGE', hint: options.hint });
    this.fromParser = options.fromParser ?? false;
    this.showTry = options.showTry ?? true;
  }
}

function parserError(message: string, hint = ''): UsageError {
  return new UsageError(message, { fromParser: true, hint });
}

/**
 * Options and operands one by one, in the order in which getopt_long meets them; the caller may stop at any point (at
 * `--help`, say), before later mistakes are seen. Throws UsageError at the mistake's turn.
 */
export function* getopt(argv: readonly string[], spec: GetoptSpec): Generator<GetoptEvent, void, undefined> {
  let previous: string | undefined;
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? '';
    if (word === '--') {
      for (const operand of argv.slice(at + 1)) yield { kind: 'operand', word: operand };
      return;
    }
    if (word === '-' || !word.startsWith('-') || spec.acceptsAsOperand?.(word, previous) === true) {
      if (!spec.permute) {
        for (const operand of argv.slice(at)) yield { kind: 'operand', word: operand };
        return;
      }
      previous = word;
      yield { kind: 'operand', word };
      continue;
    }
    previous = undefined;
    const next = argv[at + 1];
    if (word.startsWith('--')) {
      const { event, usedNext } = longOption(word.slice(2), next, spec.long);
      if (usedNext) at++;
      yield event;
      continue;
    }
    const letters = [...word.slice(1)];
    for (let i = 0; i < letters.length; i++) {
      const letter = letters[i] ?? '';
      const option = letter === ':' || letter === ';' ? undefined : spec.short.get(letter);
      if (option === undefined) throw parserError(`invalid option -- '${letter}'`, otherCase(letter, spec.short));
      const rest = letters.slice(i + 1).join('');
      if (option.argument === 'none') {
        yield { kind: 'option', id: option.id, value: undefined };
        continue;
      }
      let value: string | undefined = rest === '' ? undefined : rest;
      if (value === undefined && option.argument === 'required') {
        if (next === undefined) throw parserError(`option requires an argument -- '${letter}'`);
        value = next;
        at++;
      }
      yield { kind: 'option', id: option.id, value };
      break;
    }
  }
}

function longOption(text: string, next: string | undefined, options: readonly LongOption[]): { event: GetoptEvent; usedNext: boolean } {
  const equals = text.indexOf('=');
  const name = equals < 0 ? text : text.slice(0, equals);
  const attached = equals < 0 ? undefined : text.slice(equals + 1);
  const option = options.find((candidate) => candidate.name === name) ?? abbreviated(name, text, options);
  if (option === undefined) {
    const names = options.map((candidate) => `--${candidate.name}`);
    throw parserError(`unrecognized option '--${text}'`, didYouMean(`--${name}`, names));
  }
  if (attached !== undefined && option.argument === 'none') {
    throw parserError(`option '--${option.name}' doesn't allow an argument`);
  }
  if (attached === undefined && option.argument === 'required') {
    if (next === undefined) throw parserError(`option '--${option.name}' requires an argument`);
    return { event: { kind: 'option', id: option.id, value: next }, usedNext: true };
  }
  return { event: { kind: 'option', id: option.id, value: attached }, usedNext: false };
}

/** Letters are too short for slips: only the other case of one is near. */
function otherCase(letter: string, short: GetoptSpec['short']): string {
  const other = letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase();
  return other !== letter && short.has(other) ? `did you mean '-${other}'?` : '';
}

function abbreviated(name: string, text: string, options: readonly LongOption[]): LongOption | undefined {
  const candidates = options.filter((option) => option.name.startsWith(name));
  const first = candidates[0];
  if (first === undefined) return undefined;
  if (candidates.some((other) => other.id !== first.id || other.argument !== first.argument)) {
    const possibilities = candidates.map((option) => `'--${option.name}'`).join(' ');
    throw parserError(`option '--${text}' is ambiguous; possibilities: ${possibilities}`);
  }
  return first;
}
