/*
 * The texts of `--help`, made from the option tables. Knows no command. Layout: qemu-img's (usage lines, one sentence,
 * "Arguments:", each spelling on a line and its text indented below).
 */

import { longName, type OptionSpec, type OptionTable, spellings } from './options.ts';

export interface OperandHelp {
  readonly name: string;
  readonly help: string;
}

export interface CommandHelp {
  /** `tsimg create`. */
  readonly command: string;
  /** Usage lines without the program's name; the second and later ones are indented. */
  readonly usage: readonly string[];
  /** One sentence. */
  readonly summary: string;
  readonly options: OptionTable;
  readonly operands?: readonly OperandHelp[];
}

const margin = ' '.repeat(5);

/** The help of one command. */
export function commandHelp(help: CommandHelp): string {
  const [first = '', ...rest] = help.usage;
  const lines = ['Usage:', `  ${help.command} ${first}`.trimEnd(), ...rest.map((line) => `        ${line}`)];
  lines.push('', help.summary, '', 'Arguments:');
  for (const [key, spec] of Object.entries(help.options)) {
    if (spec.hidden === true) continue;
    lines.push(`  ${optionHeading(key, spec)}`, ...indented(spec.help));
  }
  for (const operand of help.operands ?? []) lines.push(`  ${operand.name}`, ...indented(operand.help));
  return `${lines.join('\n')}\n\n`;
}

/** `-f, --format FMT`. */
function optionHeading(key: string, spec: OptionSpec): string {
  const long = longName(key, spec);
  const names = spellings(key, spec);
  const heading = [...names.filter((name) => !name.startsWith('--')), ...names.filter((name) => name.startsWith('--'))].join(', ');
  if (spec.arg === undefined) return heading;
  if (spec.argOptional === true) return `${heading}[${long === undefined ? '' : '='}${spec.arg}]`;
  return `${heading} ${spec.arg}`;
}

function indented(text: string): string[] {
  return text.split('\n').map((line) => margin + line);
}

export interface ProgramHelp {
  readonly program: string;
  /** Version and copyright lines. */
  readonly version: readonly string[];
  /** What it is, in one line. */
  readonly description: string;
  readonly usage: readonly string[];
  readonly options: OptionTable;
  readonly commands?: readonly { readonly name: string; readonly summary: string }[];
  /** A heading and words that are wrapped below it ("Supported image formats:"). */
  readonly words?: { readonly heading: string; readonly list: readonly string[] };
  /** Last lines: where to read on. */
  readonly footer?: readonly string[];
}

/** The help of a whole program. */
export function programHelp(help: ProgramHelp): string {
  const lines = [...help.version, `${help.description}  Usage:`, ''];
  for (const usage of help.usage) lines.push(`  ${help.program} ${usage}`.trimEnd());
  lines.push('', 'Standard options:');
  for (const [key, spec] of Object.entries(help.options)) {
    if (spec.hidden === true) continue;
    lines.push(`  ${optionHeading(key, spec)}`, ...indented(spec.help));
  }
  if (help.commands !== undefined) {
    lines.push('', `Recognized commands (run ${help.program} COMMAND --help for command-specific help):`, '');
    for (const command of help.commands) lines.push(`  ${command.name} - ${command.summary}`);
  }
  if (help.words !== undefined) lines.push('', help.words.heading, '', ...wrapped(help.words.list, 75));
  if (help.footer !== undefined) lines.push('', ...help.footer);
  return `${lines.join('\n')}\n`;
}

/** Words on lines of at most `width` columns, two blanks before each line. */
function wrapped(words: readonly string[], width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of words) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = '';
    }
    line = line === '' ? `  ${word}` : `${line} ${word}`;
  }
  if (line !== '') lines.push(line);
  return lines;
}
