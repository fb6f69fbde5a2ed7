/* The hint of a refused lock: who holds it. Never the descriptor that was refused, which has set its own locks by then. */
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { BlockError } from '../../../src/core/util/errors.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import { createImage } from '../../../src/engine/create.ts';
import { Engine } from '../../../src/engine/engine.ts';
import { describeWithPeers, peer } from '../../support/peers.ts';
import { builtProgram } from '../../support/run.ts';
import { type TempFolder, tempFolder } from '../../support/tmp.ts';

const exclusive = { perm: perm.consistentRead | perm.write, shared: perm.consistentRead };

async function refusal(engine: Engine, filename: string): Promise<BlockError> {
  const failure = await engine.openBackend({ filename, format: 'raw', readOnly: false, perms: exclusive }).catch((error: unknown) => error);
  if (!(failure instanceof BlockError)) throw new Error('opened an image that is in use');
  return failure;
}

/** The hint that we give while the server has `image` open for writing. */
async function hintAgainst(folder: TempFolder, command: string, args: readonly string[], image: string): Promise<{ hint: string | undefined; pid: number }> {
  const pidFile = folder.file('server.pid');
  const words = [...args, '-t', '-k', folder.file('nbd.sock'), '--pid-file', pidFile, '-f', 'qcow2', image];
  const server = spawn(command, words, { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = new Promise((resolve) => server.once('close', resolve));
  try {
    // written when the image is open; the socket's name appears before that
    while (!existsSync(pidFile)) await new Promise((resolve) => setImmediate(resolve));
    await using engine = new Engine();
    const { hint } = await refusal(engine, image);
    return { hint, pid: server.pid ?? 0 };
  } finally {
    server.kill('SIGTERM');
    await ended;
  }
}

async function makeImage(image: string): Promise<void> {
  await using engine = new Engine();
  await createImage(engine, 'qcow2', image, { size: 1048576 });
}

it('names this program when it has the image open itself', async () => {
  using folder = tempFolder('holder');
  const image = folder.file('disk.raw');
  writeFileSync(image, new Uint8Array(65536));
  await using engine = new Engine();
  await engine.openBackend({ filename: image, format: 'raw', readOnly: false, perms: exclusive });
  const failure = await refusal(engine, image);
  expect(failure.message).toBe('Failed to get "write" lock');
  expect(failure.hint).toBe(`${image} is open in this program already`);
});

it('names a program of ours by its own name', async () => {
  using folder = tempFolder('holder');
  const image = folder.file('disk.qcow2');
  await makeImage(image);
  const { hint, pid } = await hintAgainst(folder, process.execPath, [builtProgram('tsnbd')], image);
  expect(hint).toBe(`${image} is in use by process ${pid} (tsnbd)`);
});

describeWithPeers(['qemu-nbd'], 'against QEMU', () => {
  it('names qemu-nbd', async () => {
    using folder = tempFolder('holder');
    const image = folder.file('disk.qcow2');
    await makeImage(image);
    const { hint, pid } = await hintAgainst(folder, peer('qemu-nbd'), [], image);
    expect(hint).toBe(`${image} is in use by process ${pid} (qemu-nbd)`);
  });
});
