/*
 * Scripts: line by line with an echo of commands and answers; the first error stops with FILE:LINE and a non-zero exit.
 * `wait`, `expect-error` and `!` exist here and in the shell alike. Knows no terminal.
 */
import { spawn } from 'node:child_process';
import { BlockError } from '../core/util/errors.ts';
import { isJsonObject, type Json, type JsonObject, writeJson } from '../core/util/json.ts';
import type { Interpreter, Outcome } from './interpreter.ts';
import { parseCommand, splitWords } from './parse.ts';

export interface ScriptOutput {
  out(text: string): void;
  err(text: string): void;
  readonly hasHints: boolean;
}

const defaultTimeoutMs = 30_000;
const maxKeptEvents = 10_000;

/** Events that have come and were not waited for yet. */
export class EventLog {
  readonly #events: JsonObject[] = [];
  #wake: (() => void)[] = [];

  add(event: JsonObject): void {
    this.#events.push(event);
    if (this.#events.length > maxKeptEvents) this.#events.shift();
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** The first event not taken yet that fits; rejects after `timeoutMs`. */
  async take(name: string, data: JsonObject, timeoutMs: number): Promise<JsonObject> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const index = this.#events.findIndex((event) => event['event'] === name && fits(event['data'], data));
      const found = this.#events[index];
      if (found !== undefined) {
        this.#events.splice(index, 1);
        return found;
      }
      const left = deadline - Date.now();
      if (left <= 0) throw new BlockError(`no event ${name} within ${timeoutMs / 1000}s`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }
}

function fits(data: Json | undefined, wanted: JsonObject): boolean {
  return Object.entries(wanted).every(([key, value]) => isJsonObject(data) && String(data[key]) === String(value));
}

/** Runs lines that only scripts and the shell have; others go to the interpreter. */
export class ScriptRunner {
  readonly #interpreter: Interpreter;
  readonly #events: EventLog;

  constructor(interpreter: Interpreter, events: EventLog) {
    this.#interpreter = interpreter;
    this.#events = events;
  }

  async runLine(line: string): Promise<Outcome> {
    const trimmed = line.trim();
    if (trimmed.startsWith('!')) return runShell(trimmed.slice(1).trim());
    const [name, ...rest] = splitWords(trimmed);
    if (name === 'wait') return this.#wait(rest);
    if (name === 'expect-error') return this.#expectError(trimmed, rest);
    return this.#interpreter.run(line);
  }

  async #wait(words: readonly string[]): Promise<Outcome> {
    try {
      const [event, ...conditions] = words;
      if (event === undefined) throw new BlockError('Usage: wait EVENT [key=value …] [timeout=30s]');
      const { args } = await parseCommand(`wait ${conditions.join(' ')}`);
      const { timeout, ...data } = args;
      const found = await this.#events.take(event, data, timeout === undefined ? defaultTimeoutMs : parseTimeout(String(timeout)));
      return { output: `${writeJson(found)}\n` };
    } catch (error) {
      return failed(error);
    }
  }

  async #expectError(line: string, words: readonly string[]): Promise<Outcome> {
    const wanted = words[0];
    if (wanted === undefined || words.length < 2) return failed(new BlockError('Usage: expect-error CLASS COMMAND …'));
    const command = line.slice(line.indexOf(wanted) + wanted.length).trim();
    const outcome = await this.#interpreter.run(command);
    if (outcome.failure === undefined)
      return { output: outcome.output, failure: { errorClass: 'GenericError', message: `expected an error of class ${wanted}`, isReply: false } };
    const { failure } = outcome;
    if (failure.errorClass !== wanted) {
      return {
        output: outcome.output,
        failure: { errorClass: 'GenericError', message: `expected an error of class ${wanted}, not ${failure.errorClass}`, isReply: false },
      };
    }
    return { output: failure.isReply ? outcome.output : `${failure.message}\n` };
  }
}

function failed(error: unknown): Outcome {
  if (!(error instanceof BlockError)) throw error;
  return { output: '', failure: { errorClass: error.qmpClass, message: error.message, isReply: false } };
}

/** Milliseconds of `30s`, `500ms`, `2m`, or plain seconds. */
function parseTimeout(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text);
  if (match === null) throw new BlockError(`'${text}' is no time: 30s, 500ms, 2m`);
  const unit = { ms: 1, s: 1000, m: 60_000 }[match[2] ?? 's'] ?? 1000;
  return Number(match[1]) * unit;
}

function runShell(command: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn('/bin/sh', ['-c', command], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.on('error', (error) => resolve({ output, failure: { errorClass: 'GenericError', message: error.message, isReply: false } }));
    child.on('close', (code) => {
      if (code === 0) resolve({ output });
      else resolve({ output, failure: { errorClass: 'GenericError', message: `'${command}' ended with ${code}`, isReply: false } });
    });
  });
}

/** Runs a whole script. Returns the exit code. `name` and line numbers stand in messages. */
export async function runScript(text: string, name: string, runner: ScriptRunner, output: ScriptOutput, firstLine = 1): Promise<number> {
  const lines = text.split('\n');
  for (const [index, raw] of lines.entries()) {
    const line = raw.trimEnd();
    if (line.trim() === '') continue;
    if (line.trim().startsWith('#')) {
      output.out(`${line}\n`);
      continue;
    }
    output.out(`(QEMU) ${line}\n`);
    const outcome = await runner.runLine(line);
    output.out(outcome.output);
    if (outcome.failure !== undefined) {
      if (!outcome.failure.isReply) output.err(`${outcome.failure.message}\n`);
      if (outcome.failure.hint !== undefined && output.hasHints) output.err(`hint: ${outcome.failure.hint}\n`);
      output.err(`${name}:${index + firstLine}: ${line.trim()}: ${outcome.failure.message.split('\n')[0]}\n`);
      return 1;
    }
    if (outcome.isEnd) return 0;
  }
  return 0;
}
