/*
 * The words of the command line as bytes: Node decodes them and loses what is no UTF-8. The system keeps them, the
 * program's own last; a program that starts itself again hands them over in its environment.
 */
import { readFileSync } from 'node:fs';
import { decodeName, isTextName } from '../core/util/name-codec.ts';

/** Holds the words, as JSON, where they could not be handed over as words. */
const wordsMark = 'TSIMG_WORDS';

export interface WordSources {
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The words of this process as the system keeps them, each ended by a NUL. */
  readonly commandLine?: () => Uint8Array;
}

/** The words after the program's name, bytes that are no UTF-8 escaped (name-codec.ts). */
export function programWords(argv: readonly string[], { env = process.env, commandLine = systemLine }: WordSources = {}): readonly string[] {
  const words = argv.slice(2);
  const handed = env[wordsMark];
  if (handed !== undefined) return wordsFrom(handed) ?? words;
  // only what Node could not decode needs a second look
  if (!words.some((word) => word.includes('\ufffd'))) return words;
  const raw = wordsIn(commandLine(), words.length);
  return raw.length === words.length ? raw.map(decodeName) : words;
}

/** What to add to the environment of the same program started again with `words`. */
export function environmentOfWords(words: readonly string[]): Record<string, string> {
  return words.every(isTextName) ? {} : { [wordsMark]: JSON.stringify(words) };
}

function systemLine(): Uint8Array {
  try {
    return readFileSync('/proc/self/cmdline');
  } catch {
    // no /proc here: what Node made of them has to do
    return new Uint8Array(0);
  }
}

/** The last `count` words of the line. */
function wordsIn(line: Uint8Array, count: number): readonly Uint8Array[] {
  const words: Uint8Array[] = [];
  for (let at = 0; at < line.length; ) {
    const end = line.indexOf(0, at);
    if (end < 0) break;
    words.push(line.subarray(at, end));
    at = end + 1;
  }
  return words.slice(-count);
}

function wordsFrom(text: string): readonly string[] | undefined {
  const value: unknown = JSON.parse(text);
  return Array.isArray(value) && value.every((word) => typeof word === 'string') ? value : undefined;
}
