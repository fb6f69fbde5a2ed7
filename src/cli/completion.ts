/*
 * Shell completion: the words that may follow, computed by yargs from the option tables, and the script that hooks them
 * into a shell. yargs (63 ms to load) is imported here and only here, when completion is asked for.
 * Knows no command: tables and value sources are handed in.
 */

import { UsageError } from './getopt.ts';
import { longName, type OptionSpec, type OptionTable, spellings } from './options.ts';

export interface CompletionCommand {
  readonly name: string;
  readonly summary: string;
  /** The command's table; loaded only when a word of that command is completed. */
  readonly options: () => OptionTable | Promise<OptionTable>;
}

export interface CompletionProgram {
  readonly name: string;
  readonly options: OptionTable;
  readonly commands?: readonly CompletionCommand[];
  /** The values of a kind named in OptionSpec.complete (format names, say); undefined leaves it to the shell (files). */
  readonly values?: (kind: string) => readonly string[] | undefined | Promise<readonly string[] | undefined>;
}

/** The word that asks a program for completions; what follows is the command line so far, program name first. */
const completionFlag = '--get-yargs-completions';
const shells = ['bash', 'zsh', 'fish'] as const;

/** What to print for words of which asksForCompletion is true. Throws UsageError. */
export async function answerCompletion(program: CompletionProgram, argv: readonly string[]): Promise<string> {
  const [question, ...words] = argv;
  if (question === completionFlag) return (await completionWords(program, words)).map((word) => `${word}\n`).join('');
  const shell = shells.find((name) => name === words[0]);
  if (shell === undefined) throw new UsageError(`--completion expects ${shells.join(', ')}`);
  return completionScript(program.name, shell);
}

/** What may stand in place of the last of `words`. `words` begins with the program's name; the last one may be empty. */
export async function completionWords(program: CompletionProgram, words: readonly string[]): Promise<string[]> {
  const current = words[words.length - 1] ?? '';
  const typed = words.slice(1, -1);
  const command = program.commands?.find((candidate) => candidate.name === firstOperand(typed, program.options));
  const table = command === undefined ? program.options : await command.options();
  const pending = pendingOption(typed[typed.length - 1], current, table);
  if (pending !== undefined) {
    const values = await valuesOf(pending.spec, program);
    return (values ?? []).filter((value) => value.startsWith(pending.prefix)).map((value) => pending.before + value);
  }
  const found = await yargsWords(program, command?.name, table, [...typed, current]);
  return found.filter((word) => word.startsWith(current));
}

/** The first word that is neither an option nor an option's argument. */
function firstOperand(words: readonly string[], table: OptionTable): string | undefined {
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    if (!word.startsWith('-')) return word;
    const spec = findOption(word, table);
    if (spec?.arg !== undefined && spec.argOptional !== true && !word.includes('=')) at++;
  }
  return undefined;
}

function findOption(word: string, table: OptionTable): OptionSpec | undefined {
  const name = word.split('=')[0] ?? word;
  return Object.entries(table).find(([key, spec]) => spellings(key, spec).includes(name))?.[1];
}

/** The option whose argument is being typed: as a word of its own or attached by `=`. */
function pendingOption(previous: string | undefined, current: string, table: OptionTable): { spec: OptionSpec; prefix: string; before: string } | undefined {
  const equals = current.startsWith('--') ? current.indexOf('=') : -1;
  if (equals > 0) {
    const spec = findOption(current, table);
    if (spec?.arg === undefined) return undefined;
    return { spec, prefix: current.slice(equals + 1), before: current.slice(0, equals + 1) };
  }
  if (previous === undefined || !previous.startsWith('-') || previous.includes('=')) return undefined;
  const spec = findOption(previous, table);
  if (spec?.arg === undefined || spec.argOptional === true) return undefined;
  return { spec, prefix: current, before: '' };
}

async function valuesOf(spec: OptionSpec, program: CompletionProgram): Promise<readonly string[] | undefined> {
  if (spec.complete === undefined) return undefined;
  return typeof spec.complete === 'string' ? await program.values?.(spec.complete) : spec.complete;
}

async function yargsWords(program: CompletionProgram, command: string | undefined, table: OptionTable, words: string[]): Promise<string[]> {
  const { default: yargs } = await import('yargs');
  // no aliases: yargs lists one-letter names with two dashes
  const options = (of: OptionTable): Record<string, { describe: string; type: 'string' | 'boolean' }> =>
    Object.fromEntries(
      Object.entries(of).flatMap(([key, spec]) => {
        const long = longName(key, spec);
        if (long === undefined || spec.hidden === true) return [];
        return [[long, { describe: spec.help.split('\n')[0] ?? '', type: spec.arg === undefined ? ('boolean' as const) : ('string' as const) }]];
      }),
    );
  const parser = yargs([])
    .scriptName(program.name)
    .locale('en')
    .help(false)
    .version(false)
    .exitProcess(false)
    .parserConfiguration({ 'parse-numbers': false, 'parse-positional-numbers': false, 'camel-case-expansion': false, 'boolean-negation': false })
    .completion('completion', false);
  if (command === undefined) {
    parser.options(options(program.options));
    for (const { name, summary } of program.commands ?? []) parser.command(name, summary);
  } else {
    parser.options(options(table));
    words = words.slice(words.indexOf(command) + 1);
  }
  const found = await new Promise<string[]>((resolve, reject) => {
    void parser.getCompletion(words, (error, completions) => {
      if (error === null || error === undefined) resolve([...(completions ?? [])]);
      else reject(error);
    });
  });
  return found.map((word) => word.replace(/(?<!\\):.*$/, '')).filter((word) => word !== '$0' && word !== 'completion');
}

/** The script that makes a shell ask `program` for completions. bash and zsh come from yargs, fish from here. */
export async function completionScript(program: string, shell: 'bash' | 'zsh' | 'fish'): Promise<string> {
  if (shell === 'fish') {
    return `complete -c ${program} -f -a '(${program} ${completionFlag} (commandline -opc) (commandline -ct))'\n`;
  }
  const { default: yargs } = await import('yargs');
  let script = '';
  const log = console.log;
  const shellBefore = process.env['SHELL'];
  const zshBefore = process.env['ZSH_NAME'];
  try {
    // yargs chooses the dialect by the environment and prints by console.log
    process.env['SHELL'] = `/bin/${shell}`;
    delete process.env['ZSH_NAME'];
    console.log = (text: string): void => {
      script += `${text}\n`;
    };
    yargs([]).scriptName(program).locale('en').completion('completion', false).showCompletionScript();
  } finally {
    console.log = log;
    restore('SHELL', shellBefore);
    restore('ZSH_NAME', zshBefore);
  }
  // yargs tells of a sub-command that we have not
  return script.replace(/^# Installation: .*\n(?:# +or .*\n)?/m, `# Installation: eval "$(${program} --completion ${shell})"\n`);
}

function restore(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}
