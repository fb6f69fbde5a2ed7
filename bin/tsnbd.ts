/* tsnbd: main() and nothing else. */
import { basename } from 'node:path';

const load = (): Promise<{ main(argv: readonly string[], progName: string): Promise<number> }> => import('../src/commands/tsnbd.ts');

load()
  .then((program) => program.main(process.argv.slice(2), programName()))
  .then((code) => {
    process.exitCode = code;
  });

/** The name the program was started by (a link named qemu-nbd gives messages that name). */
function programName(): string {
  return basename(process.argv[1] ?? 'tsnbd').replace(/\.cjs$/, '');
}
