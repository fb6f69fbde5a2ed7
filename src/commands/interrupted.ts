/*
 * A command that is ended by a signal leaves nothing half-made: what it was making goes before the signal does what it does.
 * Images that were there before are left as they are: each of their changes is one that a cut cannot spoil.
 */
import { realPath } from '../core/storage/real-path.ts';
import type { Engine } from '../engine/engine.ts';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Removes `filename` when a signal ends the program before the result is disposed of; not when there is such a file already. */
export function removedOnSignal(engine: Engine, filename: string): Disposable {
  if (realPath(filename) !== undefined) return { [Symbol.dispose]: () => {} };
  const end = (signal: NodeJS.Signals): void => {
    stop();
    engine.openStorage.remove?.(filename);
    process.kill(process.pid, signal);
  };
  const stop = (): void => {
    for (const signal of signals) process.removeListener(signal, end);
  };
  for (const signal of signals) process.on(signal, end);
  return { [Symbol.dispose]: stop };
}
