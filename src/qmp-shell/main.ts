/*
 * tsqmp: an interactive shell, a script runner, one-shot commands, or a daemon, over a machine in this process or a
 * running server. Arguments in, exit code out; what lines mean is the interpreter's. Everything that was opened is closed
 * in order, whatever ends the program.
 */

import { readFileSync } from 'node:fs';
import { enableDebug } from '../cli/debug.ts';
import { UsageError } from '../cli/getopt.ts';
import { asksForCompletion } from '../cli/options.ts';
import { Reporter } from '../cli/report.ts';
import { maxServedLines, relayWarnings } from '../cli/warnings.ts';
import { errnoText } from '../core/util/errno.ts';
import { BlockError } from '../core/util/errors.ts';
import type { JsonObject } from '../core/util/json.ts';
import { writeJson } from '../core/util/json-write.ts';
import { Engine } from '../engine/engine.ts';
import { packageText, qemuVersion } from '../monitor/monitor.ts';
import { parseTarget } from '../monitor/qmp-client.ts';
import { EventLog } from './event-log.ts';
import { Interpreter } from './interpreter.ts';
import { type EndCause, keepFromBugs, leaveStuckThreads, watchForEnd, written } from './lifetime.ts';
import { type RunningMachine, startMachine } from './machine-host.ts';
import { parseDisk, parseQmpAddress, parseShell, type ShellArguments, shellHelp, shellTable } from './options.ts';
import { createPainter, eventText, hasColour, type Painter, plainPainter, warningText } from './render.ts';
import { LineRunner, runScript, Script, type ScriptOutput } from './script.ts';
import { withSpinner } from './spinner.ts';
import { connectTransport, localTransport, type Transport } from './transport.ts';

export async function main(argv: readonly string[], progName: string): Promise<number> {
  enableDebug(process.env);
  const engines: Engine[] = [];
  const code = await runProgram(argv, progName, (engine) => engines.push(engine));
  // Node would wait for the threads of opens that were given up
  if (engines.some(({ opener }) => opener.waiting > 0)) await leaveStuckThreads(code);
  return code;
}

/** `started` hears of the engine, which is closed when this settles. */
async function runProgram(argv: readonly string[], progName: string, started: (engine: Engine) => void): Promise<number> {
  if (argv.includes('--daemon') || progName === 'qemu-storage-daemon') {
    const { daemonMain } = await import('./daemon.ts');
    return daemonMain(
      argv.filter((word) => word !== '--daemon'),
      progName,
      started,
    );
  }
  const isTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  // before the options are read only the terminal can ask for hints
  let reporter = new Reporter({ program: progName, hints: isTerminal });
  try {
    if (asksForCompletion(argv)) {
      const { answerCompletion } = await import('../cli/completion.ts');
      reporter.print(await answerCompletion({ name: progName, options: shellTable }, argv));
      return 0;
    }
    const { options, operands, stoppedAt } = parseShell(argv);
    if (stoppedAt === 'help') {
      reporter.print(shellHelp(progName));
      return 0;
    }
    if (stoppedAt === 'version') {
      reporter.print(`${progName} (${packageText}), answers of QEMU ${qemuVersion.major}.${qemuVersion.minor}.${qemuVersion.micro}\n`);
      return 0;
    }
    reporter = new Reporter({ program: progName, hints: isTerminal || options.hints });
    return await new Shell(options, operands, reporter, isTerminal).run(started);
  } catch (error) {
    return reporter.error(error);
  }
}

/** How long a line may take to end after the program was told to end. */
const graceMs = 1000;

class Shell {
  readonly #options: ShellArguments;
  readonly #reporter: Reporter;
  readonly #isTerminal: boolean;
  readonly #scriptFile: string | undefined;
  readonly #server: string | undefined;
  /** The machine ended by `quit`, or a signal came: nothing more begins. */
  readonly #ending = new AbortController();
  readonly #events = new EventLog();
  #painter: Painter = plainPainter;
  #isInteractive = false;
  /** False when standard output is a pipe that nobody reads any more. */
  #hasReader = true;
  #show: (text: string) => void = (text) => this.#tell(text);

  constructor(options: ShellArguments, operands: readonly string[], reporter: Reporter, isTerminal: boolean) {
    this.#options = options;
    this.#reporter = reporter;
    this.#isTerminal = isTerminal;
    const isRun = operands[0] === 'run';
    const [file, ...others] = isRun ? operands.slice(1) : [undefined, ...operands];
    if (isRun && file === undefined) throw new UsageError('run: a script is expected');
    if (isRun && options.command.length > 0) throw new UsageError('run FILE and -c exclude each other');
    const [server, surplus] = others;
    if (surplus !== undefined) throw new UsageError(`unexpected argument '${surplus}'`);
    if (server !== undefined && options.disk.length > 0) throw new UsageError('--disk starts a machine here, SERVER is another one: give one of them');
    if (server !== undefined && options.qmp.length > 0) throw new UsageError('--qmp serves the machine in this process: SERVER has its own sockets');
    this.#scriptFile = file;
    this.#server = server;
  }

  async run(started: (engine: Engine) => void): Promise<number> {
    watchForEnd((cause) => this.#endFor(cause));
    keepFromBugs((text) => this.#warn(text));
    // a script is read before anything is started
    const script = this.#scriptFile === undefined ? undefined : readScript(this.#scriptFile);
    this.#painter = await createPainter(this.#isTerminal && hasColour(process.stdout, process.env));
    let machine: RunningMachine | undefined;
    let transport: Transport | undefined;
    try {
      if (this.#server === undefined) {
        const engine = new Engine({ strict: this.#options.strict });
        started(engine);
        machine = await this.#startMachine(engine);
        transport = localTransport(machine.monitor.openSession({ isNegotiated: true, hearsOwnEvents: true, onNote: (text) => this.#note(text) }));
      } else transport = await this.#connect(this.#server);
      transport.listen((event) => this.#hear(event));
      transport.closed.then(
        () => this.#events.close('Disconnected'),
        () => {},
      );
      const code = await this.#serve(transport, script);
      return this.#hasReader ? code : 1;
    } finally {
      await transport?.close();
      await machine?.[Symbol.asyncDispose]();
    }
  }

  #endFor(cause: EndCause): void {
    // in the shell Ctrl-C is a key; as a signal it is meant for a program that a line has started
    if (cause === 'SIGINT' && this.#isInteractive) return;
    if (cause === 'reader' && !this.#isInteractive) this.#hasReader = false;
    this.#ending.abort();
  }

  /** Messages. A reader that went away (`| head`) ends the program quietly. */
  #tell(text: string): void {
    if (this.#hasReader) process.stderr.write(text);
  }

  #startMachine(engine: Engine): Promise<RunningMachine> {
    relayWarnings(engine.events, this.#reporter, maxServedLines);
    return startMachine(engine, {
      disks: this.#options.disk.map(parseDisk),
      qmp: this.#options.qmp.map(parseQmpAddress),
      signal: this.#ending.signal,
      // the reply to quit is printed first
      onQuit: () => setImmediate(() => this.#ending.abort()),
      print: (text) => process.stdout.write(text),
      printed: () => written(process.stdout),
      warn: (text) => this.#warn(text),
    });
  }

  async #connect(server: string): Promise<Transport> {
    const target = parseTarget(server);
    try {
      // a monitor that serves somebody else lets us wait
      const connecting = connectTransport(target, { negotiate: !this.#options.noNegotiate, signal: this.#ending.signal });
      return await withSpinner(`waiting for ${server}`, connecting, { isTerminal: this.#isTerminal });
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      throw error.with({ message: `ERROR: ${error.message}`, hint: 'SERVER is the socket of a running tsqmp --qmp or of a QEMU with -qmp' });
    }
  }

  /** Bugs, and what concerns the sockets of --qmp. */
  #warn(text: string): void {
    this.#show(`${this.#painter.warning(`${this.#reporter.program}: ${text}`)}\n`);
  }

  #note(text: string): void {
    this.#show(`${this.#painter.note(`note: ${text}`)}\n`);
  }

  #hear(event: JsonObject): void {
    this.#events.add(event);
    const warning = warningText(event);
    if (warning !== undefined) this.#show(`${this.#painter.warning(warning)}\n`);
    else if (this.#options.verbose) (this.#isInteractive ? this.#show : (text: string) => process.stdout.write(text))(`${writeJson(event)}\n`);
    else if (this.#isInteractive) this.#show(`${this.#painter.event(eventText(event))}\n`);
  }

  async #serve(transport: Transport, script: string | undefined): Promise<number> {
    const { hmp, pretty, verbose, command } = this.#options;
    const interpreter = new Interpreter(transport, { isHmp: hmp, isPretty: pretty, isVerbose: verbose, painter: this.#painter });
    const runner = new LineRunner(interpreter, this.#events);
    if (command.length > 0) return this.#oneShot(runner);
    if (script !== undefined) return this.#toTheEnd(runScript(script, this.#script(this.#scriptFile ?? '', runner)));
    if (!this.#isTerminal) return this.#piped(runner);
    const { Repl } = await import('./repl.ts');
    const repl = new Repl({
      runner,
      painter: this.#painter,
      hasHints: true,
      input: process.stdin,
      output: process.stdout,
      signal: this.#ending.signal,
    });
    this.#isInteractive = true;
    this.#show = (text) => repl.show(text);
    return repl.run();
  }

  #script(name: string, runner: LineRunner): Script {
    const output: ScriptOutput = {
      out: (text) => process.stdout.write(text),
      err: (text) => this.#tell(text),
      hasHints: this.#isTerminal || this.#options.hints,
    };
    return new Script(name, runner, output, this.#ending.signal);
  }

  /** Standard input as a script, each line when it comes. */
  async #piped(runner: LineRunner): Promise<number> {
    const { createInterface } = await import('node:readline');
    const lines = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY });
    const script = this.#script('<stdin>', runner);
    let hadInput = false;
    let isRunning = false;
    const read = async (): Promise<number> => {
      for await (const line of lines) {
        hadInput ||= line.trim() !== '';
        isRunning = true;
        const code = await script.next(line);
        isRunning = false;
        if (code !== undefined) return code;
      }
      // with --qmp and nothing to read it serves other clients until quit or a signal
      if (this.#options.qmp.length > 0 && !hadInput) await this.#ended();
      return script.end();
    };
    const work = read();
    try {
      // told to end between two lines it has done all that it was asked to
      return await Promise.race([work, this.#ended().then(() => (isRunning ? this.#toTheEnd(work) : 0))]);
    } finally {
      lines.close();
      process.stdin.destroy();
    }
  }

  #ended(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#ending.signal.aborted) resolve();
      else this.#ending.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  /** The result of `work`. When the program is told to end meanwhile, a line that waits ends and tells where; 1 when it does not. */
  #toTheEnd(work: Promise<number>): Promise<number> {
    const ended = this.#ended().then(async () => {
      let timer: NodeJS.Timeout | undefined;
      // it keeps the event loop alive: there may be nothing else
      const grace = new Promise<undefined>((resolve) => {
        timer = setTimeout(() => resolve(undefined), graceMs);
      });
      const code = await Promise.race([work, grace]).finally(() => clearTimeout(timer));
      if (code === undefined && this.#hasReader) this.#reporter.message('interrupted');
      return code ?? 1;
    });
    return Promise.race([work, ended]);
  }

  /** Commands of -c, in order: answers on standard output, the first error ends with its text on standard error. */
  async #oneShot(runner: LineRunner): Promise<number> {
    const run = async (): Promise<number> => {
      for (const command of this.#options.command) {
        if (!this.#hasReader) return 1;
        const { output, notes = [], failure, hint } = await runner.runLine(command, { signal: this.#ending.signal });
        for (const note of notes) process.stderr.write(`note: ${note}\n`);
        if (failure === undefined) {
          process.stdout.write(output);
          if (hint !== undefined) this.#reporter.hint(hint);
          continue;
        }
        if (failure.isReply) this.#reporter.message(failure.message);
        else process.stderr.write(`${failure.message}\n`);
        if (failure.hint !== undefined) this.#reporter.hint(failure.hint);
        return 1;
      }
      return 0;
    };
    return this.#toTheEnd(run());
  }
}

function readScript(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new BlockError(`Could not open '${file}': ${errnoText(error)}`, { code: 'ERR_OPTION', cause: error });
  }
}
