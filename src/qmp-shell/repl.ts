/*
 * The interactive shell on a terminal: prompt, history, completion, events that come while a line is being typed without
 * destroying it. Ctrl-C drops the line or ends what a line waits for, Ctrl-D and quit end. Knows terminals, not what
 * commands do.
 */
import { createInterface, type Interface } from 'node:readline';
import { bannerText } from './banner.ts';
import { complete } from './completer.ts';
import { historyFile, historySize, loadHistory, saveHistory } from './history.ts';
import { HistorySearch } from './history-search.ts';
import type { Outcome } from './interpreter.ts';
import { KeyInput } from './key-input.ts';
import { paintJson, wrapText } from './paint-json.ts';
import type { Painter } from './render.ts';
import type { LineRunner } from './script.ts';

export interface ReplOptions {
  readonly runner: LineRunner;
  readonly painter: Painter;
  readonly hasHints: boolean;
  readonly input: NodeJS.ReadStream;
  readonly output: NodeJS.WriteStream;
  /** Aborts when the program is told to end. */
  readonly signal: AbortSignal;
}

export class Repl {
  readonly #options: ReplOptions;
  readonly #keys: KeyInput;
  readonly #readline: Interface;
  readonly #lines: string[] = [];
  #history: readonly string[];
  /** While Ctrl-R looks for a line, and the row of the terminal that its cursor stands in. */
  #search: { readonly state: HistorySearch; row: number } | undefined;
  #isBusy = false;
  #isClosed = false;
  /** A program that a line has started reads the terminal. */
  #isHandedOver = false;
  /** Ends the line that is being carried out. */
  #interrupt: AbortController | undefined;
  #finish: (code: number) => void = () => {};
  #fail: (error: unknown) => void = () => {};

  constructor(options: ReplOptions) {
    this.#options = options;
    const { runner, input, output } = options;
    const history = loadHistory(historyFile());
    this.#history = history;
    this.#keys = new KeyInput(input);
    this.#keys.intercept = (key) => this.#intercept(key);
    this.#readline = createInterface({
      input: this.#keys,
      output,
      terminal: true,
      history: [...history],
      historySize,
      completer: (line: string, callback: (error: Error | null, result: [string[], string]) => void) => {
        const { interpreter } = runner;
        complete({ transport: interpreter.transport, isHmp: interpreter.isHmp, isInTransaction: interpreter.isInTransaction }, line).then(
          (result) => callback(null, result),
          () => callback(null, [[], line]),
        );
      },
    });
    this.#readline.on('history', (lines: string[]) => {
      this.#history = [...lines];
    });
  }

  /** Runs until the user is done; the exit code. */
  run(): Promise<number> {
    const { runner, output, signal } = this.#options;
    const { transport } = runner.interpreter;
    const done = new Promise<number>((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = (error) => {
        reject(error);
        this.#readline.close();
      };
    });
    this.#readline.on('line', (line) => {
      this.#lines.push(line);
      this.#work().catch(this.#fail);
    });
    this.#readline.on('SIGINT', () => this.#cancelLine());
    this.#readline.on('SIGTSTP', () => this.#suspend());
    process.on('SIGCONT', this.#resume);
    // a terminal that is gone ends the program through the error of its stream
    this.#readline.on('error', () => {});
    this.#readline.on('close', () => this.#close());
    signal.addEventListener('abort', () => this.#readline.close());
    transport.closed.then(() => {
      if (this.#isClosed) return;
      this.show('Disconnected\n');
      this.#readline.close();
    }, this.#fail);
    output.write(bannerText(transport, runner.interpreter.isHmp));
    if (signal.aborted) this.#readline.close();
    else this.#prompt();
    return done;
  }

  /** Shows whole lines above the one that is being typed. */
  show(text: string): void {
    const { output } = this.#options;
    if (this.#isBusy || this.#isClosed) {
      output.write(text);
      return;
    }
    // the line may take several rows of the terminal: go to its first one, clear to the end, write it again below the text
    if (this.#search !== undefined) {
      output.write(`${toFirstRow(this.#search.row)}${text}`);
      this.#search.row = 0;
      this.#showSearch();
      return;
    }
    output.write(`${toFirstRow(this.#readline.getCursorPos().rows)}${text}`);
    this.#redraw({});
  }

  /** Writes the line again, from a row of its own on; readline would go up by the rows of the cursor that it remembers. */
  #redraw(state: { readonly line?: string; readonly cursor?: number }): void {
    Object.assign(this.#readline, { ...state, prevRows: 0 });
    this.#readline.prompt(true);
  }

  // -- Ctrl-R -----------------------------------------------------------------------------------------------------------
  /** Takes a key that belongs to the search in the history. */
  #intercept(key: string): boolean {
    if (this.#search === undefined) {
      if (key !== '\u0012' || this.#isBusy || this.#isClosed || this.#isHandedOver) return false;
      const { line } = this.#readline;
      this.#search = { state: new HistorySearch(this.#history, line), row: this.#readline.getCursorPos().rows };
      this.#showSearch();
      return true;
    }
    const { state, row } = this.#search;
    const step = state.key(key);
    if (step.kind === 'search') {
      this.#showSearch();
      return true;
    }
    this.#search = undefined;
    this.#options.output.write(toFirstRow(row));
    this.#redraw(step.kind === 'take' ? { line: step.line, cursor: step.line.length } : {});
    return step.kind === 'cancel' || step.key === '';
  }

  #showSearch(): void {
    if (this.#search === undefined) return;
    const { output } = this.#options;
    const text = this.#search.state.prompt;
    output.write(`${toFirstRow(this.#search.row)}${text}`);
    this.#search.row = Math.floor(Math.max(0, text.length - 1) / (output.columns || 80));
  }

  #prompt(): void {
    this.#readline.setPrompt(this.#options.runner.interpreter.isInTransaction ? 'TRANS> ' : '(QEMU) ');
    this.#readline.prompt();
  }

  async #work(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    for (let line = this.#lines.shift(); line !== undefined && !this.#isClosed; line = this.#lines.shift()) {
      const outcome = await this.#carryOut(line);
      this.#print(outcome);
      if (outcome.isEnd === true) this.#readline.close();
    }
    this.#isBusy = false;
    if (!this.#isClosed) this.#prompt();
  }

  async #carryOut(line: string): Promise<Outcome> {
    const interrupt = new AbortController();
    this.#interrupt = interrupt;
    const handsOver = line.trimStart().startsWith('!');
    // a program that the line starts reads the terminal itself, and Ctrl-C is meant for it
    if (handsOver) this.#giveTerminal();
    try {
      return await this.#options.runner.runLine(line, { signal: interrupt.signal, isInteractive: true });
    } finally {
      if (handsOver && !this.#isClosed) this.#takeTerminal();
      this.#interrupt = undefined;
    }
  }

  #giveTerminal(): void {
    this.#isHandedOver = true;
    this.#readline.pause();
    this.#options.input.setRawMode?.(false);
  }

  #takeTerminal(): void {
    this.#isHandedOver = false;
    this.#options.input.setRawMode?.(true);
    this.#readline.resume();
  }

  /** Ctrl-Z: the whole job stops, as the terminal itself would have it: the programs that have started us are part of it. */
  #suspend(): void {
    this.#options.input.setRawMode?.(false);
    process.kill(0, 'SIGTSTP');
    // where nothing can bring us back (no job control) the signal is void, and no SIGCONT comes
    this.#resume();
  }

  /** Back in the foreground: whatever the terminal was used for meanwhile, it is ours again, with the line that was typed. */
  readonly #resume = (): void => {
    if (this.#isClosed || this.#isHandedOver) return;
    const { input } = this.#options;
    // the state that Node remembers is not the terminal's any more
    input.setRawMode?.(false);
    input.setRawMode?.(true);
    this.#readline.pause();
    this.#readline.resume();
    if (this.#isBusy) return;
    this.#redraw({});
  };

  #print({ output: text, reply, notes = [], failure, hint }: Outcome): void {
    const { output, painter, hasHints } = this.#options;
    const columns = output.columns || 80;
    if (reply !== undefined && this.#options.runner.interpreter.replyForm !== 'pretty') {
      const isFolded = this.#options.runner.interpreter.replyForm === 'auto';
      output.write(`${reply.echo}${paintJson(reply.message, { columns: isFolded ? columns : undefined, painter })}\n`);
    } else if (text !== '') output.write(failure?.isReply === true ? `${painter.error(text.trimEnd())}\n` : text);
    for (const note of notes) output.write(`${painter.note(wrapText(`note: ${note}`, columns))}\n`);
    if (failure?.isReply === false) output.write(`${painter.error(failure.message)}\n`);
    const advice = failure?.hint ?? hint;
    if (advice !== undefined && hasHints) output.write(`${painter.hint(wrapText(`hint: ${advice}`, columns))}\n`);
  }

  /** Ctrl-C: what is waited for ends; otherwise the line that was typed is dropped, and an open transaction with it. */
  #cancelLine(): void {
    this.#lines.length = 0;
    if (this.#isBusy) {
      this.#options.output.write('^C\n');
      this.#interrupt?.abort();
      return;
    }
    this.#options.runner.interpreter.cancel();
    this.#readline.write(null, { ctrl: true, name: 'e' });
    this.#options.output.write('^C\n');
    // removes the text without drawing it again: it stays on the screen above, as in other shells
    Object.assign(this.#readline, { line: '', cursor: 0, prevRows: 0 });
    this.#prompt();
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // Ctrl-D leaves the cursor behind the prompt
    if (!this.#isBusy) this.#options.output.write('\n');
    this.#interrupt?.abort();
    process.off('SIGCONT', this.#resume);
    saveHistory(historyFile(), this.#history);
    this.#finish(0);
  }
}

/** To the first row of a text whose cursor is `row` rows below it, with everything from there on cleared. */
function toFirstRow(row: number): string {
  return `${row > 0 ? `\u001b[${row}A` : ''}\r\u001b[J`;
}
