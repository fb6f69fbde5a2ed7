/*
 * tsimg: finds the subcommand and runs it; global options, help and version; reports what was thrown and gives the exit
 * code. Knows no image. Subcommands load at first use, so that each starts with little.
 * Rule source: observed behaviour of qemu-img 11.1.
 */

import type { CompletionProgram } from '../cli/completion.ts';
import { enableDebug } from '../cli/debug.ts';
import { UsageError } from '../cli/getopt.ts';
import { asksForCompletion, completionOption, defineOptions, helpOption, type OptionTable, parseOptions } from '../cli/options.ts';
import { Reporter, type TextSink } from '../cli/report.ts';
import { isTraceHelp, warnAboutTrace } from '../cli/trace.ts';
import { didYouMean } from '../core/util/did-you-mean.ts';
import type { ImageCommand } from './image-command.ts';
import { versionLines } from './version.ts';

export { DirectOutput } from '../cli/output.ts';

interface CommandEntry {
  readonly summary: string;
  load(): Promise<ImageCommand>;
}

/** The subcommands, by name. */
export const commands: Readonly<Record<string, CommandEntry>> = {
  amend: { summary: 'change options that an image records', load: async () => (await import('./amend.ts')).command },
  bench: { summary: 'make requests on an image, and tell how long they took', load: async () => (await import('./bench.ts')).command },
  bitmap: { summary: 'change the persistent bitmaps of an image', load: async () => (await import('./bitmap.ts')).command },
  check: { summary: 'look for errors in the structure of an image', load: async () => (await import('./check.ts')).command },
  commit: { summary: 'move what an image holds into its backing file', load: async () => (await import('./commit.ts')).command },
  compare: { summary: 'tell whether two images hold the same data', load: async () => (await import('./compare.ts')).command },
  convert: { summary: 'copy images into a new one, of another format if wanted', load: async () => (await import('./convert.ts')).command },
  create: { summary: 'make a new image', load: async () => (await import('./create.ts')).command },
  dd: { summary: 'copy a part of an image into a new one', load: async () => (await import('./dd.ts')).command },
  info: { summary: 'show what an image is', load: async () => (await import('./info.ts')).command },
  map: { summary: 'show where the data of an image lie', load: async () => (await import('./map.ts')).command },
  measure: { summary: 'tell how large the file of a new image would be', load: async () => (await import('./measure.ts')).command },
  rebase: { summary: 'put another backing file under an image', load: async () => (await import('./rebase.ts')).command },
  resize: { summary: 'change the size of an image', load: async () => (await import('./resize.ts')).command },
  snapshot: { summary: 'list, make, apply or delete snapshots inside an image', load: async () => (await import('./snapshot.ts')).command },
};

const table = defineOptions({
  help: helpOption,
  version: { short: 'V', stops: true, help: 'print the version and exit' },
  trace: { short: 'T', arg: 'TRACE', many: true, help: 'trace points to follow: [[enable=]PATTERN][,events=FILE][,file=FILE]' },
});
/** Options before the subcommand, as help shows them. */
export const globalOptions: OptionTable = {
  ...table,
  hints: { help: 'print hints after errors although stderr is no terminal\n(has to be the first word)' },
  completion: completionOption,
};

/** Runs the program; the exit code. Never throws. Text goes to the process's own streams, or to the ones given. */
export async function main(
  argv: readonly string[],
  progName: string,
  streams: { readonly stdout?: TextSink; readonly stderr?: TextSink } = {},
): Promise<number> {
  enableDebug(process.env);
  const wantsHints = argv[0] === '--hints';
  const words = wantsHints ? argv.slice(1) : argv;
  let report = new Reporter({ program: progName, ...streams, ...(wantsHints ? { hints: true } : {}) });
  try {
    if (asksForCompletion(words)) {
      const { answerCompletion } = await import('../cli/completion.ts');
      report.print(await answerCompletion(await completionProgram(progName), words));
      return 0;
    }
    const { operands, options, stoppedAt } = parseOptions(words, table, { permute: false });
    if (stoppedAt === 'version') {
      report.print(`${versionLines(progName).join('\n')}\n`);
      return 0;
    }
    if (stoppedAt === 'help') {
      report.print(await helpText(progName));
      return 0;
    }
    for (const trace of options.trace) {
      if (isTraceHelp(trace)) return 0;
      warnAboutTrace(report, trace);
    }
    const [name, ...rest] = operands;
    if (name === undefined) throw new UsageError('Not enough arguments');
    // `help COMMAND` is `COMMAND --help`
    const [chosen, own] = name === 'help' && rest[0] !== undefined ? [rest[0], ['--help']] : [name, rest];
    if (chosen === 'help') {
      report.print(await helpText(progName));
      return 0;
    }
    const entry = Object.hasOwn(commands, chosen) ? commands[chosen] : undefined;
    if (entry === undefined) {
      throw new UsageError(`Command not found: ${chosen}`, { hint: didYouMean(chosen, [...Object.keys(commands), 'help']) });
    }
    report = report.forCommand(chosen);
    const command = await entry.load();
    return await command.execute(own, { report, env: process.env });
  } catch (error) {
    return report.error(error);
  }
}

async function helpText(program: string): Promise<string> {
  const [{ programHelp }, { driverEntries }] = await Promise.all([import('../cli/help.ts'), import('../engine/drivers.ts')]);
  return programHelp({
    program,
    version: versionLines(program),
    description: 'Disk images: make, inspect, check, compare, convert and resize them.',
    usage: ['[standard options] COMMAND [--help | command options]'],
    options: globalOptions,
    commands: Object.entries(commands).map(([name, { summary }]) => ({ name, summary })),
    words: { heading: 'Supported image formats:', list: driverEntries.map(({ name }) => name).sort() },
    footer: [`'${program} COMMAND --help' tells more about a command, the manual page tsimg(1) about all of them.`],
  });
}

async function completionProgram(name: string): Promise<CompletionProgram> {
  const [{ imageFormats }, { cacheNames }] = await Promise.all([import('../engine/drivers.ts'), import('../core/block/cache-mode.ts')]);
  return {
    name,
    options: table,
    commands: Object.entries(commands).map(([command, { summary, load }]) => ({
      name: command,
      summary,
      options: async () => (await load()).help(name).options,
    })),
    values: (kind) => (kind === 'format' ? imageFormats : kind === 'cache' ? cacheNames : undefined),
  };
}
