/*
 * tsnbd: serves one image to NBD clients until the last has left, or until a signal. Order of work as qemu-nbd has it:
 * options, background, listen, open, export, pid file, ready. Whatever fails, the socket's file does not stay behind.
 * Rule source: observed behaviour of qemu-nbd 11.1.
 */

import { enableDebug } from '../cli/debug.ts';
import { UsageError } from '../cli/getopt.ts';
import { asksForCompletion } from '../cli/options.ts';
import { Reporter } from '../cli/report.ts';
import { warnAboutTrace } from '../cli/trace.ts';
import { writePidFile } from '../core/storage/pid-file.ts';
import { BlockError } from '../core/util/errors.ts';
import { perm } from '../core/util/perm-bits.ts';
import { imageFormats } from '../engine/drivers.ts';
import { Engine } from '../engine/engine.ts';
import { findBitmaps } from '../engine/export-bitmaps.ts';
import type { NbdAddress } from '../nbd/address.ts';
import { dirtyBitmapContext } from '../nbd/dirty-bitmap.ts';
import { NbdExport } from '../nbd/export.ts';
import { NBD_DEFAULT_PORT } from '../nbd/protocol.ts';
import { NbdServer } from '../nbd/server.ts';
import { loadSnapshot } from './snapshot-option.ts';
import { isBackground, reportReady, startBackground } from './tsnbd-fork.ts';
import { exportStart, isWritethrough, openServedImage } from './tsnbd-image.ts';
import { helpText, type NbdSettings, nbdOptions, readSettings, versionText } from './tsnbd-options.ts';

/** Runs the program; the exit code. Never throws. */
export async function main(argv: readonly string[], progName: string): Promise<number> {
  enableDebug(process.env);
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
  const report = new Reporter({ program: progName });
  try {
    if (asksForCompletion(argv)) {
      const { answerCompletion } = await import('../cli/completion.ts');
      report.print(await answerCompletion({ name: progName, options: nbdOptions, values: (kind) => (kind === 'format' ? imageFormats : undefined) }, argv));
      return 0;
    }
    const settings = readSettings(argv, process.env, (text) => report.message(text));
    if (settings === 'help' || settings === 'version') {
      report.print(settings === 'help' ? helpText(progName) : versionText(progName));
      return 0;
    }
    for (const trace of settings.traces) warnAboutTrace(report, trace);
    const address = addressOf(settings);
    await using engine = new Engine();
    if (settings.objects.length > 0) {
      const { addObjects } = await import('./objects.ts');
      addObjects(engine.objects, settings.objects);
    }
    if (settings.fork && !isBackground(process.env)) return await startBackground(argv, settings.verbose);
    return await serve(engine, settings, address, report);
  } catch (error) {
    if (error instanceof UsageError) return usageError(report, error);
    return report.error(error);
  }
}

/** The parser's mistakes are followed by a line that names the program, the others by one that does not. */
function usageError(report: Reporter, error: UsageError): number {
  report.message(error.message);
  const advice = `Try \`${report.program} --help' for more information.`;
  if (error.fromParser) report.message(advice);
  else report.stderr.write(`${advice}\n`);
  return 1;
}

async function serve(engine: Engine, settings: NbdSettings, address: NbdAddress, report: Reporter): Promise<number> {
  let isSilent = false;
  let end: () => void = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const server = new NbdServer({
    budget: engine.budget,
    clock: engine.clock,
    maxConnections: settings.shared,
    handshakeTimeoutMs: settings.handshakeSeconds * 1000,
    log: (text) => {
      if (!isSilent) report.message(text);
    },
    onIdle: () => {
      if (!settings.persistent) end();
    },
  });
  // from here on a signal ends the program in good order, also while the image is being opened; a second one does not cut that short
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, end);
  await server.start(address, { held: true });
  try {
    const backend = await openServedImage(engine, settings, report);
    if (settings.loadSnapshot !== undefined && backend.node !== undefined) await loadSnapshot(engine.graph, backend.node, settings.loadSnapshot);
    const start = exportStart(settings.offset, backend.size());
    // clients are told a size: nobody may change it from now on
    backend.setPerm(settings.readOnly ? perm.consistentRead : perm.consistentRead | perm.write, perm.all & ~perm.resize);
    const bitmaps = backend.node === undefined ? [] : findBitmaps(engine.graph, backend.node, settings.readOnly, settings.bitmaps);
    const exp = new NbdExport({
      name: settings.exportName,
      backend,
      description: settings.description,
      writable: !settings.readOnly,
      multiConn: settings.shared !== 1,
      offset: start,
      writethrough: isWritethrough(settings.cache),
      allocationDepth: settings.allocationDepth,
    });
    for (const bitmap of bitmaps) exp.addContext(dirtyBitmapContext(bitmap, start));
    server.addExport(exp);
    if (settings.pidFile !== undefined) writePidFile(settings.pidFile);
    process.chdir('/');
    server.release();
    if (isBackground(process.env)) {
      isSilent = !settings.verbose;
      reportReady();
    }
    await ended;
    return 0;
  } finally {
    await server.stop();
  }
}

/** Where to listen. Throws when a socket that the system handed over excludes what the command line asks for. */
function addressOf(settings: NbdSettings): NbdAddress {
  if (process.env['LISTEN_PID'] === String(process.pid) && process.env['LISTEN_FDS'] !== undefined) {
    const refusals: readonly (readonly [unknown, string])[] = [
      [settings.socket, "Unix socket can't be set when using socket activation"],
      [settings.port, "TCP port number can't be set when using socket activation"],
      [settings.bind, "The interface can't be set when using socket activation"],
    ];
    for (const [value, text] of refusals) if (value !== undefined) throw new BlockError(text, { code: 'ERR_USAGE' });
    if (Number(process.env['LISTEN_FDS']) > 1) throw new BlockError('qemu-nbd does not support socket activation with LISTEN_FDS > 1', { code: 'ENOTSUP' });
    delete process.env['LISTEN_PID'];
    delete process.env['LISTEN_FDS'];
    return { type: 'fd', fd: 3 };
  }
  if (settings.socket !== undefined) return { type: 'unix', path: settings.socket };
  return { type: 'inet', host: settings.bind ?? '0.0.0.0', port: settings.port ?? String(NBD_DEFAULT_PORT) };
}
