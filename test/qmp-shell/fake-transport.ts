/* A server for tests of the shell: notes what is sent, answers what it is told to. */
import type { JsonObject } from '../../src/core/util/json.ts';
import { SchemaIndex } from '../../src/qmp-shell/schema-index.ts';
import type { Transport } from '../../src/qmp-shell/transport.ts';

export class FakeTransport implements Transport {
  readonly greeting: JsonObject = { QMP: {} };
  readonly engine: Transport['engine'] = undefined;
  readonly isOurs = false;
  readonly closed: Promise<void> = new Promise(() => {});
  readonly sent: JsonObject[] = [];
  answer: (message: JsonObject) => JsonObject = () => ({ return: {} });

  async execute(message: JsonObject): Promise<JsonObject> {
    this.sent.push(message);
    return this.answer(message);
  }

  async commandNames(): Promise<readonly string[]> {
    return ['query-status', 'blockdev-add', 'block_resize', 'quit', 'stop', 'transaction'];
  }

  async humanNames(): Promise<readonly string[]> {
    return ['drive_del', 'qemu-io', 'block_resize', 'info', 'quit', 'q', 'stop'];
  }

  async schema(): Promise<SchemaIndex> {
    return new SchemaIndex([]);
  }

  listen(): void {}

  async close(): Promise<void> {}
}
