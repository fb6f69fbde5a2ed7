import { statSync, truncateSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import type { Fault } from '../fault.ts';
import { peerPath, type Stage } from '../stage.ts';

/** Waits until the server greets a client: it listens before it has opened its image, as the peer's does. */
async function serving(path: string): Promise<void> {
  for (let i = 0; i < 400; i++) {
    const isThere = await new Promise<boolean>((resolve) => {
      const socket = createConnection(path)
        .once('data', () => {
          socket.destroy();
          resolve(true);
        })
        .on('error', () => resolve(false))
        .on('close', () => resolve(false));
    });
    if (isThere) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error('nobody serves');
}

async function shrinkBesides(stage: Stage, server: readonly [string, ...string[]], resize: readonly [string, ...string[]]): Promise<string> {
  const image = 'r.raw';
  writeFileSync(stage.path(image), '');
  truncateSync(stage.path(image), 4 << 20);
  const [program, ...words] = server;
  const child = stage.start(program, [...words, '-t', '-f', 'raw', '-k', stage.path('s'), image]);
  await serving(stage.path('s'));
  const [command, ...rest] = resize;
  const { code } = await stage.exec(command, [...rest, 'resize', '--shrink', '-f', 'raw', image, '1M']);
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('close', resolve));
  return `exit ${code}, ${statSync(stage.path(image)).size} bytes`;
}

/** A raw file that is being served keeps its size: the server's lock is respected, and ours by the peer. */
const fault: Fault = {
  name: 'resize-lock',
  kind: 'locks',
  peers: ['qemu-nbd', 'qemu-img'],
  expected: "peer's server: exit 1, 4194304 bytes; our server: exit 1, 4194304 bytes",
  play: async (stage) => {
    const theirs = await shrinkBesides(stage, [peerPath('qemu-nbd')], stage.command('tsimg'));
    const ours = await shrinkBesides(stage, stage.command('tsnbd'), [peerPath('qemu-img')]);
    return `peer's server: ${theirs}; our server: ${ours}`;
  },
};
export default fault;
