/* Image locks: QEMU refuses what we hold, we refuse what QEMU holds, in the same words. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { BlockError } from '../../src/core/util/errors.ts';
import { perm } from '../../src/core/util/perm-bits.ts';
import { Engine } from '../../src/engine/engine.ts';
import { describeWithPeers, peer } from '../support/peers.ts';
import { run } from '../support/run.ts';
import { tempFolder } from '../support/tmp.ts';

const exclusive = { perm: perm.consistentRead | perm.write, shared: perm.consistentRead | perm.writeUnchanged };

describeWithPeers(['qemu-img', 'qemu-io', 'qemu-storage-daemon'], 'image locks', () => {
  it('QEMU refuses an image that we hold for writing, and gets it when we are done', async () => {
    using folder = tempFolder('locks');
    const image = folder.file('disk.raw');
    writeFileSync(image, new Uint8Array(65536));
    await using engine = new Engine();
    const backend = await engine.openBackend({ filename: image, format: 'raw', readOnly: false, perms: exclusive });
    const refused = await run(peer('qemu-io'), ['-f', 'raw', '-c', 'write 0 512', image]);
    expect(refused.stderr).toContain('Failed to get "write" lock');
    await engine.closeBackend(backend);
    expect((await run(peer('qemu-io'), ['-f', 'raw', '-c', 'write 0 512', image])).code).toBe(0);
  });

  it('tools on raw images lock as QEMU’s do: not against each other', async () => {
    using folder = tempFolder('locks');
    const image = folder.file('disk.raw');
    writeFileSync(image, new Uint8Array(65536));
    await using engine = new Engine();
    await engine.openBackend({ filename: image, format: 'raw', readOnly: false });
    expect((await run(peer('qemu-io'), ['-f', 'raw', '-c', 'write 0 512', image])).code).toBe(0);
    await engine.openBackend({ filename: image, format: 'raw', readOnly: false });
  });

  it('two readers share an image, ours and QEMU’s', async () => {
    using folder = tempFolder('locks');
    const image = folder.file('disk.raw');
    writeFileSync(image, new Uint8Array(65536));
    await using engine = new Engine();
    await engine.openBackend({ filename: image, format: 'raw', perms: { ...exclusive, perm: perm.consistentRead } });
    expect((await run(peer('qemu-io'), ['-r', '-f', 'raw', '-c', 'read 0 512', image])).code).toBe(0);
    expect((await run(peer('qemu-io'), ['-f', 'raw', '-c', 'write 0 512', image])).stderr).toContain('Failed to get "write" lock');
  });

  it('we refuse an image that QEMU holds, name the holder in the hint, and leave nothing behind', async () => {
    using folder = tempFolder('locks');
    const image = folder.file('disk.raw');
    await run(peer('qemu-img'), ['create', '-f', 'qcow2', image, '1M']);
    // a device of a machine shares no writes; the tool alone would
    const holder = spawn(
      peer('qemu-storage-daemon'),
      ['--blockdev', `driver=file,node-name=f,filename=${image}`, '--blockdev', 'driver=qcow2,node-name=q,file=f', '--chardev', 'stdio,id=c', '--monitor', 'c'],
      { stdio: ['pipe', 'pipe', 'pipe'] },
    );
    try {
      // its greeting appears once the image is open
      await new Promise<void>((resolve) => holder.stdout.once('data', () => resolve()));
      await using engine = new Engine();
      const failure = await engine.openBackend({ filename: image, format: 'raw', readOnly: false }).catch((error: unknown) => error);
      if (!(failure instanceof BlockError)) throw new Error('opened an image that is in use');
      expect(failure.message).toBe('Failed to get "write" lock');
      expect(failure.detail).toBe(`Is another process using the image [${image}]?`);
      expect(failure.hint).toBe(`${image} is in use by process ${holder.pid} (qemu-storage-daemon)`);
      expect([...engine.graph.nodes]).toEqual([]);
      await engine.openBackend({ filename: image, format: 'raw', forceShare: true });
    } finally {
      holder.stdin.end('{"execute":"qmp_capabilities"}{"execute":"quit"}');
      await new Promise((resolve) => holder.once('close', resolve));
    }
  });
});
