/*
 * `--fork`: starts the program again in the background and waits until that one serves. Its messages appear here until
 * then; afterwards it is silent, unless -v lets it keep the terminal. Knows no option, only the mark of the second run.
 * Rule source: observed behaviour of qemu-nbd 11.1.
 */
import { spawn } from 'node:child_process';
import { environmentOfWords } from '../cli/argv.ts';

/** Set in the environment of the program in the background. */
const mark = 'TSNBD_BACKGROUND';

export function isBackground(env: Readonly<Record<string, string | undefined>>): boolean {
  return env[mark] !== undefined;
}

/** Starts this program with the same words in the background. The exit code: 0 when it serves and has not complained. */
export function startBackground(argv: readonly string[], verbose: boolean): Promise<number> {
  return new Promise((resolve) => {
    const script = process.argv[1] ?? '';
    const child = spawn(process.execPath, [...process.execArgv, script, ...argv], {
      detached: true,
      env: { ...process.env, ...environmentOfWords(argv), [mark]: '1' },
      stdio: ['ignore', 'ignore', verbose ? 'inherit' : 'pipe', 'ipc'],
    });
    let hasComplained = false;
    child.stderr?.on('data', (text: Buffer) => {
      hasComplained = true;
      process.stderr.write(text);
    });
    child.once('error', (error) => {
      process.stderr.write(`${error.message}\n`);
      resolve(1);
    });
    child.once('message', () => {
      child.disconnect();
      child.stderr?.destroy();
      child.unref();
      resolve(hasComplained ? 1 : 0);
    });
    // 'close' comes after the last of its messages
    child.once('close', (code) => resolve(code === 0 ? 1 : (code ?? 1)));
  });
}

/** In the background: tells the waiting program that we serve. */
export function reportReady(): void {
  process.send?.('ready', () => process.disconnect());
}
