/*
 * tsqmp: an interactive shell, a script runner, one-shot commands, or a daemon, over a machine in this process or a
 * running server. Arguments in, exit code out; what lines mean is the interpreter's.
 */
import { readFileSync } from 'node:fs';
import { UsageError } from '../cli/getopt.ts';
import { Reporter } from '../cli/report.ts';
import { errnoText } from '../core/util/errno.ts';
import { BlockError } from '../core/util/errors.ts';
import { type JsonObject, writeJson } from '../core/util/json.ts';
import { packageText, qemuVersion } from '../monitor/monitor.ts';
import { parseTarget } from '../monitor/qmp-client.ts';
import { Interpreter } from './interpreter.ts';
import { type RunningMachine, startMachine } from './machine-host.ts';
import { parseDisk, parseQmpAddress, parseShell, type ShellArguments, shellHelp } from './options.ts';
import { createPainter, eventText, warningText } from './render.ts';
import { EventLog, runScript, ScriptRunner } from './script.ts';
import { withSpinner } from './spinner.ts';
import { connectTransport, localTransport, type Transport } from './transport.ts';

export async function main(argv: readonly string[], progName: string): Promise<number> {
  if (argv.includes('--daemon') || progName === 'qemu-storage-daemon') {
    const { daemonMain } = await import('./daemon.ts');
    return daemonMain(
      argv.filter((word) => word !== '--daemon'),
      progName,
    );
  }
  const isTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  const reporter = new Reporter({
    program: progName,
    stdout: process.stdout,
    stderr: process.stderr,
    hints: isTerminal || argv.includes('--hints'),
  } as ConstructorParameters<typeof Reporter>[0]);
  try {
    const { options, operands, stoppedAt } = parseShell(argv);
    if (stoppedAt === 'help') {
      reporter.print(shellHelp(progName));
      return 0;
    }
    if (stoppedAt === 'version') {
      reporter.print(`${progName} (${packageText}), answers of QEMU ${qemuVersion.major}.${qemuVersion.minor}.${qemuVersion.micro}\n`);
      return 0;
    }
    return await new Shell(options, operands, reporter, isTerminal).run();
  } catch (error) {
    return reporter.error(error);
  }
}

class Shell {
  readonly #options: ShellArguments;
  readonly #reporter: Reporter;
  readonly #isTerminal: boolean;
  readonly #scriptFile: string | undefined;
  readonly #server: string | undefined;
  readonly #abort = new AbortController();
  readonly #events = new EventLog();
  #show: (text: string) => void = (text) => process.stderr.write(text);

  constructor(options: ShellArguments, operands: readonly string[], reporter: Reporter, isTerminal: boolean) {
    this.#options = options;
    this.#reporter = reporter;
    this.#isTerminal = isTerminal;
    const isRun = operands[0] === 'run';
    const rest = isRun ? operands.slice(1) : operands;
    this.#scriptFile = isRun ? rest[0] : undefined;
    if (isRun && this.#scriptFile === undefined) throw new UsageError('run: a script is expected');
    this.#server = rest[isRun ? 1 : 0];
    const surplus = rest[isRun ? 2 : 1];
    if (surplus !== undefined) throw new UsageError(`unexpected argument '${surplus}'`);
    if (this.#server !== undefined && options.disk.length > 0) throw new UsageError('--disk starts a machine here, SERVER is another one: give one of them');
  }

  get #hasHints(): boolean {
    return this.#isTerminal || this.#options.hints;
  }

  async run(): Promise<number> {
    const end = (): void => this.#abort.abort();
    for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) process.on(signal, end);
    // a script is read before anything is started
    const script = this.#scriptFile === undefined ? undefined : readScript(this.#scriptFile);
    let machine: RunningMachine | undefined;
    let transport: Transport | undefined;
    try {
      if (this.#server === undefined) {
        machine = await startMachine({
          disks: this.#options.disk.map(parseDisk),
          qmp: this.#options.qmp.map(parseQmpAddress),
          isStrict: this.#options.strict,
          onQuit: end,
          print: (text) => process.stdout.write(text),
        });
        const session = machine.monitor.openSession({ isNegotiated: true, hearsOwnEvents: true, onNote: (text) => this.#note(text) });
        transport = localTransport(session);
      } else transport = await this.#connect(this.#server);
      const isLoud = this.#options.verbose;
      const painter = await createPainter(this.#isTerminal && process.env['NO_COLOR'] === undefined);
      transport.listen((event) => this.#hear(event, isLoud, (text) => painter.event(text)));
      return await this.#serve(transport, script, painter);
    } finally {
      await transport?.close();
      await machine?.[Symbol.asyncDispose]();
      for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) process.off(signal, end);
    }
  }

  async #connect(server: string): Promise<Transport> {
    try {
      // a monitor that serves somebody else lets us wait
      const connecting = connectTransport(parseTarget(server), { negotiate: !this.#options.noNegotiate });
      return await withSpinner(`waiting for ${server}`, connecting, { isTerminal: this.#isTerminal });
    } catch (error) {
      if (error instanceof BlockError) throw error.with({ message: `ERROR: ${error.message}` });
      throw error;
    }
  }

  #note(text: string): void {
    this.#show(`note: ${text}\n`);
  }

  #hear(event: JsonObject, isLoud: boolean, paint: (text: string) => string): void {
    this.#events.add(event);
    const warning = warningText(event);
    if (warning !== undefined) this.#show(`${paint(warning)}\n`);
    else if (this.#isTerminal && this.#scriptFile === undefined && this.#options.command.length === 0)
      this.#show(`${paint(eventText(event) ?? writeJson(event))}\n`);
    else if (isLoud) process.stdout.write(`${writeJson(event)}\n`);
  }

  async #serve(transport: Transport, script: string | undefined, painter: Awaited<ReturnType<typeof createPainter>>): Promise<number> {
    const interpreter = new Interpreter(transport, { isHmp: this.#options.hmp, isPretty: this.#options.pretty, isVerbose: this.#options.verbose });
    const runner = new ScriptRunner(interpreter, this.#events);
    if (this.#options.command.length > 0) return this.#oneShot(runner);
    const output = { out: (text: string) => void process.stdout.write(text), err: (text: string) => void process.stderr.write(text), hasHints: this.#hasHints };
    if (script !== undefined) return this.#ended(runScript(script, this.#scriptFile ?? '', runner, output));
    if (!this.#isTerminal) {
      // with --qmp and nothing to read it serves other clients until quit or a signal
      return this.#piped(runner, output, this.#options.qmp.length > 0);
    }
    const { startRepl } = await import('./repl.ts');
    const repl = startRepl({
      interpreter,
      runner,
      events: this.#events,
      painter,
      isHmp: this.#options.hmp,
      hasHints: this.#hasHints,
      input: process.stdin,
      output: process.stdout,
      signal: this.#abort.signal,
    });
    this.#show = repl.show;
    return repl.done;
  }

  /** Standard input as a script, a line when it comes. `staysOpen`: with --qmp the end of the input is not the end. */
  async #piped(runner: ScriptRunner, output: Parameters<typeof runScript>[3], staysOpen: boolean): Promise<number> {
    const { createInterface } = await import('node:readline');
    const lines = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY });
    let number = 0;
    let hadInput = false;
    const read = async (): Promise<number> => {
      for await (const line of lines) {
        number++;
        hadInput ||= line.trim() !== '';
        const code = await runScript(line, '<stdin>', runner, output, number);
        if (code !== 0) return code;
        if (this.#abort.signal.aborted) break;
      }
      if (staysOpen && !hadInput && !this.#abort.signal.aborted) await this.#aborted();
      return 0;
    };
    try {
      return await this.#ended(read());
    } finally {
      lines.close();
      process.stdin.destroy();
    }
  }

  #aborted(): Promise<void> {
    return new Promise((resolve) => this.#abort.signal.addEventListener('abort', () => resolve(), { once: true }));
  }

  /** The result of `work`, or 0 when the program is told to end before. */
  #ended(work: Promise<number>): Promise<number> {
    return Promise.race([work, this.#aborted().then(() => 0)]);
  }

  async #oneShot(runner: ScriptRunner): Promise<number> {
    for (const command of this.#options.command) {
      const { output, failure } = await runner.runLine(command);
      if (failure === undefined) {
        process.stdout.write(output);
        continue;
      }
      if (failure.isReply) this.#reporter.message(failure.message);
      else process.stderr.write(`${failure.message}\n`);
      if (failure.hint !== undefined) this.#reporter.hint(failure.hint);
      return 1;
    }
    return 0;
  }
}

function readScript(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new BlockError(`Could not open '${file}': ${errnoText(error)}`, { cause: error });
  }
}
