/* Lines typed before, in ~/.tsqmp_history: the newest last, at most 1024. A home that cannot be written costs the history, nothing else. */
import { readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export const historySize = 1024;

export function historyFile(): string {
  return join(homedir(), '.tsqmp_history');
}

/** Newest first, as readline wants them. */
export function loadHistory(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n').filter(Boolean).slice(-historySize).reverse();
  } catch {
    // the first time there is none
    return [];
  }
}

/** Saves lines that are given newest first. Nobody else may read them: they can hold secrets. */
export function saveHistory(file: string, newestFirst: readonly string[]): void {
  try {
    writeFileSync(
      file,
      newestFirst
        .slice(0, historySize)
        .reverse()
        .map((line) => `${line.trimEnd()}\n`)
        .join(''),
      { mode: 0o600 },
    );
  } catch {
    // told above
  }
}
