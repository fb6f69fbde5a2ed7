/*
 * Runs one line of the shell or of a script: QMP commands, human monitor commands, transactions, and the shell's own.
 * Returns what happened as data; terminals and scripts print it each in their way. One interpreter, all front ends.
 */
import { BlockError } from '../core/util/errors.ts';
import { asBlockError } from '../core/util/internal-error.ts';
import { isJsonObject, type Json, type JsonObject, newJsonObject, parseJson } from '../core/util/json.ts';
import { writeJson } from '../core/util/json-write.ts';
import { hintFor, type Question } from './hints.ts';
import { parseArguments, parseCommand, splitWords } from './parse.ts';
import type { Painter } from './render.ts';
import type { Transport } from './transport.ts';

export interface Failure {
  readonly errorClass: string;
  readonly message: string;
  readonly hint?: string | undefined;
  /** The server's answer has been printed as JSON: it holds the message. */
  readonly isReply: boolean;
}

/** How replies are printed: as the front end likes, over several lines, or one line each. */
export type ReplyForm = 'auto' | 'pretty' | 'line';

export interface Outcome {
  /** What to print on standard output, line ends included. */
  readonly output: string;
  /** The reply at the end of `output`, for a front end that prints it in another form; `echo` is what stands before it. */
  readonly reply?: { readonly message: JsonObject; readonly echo: string };
  /** What to tell beside it. */
  readonly notes?: readonly string[];
  /** Advice although the line went well. */
  readonly hint?: string | undefined;
  /** Set when the line failed. */
  readonly failure?: Failure;
  /** The session ends after this line. */
  readonly isEnd?: boolean;
}

export interface InterpreterOptions {
  /** Lines are human monitor commands. */
  readonly isHmp?: boolean;
  /** Replies over several lines, members in alphabetical order. */
  readonly isPretty?: boolean;
  /** Show each command as it is sent. */
  readonly isVerbose?: boolean;
  /** Colours for the pictures. */
  readonly painter?: Painter;
}

const nothing: Outcome = { output: '' };

export class Interpreter {
  readonly transport: Transport;
  readonly #options: InterpreterOptions;
  replyForm: ReplyForm;
  #actions: JsonObject[] | undefined;

  constructor(transport: Transport, options: InterpreterOptions = {}) {
    this.transport = transport;
    this.#options = options;
    this.replyForm = options.isPretty === true ? 'pretty' : 'auto';
  }

  get isHmp(): boolean {
    return this.#options.isHmp ?? false;
  }

  /** Between `transaction(` and `)`. */
  get isInTransaction(): boolean {
    return this.#actions !== undefined;
  }

  /** Forgets an open transaction (Ctrl-C). */
  cancel(): void {
    this.#actions = undefined;
  }

  async run(line: string): Promise<Outcome> {
    const trimmed = withoutPrompt(line).trim();
    if (trimmed === '' || trimmed.startsWith('#')) return nothing;
    try {
      if (this.#options.isHmp) return (await this.#own(trimmed)) ?? (await this.#human(trimmed));
      if (this.#actions !== undefined) return await this.#action(trimmed);
      const opening = /^transaction\s*\(/.exec(trimmed);
      if (opening !== null) {
        this.#actions = [];
        return await this.#action(trimmed.slice(opening[0].length).trim());
      }
      return (await this.#own(trimmed)) ?? (await this.#command(trimmed));
    } catch (error) {
      return failed(error);
    }
  }

  // -- the shell's own --------------------------------------------------------------------------------------------------
  async #own(line: string): Promise<Outcome | undefined> {
    const [name, ...rest] = splitWords(line);
    switch (name) {
      case 'exit':
        return { output: '', isEnd: true };
      case 'help': {
        if (this.isHmp) return undefined;
        const { helpText } = await import('./help-text.ts');
        return { output: await helpText(this.transport, rest) };
      }
      case 'graph': {
        const { graphView } = await import('./graph-view.ts');
        checkWords('graph [-v]', rest, (word) => word === '-v');
        return { output: await graphView(this.transport, { isVerbose: rest.includes('-v'), painter: this.#options.painter }) };
      }
      case 'blockers': {
        const { blockersView } = await import('./blockers-view.ts');
        if (rest.length > 1) throw usage('blockers [NODE]');
        return { output: await blockersView(this.transport, rest[0], this.#options.painter) };
      }
      case 'map': {
        const { mapView } = await import('./map-view.ts');
        if (rest[0] === undefined || rest.length > 1) throw usage('map NODE');
        return { output: await mapView(this.#inside('map', 'tsimg map looks into an image, nbdinfo --map into an export'), rest[0], this.#options.painter) };
      }
      case 'pretty':
        return { output: this.#setForm(rest) };
      case 'guest': {
        const { runGuest } = await import('./guest.ts');
        return { output: await runGuest(this.#inside('guest', "HMP's qemu-io writes to a disk of any server"), rest) };
      }
      default:
        return undefined;
    }
  }

  /** `pretty [on|off|auto]`; without a word it changes sides. */
  #setForm([word, ...more]: readonly string[]): string {
    const forms: Readonly<Record<string, ReplyForm>> = { on: 'pretty', off: 'line', auto: 'auto' };
    const next = word === undefined ? (this.replyForm === 'pretty' ? 'line' : 'pretty') : Object.hasOwn(forms, word) ? forms[word] : undefined;
    if (next === undefined || more.length > 0) throw usage('pretty [on|off|auto]');
    this.replyForm = next;
    return { pretty: 'replies over several lines\n', line: 'replies in one line\n', auto: 'replies in one line where they fit into the terminal\n' }[next];
  }

  /** The engine in this process. Throws where there is only a server. */
  #inside(command: string, instead: string): NonNullable<Transport['engine']> {
    const { engine } = this.transport;
    if (engine !== undefined) return engine;
    throw new BlockError(`${command}: only a machine in this process can be looked into`, { code: 'ENOTSUP', hint: instead });
  }

  // -- QMP --------------------------------------------------------------------------------------------------------------
  async #command(line: string): Promise<Outcome> {
    if (line.startsWith('{')) {
      const message = parseJson(line);
      if (!isJsonObject(message)) throw new BlockError('QMP input must be a JSON object', { code: 'ERR_PROTOCOL' });
      return this.#send(message);
    }
    if (await this.#isHumanLine(line)) return this.#human(line);
    const [first] = splitWords(line);
    try {
      const { name, args, notes } = await parseCommand(line);
      return await this.#send({ execute: name, arguments: args }, notes);
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      // who mistypes a name is told of the name, whatever comes behind it
      if (first !== undefined && !(await this.transport.commandNames()).includes(first)) return this.#send({ execute: first });
      return failed(error, { command: first, args: undefined, isHere: this.#isHere });
    }
  }

  get #isHere(): boolean {
    return this.transport.engine !== undefined;
  }

  async #send(message: JsonObject, notes: readonly string[] = []): Promise<Outcome> {
    const reply = await this.transport.execute(message);
    const command = typeof message['execute'] === 'string' ? message['execute'] : undefined;
    const outcome = await this.#outcome(reply, { command, args: message['arguments'], isHere: this.#isHere });
    const sent = this.#options.isVerbose ? `${this.#json(message, false)}\n` : '';
    const isEnd = message['execute'] === 'quit' && outcome.failure === undefined;
    const hint = outcome.failure === undefined ? await this.#fleecingHint(command, message['arguments']) : undefined;
    const shown = outcome.failure === undefined ? { reply: { message: reply, echo: sent } } : {};
    return { ...outcome, ...shown, hint, output: sent + outcome.output, notes, ...(isEnd ? { isEnd } : {}) };
  }

  async #outcome(reply: JsonObject, question: Question): Promise<Outcome> {
    const output = `${this.#json(reply, true)}\n`;
    const error = reply['error'];
    if (!isJsonObject(error)) return { output };
    const message = String(error['desc']);
    return { output, failure: { errorClass: String(error['class']), message, hint: await this.#hintOf(reply, message, question), isReply: true } };
  }

  async #fleecingHint(command: string | undefined, args: Json | undefined): Promise<string | undefined> {
    const { engine } = this.transport;
    if (engine === undefined || (command !== 'blockdev-backup' && command !== 'transaction')) return undefined;
    const { fleecingHint } = await import('./fleecing-hint.ts');
    return fleecingHint(engine, command, args);
  }

  #json(message: JsonObject, isReply: boolean): string {
    // a line break inside brackets with nothing else: no text of a message has one
    if (this.replyForm === 'pretty') return writeJson(alphabetical(message), { pretty: true, order: 'insertion' }).replace(/([[{])\n *([\]}])/g, '$1$2');
    return writeJson(message, { order: isReply ? 'qemu' : 'insertion' });
  }

  /** What the error itself knows (who holds a lock) beats general advice. */
  async #hintOf(reply: JsonObject, message: string, question: Question): Promise<string | undefined> {
    const source: unknown = Object.getOwnPropertyDescriptor(reply, 'source')?.value;
    if (source instanceof BlockError && source.hint !== undefined && source.hint !== '') return source.hint;
    const { misspelling, suggestion } = await import('./suggestions.ts');
    return (await misspelling(this.transport, message, question)) ?? hintFor(message, question) ?? (await suggestion(this.transport, message, question));
  }

  // -- the human monitor ------------------------------------------------------------------------------------------------
  /** Commands that only the human monitor has, or has in a form without `key=value`. */
  async #isHumanLine(line: string): Promise<boolean> {
    const [name, ...rest] = splitWords(line);
    if (name === undefined || (await this.#isQmpLine(name, rest))) return false;
    return (await this.transport.humanNames()).includes(name);
  }

  async #isQmpLine(name: string, rest: readonly string[]): Promise<boolean> {
    if (!(await this.transport.commandNames()).includes(name)) return false;
    return rest.every((word) => /^[\w.-]+=/.test(word));
  }

  async #human(line: string): Promise<Outcome> {
    const message: JsonObject = { execute: 'human-monitor-command', arguments: { 'command-line': line } };
    const sent = this.#options.isVerbose ? `${this.#json(message, false)}\n` : '';
    const reply = await this.transport.execute(message);
    const answer = reply['return'];
    const question = { command: splitWords(line)[0], args: undefined, isHere: this.#isHere };
    const isEnd = /^(?:q|quit)$/.test(line);
    if (typeof answer !== 'string') {
      const { failure, output } = await this.#outcome(reply, question);
      // a human monitor that ends does not answer any more
      if (isEnd) return { output: sent, isEnd };
      if (!this.isHmp || failure === undefined) return { output: sent + output, ...(failure === undefined ? {} : { failure }) };
      return { output: sent, failure: { ...failure, message: `${failure.errorClass}: ${failure.message}`, isReply: false } };
    }
    const text = answer.replaceAll('\r\n', '\n');
    if (!isHumanError(text)) return { output: sent + text, ...(isEnd ? { isEnd } : {}) };
    const told = text.trimEnd();
    const bare = (told.split('\n')[0] ?? '').replace(/^Error: /, '');
    return { output: sent, failure: { errorClass: 'GenericError', message: told, hint: await this.#hintOf(reply, bare, question), isReply: false } };
  }

  // -- transactions -----------------------------------------------------------------------------------------------------
  /** A line inside `transaction(`: an action, with the closing parenthesis after it or alone. */
  async #action(line: string): Promise<Outcome> {
    const actions = this.#actions ?? [];
    const words = splitWords(line);
    if (words[0]?.startsWith(')')) {
      this.#actions = undefined;
      if (words.length > 1 || words[0] !== ')') throw new BlockError('Unexpected input after close of Transaction sub-shell', { code: 'ERR_PARSE' });
      return this.#send({ execute: 'transaction', arguments: { actions } });
    }
    const last = words.at(-1);
    const isClosing = last !== undefined && endsTransaction(last);
    if (isClosing) words.splice(-1, 1, ...(last === ')' ? [] : [last.slice(0, -1)]));
    const [type, ...rest] = words;
    let notes: readonly string[] = [];
    if (type !== undefined) {
      const { args, notes: told } = await parseArguments(rest);
      actions.push({ type, data: args });
      notes = told;
    }
    if (!isClosing) return { output: '', notes };
    this.#actions = undefined;
    return this.#send({ execute: 'transaction', arguments: { actions } }, notes);
  }
}

/** Whether the word's last letter closes a parenthesis that it has not opened itself. */
function endsTransaction(word: string): boolean {
  return word.endsWith(')') && [...word].filter((letter) => letter === '(').length < [...word].filter((letter) => letter === ')').length;
}

/** A line as it was typed: who copies one from a session copies its prompt too. */
export function withoutPrompt(line: string): string {
  return line.replace(/^\s*(?:\((?:QEMU|qemu)\)|TRANS>)(?:\s+|$)/, '');
}

function isHumanError(text: string): boolean {
  return /^(?:Error: |unknown command: )/.test(text) || /^Try "help .*" for more information\n*$/m.test(text);
}

/** A line that failed in the shell itself: a bug of ours ends the line and nothing else. */
export function failed(thrown: unknown, question?: Question): Outcome {
  const error = asBlockError(thrown);
  const message = error.detail === undefined ? error.message : `${error.message}\n${error.detail}`;
  return {
    output: '',
    failure: { errorClass: error.qmpClass, message, hint: error.hint === '' ? undefined : (error.hint ?? hintFor(error.message, question)), isReply: false },
  };
}

function usage(text: string): BlockError {
  return new BlockError(`Usage: ${text}`, { code: 'ERR_USAGE' });
}

function checkWords(text: string, words: readonly string[], isKnown: (word: string) => boolean): void {
  if (!words.every(isKnown)) throw usage(text);
}

/** A copy with the members of all objects in alphabetical order, as qmp-shell -p prints them. */
function alphabetical(value: Json): Json {
  if (Array.isArray(value)) return value.map(alphabetical);
  if (!isJsonObject(value)) return value;
  const sorted = newJsonObject();
  for (const key of Object.keys(value).sort()) {
    const member = value[key];
    if (member !== undefined) sorted[key] = alphabetical(member);
  }
  return sorted;
}
