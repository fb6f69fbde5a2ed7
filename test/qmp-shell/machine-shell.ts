/* A shell over a machine in this process whose images are in memory. */
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { Engine } from '../../src/engine/engine.ts';
import { Machine } from '../../src/machine/machine.ts';
import { allCommands } from '../../src/monitor/catalogue.ts';
import { Monitor } from '../../src/monitor/monitor.ts';
import { Interpreter, type Outcome } from '../../src/qmp-shell/interpreter.ts';
import { localTransport, type Transport } from '../../src/qmp-shell/transport.ts';

export class MachineShell implements AsyncDisposable {
  readonly engine: Engine;
  readonly transport: Transport;
  readonly interpreter: Interpreter;
  readonly notes: string[] = [];

  private constructor(engine: Engine) {
    this.engine = engine;
    const monitor = new Monitor(engine, { kind: 'machine', commands: allCommands, onQuit: () => {} });
    this.transport = localTransport(monitor.openSession({ isNegotiated: true, hearsOwnEvents: true, onNote: (text) => void this.notes.push(text) }));
    this.interpreter = new Interpreter(this.transport);
  }

  /** The disk `hd` over the raw node `src` of this size; other files appear at first use, as large. */
  static async start(size: number, options: { readonly strict?: boolean } = {}): Promise<MachineShell> {
    const media = new Map<string, MemoryStorage>();
    const engine = new Engine({
      strict: options.strict ?? false,
      openStorage: async (path) => {
        if (path.startsWith('nosuch')) throw new BlockError('No such file or directory', { code: 'ENOENT' });
        const medium = media.get(path) ?? new MemoryStorage(path);
        if (!media.has(path)) medium.truncate(path === 'small.raw' ? size / 2 : size);
        media.set(path, medium);
        return medium;
      },
    });
    engine.machine = new Machine(engine);
    await engine.machine.addDisk('hd', await engine.opener.openImage({ filename: 'disk.raw', format: 'raw', options: { 'node-name': 'src' } }));
    return new MachineShell(engine);
  }

  run(line: string): Promise<Outcome> {
    return this.interpreter.run(line);
  }

  /** What the line prints. Throws when it fails. */
  async say(line: string): Promise<string> {
    const { output, failure } = await this.run(line);
    if (failure !== undefined) throw new Error(`${line}: ${failure.message}`);
    return output;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.transport.close();
    await this.engine.close();
  }
}
