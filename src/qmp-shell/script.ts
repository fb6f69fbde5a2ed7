/*
 * Scripts: line by line with an echo of commands and answers; the first error stops with FILE:LINE and a non-zero exit.
 * `wait`, `expect-error` and `!` exist here and in the shell alike. Knows no terminal.
 */
import { BlockError } from '../core/util/errors.ts';
import { writeJson } from '../core/util/json-write.ts';
import type { EventLog } from './event-log.ts';
import { failed, type Interpreter, type Outcome, withoutPrompt } from './interpreter.ts';
import { parseArguments, splitWords } from './parse.ts';
import { runShellLine } from './shell-line.ts';

const defaultTimeoutMs = 30_000;

export interface LineOptions {
  readonly signal?: AbortSignal | undefined;
  /** There is a terminal to hand over to programs that a line starts. */
  readonly isInteractive?: boolean;
}

/** Runs any line: the few that work on events and on other lines here, all else in the interpreter. */
export class LineRunner {
  readonly interpreter: Interpreter;
  readonly #events: EventLog;

  constructor(interpreter: Interpreter, events: EventLog) {
    this.interpreter = interpreter;
    this.#events = events;
  }

  async runLine(line: string, options: LineOptions = {}): Promise<Outcome> {
    const trimmed = withoutPrompt(line).trim();
    if (this.interpreter.isInTransaction) return this.interpreter.run(trimmed);
    try {
      if (trimmed.startsWith('!')) {
        await runShellLine(trimmed.slice(1).trim(), options);
        return { output: '' };
      }
      const [name, ...rest] = splitWords(trimmed);
      if (name === 'wait') return await this.#wait(rest, options.signal);
      if (name === 'expect-error') return await this.#expectError(trimmed, options);
      return await this.interpreter.run(trimmed);
    } catch (error) {
      return failed(error);
    }
  }

  async #wait(words: readonly string[], signal: AbortSignal | undefined): Promise<Outcome> {
    const [event, ...conditions] = words;
    if (event === undefined) throw new BlockError('Usage: wait EVENT [key=value …] [timeout=30s]', { code: 'ERR_USAGE' });
    const { timeout, ...data } = (await parseArguments(conditions)).args;
    const timeoutMs = timeout === undefined ? defaultTimeoutMs : parseTime(String(timeout));
    return { output: `${writeJson(await this.#events.take(event, data, timeoutMs, signal))}\n` };
  }

  async #expectError(line: string, options: LineOptions): Promise<Outcome> {
    const match = /^expect-error\s+(\S+)\s+(?:"((?:[^"\\]|\\.)*)"\s+)?(\S.*)$/.exec(line);
    if (match === null) throw new BlockError('Usage: expect-error CLASS ["TEXT"] COMMAND …', { code: 'ERR_USAGE' });
    const [, wanted = '', part, command = ''] = match;
    const outcome = await this.runLine(command, options);
    const { failure } = outcome;
    const text = part?.replace(/\\(["\\])/g, '$1');
    const missed = (message: string): Outcome => ({ ...outcome, failure: { errorClass: 'GenericError', message, isReply: false } });
    if (failure === undefined) return missed(`Expected an error of class ${wanted}, but it succeeded`);
    const shown = failure.isReply ? outcome.output : `${failure.message}\n`;
    if (failure.errorClass !== wanted && wanted !== '*') {
      return { ...missed(`Expected an error of class ${wanted}, not ${failure.errorClass}: ${failure.message}`), output: shown };
    }
    if (text !== undefined && !failure.message.includes(text)) {
      return { ...missed(`Expected an error with '${text}', not: ${failure.message}`), output: shown };
    }
    return { output: shown, notes: outcome.notes ?? [] };
  }
}

/** Milliseconds of `30s`, `500ms`, `2m`, or plain seconds. */
function parseTime(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text);
  if (match === null) throw new BlockError(`'${text}' is no time: 30s, 500ms, 2m`, { code: 'ERR_PARSE' });
  return Number(match[1]) * ({ ms: 1, s: 1000, m: 60_000 }[match[2] ?? 's'] ?? 1000);
}

export interface ScriptOutput {
  out(text: string): void;
  err(text: string): void;
  readonly hasHints: boolean;
}

/** One script: what its lines say, and where it stopped. */
export class Script {
  readonly #name: string;
  readonly #runner: LineRunner;
  readonly #output: ScriptOutput;
  readonly #signal: AbortSignal | undefined;
  #number = 0;

  /** `name` stands in messages. A line does not begin once `signal` has aborted. */
  constructor(name: string, runner: LineRunner, output: ScriptOutput, signal?: AbortSignal) {
    this.#name = name;
    this.#runner = runner;
    this.#output = output;
    this.#signal = signal;
  }

  /** Runs the next line. The exit code when the script ends with it. */
  async next(raw: string): Promise<number | undefined> {
    this.#number++;
    const line = raw.trimEnd();
    if (line.trim() === '') return undefined;
    if (line.trim().startsWith('#')) {
      this.#output.out(`${line}\n`);
      return undefined;
    }
    if (this.#signal?.aborted === true) return this.#stop(`${line.trim()}: interrupted`);
    const { interpreter } = this.#runner;
    this.#output.out(`${interpreter.isInTransaction ? 'TRANS> ' : '(QEMU) '}${line}\n`);
    const { output, notes = [], failure, hint, isEnd } = await this.#runner.runLine(line, { signal: this.#signal });
    if (output !== '') this.#output.out(output);
    for (const note of notes) this.#output.err(`note: ${note}\n`);
    if (hint !== undefined && this.#output.hasHints) this.#output.err(`hint: ${hint}\n`);
    if (failure === undefined) return isEnd === true ? 0 : undefined;
    if (!failure.isReply) this.#output.err(`${failure.message}\n`);
    const code = this.#stop(`${line.trim()}: ${failure.message.split('\n')[0]}`);
    if (failure.hint !== undefined && this.#output.hasHints) this.#output.err(`hint: ${failure.hint}\n`);
    return code;
  }

  /** No more lines come: the exit code. */
  end(): number {
    return this.#runner.interpreter.isInTransaction ? this.#stop('transaction( is not closed: ) is missing') : 0;
  }

  #stop(text: string): number {
    this.#output.err(`${this.#name}:${this.#number}: ${text}\n`);
    return 1;
  }
}

/** Runs a whole script; the exit code. */
export async function runScript(text: string, script: Script): Promise<number> {
  for (const line of text.split('\n')) {
    const code = await script.next(line);
    if (code !== undefined) return code;
  }
  return script.end();
}
