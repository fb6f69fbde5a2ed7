/*
 * A real terminal for tests: one tmux server of its own with one window. What is on the screen is read back as text.
 * Without tmux the tests that need it are left out loudly; with REQUIRE_PEERS=1 they fail.
 */
import { execFile, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { describe, it } from 'vitest';
import { tempFolder } from './tmp.ts';

const execute = promisify(execFile);

export interface TerminalOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly columns?: number;
  readonly rows?: number;
}

export class Terminal implements AsyncDisposable {
  readonly #name: string;
  readonly #deadlineMs: number;
  /** Settles when the last program in it has ended. */
  readonly #deserted: Promise<unknown>;
  #isOpen = true;

  private constructor(name: string, deadlineMs: number, deserted: Promise<unknown>) {
    this.#name = name;
    this.#deadlineMs = deadlineMs;
    this.#deserted = deserted;
  }

  /** Runs a line of the shell in a new terminal; the screen stays when it ends, below it `EXIT=` and the code. */
  static async open(line: string, options: TerminalOptions): Promise<Terminal> {
    const name = `tsimg-${randomUUID()}`;
    const environment = Object.entries(options.env ?? {}).flatMap(([key, value]) => ['-e', `${key}=${value}`]);
    const size = ['-x', String(options.columns ?? 100), '-y', String(options.rows ?? 50)];
    const folder = tempFolder('tmux');
    const pipe = folder.file('programs');
    await execute('mkfifo', [pipe]);
    // all programs hold its other end: reading comes to its end with the last of them
    const deserted = execute('cat', [pipe]).finally(() => folder[Symbol.dispose]());
    // the `read` keeps the screen until the server is ended
    await execute(
      'tmux',
      ['-L', name, '-f', '/dev/null', 'new-session', '-d', '-s', 't', ...size, ...environment, `exec 9>${pipe}; ${line}; echo EXIT=$?; read end`],
      {
        cwd: options.cwd,
      },
    );
    return new Terminal(name, Date.now() + 90_000, deserted);
  }

  /** Types text as it is. */
  async type(text: string): Promise<void> {
    await this.#tmux('send-keys', '-t', 't', '-l', text);
  }

  /** Presses keys by tmux's names: Enter, Tab, C-c, Up. */
  async press(...keys: string[]): Promise<void> {
    await this.#tmux('send-keys', '-t', 't', ...keys);
  }

  /** Types a line and ends it. */
  async enter(line: string): Promise<void> {
    await this.type(line);
    await this.press('Enter');
  }

  /** What is on the screen and above it, without trailing blanks. Wrapped lines are joined. */
  async screen(): Promise<string> {
    return (await this.#tmux('capture-pane', '-p', '-J', '-S', '-500', '-t', 't')).trimEnd();
  }

  /** The screen with its escape sequences. */
  screenWithColours(): Promise<string> {
    return this.#tmux('capture-pane', '-p', '-e', '-S', '-500', '-t', 't');
  }

  /** The screen once `pattern` is on it. Rejects with the screen when that takes too long. */
  async until(pattern: RegExp | string): Promise<string> {
    for (;;) {
      const screen = await this.screen();
      if (typeof pattern === 'string' ? screen.includes(pattern) : pattern.test(screen)) return screen;
      if (Date.now() > this.#deadlineMs) throw new Error(`${pattern} is not on the screen:\n${screen}`);
    }
  }

  /** Closes the terminal under its programs, as a lost connection does. */
  async close(): Promise<void> {
    this.#isOpen = false;
    await this.#tmux('kill-session', '-t', 't');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // without sessions the server has ended by itself
    if (this.#isOpen) await this.#tmux('kill-server');
    await this.#deserted;
  }

  async #tmux(...args: string[]): Promise<string> {
    return (await execute('tmux', ['-L', this.#name, ...args])).stdout;
  }
}

/** `describe` for tests on a real terminal. */
export function describeWithTerminal(title: string, body: () => void): void {
  const isThere = spawnSync('tmux', ['-V']).status === 0;
  if (isThere) describe(title, body);
  else if (process.env['REQUIRE_PEERS'] === '1') describe(title, () => it('needs tmux', () => Promise.reject(new Error('missing: tmux'))));
  else {
    console.warn(`LEFT OUT: ${title} (needs tmux)`);
    describe.runIf(false)(title, () => it('needs tmux', () => {}));
  }
}
