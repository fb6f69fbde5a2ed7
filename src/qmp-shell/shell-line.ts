/* `! LINE`: a line of the system's shell, as a script or the terminal needs it. The programs of this package are on its PATH. */
import { spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { errnoCode } from '../core/util/errno.ts';
import { BlockError } from '../core/util/errors.ts';

export interface ShellLineOptions {
  /** The terminal is handed over; otherwise there is nothing to read. */
  readonly isInteractive?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Runs the line to its end. Rejects when it fails, with its exit code, or when `signal` aborts, which ends it. */
export async function runShellLine(line: string, options: ShellLineOptions = {}): Promise<void> {
  const child = spawn('/bin/sh', ['-c', line], {
    stdio: [options.isInteractive === true ? 'inherit' : 'ignore', 'inherit', 'inherit'],
    env: { ...process.env, PATH: searchPath() },
  });
  const kill = (): void => void child.kill('SIGTERM');
  options.signal?.addEventListener('abort', kill, { once: true });
  try {
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
      child.on('error', (error) => reject(new BlockError(`/bin/sh: ${error.message}`, { code: errnoCode(error) ?? 'EIO', cause: error })));
      child.on('close', (...end) => resolve(end));
    });
    if (options.signal?.aborted === true) throw new BlockError('interrupted', { code: 'EINTR' });
    if (signal !== null) throw new BlockError(`'${line}' was ended by ${signal}`, { code: 'ERR_STATE' });
    if (code !== 0) throw new BlockError(`'${line}' ended with exit code ${code}`, { code: 'ERR_STATE' });
  } finally {
    options.signal?.removeEventListener('abort', kill);
  }
}

/** PATH, and behind it the folders where this package's own programs may be. */
function searchPath(): string {
  const started = process.argv[1];
  const own: string[] = [];
  if (started !== undefined && existsSync(started)) own.push(join(dirname(realpathSync(started)), '..', 'bin'), dirname(started));
  return [process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin', ...own.filter((folder) => existsSync(folder))].join(delimiter);
}
