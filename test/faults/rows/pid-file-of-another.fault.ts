import { readFileSync, writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';
import type { Program, Stage } from '../stage.ts';

async function pidIn(stage: Stage, name: string): Promise<string> {
  for (let i = 0; i < 400; i++) {
    try {
      const text = readFileSync(stage.path(name), 'latin1');
      if (text.endsWith('\n')) return text.trim();
    } catch {
      // not yet there
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return 'none';
}

/** A second program with the same pid file ends with an error, and the file goes on naming the first. */
const fault: Fault = {
  name: 'pid-file-of-another',
  kind: 'locks',
  expected:
    'tsnbd: exit 1, Cannot lock pid file: Resource temporarily unavailable, kept; tsqmp: exit 1, cannot create PID file: Cannot lock pid file: Resource temporarily unavailable, kept',
  play: async (stage) => {
    writeFileSync(stage.path('r'), new Uint8Array(65536));
    const told: string[] = [];
    const cases: readonly (readonly [Program, (socket: string, pidFile: string) => readonly string[]])[] = [
      ['tsnbd', (socket, pidFile) => ['-t', '-r', '-f', 'raw', '-k', stage.path(socket), `--pid-file=${pidFile}`, 'r']],
      ['tsqmp', (socket, pidFile) => ['--daemon', '--nbd-server', `addr.type=unix,addr.path=${stage.path(socket)}`, '--pidfile', pidFile]],
    ];
    for (const [program, words] of cases) {
      const [node, file] = stage.command(program);
      const first = stage.start(node, [file, ...words(`${program}1`, `${program}.pid`)]);
      await pidIn(stage, `${program}.pid`);
      const second = await stage.run(program, words(`${program}2`, `${program}.pid`), { limitMs: 5000 });
      const isKept = (await pidIn(stage, `${program}.pid`)) === String(first.pid);
      told.push(`${program}: exit ${second.code}, ${second.stderr.trim().replace(/^\w+: /, '')}, ${isKept ? 'kept' : 'overwritten'}`);
    }
    return told.join('; ');
  },
};
export default fault;
