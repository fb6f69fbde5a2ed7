/*
 * tsqmp --daemon: no shell. Understands the options of qemu-storage-daemon in their JSON and key=value forms, and --disk,
 * --qmp and --strict; carries them out in the order in which they stand, then serves until `quit` or a signal. Errors name
 * the option, as the peer's do. Under --strict and without disks it is a storage daemon, otherwise a machine.
 */
import { commandHelp } from '../cli/help.ts';
import { defineOptions, type OptionTable, parseOptions } from '../cli/options.ts';
import { Reporter } from '../cli/report.ts';
import { maxServedLines, relayWarnings } from '../cli/warnings.ts';
import type { OptionTree } from '../core/block/options.ts';
import { type PidFile, writePidFile } from '../core/storage/pid-file.ts';
import { BlockError } from '../core/util/errors.ts';
import { bool, enumOf, optional, type Schema, str, struct } from '../core/util/schema.ts';
import { parseOptionArgument } from '../core/util/schema-keyval.ts';
import { Engine } from '../engine/engine.ts';
import { objectDefinition } from '../engine/object-types.ts';
import { addExport, nbdAddress, startNbdServer } from '../engine/ops/exports.ts';
import { addNode } from '../engine/ops/nodes.ts';
import { addObject } from '../engine/ops/objects.ts';
import { Machine } from '../machine/machine.ts';
import { allCommands } from '../monitor/catalogue.ts';
import { Monitor, packageText, qemuVersion } from '../monitor/monitor.ts';
import { QmpServer } from '../monitor/qmp-server.ts';
import { blockExportOptions, nbdServerOptions } from '../monitor/types/block.ts';
import { blockdevOptions } from '../monitor/types/blockdev.ts';
import { isBackground, reportReady, startBackground } from './background.ts';
import { Chardevs } from './chardevs.ts';
import { forAMoment, keepFromBugs, keepFromDying, written } from './lifetime.ts';
import { addDisk } from './machine-host.ts';
import { parseDisk, parseQmpAddress } from './options.ts';

const table = defineOptions({
  blockdev: { arg: '[driver=]DRIVER[,node-name=N][,OPTION=VALUE...]', many: true, help: 'add a block node' },
  chardev: { arg: 'OPTIONS', many: true, help: 'make a channel for a monitor: socket, stdio or null' },
  daemonize: { help: 'run in the background; return once it serves' },
  export: { arg: '[type=]nbd,id=ID,node-name=N[,...]', many: true, help: 'export a block node' },
  monitor: { arg: '[chardev=]NAME[,mode=control][,pretty[=on|off]]', many: true, help: 'serve QMP on a channel' },
  nbdServer: { arg: 'addr.type=unix,addr.path=PATH[,...]', many: true, help: 'start the NBD server' },
  object: { arg: 'qom-type=TYPE,id=ID[,...]', many: true, help: 'add an object, a secret for instance' },
  pidfile: { arg: 'PATH', help: 'write the process id to this file', complete: 'file' },
  disk: { arg: 'NAME=FILE[,format=FMT][,readonly=on][,node=NODE]', many: true, help: 'give the machine a disk', complete: 'file' },
  qmp: { arg: 'unix:PATH|tcp:HOST:PORT', many: true, help: 'serve QMP on a socket' },
  strict: { help: 'answer exactly as QEMU 11.1 does' },
  trace: { short: 'T', arg: 'OPTIONS', many: true, help: 'accepted and ignored' },
  version: { short: 'V', stops: true, help: 'print the version and exit' },
  help: { short: 'h', stops: true, help: 'print this help and exit' },
});

/** For help and the check of the manual. */
export const daemonTable: OptionTable = table;

interface MonitorOption {
  id?: string | undefined;
  mode?: 'readline' | 'control' | undefined;
  pretty?: boolean | undefined;
  chardev: string;
}

const monitorOptions: Schema<MonitorOption> = struct('MonitorOptions', {
  id: optional(str),
  mode: optional(enumOf('MonitorMode', ['readline', 'control'])),
  pretty: optional(bool),
  chardev: str,
});

/** `started` hears of the engine, which is closed when this settles. */
export async function daemonMain(argv: readonly string[], progName: string, started: (engine: Engine) => void): Promise<number> {
  const reporter = new Reporter({ program: progName, hints: false, tryLine: () => '' });
  try {
    const { options, operands, order, stoppedAt } = parseOptions(argv, table);
    if (stoppedAt === 'help') {
      reporter.print(daemonHelp(progName));
      return 0;
    }
    if (stoppedAt === 'version') {
      reporter.print(`${progName} version ${qemuVersion.major}.${qemuVersion.minor}.${qemuVersion.micro} (${packageText})\n`);
      return 0;
    }
    if (options.daemonize && !isBackground(process.env)) return await startBackground(argv);
    const isStrict = options.strict || progName === 'qemu-storage-daemon';
    if (operands[0] !== undefined && operands[0] === argv[0]) throw new BlockError(`${operands[0]}: Unexpected argument`, { code: 'ERR_USAGE' });
    const engine = new Engine({ strict: isStrict });
    relayWarnings(engine.events, reporter, maxServedLines);
    started(engine);
    const daemon = new Daemon(engine, reporter, { isMachine: !isStrict || options.disk.length > 0, pidFile: options.pidfile });
    const code = await daemon.run(withSpelling(argv, order), operands);
    await leaveReaders(code);
    return code;
  } catch (error) {
    // the peer names the mistake and no more
    if (error instanceof BlockError) {
      reporter.message(error.message);
      if (error.detail !== undefined) reporter.stderr.write(`${error.detail}\n`);
      return 1;
    }
    return reporter.error(error);
  }
}

/** What nobody takes from standard output in a moment is lost to it: a daemon that has ended is gone. */
async function leaveReaders(code: number): Promise<void> {
  await forAMoment(written(process.stdout));
  if (process.stdout.writableLength > 0) process.exit(code);
}

interface GivenOption {
  readonly key: string;
  readonly value: string | undefined;
  /** As it stood on the command line: messages repeat it. */
  readonly spelling: string;
}

function withSpelling(argv: readonly string[], order: readonly { readonly key: string; readonly value: string | undefined }[]): GivenOption[] {
  let at = 0;
  return order.map(({ key, value }) => {
    if (value === undefined) return { key, value, spelling: '' };
    while (at < argv.length && !argv[at]?.endsWith(`=${value}`) && argv[at + 1] !== value) at++;
    const word = argv[at] ?? '';
    const isAttached = word.startsWith('-') && word.endsWith(`=${value}`) && argv[at + 1] !== value;
    at += isAttached ? 1 : 2;
    return { key, value, spelling: isAttached ? word : `${word} ${value}` };
  });
}

interface DaemonSettings {
  readonly isMachine: boolean;
  readonly pidFile: string | undefined;
}

class Daemon {
  readonly #engine: Engine;
  readonly #monitor: Monitor;
  readonly #chardevs: Chardevs;
  readonly #monitors: (() => void)[] = [];
  readonly #servers: QmpServer[] = [];
  readonly #pidFile: string | undefined;
  readonly #ended: Promise<unknown>;

  constructor(engine: Engine, reporter: Reporter, settings: DaemonSettings) {
    this.#pidFile = settings.pidFile;
    this.#engine = engine;
    if (settings.isMachine) this.#engine.machine = new Machine(this.#engine);
    let end: (failure?: unknown) => void = () => {};
    this.#ended = new Promise((resolve) => {
      end = resolve;
    });
    this.#monitor = new Monitor(this.#engine, {
      kind: settings.isMachine ? 'machine' : 'daemon',
      commands: allCommands,
      onQuit: end,
      print: (text) => void process.stdout.write(text),
      printed: () => written(process.stdout),
      warn: (text) => reporter.message(text),
    });
    this.#chardevs = new Chardevs({
      input: process.stdin,
      output: process.stdout,
      isBackground: isBackground(process.env),
      warn: (text) => reporter.message(text),
    });
  }

  async run(order: readonly GivenOption[], operands: readonly string[]): Promise<number> {
    const end = (): void => void this.#monitor.quit('host-signal');
    // for good: a second signal finds the end under way and does not cut it short
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, end);
    keepFromDying();
    keepFromBugs((text) => this.#monitor.warn(text));
    // it stays when nothing is there that could end it but a signal
    const stay = setInterval(() => {}, 1 << 30);
    let pidFile: PidFile | undefined;
    try {
      if (await this.#prepare(order)) {
        // nobody is listened to before everything that the command line asks for is there
        for (const serve of this.#monitors) serve();
        if (operands[0] !== undefined) throw new BlockError(`${operands[0]}: Unexpected argument`, { code: 'ERR_USAGE' });
        if (this.#pidFile !== undefined) pidFile = writePid(this.#pidFile);
        if (isBackground(process.env)) reportReady();
      }
      const failure = await this.#ended;
      if (failure !== undefined) throw failure;
      // the reply to quit is written by whoever asked: it goes out before the channels are closed
      await new Promise((resolve) => setImmediate(resolve));
      return 0;
    } finally {
      clearInterval(stay);
      await this.#engine.close();
      await Promise.all([...this.#servers.map((server) => server.close()), this.#chardevs.close()]);
      process.stdin.destroy();
      pidFile?.remove();
    }
  }

  /** Carries out what the command line asks for. False when the program was told to end meanwhile, though an image does not open. */
  async #prepare(order: readonly GivenOption[]): Promise<boolean> {
    try {
      for (const option of order) await this.#carryOut(option);
      return true;
    } catch (error) {
      if (error instanceof BlockError && error.code === 'ECANCELED') return false;
      throw error;
    }
  }

  async #carryOut({ key, value = '', spelling }: GivenOption): Promise<void> {
    try {
      switch (key) {
        case 'blockdev':
          await addNode(this.#engine, parseOptionArgument(blockdevOptions, value, 'driver') as OptionTree);
          return;
        case 'object':
          addObject(this.#engine.objects, parseOptionArgument(objectDefinition, value, 'qom-type'));
          return;
        case 'nbdServer': {
          const { addr, ...rest } = parseOptionArgument(nbdServerOptions, value);
          await startNbdServer(this.#engine, { ...rest, addr: nbdAddress(addr) });
          return;
        }
        case 'export':
          await addExport(this.#engine, parseOptionArgument(blockExportOptions, value, 'type'));
          return;
        case 'chardev':
          await this.#chardevs.add(value);
          return;
        case 'monitor':
          this.#addMonitor(parseOptionArgument(monitorOptions, value, 'chardev'));
          return;
        case 'disk':
          await addDisk(this.#engine, parseDisk(value));
          return;
        case 'qmp':
          this.#servers.push(await QmpServer.listen(this.#monitor, parseQmpAddress(value)));
          return;
      }
    } catch (error) {
      if (!(error instanceof BlockError) || error.message.startsWith('--')) throw error;
      throw error.prepend(`${spelling}: `);
    }
  }

  #addMonitor({ chardev, mode, pretty }: MonitorOption): void {
    if (mode === 'readline') throw new BlockError('Only QMP is supported', { code: 'ENOTSUP' });
    this.#monitors.push(this.#chardevs.claim(chardev, this.#monitor, { pretty: pretty ?? false }));
  }
}

function writePid(path: string): PidFile {
  try {
    return writePidFile(path);
  } catch (error) {
    throw error instanceof BlockError ? error.prepend('cannot create PID file: ') : error;
  }
}

function daemonHelp(program: string): string {
  return commandHelp({
    command: program,
    usage: ['--daemon [OPTIONS]'],
    summary: 'A machine or a storage daemon without a shell: block nodes, exports and QMP, until quit or a signal.',
    options: table,
  });
}
