/*
 * What ends the program from outside: a signal, a terminal or a reader that goes away, an event loop with nothing left to
 * do. Tells it once a cause comes, and keeps Node from dying of it before images are closed. Knows no shell and no image.
 */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';
import { realClock } from '../core/util/clock.ts';
import { asBlockError } from '../core/util/internal-error.ts';

export type Signal = 'SIGTERM' | 'SIGHUP' | 'SIGINT';

/** `terminal`: closed, as by a lost connection. `reader`: nothing takes standard output. `idle`: nothing can happen any more. */
export type EndCause = Signal | 'terminal' | 'reader' | 'idle';

const signals: readonly Signal[] = ['SIGTERM', 'SIGHUP', 'SIGINT'];

/** Calls `onEnd` for every cause that comes. For good: a second signal finds the end under way and does not cut it short. */
export function watchForEnd(onEnd: (cause: EndCause) => void): void {
  keepFromDying();
  const { stdin, stdout, stderr } = process;
  const isTerminal = { input: stdin.isTTY === true, output: stdout.isTTY === true, messages: stderr.isTTY === true };
  for (const signal of signals) process.on(signal, () => onEnd(signal));
  process.on('beforeExit', () => onEnd('idle'));
  // a pipe or a file that cannot be read is the business of whoever reads it
  if (isTerminal.input) stdin.on('error', () => onEnd('terminal'));
  stdout.on('error', () => onEnd(isTerminal.output ? 'terminal' : 'reader'));
  if (isTerminal.messages) stderr.on('error', () => onEnd('terminal'));
}

/** From now on lost standard streams throw nothing, and a terminal that is gone does not abort the end of the program. */
export function keepFromDying(): void {
  for (const stream of [process.stdin, process.stdout, process.stderr]) stream.off('error', ignore).on('error', ignore);
  process.off('exit', releaseLostTerminals).once('exit', releaseLostTerminals);
}

/**
 * From now on what was thrown where nobody waits for it ends nothing: background work of one request, job or client has
 * failed, all others are served. `tell` gets one line.
 */
export function keepFromBugs(tell: (text: string) => void): void {
  const report = (thrown: unknown): void => {
    tell(asBlockError(thrown).message);
    if (process.env['TSIMG_DEBUG'] !== undefined && thrown instanceof Error) process.stderr.write(`${thrown.stack}\n`);
  };
  process.on('uncaughtException', report);
  process.on('unhandledRejection', report);
}

/** For others to do what they are about to do, at the end: then nobody waits for them any more. */
const graceMs = 50;

/** Settles with `work`, or after a moment without it. */
export async function forAMoment(work: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  await Promise.race([work, realClock.sleep(graceMs, over.signal)]);
  over.abort();
}

/** Settles once `stream` has been taken up to here, or cannot be any more. */
export async function written(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength === 0 || stream.destroyed || stream.errored !== null) return;
  await new Promise<void>((resolve) => void stream.write('', () => resolve()));
}

/**
 * Ends the program although a medium has not answered the thread that opens it: Node would wait for that thread. By the
 * system's `_exit`, else by a signal.
 */
export async function leaveStuckThreads(code: number): Promise<void> {
  const { loadSyscalls } = await import('../core/storage/syscalls.ts');
  loadSyscalls()?.exitNow(code);
  for (const signal of signals) process.removeAllListeners(signal);
  process.kill(process.pid, 'SIGTERM');
}

function ignore(): void {}

/** Node sets the terminal back at its very end and aborts when that fails: it leaves descriptors alone that are something else by then. */
function releaseLostTerminals(): void {
  for (const fd of [0, 1, 2]) {
    try {
      if (!fstatSync(fd).isCharacterDevice() || isatty(fd)) continue;
      closeSync(fd);
      // takes the lowest number, which has just become free
      openSync('/dev/null', 'r+');
    } catch {
      // not open: nothing to let go
    }
  }
}
