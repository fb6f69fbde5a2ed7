import { listening } from '../../support/listening.ts';
import type { Fault } from '../fault.ts';
import { peakMemory, type Stage } from '../stage.ts';

const mebibyte = 1024 * 1024;

/** A daemon whose standard output, a monitor's, nobody reads, and one more monitor on a socket. */
async function deafDaemon(
  stage: Stage,
  requests: string,
  more: readonly string[] = [],
): Promise<{ ended: Promise<number | null>; pid: number; ask: () => Promise<string> }> {
  const [node, file] = stage.command('tsqmp');
  const path = stage.path('other.sock');
  const child = stage.start(node, [
    file,
    '--daemon',
    ...more,
    ...['--chardev', 'stdio,id=out', '--monitor', 'out'],
    ...['--chardev', `socket,id=c,path=${path},server=on,wait=off`, '--monitor', 'c'],
  ]);
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  child.stdout?.pause();
  child.stderr?.resume();
  await listening(path);
  child.stdin?.write(`{"execute":"qmp_capabilities"}${requests}`);
  const { connect } = await import('node:net');
  const socket = connect(path).setEncoding('utf8');
  let heard = '';
  let wake: () => void = () => {};
  socket.on('data', (text: string) => {
    heard += text;
    wake();
  });
  const line = async (): Promise<string> => {
    while (!heard.includes('\n')) await new Promise<void>((resolve) => (wake = resolve));
    const end = heard.indexOf('\n');
    const found = heard.slice(0, end);
    heard = heard.slice(end + 1);
    return found;
  };
  await line();
  socket.write('{"execute":"qmp_capabilities"}');
  await line();
  const ask = async (): Promise<string> => {
    socket.write('{"execute":"query-jobs"}');
    return (await line()).trim();
  };
  return { ended, pid: child.pid ?? 0, ask };
}

function scene(name: string, requests: string, more: readonly string[] = []): Fault {
  return {
    name,
    kind: 'memory',
    expected: 'at most 16 MiB; {"return": []}; exit 0',
    play: async (stage) => {
      const { ended, pid, ask } = await deafDaemon(stage, requests, more);
      const before = peakMemory(pid);
      for (let count = 0; count < 200; count++) await ask();
      const grown = peakMemory(pid) - before;
      const answer = await ask();
      process.kill(pid, 'SIGTERM');
      const code = await ended;
      return `${grown <= 16 * mebibyte ? 'at most 16 MiB' : `${Math.round(grown / mebibyte)} MiB`}; ${answer}; exit ${code}`;
    },
  };
}

const readAll = '{"execute":"human-monitor-command","arguments":{"command-line":"qemu-io hd \\"read -v 0 64k\\""}}';

/** Standard output is a monitor's channel as well, and what qemu-io prints goes there: neither piles up, and the daemon ends all the same. */
const faults: Fault[] = [
  scene('monitor-stdio-never-read', '{"execute":"query-qmp-schema"}'.repeat(200)),
  scene('monitor-qemu-io-output-never-read', readAll.repeat(500), ['--disk', 'hd=json:{"driver":"null-co",,"size":1048576}']),
];
export default faults;
