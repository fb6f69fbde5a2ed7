/* tsqmp: main() and nothing else. A bug of ours ends in one line and exit code 70. */
import { basename } from 'node:path';
import { programWords } from '../src/cli/argv.ts';

async function start(): Promise<void> {
  // the name it was started by: a link with a peer's name gives messages that name
  const name = basename(process.argv[1] ?? 'tsqmp').replace(/\.cjs$/, '');
  try {
    const { main } = await import('../src/qmp-shell/main.ts');
    process.exitCode = await main(programWords(process.argv), name);
  } catch (error) {
    process.stderr.write(`${name}: internal error: ${error instanceof Error ? error.message : String(error)}\n`);
    if (process.env['TSIMG_DEBUG'] !== undefined && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    process.exit(70);
  }
}

// a reader that went away (`| head`) is no bug: main() ends in order
process.stdout.on('error', () => {});
void start();
