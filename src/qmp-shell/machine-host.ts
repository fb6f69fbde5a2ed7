/* Starts and ends the machine that lives in this process: its disks, its monitor, and the sockets that serve it. */
import { rawWarning } from '../cli/raw-warning.ts';
import { nodeFilename } from '../core/block/filename.ts';
import type { OptionTree } from '../core/block/options.ts';
import { BlockError } from '../core/util/errors.ts';
import type { Engine } from '../engine/engine.ts';
import { Machine } from '../machine/machine.ts';
import { allCommands } from '../monitor/catalogue.ts';
import { Monitor } from '../monitor/monitor.ts';
import { type QmpAddress, QmpServer } from '../monitor/qmp-server.ts';
import type { DiskOption } from './options.ts';

export interface MachineOptions {
  readonly disks: readonly DiskOption[];
  readonly qmp: readonly QmpAddress[];
  /** When it fires while images are opened, nobody waits for them any more. */
  readonly signal: AbortSignal;
  readonly onQuit: () => void;
  readonly print: (text: string) => void;
  readonly printed: () => Promise<void>;
  readonly warn: (text: string) => void;
}

export interface RunningMachine extends AsyncDisposable {
  readonly engine: Engine;
  readonly monitor: Monitor;
}

/** A machine on `engine`, which is closed with it. Everything is taken down again when one part fails. */
export async function startMachine(engine: Engine, options: MachineOptions): Promise<RunningMachine> {
  const servers: QmpServer[] = [];
  const close = async (): Promise<void> => {
    // the engine first: clients hear what its end raises
    await engine.close();
    await Promise.all(servers.map((server) => server.close()));
  };
  const giveUp = (): void => void engine.close();
  options.signal.addEventListener('abort', giveUp);
  try {
    engine.machine = new Machine(engine);
    for (const disk of options.disks) await addDisk(engine, disk);
    const monitor = new Monitor(engine, {
      kind: 'machine',
      commands: allCommands,
      onQuit: options.onQuit,
      print: options.print,
      printed: options.printed,
      warn: options.warn,
    });
    for (const address of options.qmp) servers.push(await QmpServer.listen(monitor, address));
    return { engine, monitor, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  } finally {
    options.signal.removeEventListener('abort', giveUp);
  }
}

/** Opens the image and puts it under a disk of the machine. */
export async function addDisk(engine: Engine, disk: DiskOption): Promise<void> {
  // before the image is touched: it may be the one that the first of them has open
  if (engine.machine?.has(disk.name) === true) throw new BlockError(`Duplicate ID '${disk.name}' for drive`, { code: 'ERR_NAME' });
  const node = await engine.opener.openImage({ filename: disk.filename, format: disk.format, options: diskOptions(disk) });
  if (node.isProbed && node.driver.name === 'raw' && !node.readOnly) process.stderr.write(rawWarning(nodeFilename(node)));
  await engine.machine?.addDisk(disk.name, node);
}

function diskOptions(disk: DiskOption): OptionTree {
  return { 'read-only': disk.readOnly, ...(disk.nodeName === undefined ? {} : { 'node-name': disk.nodeName }) };
}
