/* tsio: main() and nothing else. A bug of ours ends in one line and exit code 70. */
import { basename } from 'node:path';
import { programWords } from '../src/cli/argv.ts';

async function start(): Promise<void> {
  // the name it was started by: a link with a peer's name gives messages that name
  const name = basename(process.argv[1] ?? 'tsio').replace(/\.cjs$/, '');
  try {
    const { DirectOutput, main } = await import('../src/commands/tsio.ts');
    process.exitCode = await main(programWords(process.argv), name, { stdout: new DirectOutput(1), stderr: new DirectOutput(2) });
  } catch (error) {
    process.stderr.write(`${name}: internal error: ${error instanceof Error ? error.message : String(error)}\n`);
    if (process.env['TSIMG_DEBUG'] !== undefined && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    process.exit(70);
  }
}

void start();
