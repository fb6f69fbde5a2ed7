/* Command lines that the storage daemon refuses: exit code and messages must be equal, and no file may be left behind. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram, run } from '../support/run.ts';
import { daemonLines } from './qmp-cases-daemon.ts';
import { makeQmpFixture } from './qmp-fixture.ts';

describeWithPeers(['qemu-storage-daemon', 'qemu-img', 'qemu-io'], 'command lines of the storage daemon', () => {
  let root: string;
  let folder: string;
  let files: readonly string[];
  let link: string;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'tsqmp-daemon-'));
    folder = join(root, 'work');
    mkdirSync(folder);
    makeQmpFixture(folder, peer);
    files = readdirSync(folder);
    link = join(root, 'qemu-storage-daemon');
    symlinkSync(resolve(builtProgram('tsqmp')), link);
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it.each(daemonLines.map((words) => [words.join(' '), words] as const))('%s', async (_, words) => {
    const argv = words.map((word) => word.replaceAll('@/', `${folder}/`));
    const expected = await run(peer('qemu-storage-daemon'), argv, { cwd: folder });
    for (const name of readdirSync(folder)) if (!files.includes(name)) rmSync(join(folder, name));
    const found = await run(process.execPath, [link, ...argv], { cwd: folder });
    expect(found).toEqual(expected);
    expect(readdirSync(folder)).toEqual(files);
  });
});
