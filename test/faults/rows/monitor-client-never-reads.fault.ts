import { connect, type Socket } from 'node:net';
import type { Fault } from '../fault.ts';
import { peakMemory, type QmpProcess, type Stage } from '../stage.ts';

const clients = 16;
const mebibyte = 1024 * 1024;
const line = (message: object): string => `${JSON.stringify(message)}\n`;

/** What clients send who never read, and what the daemon grows by. Another monitor is asked meanwhile. */
async function growth(stage: Stage, requests: string): Promise<{ bytesEach: number; daemon: QmpProcess }> {
  const paths = Array.from({ length: clients }, (_, index) => stage.path(`${index}.sock`));
  const monitors = paths.flatMap((path, index) => ['--chardev', `socket,id=c${index},path=${path},server=on,wait=off`, '--monitor', `c${index}`]);
  const daemon = await stage.daemon(monitors);
  const before = peakMemory(daemon.pid);
  const sockets: Socket[] = [];
  for (const path of paths) {
    const socket = connect(path).on('error', () => {});
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.write(line({ execute: 'qmp_capabilities' }) + requests);
    sockets.push(socket);
  }
  // each round trip lets the daemon take what it takes of all others
  for (let count = 0; count < 300; count++) await daemon.execute('query-version');
  const bytesEach = (peakMemory(daemon.pid) - before) / clients;
  for (const socket of sockets) socket.destroy();
  return { bytesEach, daemon };
}

function scene(name: string, requests: () => string): Fault {
  return {
    name,
    kind: 'memory',
    expected: 'at most 16 MiB a client; answers another monitor',
    play: async (stage) => {
      const { bytesEach, daemon } = await growth(stage, requests());
      const size = bytesEach <= 16 * mebibyte ? 'at most 16 MiB' : `${Math.round(bytesEach / mebibyte)} MiB`;
      const reply = await daemon.execute('query-version');
      return `${size} a client; ${reply === undefined ? 'answers nobody' : 'answers another monitor'}`;
    },
  };
}

/** Replies that nobody reads do not pile up: the monitor stops reading while its client does not. */
const faults: Fault[] = [
  scene('monitor-client-never-reads', () => line({ execute: 'query-qmp-schema' }).repeat(120)),
  scene('monitor-client-never-reads-long-ids', () => line({ execute: 'nosuch', id: 'x'.repeat(400_000) }).repeat(60)),
];
export default faults;
