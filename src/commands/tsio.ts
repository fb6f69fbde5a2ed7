/*
 * tsio: runs the commands of -c in order, or those that it reads, on one image. The exit code is 1 when any of them
 * failed. What runs in the background is waited for before the image is closed.
 * Rule source: observed behaviour of qemu-io 11.1.
 */
import type { CompletionProgram } from '../cli/completion.ts';
import { enableDebug } from '../cli/debug.ts';
import { UsageError } from '../cli/getopt.ts';
import { asksForCompletion } from '../cli/options.ts';
import { Reporter, type TextSink } from '../cli/report.ts';
import { isTraceHelp, warnAboutTrace } from '../cli/trace.ts';
import type { BlockBackend } from '../core/block/backend.ts';
import { cacheNames } from '../core/block/cache-mode.ts';
import { BlockError } from '../core/util/errors.ts';
import { imageFormats } from '../engine/drivers.ts';
import type { Engine } from '../engine/engine.ts';
import { engineHost } from '../engine/io/host.ts';
import { waitForBackground } from '../engine/io/requests.ts';
import { type IoHost, runIoCommand } from '../engine/io/run.ts';
import { makeObjects, newEngine } from './image-command.ts';
import { openExercised } from './tsio-image.ts';
import { helpText, ioOptions, type OpenSettings, readArguments, settingsOfWords } from './tsio-options.ts';
import { versionLines } from './version.ts';

export { DirectOutput } from '../cli/output.ts';

/** Runs the program; the exit code. Never throws. */
export async function main(
  argv: readonly string[],
  progName: string,
  streams: { readonly stdout?: TextSink; readonly stderr?: TextSink } = {},
): Promise<number> {
  enableDebug(process.env);
  const report = new Reporter({ program: progName, ...streams });
  try {
    if (asksForCompletion(argv)) {
      const { answerCompletion } = await import('../cli/completion.ts');
      report.print(await answerCompletion(completionProgram(progName), argv));
      return 0;
    }
    const { stoppedAt, commands, traces, objects, files, isMixed, image } = readArguments(argv, process.env);
    if (stoppedAt !== undefined) {
      report.print(stoppedAt === 'help' ? helpText(progName) : `${versionLines(progName).join('\n')}\n`);
      return 0;
    }
    for (const trace of traces) {
      if (isTraceHelp(trace)) return 0;
      warnAboutTrace(report, trace);
    }
    if (files.length > 1) {
      report.print(helpText(progName));
      return 1;
    }
    if (isMixed) throw new BlockError('--image-opts and -f are mutually exclusive', { code: 'ERR_USAGE' });
    await using engine = newEngine();
    await makeObjects(engine, objects);
    const session = new Session(engine, report);
    if (files.length > 0) await session.open(image);
    const isFailed = commands.length > 0 ? await session.runAll(commands) : await session.runRead(process.stdin);
    await session.close();
    return isFailed ? 1 : 0;
  } catch (error) {
    if (!(error instanceof UsageError) || !error.showTry) return report.error(error);
    report.message(error.message);
    report.print(helpText(progName));
    return 1;
  }
}

function completionProgram(name: string): CompletionProgram {
  return { name, options: ioOptions, values: (kind) => (kind === 'format' ? imageFormats : kind === 'cache' ? cacheNames : undefined) };
}

class Session {
  readonly #engine: Engine;
  readonly #report: Reporter;
  readonly #host: IoHost;
  #backend: BlockBackend | undefined;
  #isWriteThrough = false;

  constructor(engine: Engine, report: Reporter) {
    this.#engine = engine;
    this.#report = report;
    this.#host = {
      ...engineHost(engine),
      out: (text) => report.print(text),
      err: (text) => report.stderr.write(text),
      isWriteThrough: () => this.#isWriteThrough,
      program: {
        open: async (given) => this.open(settingsOfWords(given)),
        close: () => this.close(),
        raise,
      },
    };
  }

  async open(settings: OpenSettings): Promise<void> {
    if (this.#backend !== undefined) throw new BlockError("file open already, try 'help close'", { code: 'ERR_USAGE' });
    this.#backend = await openExercised(this.#engine, this.#report, settings);
    this.#isWriteThrough = settings.cache.writeThrough;
  }

  async close(): Promise<void> {
    const backend = this.#backend;
    if (backend === undefined) return;
    await waitForBackground(backend);
    this.#backend = undefined;
    await this.#engine.closeBackend(backend);
  }

  /** Runs the lines up to `quit`. True: one of them failed. */
  async runAll(lines: Iterable<string> | AsyncIterable<string>, before: () => void = () => {}): Promise<boolean> {
    let isFailed = false;
    before();
    for await (const line of lines) {
      const result = await runIoCommand(this.#backend, line, this.#host);
      this.#report.print(result.said);
      if (result.error !== undefined) this.#report.error(result.error);
      isFailed ||= result.isFailed;
      if (result.isQuit === true) break;
      before();
    }
    return isFailed;
  }

  /** The lines of a terminal, with an editor and a history, or of anything else. The prompt comes before each. */
  async runRead(input: NodeJS.ReadStream): Promise<boolean> {
    const { createInterface } = await import('node:readline');
    const prompt = `${this.#report.program}> `;
    if (!input.isTTY) return this.runAll(createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY }), () => this.#report.print(prompt));
    const editor = createInterface({ input, output: process.stdout, prompt });
    editor.on('SIGINT', () => editor.close());
    try {
      return await this.runAll(editor, () => editor.prompt());
    } finally {
      editor.close();
    }
  }
}

/** Ends the process by the signal, unless that is ignored or is none. */
function raise(signal: number | 'SIGABRT'): void {
  try {
    process.kill(process.pid, signal);
  } catch {
    // the C library's raise says nothing of a number that is no signal
  }
}
