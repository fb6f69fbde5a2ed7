/*
 * Monitor: a set of commands over a engine, and the sessions that use it. A session is one client: it negotiates, checks
 * the envelope of each message, runs commands one after the other, and hears events. Knows no socket and no terminal.
 * Rule source: QMP specification; messages and order as observed on QEMU 11.1.
 */
import { BlockError } from '../core/util/errors.ts';
import type { EngineEvent } from '../core/util/events.ts';
import { asBlockError } from '../core/util/internal-error.ts';
import { isJsonObject, type Json, type JsonObject } from '../core/util/json.ts';
import { parse } from '../core/util/schema.ts';
import type { Engine } from '../engine/engine.ts';
import { type AnyCommand, type CommandContext, capabilitiesArguments } from './command.ts';

export interface MonitorOptions {
  /** A storage daemon lacks the machine's commands. */
  readonly kind: 'machine' | 'daemon';
  readonly commands: readonly AnyCommand[];
  /** Called when `quit` has taken everything down, just before its reply; `failure`: what went wrong in doing so. */
  readonly onQuit: (failure?: unknown) => void;
  /** Text that block layer commands print on the process's standard output (HMP qemu-io). */
  readonly print?: (text: string) => void;
  /** Settles once somebody has taken what was printed: whoever printed it waits, nobody else. */
  readonly printed?: () => Promise<void>;
  /** Tells whoever runs the program something, in one line: bugs, clients that do not read. */
  readonly warn?: (text: string) => void;
}

/** Texts of warnings that are remembered, so that each is told once. */
const maxWarnings = 64;

/** The version of QEMU whose answers these are. */
export const qemuVersion = { major: 11, minor: 1, micro: 2 } as const;
export const packageText = 'tsimg 0.1.0';

export class Monitor {
  readonly engine: Engine;
  readonly kind: 'machine' | 'daemon';
  readonly print: (text: string) => void;
  readonly #commands = new Map<string, AnyCommand>();
  readonly printed: () => Promise<void>;
  readonly #onQuit: (failure?: unknown) => void;
  readonly #warn: (text: string) => void;
  readonly #warned = new Set<string>();
  #hasQuit = false;

  constructor(engine: Engine, options: MonitorOptions) {
    this.engine = engine;
    this.kind = options.kind;
    this.print = options.print ?? (() => {});
    this.printed = options.printed ?? (async () => {});
    this.#warn = options.warn ?? (() => {});
    this.#onQuit = options.onQuit;
    for (const command of options.commands) {
      if (command.machineOnly && options.kind === 'daemon') continue;
      if (command.isOwn && engine.strict) continue;
      this.#commands.set(command.name, command);
    }
  }

  find(name: string): AnyCommand | undefined {
    return this.#commands.get(name);
  }

  get commands(): Iterable<AnyCommand> {
    return this.#commands.values();
  }

  /** True from the beginning of the end: no further message is answered. */
  get hasQuit(): boolean {
    return this.#hasQuit;
  }

  /** Tells a text on the side of the program, each text once. */
  warn(text: string): void {
    if (this.#warned.has(text) || this.#warned.size >= maxWarnings) return;
    this.#warned.add(text);
    this.#warn(text);
  }

  /** A bug of ours: told, and nothing ends by it. */
  tellBug(bug: unknown): void {
    this.warn(asBlockError(bug).message);
  }

  /** Ends the engine: what that raises (exports deleted, jobs cancelled) is told before the reply, as QEMU does. */
  async quit(reason: 'host-qmp-quit' | 'host-signal' = 'host-qmp-quit'): Promise<void> {
    if (this.#hasQuit) return;
    this.#hasQuit = true;
    if (this.kind === 'machine') this.engine.events.emit('SHUTDOWN', { guest: false, reason });
    let failure: unknown;
    try {
      await this.engine.close();
    } catch (error) {
      failure = error;
    }
    this.#onQuit(failure);
  }

  openSession(options: SessionOptions = {}): MonitorSession {
    return new MonitorSession(this, options);
  }
}

export interface SessionOptions {
  /** Skips the negotiation (sessions inside the process). */
  readonly isNegotiated?: boolean;
  /** Hears the notes about old forms. */
  readonly onNote?: (text: string) => void;
  /** Hears events of our own as well. */
  readonly hearsOwnEvents?: boolean;
}

export type EventMessage = JsonObject;

export class MonitorSession {
  readonly monitor: Monitor;
  readonly #options: SessionOptions;
  readonly #context: CommandContext;
  #isNegotiated: boolean;
  #hasOob = false;
  #listening: Disposable | undefined;

  constructor(monitor: Monitor, options: SessionOptions) {
    this.monitor = monitor;
    this.#options = options;
    this.#isNegotiated = options.isNegotiated ?? false;
    this.#context = { engine: monitor.engine, monitor, note: (text) => options.onNote?.(text) };
  }

  get isNegotiated(): boolean {
    return this.#isNegotiated;
  }

  greeting(): JsonObject {
    return { QMP: { version: versionInfo(), capabilities: ['oob'] } };
  }

  /** Calls `listener` for each event from now on. Events before the negotiation are not delivered. */
  listen(listener: (event: EventMessage) => void): void {
    this.#listening?.[Symbol.dispose]();
    this.#listening = this.monitor.engine.events.listen((event) => {
      if (!this.#isNegotiated || (event.isOwn && (this.monitor.engine.strict || !this.#options.hearsOwnEvents))) return;
      listener(eventMessage(event));
    });
  }

  close(): void {
    this.#listening?.[Symbol.dispose]();
    this.#listening = undefined;
  }

  /** Answers one message. Never rejects: what a command throws against all expectation is its one error reply. */
  async execute(message: Json): Promise<JsonObject> {
    let id: Json | undefined;
    try {
      if (!isJsonObject(message)) throw new BlockError('QMP input must be a JSON object', { code: 'ERR_PROTOCOL' });
      id = message['id'];
      const { name, args } = this.#checkEnvelope(message);
      const value = await this.#run(name, args);
      return { return: (value ?? {}) as Json, ...(id === undefined ? {} : { id }) };
    } catch (error) {
      const told = asBlockError(error);
      if (told.code === 'ERR_INTERNAL') this.monitor.tellBug(error);
      return errorReply(told, id);
    }
  }

  #checkEnvelope(message: JsonObject): { name: string; args: JsonObject } {
    let name: string | undefined;
    let isOob = false;
    let args: Json = {};
    for (const [key, value] of Object.entries(message)) {
      if (key === 'execute' || (key === 'exec-oob' && this.#hasOob)) {
        if (typeof value !== 'string') throw new BlockError(`QMP input member '${key}' must be a string`, { code: 'ERR_PROTOCOL' });
        if (name !== undefined) throw new BlockError("QMP input member 'execute' clashes with 'exec-oob'", { code: 'ERR_PROTOCOL' });
        name = value;
        isOob = key === 'exec-oob';
      } else if (key === 'arguments') {
        if (!isJsonObject(value)) throw new BlockError("QMP input member 'arguments' must be an object", { code: 'ERR_PROTOCOL' });
        args = value;
      } else if (key !== 'id') throw new BlockError(`QMP input member '${key}' is unexpected`, { code: 'ERR_PROTOCOL' });
    }
    if (name === undefined) throw new BlockError("QMP input lacks member 'execute'", { code: 'ERR_PROTOCOL' });
    if (isOob) {
      if (this.monitor.find(name) === undefined) throw notFound(name);
      throw new BlockError(`The command ${name} does not support OOB`, { code: 'ERR_PROTOCOL' });
    }
    return { name, args: args as JsonObject };
  }

  async #run(name: string, args: JsonObject): Promise<unknown> {
    if (!this.#isNegotiated) {
      if (name !== 'qmp_capabilities') {
        throw new BlockError("Expecting capabilities negotiation with 'qmp_capabilities'", { code: 'ERR_PROTOCOL', qmpClass: 'CommandNotFound' });
      }
      return this.#negotiate(args);
    }
    if (name === 'qmp_capabilities') {
      parse(capabilitiesArguments, args);
      throw new BlockError('Capabilities negotiation is already complete, command ignored', { code: 'ERR_PROTOCOL', qmpClass: 'CommandNotFound' });
    }
    const command = this.monitor.find(name);
    if (command === undefined) throw notFound(name);
    const { engine } = this.monitor;
    const form = command.upgrade === undefined || engine.strict ? args : command.upgrade(args, this.#context);
    const value: unknown = await command.run(parse(command.args, form) as never, this.#context);
    if (command.today !== undefined && !engine.strict) this.#context.note(`${name}: deprecated, '${command.today}' is the command today`);
    return value;
  }

  #negotiate(args: JsonObject): Record<string, never> {
    const { enable } = parse(capabilitiesArguments, args);
    this.#hasOob = enable?.includes('oob') ?? false;
    this.#isNegotiated = true;
    return {};
  }
}

function notFound(name: string): BlockError {
  return new BlockError(`The command ${name} has not been found`, { code: 'ERR_NOT_FOUND', qmpClass: 'CommandNotFound' });
}

export function versionInfo(): JsonObject {
  return { qemu: { ...qemuVersion }, package: packageText };
}

function eventMessage(event: EngineEvent): EventMessage {
  const micros = Math.floor(event.timestampMs * 1000);
  return {
    timestamp: { seconds: Math.floor(micros / 1_000_000), microseconds: micros % 1_000_000 },
    event: event.name,
    ...(event.data === undefined ? {} : { data: event.data as JsonObject }),
  };
}

/** `{"error": {"class": …, "desc": …}}`, with what only the shell shows under keys that are not enumerated on the wire. */
export function errorReply(error: BlockError, id: Json | undefined): JsonObject {
  const reply: JsonObject = { ...(id === undefined ? {} : { id }), error: { class: error.qmpClass, desc: error.message } };
  if (error.hint !== undefined || error.detail !== undefined) Object.defineProperty(reply, 'source', { value: error, enumerable: false });
  return reply;
}
