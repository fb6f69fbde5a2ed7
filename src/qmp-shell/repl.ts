/*
 * The interactive shell on a terminal: prompt, history, completion, events that come while a line is being typed without
 * destroying it. Ctrl-C drops the line, Ctrl-D and quit end. Knows terminals, not what commands do.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { isJsonObject, type JsonObject } from '../core/util/json.ts';
import { complete } from './completer.ts';
import type { Interpreter, Outcome } from './interpreter.ts';
import type { Painter } from './render.ts';
import type { EventLog, ScriptRunner } from './script.ts';

const historyLength = 1024;

export interface ReplOptions {
  readonly interpreter: Interpreter;
  readonly runner: ScriptRunner;
  readonly events: EventLog;
  readonly painter: Painter;
  readonly isHmp: boolean;
  readonly hasHints: boolean;
  readonly input: NodeJS.ReadStream;
  readonly output: NodeJS.WriteStream;
  /** Aborts when the program is told to end. */
  readonly signal: AbortSignal;
}

export interface Repl {
  /** Settles with the exit code when the user is done. */
  readonly done: Promise<number>;
  /** Shows text above the line being typed. */
  show(text: string): void;
}

export function startRepl(options: ReplOptions): Repl {
  const { interpreter, runner, painter, output } = options;
  const historyFile = join(homedir(), '.tsqmp_history');
  const readline = createInterface({
    input: options.input,
    output,
    history: loadHistory(historyFile),
    historySize: historyLength,
    removeHistoryDuplicates: true,
    completer: (line: string, callback: (error: Error | null, result: [string[], string]) => void) => {
      complete(interpreter.transport, line, options.isHmp).then(
        (result) => callback(null, result),
        () => callback(null, [[], line]),
      );
    },
  });
  let isBusy = false;
  const prompt = (): void => {
    readline.setPrompt(interpreter.isInTransaction ? 'TRANS> ' : '(QEMU) ');
    readline.prompt();
  };
  const show = (text: string): void => {
    if (isBusy) {
      output.write(text);
      return;
    }
    // the line being typed is taken away and written again below
    output.write(`\r\u001b[K${text}`);
    readline.prompt(true);
  };
  const print = (outcome: Outcome): void => {
    if (outcome.output !== '') output.write(painter.reply(outcome.output, outcome.failure !== undefined));
    const { failure } = outcome;
    if (failure === undefined) return;
    if (!failure.isReply) output.write(`${painter.error(failure.message)}\n`);
    if (failure.hint !== undefined && options.hasHints) output.write(`${painter.hint(`hint: ${failure.hint}`)}\n`);
  };
  const done = new Promise<number>((resolve, reject) => {
    const queue: string[] = [];
    let isClosed = false;
    const finish = (): void => {
      saveHistory(historyFile, (readline as unknown as { history?: string[] }).history ?? []);
      resolve(0);
    };
    const work = async (): Promise<void> => {
      if (isBusy) return;
      isBusy = true;
      for (let line = queue.shift(); line !== undefined; line = queue.shift()) {
        const outcome = await runner.runLine(line);
        print(outcome);
        if (outcome.isEnd) {
          isClosed = true;
          readline.close();
          return;
        }
      }
      isBusy = false;
      if (isClosed) finish();
      else prompt();
    };
    readline.on('line', (line) => {
      queue.push(line);
      work().catch(reject);
    });
    readline.on('SIGINT', () => {
      interpreter.cancel();
      output.write('^C\n');
      // what was typed is dropped
      readline.write(null, { ctrl: true, name: 'e' });
      readline.write(null, { ctrl: true, name: 'u' });
      prompt();
    });
    readline.on('close', () => {
      isClosed = true;
      if (!isBusy) output.write('\n');
      finish();
    });
    options.signal.addEventListener('abort', () => readline.close());
    interpreter.transport.closed.then(() => {
      output.write('\nDisconnected\n');
      readline.close();
    }, reject);
  });
  output.write(bannerText(interpreter.transport.greeting, options.isHmp));
  prompt();
  return { done, show };
}

/** What the shell says first. */
function bannerText(greeting: JsonObject, isHmp: boolean): string {
  const qmp = greeting['QMP'];
  const version = isJsonObject(qmp) && isJsonObject(qmp['version']) ? qmp['version']['qemu'] : undefined;
  const text = isJsonObject(version) ? `Connected to QEMU ${String(version['major'])}.${String(version['minor'])}.${String(version['micro'])}` : 'Connected';
  return `Welcome to the ${isHmp ? 'HMP' : 'QMP low-level'} shell!\n${text}\n\n`;
}

function loadHistory(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n').filter(Boolean).reverse();
  } catch {
    // the first time there is none
    return [];
  }
}

function saveHistory(file: string, newestFirst: readonly string[]): void {
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${newestFirst.slice(0, historyLength).reverse().join('\n')}\n`, { mode: 0o600 });
  } catch {
    // a home that cannot be written costs the history, nothing else
  }
}
