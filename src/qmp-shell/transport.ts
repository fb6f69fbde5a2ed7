/* Where commands go: a session of the monitor in this process, or a QMP socket of a running server. One interface. */
import { isJsonObject, type JsonObject } from '../core/util/json.ts';
import type { System } from '../engine/system.ts';
import type { MonitorSession } from '../monitor/monitor.ts';
import { QmpClient, type QmpTarget } from '../monitor/qmp-client.ts';

export interface Transport {
  readonly greeting: JsonObject;
  /** The system behind it, when that is in this process: pictures and the guest need it. */
  readonly system: System | undefined;
  execute(message: JsonObject): Promise<JsonObject>;
  listen(listener: (event: JsonObject) => void): void;
  /** Names of the server's commands. */
  commandNames(): Promise<readonly string[]>;
  /** Settles when the server went away. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

export function localTransport(session: MonitorSession): Transport {
  return {
    greeting: session.greeting(),
    system: session.monitor.system,
    execute: (message) => session.execute(message),
    listen: (listener) => session.listen(listener),
    commandNames: async () => [...session.monitor.commands].map((command) => command.name),
    closed: new Promise(() => {}),
    close: async () => session.close(),
  };
}

export async function connectTransport(target: QmpTarget, options: { readonly negotiate?: boolean } = {}): Promise<Transport> {
  const client = await QmpClient.connect(target, options);
  let names: readonly string[] | undefined;
  return {
    greeting: client.greeting,
    system: undefined,
    execute: (message) => client.execute(message),
    listen: (listener) => void client.listen(listener),
    commandNames: async () => {
      if (names === undefined) {
        const { return: list } = await client.execute({ execute: 'query-commands' });
        names = Array.isArray(list) ? list.flatMap((entry) => (isJsonObject(entry) ? [String(entry['name'])] : [])) : [];
      }
      return names;
    },
    closed: client.closed,
    close: () => client.close(),
  };
}
