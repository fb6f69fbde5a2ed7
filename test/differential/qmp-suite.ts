/* One test a script: what the peer's storage daemon and ours answer to the same bytes must be equal. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram } from '../support/run.ts';
import { makeQmpFixture } from './qmp-fixture.ts';
import { play, type Script, Unresponsive } from './qmp-harness.ts';

/** How the two programs are started for a script. */
export interface Programs {
  readonly peer: string;
  peerArgs(script: Script): readonly string[];
  ourArgs(script: Script): readonly string[];
}

const monitor = ['--chardev', 'stdio,id=qmp', '--monitor', 'chardev=qmp'];

export const storageDaemon: Programs = {
  peer: 'qemu-storage-daemon',
  peerArgs: (script) => [...(script.options ?? []), ...monitor],
  ourArgs: (script) => ['--daemon', '--strict', ...(script.options ?? []), ...monitor],
};

/** A machine with the disks of the script; the guest's devices have the names of their drives. */
export const machine: Programs = {
  peer: 'qemu-system-x86_64',
  peerArgs: ({ disks = [], options = [] }) => [
    ...['-nodefaults', '-display', 'none', '-S', '-machine', 'q35,accel=tcg', '-m', '16', '-device', 'virtio-scsi-pci,id=scsi0', ...options],
    ...disks.flatMap(({ name, file, format, readOnly }) => [
      ...['-drive', `if=none,id=${name},file=${file},format=${format}${readOnly === true ? ',readonly=on' : ''}`],
      ...['-device', `scsi-hd,drive=${name},id=${name}`],
    ]),
    ...['-qmp', 'stdio'],
  ],
  ourArgs: ({ disks = [], options = [] }) => [
    ...['--daemon', '--strict', ...options],
    ...disks.flatMap(({ name, file, format, readOnly }) => ['--disk', `${name}=${file},format=${format}${readOnly === true ? ',readonly=on' : ''}`]),
    ...monitor,
  ],
};

export function compareScripts(title: string, scripts: readonly Script[], programs: Programs = storageDaemon): void {
  describeWithPeers([programs.peer, 'qemu-img', 'qemu-io'], title, () => {
    let root: string;
    let template: string;
    beforeAll(() => {
      if (!existsSync(builtProgram('tsqmp'))) throw new Error('tsqmp has not been built: run npm run build');
      root = mkdtempSync(join(tmpdir(), 'tsqmp-diff-'));
      template = join(root, 'template');
      mkdirSync(template);
      makeQmpFixture(template, peer);
    });
    afterAll(() => rmSync(root, { recursive: true, force: true }));

    it.each(scripts.map((script) => [script.name, script] as const))(
      '%s',
      async (name, script) => {
        // paths of one length: they end up in messages with limits, and in one hash order
        const playIn = (side: string, program: string, args: readonly string[]): Promise<string> => {
          const folder = join(root, `${side}-${name.replaceAll(/[^a-z0-9]+/g, '-')}`);
          rmSync(folder, { recursive: true, force: true });
          cpSync(template, folder, { recursive: true });
          const placed = args.map((word) => word.replaceAll('@/', `${folder}/`));
          return play(program, placed, script, folder);
        };
        const expected = await again(() => playIn('a', peer(programs.peer), programs.peerArgs(script)));
        const found = await playIn('b', process.execPath, [builtProgram('tsqmp'), ...programs.ourArgs(script)]);
        expect(found).toBe(expected);
      },
      300_000,
    );
  });
}

/** Once in thousands of scripts the peer stays in a drain for good (QEMU 11.1.2, a busy machine): it is asked again. */
async function again(ask: () => Promise<string>): Promise<string> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof Unresponsive)) throw error;
    console.warn(`the peer hangs and is asked again: ${error.message}`);
    return await ask();
  }
}
