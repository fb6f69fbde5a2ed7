/*
 * Where commands go: a session of the monitor in this process, or a QMP socket of a running server, ours or QEMU's. One
 * interface, and what the shell has to know of the other side: its commands and its types. Asked once, then kept.
 */
import { isJsonObject, type JsonObject } from '../core/util/json.ts';
import type { Engine } from '../engine/engine.ts';
import { hmpNames } from '../monitor/hmp.ts';
import type { MonitorSession } from '../monitor/monitor.ts';
import { QmpClient, type QmpTarget } from '../monitor/qmp-client.ts';
import { SchemaIndex } from './schema-index.ts';

export interface Transport {
  readonly greeting: JsonObject;
  /** The engine behind it, when that is in this process: pictures and the guest need it. */
  readonly engine: Engine | undefined;
  /** The other side is this package, here or in another process. */
  readonly isOurs: boolean;
  execute(message: JsonObject): Promise<JsonObject>;
  listen(listener: (event: JsonObject) => void): void;
  /** Names of the server's commands. */
  commandNames(): Promise<readonly string[]>;
  /** Names of the human monitor's commands; none where there is no such monitor. */
  humanNames(): Promise<readonly string[]>;
  /** The server's commands, events and types. */
  schema(): Promise<SchemaIndex>;
  /** Settles when the server went away. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

export function localTransport(session: MonitorSession): Transport {
  const execute = (message: JsonObject): Promise<JsonObject> => session.execute(message);
  const { monitor } = session;
  const hasHuman = monitor.find('human-monitor-command') !== undefined;
  return {
    greeting: session.greeting(),
    engine: monitor.engine,
    isOurs: true,
    execute,
    listen: (listener) => session.listen(listener),
    commandNames: async () => [...monitor.commands].map((command) => command.name),
    humanNames: async () => (hasHuman ? hmpNames : []),
    schema: once(() => readSchema(execute)),
    closed: new Promise(() => {}),
    close: async () => session.close(),
  };
}

export async function connectTransport(target: QmpTarget, options: { readonly negotiate?: boolean; readonly signal?: AbortSignal } = {}): Promise<Transport> {
  const client = await QmpClient.connect(target, options);
  const execute = (message: JsonObject): Promise<JsonObject> => client.execute(message);
  return {
    greeting: client.greeting,
    engine: undefined,
    isOurs: packageOf(client.greeting).startsWith('tsimg'),
    execute,
    listen: (listener) => void client.listen(listener),
    commandNames: once(() => readCommandNames(execute)),
    humanNames: once(() => readHumanNames(execute)),
    schema: once(() => readSchema(execute)),
    closed: client.closed,
    close: () => client.close(),
  };
}

/** What a greeting calls the program behind it; '' when it does not tell. */
export function packageOf(greeting: JsonObject): string {
  const qmp = greeting['QMP'];
  const version = isJsonObject(qmp) ? qmp['version'] : undefined;
  return version !== undefined && isJsonObject(version) ? String(version['package']) : '';
}

type Execute = Transport['execute'];

function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () => {
    answer ??= ask();
    return answer;
  };
}

async function readCommandNames(execute: Execute): Promise<readonly string[]> {
  const { return: list } = await execute({ execute: 'query-commands' });
  return Array.isArray(list) ? list.flatMap((entry) => (isJsonObject(entry) ? [String(entry['name'])] : [])) : [];
}

/** From the monitor's own `help`: `NAME|OTHER PARAMETERS -- text`, a line each. */
async function readHumanNames(execute: Execute): Promise<readonly string[]> {
  const { return: text } = await execute({ execute: 'human-monitor-command', arguments: { 'command-line': 'help' } });
  if (typeof text !== 'string') return [];
  return text.split(/\r?\n/).flatMap((line) => (line.includes(' -- ') ? (line.split(' ')[0] ?? '').split('|') : []));
}

async function readSchema(execute: Execute): Promise<SchemaIndex> {
  const { return: list } = await execute({ execute: 'query-qmp-schema' });
  return new SchemaIndex(Array.isArray(list) ? list.filter(isJsonObject) : []);
}
