/*
 * The progress of a long subcommand: shows the line of report.ts only when it moved by a noticeable step, and answers
 * SIGUSR1 where `-p` is off. Knows no work. Rule source: observed output of qemu-img 11.1.
 */
import { ProgressLine, type Reporter } from '../cli/report.ts';
import { formatFixed } from '../core/util/printf.ts';

/** The work that SIGUSR1 asks about. Listening never ends: without a listener the signal would end the process. */
let current: Progress | undefined;
let isListening = false;

function onSignal(): void {
  current?.tell();
}

export class Progress {
  readonly #line: ProgressLine;
  readonly #step: number;
  readonly #report: Reporter;
  readonly #isOn: boolean;
  #shown = 0;
  #percent = 0;

  /** `step`: percent that the work must have moved before the line is shown again. */
  constructor(report: Reporter, isOn: boolean, step: number) {
    this.#report = report;
    this.#line = new ProgressLine(report.stdout, isOn);
    this.#isOn = isOn;
    this.#step = step;
    current = this;
    if (isListening || process.platform === 'win32') return;
    isListening = true;
    process.on('SIGUSR1', onSignal);
  }

  /** One line on stderr, unless the line of progress is shown anyway. */
  tell(): void {
    if (!this.#isOn) this.#report.stderr.write(`    (${formatFixed(this.#percent, 2)}/100%)\n`);
  }

  /** Where the work stands, 0 – 100. */
  at(percent: number): void {
    this.#percent = Math.min(100, percent);
    const moved = Math.abs(this.#percent - this.#shown) > this.#step;
    if (!moved && this.#percent !== 0 && this.#percent !== 100) return;
    this.#shown = this.#percent;
    this.#line.show(this.#percent);
  }

  /** Ends the line. */
  end(): void {
    if (current === this) current = undefined;
    this.#line.finish();
  }
}
