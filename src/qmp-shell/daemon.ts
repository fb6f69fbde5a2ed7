/*
 * tsqmp --daemon: the options of qemu-storage-daemon in their JSON and key=value forms, carried out in the order in which
 * they stand; then serves until `quit` or a signal. Errors name the option, as the peer's do.
 */
import { rmSync } from 'node:fs';
import { UsageError } from '../cli/getopt.ts';
import { defineOptions, type OptionTable, parseOptions } from '../cli/options.ts';
import { writePidFile } from '../cli/pid-file.ts';
import { Reporter } from '../cli/report.ts';
import type { OptionTree } from '../core/block/options.ts';
import { BlockError } from '../core/util/errors.ts';
import { isValidOptionList, parseKeyValues } from '../core/util/key-values.ts';
import { bool, enumOf, optional, type Schema, str, struct } from '../core/util/schema.ts';
import { parseOptionArgument } from '../core/util/schema-keyval.ts';
import { addExport, nbdAddress, startNbdServer } from '../engine/ops/exports.ts';
import { addNode } from '../engine/ops/nodes.ts';
import { System } from '../engine/system.ts';
import { allCommands } from '../monitor/catalogue.ts';
import { Monitor, packageText, qemuVersion } from '../monitor/monitor.ts';
import { QmpServer, serveClient } from '../monitor/qmp-server.ts';
import { blockdevOptions, blockExportOptions, nbdServerOptions, secretOptions } from '../monitor/types/block.ts';

const table = defineOptions({
  blockdev: { arg: '[driver=]DRIVER[,node-name=N][,OPTION=VALUE...]', many: true, help: 'add a block node' },
  chardev: { arg: 'OPTIONS', many: true, help: 'make a character device: socket, stdio or null' },
  daemonize: { help: 'run in the background, return when it serves' },
  export: { arg: '[type=]nbd,id=ID,node-name=N[,...]', many: true, help: 'export a block node' },
  monitor: { arg: '[chardev=]NAME[,mode=control][,pretty[=on|off]]', many: true, help: 'serve QMP on a character device' },
  nbdServer: { arg: 'addr.type=unix,addr.path=PATH[,...]', many: true, help: 'start the NBD server' },
  object: { arg: 'qom-type=TYPE,id=ID[,...]', many: true, help: 'add an object, a secret for instance' },
  pidfile: { arg: 'PATH', help: 'write the process id to this file', complete: 'file' },
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

interface Chardev {
  readonly kind: 'stdio' | 'socket' | 'null';
  readonly path: string | undefined;
  readonly host: string | undefined;
  readonly port: string | undefined;
  isUsed: boolean;
}

export async function daemonMain(argv: readonly string[], progName: string): Promise<number> {
  const reporter = new Reporter({ program: progName, stdout: process.stdout, stderr: process.stderr, hints: false });
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
    if (operands[0] !== undefined) throw new BlockError(`${operands[0]}: Unexpected argument`);
    if (options.daemonize) throw new UsageError('--daemonize is not offered: start it with & or from a service manager');
    return await new Daemon(options.strict, options.pidfile).run(order);
  } catch (error) {
    return reporter.error(error);
  }
}

class Daemon {
  readonly #system: System;
  readonly #monitor: Monitor;
  readonly #chardevs = new Map<string, Chardev>();
  readonly #servers: QmpServer[] = [];
  readonly #stdioClients: (() => Promise<void>)[] = [];
  readonly #pidFile: string | undefined;
  readonly #ended: Promise<void>;
  #end: () => void = () => {};

  constructor(isStrict: boolean, pidFile: string | undefined) {
    this.#pidFile = pidFile;
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#system = new System({ strict: isStrict });
    this.#monitor = new Monitor(this.#system, {
      kind: 'daemon',
      commands: allCommands,
      onQuit: () => this.#end(),
      print: (text) => void process.stdout.write(text),
    });
  }

  async run(order: readonly { readonly key: string; readonly value: string | undefined }[]): Promise<number> {
    const end = (): void => this.#end();
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, end);
    try {
      for (const { key, value } of order) await this.#carryOut(key, value ?? '');
      if (this.#pidFile !== undefined) writePidFile(this.#pidFile, process.pid);
      const clients = this.#stdioClients.map((serve) => serve());
      await this.#ended;
      // the reply to quit is on its way out
      await Promise.race([Promise.all(clients), new Promise((resolve) => setImmediate(resolve))]);
      return 0;
    } finally {
      for (const server of this.#servers) await server.close();
      await this.#system.close();
      if (this.#pidFile !== undefined) rmSync(this.#pidFile, { force: true });
      process.stdin.destroy();
      for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.off(signal, end);
    }
  }

  async #carryOut(key: string, value: string): Promise<void> {
    try {
      switch (key) {
        case 'blockdev':
          await addNode(this.#system, parseOptionArgument(blockdevOptions, value, 'driver') as OptionTree);
          return;
        case 'object':
          this.#system.objects.add(parseOptionArgument(secretOptions, value, 'qom-type'));
          return;
        case 'nbdServer': {
          const { addr, ...rest } = parseOptionArgument(nbdServerOptions, value);
          await startNbdServer(this.#system, { ...rest, addr: nbdAddress(addr) });
          return;
        }
        case 'export':
          await addExport(this.#system, parseOptionArgument(blockExportOptions, value, 'type'));
          return;
        case 'chardev':
          this.#addChardev(value);
          return;
        case 'monitor':
          await this.#addMonitor(parseOptionArgument(monitorOptions, value, 'chardev'));
          return;
      }
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      const name = key === 'nbdServer' ? 'nbd-server' : key;
      throw error.prepend(`--${name} ${value}: `);
    }
  }

  #addChardev(text: string): void {
    if (!isValidOptionList(text)) throw new BlockError('chardev: no id specified');
    const values = parseKeyValues(text.replace(/,(server|wait|delay)(?=,|$)/g, ',$1=on'), 'backend');
    const word = (name: string): string | undefined => (typeof values[name] === 'string' ? (values[name] as string) : undefined);
    const backend = word('backend');
    const id = word('id');
    if (id === undefined) throw new BlockError('chardev: no id specified');
    if (backend === undefined) throw new BlockError(`chardev: "${id}" missing backend`);
    if (backend !== 'stdio' && backend !== 'socket' && backend !== 'null') throw new BlockError(`'${backend}' is not a valid char driver name`);
    if (this.#chardevs.has(id)) throw new BlockError(`Duplicate ID '${id}' for chardev`);
    this.#chardevs.set(id, { kind: backend, path: word('path'), host: word('host'), port: word('port'), isUsed: false });
  }

  async #addMonitor(options: MonitorOption): Promise<void> {
    const chardev = this.#chardevs.get(options.chardev);
    if (chardev === undefined) throw new BlockError(`chardev "${options.chardev}" not found`);
    if (options.mode === 'readline') throw new BlockError('Only QMP is supported');
    if (chardev.isUsed) throw new BlockError(`Device '${options.chardev}' is in use`);
    chardev.isUsed = true;
    const how = { pretty: options.pretty ?? false };
    if (chardev.kind === 'null') return;
    if (chardev.kind === 'stdio') {
      this.#stdioClients.push(() => serveClient(this.#monitor, process.stdin, process.stdout, how));
      return;
    }
    const address =
      chardev.path === undefined
        ? { type: 'tcp' as const, host: chardev.host ?? '127.0.0.1', port: Number(chardev.port ?? 0) }
        : { type: 'unix' as const, path: chardev.path };
    this.#servers.push(await QmpServer.listen(this.#monitor, address, how));
  }
}

function daemonHelp(program: string): string {
  const lines = Object.entries(table).map(([key, spec]) => {
    const name = key === 'nbdServer' ? 'nbd-server' : key;
    return `  --${name}${'arg' in spec ? ` ${spec.arg}` : ''}\n      ${spec.help}`;
  });
  return `Usage: ${program} [options]\nA storage daemon: block nodes, exports and a QMP monitor, no shell.\n\n${lines.join('\n')}\n`;
}
