/*
 * Runs one line of the shell or of a script: QMP commands, human monitor commands, transactions, and the shell's own.
 * Returns what happened as data; terminals and scripts print it each in their way. One interpreter, all front ends.
 */
import { BlockError } from '../core/util/errors.ts';
import { isJsonObject, type JsonObject, writeJson } from '../core/util/json.ts';
import { hmpNames } from '../monitor/hmp.ts';
import { runGuest } from './guest.ts';
import { helpText } from './help-text.ts';
import { hintFor } from './hints.ts';
import { parseCommand, splitWords } from './parse.ts';
import type { Transport } from './transport.ts';
import { blockersView, graphView, mapView } from './views.ts';

export interface Outcome {
  /** What to print on standard output, line ends included. */
  readonly output: string;
  /** Set when the line failed. */
  readonly failure?: { readonly errorClass: string; readonly message: string; readonly hint?: string | undefined; readonly isReply: boolean };
  /** The session ends after this line. */
  readonly isEnd?: boolean;
}

export interface InterpreterOptions {
  /** Lines are human monitor commands. */
  readonly isHmp?: boolean;
  readonly isPretty?: boolean;
  /** Show each command as it is sent. */
  readonly isVerbose?: boolean;
}

const ok: Outcome = { output: '' };

export class Interpreter {
  readonly transport: Transport;
  readonly #options: InterpreterOptions;
  #transaction: JsonObject[] | undefined;

  constructor(transport: Transport, options: InterpreterOptions = {}) {
    this.transport = transport;
    this.#options = options;
  }

  get isInTransaction(): boolean {
    return this.#transaction !== undefined;
  }

  /** Forgets an open transaction (Ctrl-C). */
  cancel(): void {
    this.#transaction = undefined;
  }

  async run(line: string): Promise<Outcome> {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) return ok;
    try {
      if (this.#transaction !== undefined || /^transaction\s*\(/.test(trimmed)) return await this.#transactionLine(trimmed);
      return (await this.#own(trimmed)) ?? (await this.#command(trimmed));
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      const message = error.detail === undefined ? error.message : `${error.message}\n${error.detail}`;
      return { output: '', failure: { errorClass: error.qmpClass, message, hint: error.hint, isReply: false } };
    }
  }

  // -- the shell's own --------------------------------------------------------------------------------------------------
  async #own(line: string): Promise<Outcome | undefined> {
    const words = splitWords(line);
    const [name, ...rest] = words;
    const { system } = this.transport;
    switch (name) {
      case 'exit':
        return { output: '', isEnd: true };
      case 'help':
        if (this.#options.isHmp) return undefined;
        return { output: await helpText(this.transport, rest[0]) };
      case 'graph':
        return { output: await graphView(this.transport, rest.includes('-v')) };
      case 'blockers':
        if (system === undefined) throw new BlockError('blockers: a server does not tell its operation blockers; only a machine in this process does');
        return { output: blockersView(system, rest[0]) };
      case 'map':
        if (system === undefined)
          throw new BlockError('map: only a machine in this process can be looked into; use tsimg map on an image, or nbdinfo --map on an export');
        if (rest[0] === undefined) throw new BlockError('Usage: map NODE');
        return { output: await mapView(system, rest[0]) };
      case 'guest':
        if (system === undefined) throw new BlockError('guest: the simulated guest lives in a machine of this process only');
        return { output: await runGuest(system, rest) };
      default:
        return undefined;
    }
  }

  // -- commands ---------------------------------------------------------------------------------------------------------
  async #command(line: string): Promise<Outcome> {
    if (this.#options.isHmp || (await this.#isHmpLine(line))) return this.#hmp(line);
    if (line.startsWith('{')) throw new BlockError('Give commands as: command key=value …; raw JSON goes to a socket (--qmp)');
    const { name, args } = await parseCommand(line);
    return this.#send({ execute: name, ...(Object.keys(args).length === 0 ? {} : { arguments: args }) });
  }

  /** Commands that only the human monitor has, or has in a form without `key=value`. */
  async #isHmpLine(line: string): Promise<boolean> {
    const [name, ...rest] = splitWords(line);
    if (name === undefined || !hmpNames.includes(name)) return false;
    if (name === 'quit' || name === 'stop' || name === 'cont') return false;
    return rest.some((word) => !/^[\w.-]+=/.test(word)) || !(await this.transport.commandNames()).includes(name);
  }

  async #hmp(line: string): Promise<Outcome> {
    const [name] = splitWords(line);
    const reply = await this.transport.execute({ execute: 'human-monitor-command', arguments: { 'command-line': line } });
    const text = reply['return'];
    if (typeof text !== 'string') return this.#outcome(reply);
    const lines = text.replace(/\r\n/g, '\n');
    const failed = /^(Error: |unknown command: )/.exec(lines);
    if (failed === null) return { output: lines, ...(name === 'quit' || name === 'q' ? { isEnd: true } : {}) };
    const message = lines.trimEnd();
    return { output: '', failure: { errorClass: 'GenericError', message, hint: hintFor(message.replace(/^Error: /, '')), isReply: false } };
  }

  async #send(message: JsonObject): Promise<Outcome> {
    const reply = await this.transport.execute(message);
    const outcome = this.#outcome(reply);
    const sent = this.#options.isVerbose ? `${writeJson(message)}\n` : '';
    const isEnd = message['execute'] === 'quit' && outcome.failure === undefined;
    return { ...outcome, output: sent + outcome.output, ...(isEnd ? { isEnd } : {}) };
  }

  #outcome(reply: JsonObject): Outcome {
    const shown = `${writeJson(reply, this.#options.isPretty ? { pretty: true } : {})}\n`;
    const error = reply['error'];
    if (!isJsonObject(error)) return { output: shown };
    const message = String(error['desc']);
    // what the error itself knows (who holds a lock) beats general advice
    const source: unknown = Object.getOwnPropertyDescriptor(reply, 'source')?.value;
    const hint = source instanceof BlockError && source.hint !== undefined ? source.hint : hintFor(message);
    return { output: shown, failure: { errorClass: String(error['class']), message, hint, isReply: true } };
  }

  // -- transactions -----------------------------------------------------------------------------------------------------
  async #transactionLine(line: string): Promise<Outcome> {
    let rest = line;
    if (this.#transaction === undefined) {
      this.#transaction = [];
      rest = line.replace(/^transaction\s*\(/, '').trim();
    }
    const isClosing = rest.endsWith(')');
    if (rest.includes(')') && !isClosing) throw new BlockError('Unexpected input after close of Transaction sub-shell');
    const action = (isClosing ? rest.slice(0, -1) : rest).trim();
    if (action !== '') {
      const { name, args } = await parseCommand(action);
      this.#transaction.push({ type: name, data: args });
    }
    if (!isClosing) return ok;
    const actions = this.#transaction;
    this.#transaction = undefined;
    return this.#send({ execute: 'transaction', arguments: { actions } });
  }
}
