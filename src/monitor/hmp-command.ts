/*
 * What a command of the human monitor is made of, and how its line is read: flags in their order, then arguments by type.
 * Knows no command. Rule source: observed behaviour of QEMU 11.1.
 */
import { narrowed } from '../core/util/offsets.ts';
import { readSize } from '../core/util/size.ts';
import type { CommandContext } from './command.ts';

/** B = block device name, F = file name, s = word, o = size in MiB, S = the rest of the line. */
type ArgType = 'B' | 'F' | 's' | 'o' | 'S';

export interface HmpArgument {
  readonly name: string;
  readonly type: ArgType;
  readonly isOptional?: boolean;
}

export interface HmpCommand {
  /** The name, and shorter ones: `stop|s`. */
  readonly name: string;
  /** Letters of flags that may stand before the arguments, in this order. */
  readonly flags?: string;
  readonly args?: readonly HmpArgument[];
  readonly params: string;
  readonly help: string;
  run(given: HmpGiven, context: CommandContext): Promise<string | undefined | void> | string | undefined | void;
}

/** What stood on the line. */
export class HmpGiven {
  readonly #flags: ReadonlySet<string>;
  readonly #values: ReadonlyMap<string, string | number | bigint>;

  constructor(flags: ReadonlySet<string>, values: ReadonlyMap<string, string | number | bigint>) {
    this.#flags = flags;
    this.#values = values;
  }

  has(flag: string): boolean {
    return this.#flags.has(flag);
  }

  text(name: string): string {
    return String(this.#values.get(name) ?? '');
  }

  optional(name: string): string | undefined {
    return this.#values.has(name) ? this.text(name) : undefined;
  }

  /** Of type `o`. */
  size(name: string): number | bigint {
    const value = this.#values.get(name) ?? 0;
    return typeof value === 'string' ? 0 : value;
  }
}

const expected: Readonly<Record<ArgType, string>> = {
  B: 'block device name expected',
  F: 'filename expected',
  s: 'string expected',
  o: 'invalid size',
  S: 'string expected',
};

/** Reads what follows the command's name; text is the complaint. `out` takes what QEMU prints on its standard output. */
export function parseLine(command: HmpCommand, rest: string, out: (text: string) => void): HmpGiven | string {
  const flags = new Set<string>();
  const values = new Map<string, string | number | bigint>();
  let line = rest.trimStart();
  const letters = command.flags ?? '';
  for (let at = 0; at < letters.length; at++) {
    if (!line.startsWith('-')) break;
    const letter = line[1] ?? '';
    if (letter === letters[at]) {
      flags.add(letter);
      line = line.slice(2).trimStart();
    } else if (!letters.includes(letter, at + 1) || letter === '') return `${command.name}: unsupported option -${letter}\n`;
  }
  for (const { name, type, isOptional } of command.args ?? []) {
    if (line === '' && isOptional) break;
    if (type === 'S') {
      values.set(name, line);
      line = '';
      continue;
    }
    const word = type === 'o' ? readSizeWord(line) : readWord(line, out);
    if (word === undefined) return type === 'o' ? `${expected.o}\n` : `${command.name}: ${expected[type]}\n`;
    values.set(name, word.value);
    line = line.slice(word.length).trimStart();
  }
  if (line !== '') return `${command.name}: extraneous characters at the end of line\n`;
  return new HmpGiven(flags, values);
}

/** A size in MiB unless it says otherwise. What follows it on the line is not its business. */
function readSizeWord(line: string): { value: number | bigint; length: number } | undefined {
  const [text = '', digits = '', suffix = ''] = /^((?:0[xX][0-9a-fA-F]+|\d+(?:\.\d*)?|\.\d+))([bBkKmMgGtTpPeE]?)/.exec(line) ?? [];
  if (digits === '') return undefined;
  const bytes = readSize(suffix === '' && !/^0[xX]/.test(digits) ? `${digits}M` : text);
  if (typeof bytes !== 'bigint' || bytes > 0x7fff_ffff_ffff_ffffn) return undefined;
  return { value: narrowed(bytes), length: text.length };
}

/** A word, or a text in double quotes with `\n`, `\r`, `\\`, `\'` and `\"`. */
function readWord(line: string, out: (text: string) => void): { value: string; length: number } | undefined {
  if (!line.startsWith('"')) {
    const word = /^\S+/.exec(line)?.[0];
    return word === undefined ? undefined : { value: word, length: word.length };
  }
  let value = '';
  for (let at = 1; at < line.length; at++) {
    const letter = line[at] ?? '';
    if (letter === '"') return { value, length: at + 1 };
    if (letter !== '\\') {
      value += letter;
      continue;
    }
    const code = line[++at] ?? '';
    const meant = escapes[code];
    if (meant === undefined) {
      out(`unsupported escape code: '\\${code}'\n`);
      return undefined;
    }
    value += meant;
  }
  out('unterminated string\n');
  return undefined;
}

const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', '\\': '\\', "'": "'", '"': '"' };
