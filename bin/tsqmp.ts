/* tsqmp: main() and nothing else. */
import { basename } from 'node:path';

const load = (): Promise<{ main(argv: readonly string[], progName: string): Promise<number> }> => import('../src/qmp-shell/main.ts');

load()
  .then((program) => program.main(process.argv.slice(2), programName()))
  .then((code) => {
    process.exitCode = code;
  });

/** The name the program was started by (a link named qemu-storage-daemon gives messages that name). */
function programName(): string {
  return basename(process.argv[1] ?? 'tsqmp').replace(/\.cjs$/, '');
}
