/*
 * What programs say about themselves on stderr: errors with their lines of detail and hints, warnings, and the line of
 * progress on stdout. Nothing else prints errors. Knows no command. Rule source: qemu-img's messages and exit codes.
 */

import { errnoCode, errnoText } from '../core/util/errno.ts';
import { BlockError } from '../core/util/errors.ts';
import { internalErrorText, isSuppressed } from '../core/util/internal-error.ts';
import { formatFixed } from '../core/util/printf.ts';
import { UsageError } from './getopt.ts';
import { namesOut } from './output.ts';

/** Exit code for a bug of ours. */
const internalErrorExit = 70;

/** Where text goes: process.stdout and process.stderr are such. */
export interface TextSink {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

export interface ReporterSettings {
  /** The base name under which the program was started. */
  readonly program: string;
  /** The sub-command, if one was recognised. */
  readonly command?: string | undefined;
  readonly stdout?: TextSink;
  readonly stderr?: TextSink;
  /** Hints on (true), off (false), or on for a terminal only (undefined). */
  readonly hints?: boolean | undefined;
  /** The line after a usage error; by default qemu-img's. */
  readonly tryLine?: (name: string) => string;
}

/** The base name of the program as invoked, so that a link named qemu-img speaks under that name. */
export function programName(argv1: string | undefined, fallback: string): string {
  const name = (argv1 ?? '').split(/[/\\]/).pop() ?? '';
  const base = name.replace(/\.(?:[cm]?js|ts)$/, '');
  return base === '' ? fallback : base;
}

export class Reporter {
  readonly program: string;
  readonly command: string | undefined;
  readonly stdout: TextSink;
  readonly stderr: TextSink;
  readonly #hints: boolean | undefined;
  readonly #tryLine: (name: string) => string;

  constructor(settings: ReporterSettings) {
    this.program = settings.program;
    this.command = settings.command;
    this.stdout = settings.stdout ?? namesOut(process.stdout);
    this.stderr = settings.stderr ?? namesOut(process.stderr);
    this.#hints = settings.hints;
    this.#tryLine = settings.tryLine ?? ((name) => `Try '${name} --help' for more information`);
  }

  /** The same reporter for a sub-command. */
  forCommand(command: string): Reporter {
    return new Reporter({
      program: this.program,
      command,
      stdout: this.stdout,
      stderr: this.stderr,
      hints: this.#hints,
      tryLine: this.#tryLine,
    });
  }

  /** Result text. */
  print(text: string): void {
    this.stdout.write(text);
  }

  /** `prog: message` on stderr. */
  message(text: string): void {
    this.stderr.write(`${this.program}: ${text}\n`);
  }

  warning(text: string): void {
    this.message(`warning: ${text}`);
  }

  /** Advice on a line of its own, if hints are on. */
  hint(text: string): void {
    if (this.#hints ?? this.stderr.isTTY === true) this.stderr.write(`hint: ${text}\n`);
  }

  /** Prints whatever was thrown and gives the exit code for it: 1, or 70 for a bug of ours. */
  error(thrown: unknown): number {
    if (isSuppressed(thrown)) {
      const first = this.error(thrown.suppressed);
      return Math.max(first, this.error(thrown.error));
    }
    if (thrown instanceof UsageError) {
      const name = this.#commandName();
      this.stderr.write(`${thrown.fromParser ? name : this.program}: ${thrown.message}\n`);
      if (thrown.showTry) this.stderr.write(`${this.#tryLine(name)}\n`);
      this.#hintOf(thrown);
      return 1;
    }
    if (thrown instanceof BlockError) {
      this.message(thrown.message);
      if (thrown.detail !== undefined) this.stderr.write(`${thrown.detail}\n`);
      this.#hintOf(thrown);
      return 1;
    }
    if (thrown instanceof Error && errnoCode(thrown) !== undefined) {
      this.message(errnoText(thrown));
      return 1;
    }
    this.message(internalErrorText(thrown));
    return internalErrorExit;
  }

  #hintOf({ hint }: BlockError): void {
    if (hint !== undefined && hint !== '') this.hint(hint);
  }

  #commandName(): string {
    return this.command === undefined ? this.program : `${this.program} ${this.command}`;
  }
}

/** The line `    (12.34/100%)` that overwrites itself. Silent unless switched on; `percent` 0–100. */
export class ProgressLine {
  readonly #out: TextSink;
  readonly #isOn: boolean;
  #percent = 0;

  constructor(out: TextSink, isOn: boolean) {
    this.#out = out;
    this.#isOn = isOn;
  }

  get percent(): number {
    return this.#percent;
  }

  /** Shows where the work stands. */
  show(percent: number): void {
    this.#percent = Math.min(100, Math.max(0, percent));
    if (this.#isOn) this.#out.write(`    (${formatFixed(Math.fround(this.#percent), 2)}/100%)\r`);
  }

  /** Ends the line. */
  finish(): void {
    if (this.#isOn) this.#out.write('\n');
  }

  /** The line that SIGUSR1 asks for when progress is off. */
  snapshot(): string {
    return `    (${formatFixed(Math.fround(this.#percent), 2)}/100%)\n`;
  }
}
