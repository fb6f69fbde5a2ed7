/* The scripts under examples/, as a user runs them: in both spellings, under --strict, and on a real QEMU with the same answers. */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram, type Finished, projectRoot, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

const example = (name: string): string => join(projectRoot, 'examples', `${name}.qmp`);

async function withDisks(): Promise<TempFolder> {
  const folder = tempFolder('journey');
  for (const name of ['RUNNING-VM.qcow2', 'BACKUP.qcow2']) {
    const made = await run(process.execPath, [builtProgram('tsimg'), 'create', '-q', '-f', 'qcow2', name, '4M'], { cwd: folder.path });
    expect(made.stderr).toBe('');
  }
  return folder;
}

function tsqmp(folder: TempFolder, ...args: string[]): Promise<Finished> {
  return run(process.execPath, [builtProgram('tsqmp'), ...args], { cwd: folder.path });
}

describe('examples on the machine in this process', () => {
  it('runs every script there is', () => {
    expect(
      readdirSync(join(projectRoot, 'examples'))
        .filter((name) => name.endsWith('.qmp'))
        .sort(),
    ).toEqual(['fleecing-2013.qmp', 'fleecing-filters.qmp', 'fleecing-today.qmp', 'unsafe-order.qmp']);
  });

  it('the workflow of 2013, with notes that name today’s forms', async () => {
    using folder = await withDisks();
    const done = await tsqmp(folder, '--disk', 'ide0-hd0=RUNNING-VM.qcow2', 'run', example('fleecing-2013'));
    expect(done.stderr).toMatch(/note: .*'node-name' today/);
    expect(done.stdout).toContain('has saved 17 of 64 clusters of 64 KiB');
    expect(done.code).toBe(0);
    const leftOpen = await run(process.execPath, [builtProgram('tsimg'), 'check', 'RUNNING-VM.qcow2'], { cwd: folder.path });
    expect(leftOpen.code).toBe(0);
  });

  it('is refused under --strict in its old spelling, at the line and in QEMU’s words', async () => {
    using folder = await withDisks();
    const done = await tsqmp(folder, '--strict', '--disk', 'ide0-hd0=RUNNING-VM.qcow2', 'run', example('fleecing-2013'));
    expect(done.code).toBe(1);
    expect(done.stdout).toMatch(/"desc": "Parameter '(if|id)' is unexpected"/);
    expect(done.stderr).toMatch(/fleecing-2013\.qmp:5: blockdev-add/);
  });

  it.each([[], ['--strict']])('today’s workflow %s', async (...flags) => {
    using folder = await withDisks();
    const done = await tsqmp(
      folder,
      ...flags.filter((flag) => typeof flag === 'string'),
      '--disk',
      'ide0-hd0=RUNNING-VM.qcow2',
      'run',
      example('fleecing-today'),
    );
    expect(done.stderr).toBe('');
    expect(done.code).toBe(0);
  });

  it('copy-before-write and snapshot-access', async () => {
    using folder = await withDisks();
    const done = await tsqmp(folder, '--disk', 'ide0-hd0=RUNNING-VM.qcow2,node=source', 'run', example('fleecing-filters'));
    expect(done.stderr).toBe('');
    expect(done.code).toBe(0);
  });

  it('warns when the job ends before the export, and not under --strict', async () => {
    using folder = await withDisks();
    const done = await tsqmp(folder, '--disk', 'ide0-hd0=RUNNING-VM.qcow2', 'run', example('unsafe-order'));
    expect(done.stderr).toContain("warning: the view of 'target0' is not frozen any more");
    expect(done.code).toBe(0);
    const steps = [
      'blockdev-add driver=qcow2 node-name=target0 file.driver=file file.filename=BACKUP.qcow2 backing=ide0-hd0',
      'blockdev-backup device=ide0-hd0 target=target0 sync=none',
      'nbd-server-start addr.type=unix addr.data.path=fleece.sock',
      'nbd-server-add device=target0',
      'block-job-cancel device=ide0-hd0',
    ].join('\n');
    const strict = await run(process.execPath, [builtProgram('tsqmp'), '--strict', '-v', '--disk', 'ide0-hd0=RUNNING-VM.qcow2'], {
      cwd: folder.path,
      input: steps,
    });
    expect([strict.code, strict.stderr]).toEqual([0, '']);
    expect(strict.stdout).toContain('BLOCK_JOB_CANCELLED');
    expect(strict.stdout).not.toContain('TSIMG_');
  });

  it('does the same from a pipe', async () => {
    using folder = await withDisks();
    const done = await run(process.execPath, [builtProgram('tsqmp'), '--disk', 'd=RUNNING-VM.qcow2'], {
      cwd: folder.path,
      input: 'query-status\nguest write d 0 64k 5\nguest read d 0 64k\nnosuch\nquery-status\n',
    });
    expect(done.stdout).toContain('{"return": {"status": "running", "running": true}}');
    expect(done.stdout).toContain('0x05: 65536');
    expect(done.stderr).toContain('<stdin>:4: nosuch: The command nosuch has not been found');
    expect(done.code).toBe(1);
  });
});

/** Answers of a run, without what cannot be equal: times of qemu-io go to the server's own output. */
function answers(stdout: string): string[] {
  return stdout
    .split('\n')
    .filter((line) => !/^(wrote|\d+(\.\d+)? [KM]iB, )/.test(line))
    .map((line) => line.replace(/"timestamp": \{[^}]*\}/, '"timestamp": {}'));
}

describeWithPeers(['qemu-system-x86_64'], 'examples on a real QEMU', () => {
  it('today’s workflow gives the same answers as ours', async () => {
    using ours = await withDisks();
    const mine = await tsqmp(ours, '--strict', '--disk', 'ide0-hd0=RUNNING-VM.qcow2', 'run', example('fleecing-today'));
    using theirs = await withDisks();
    const machine = spawn(
      peer('qemu-system-x86_64'),
      ['-machine', 'q35', '-nodefaults', '-display', 'none', '-S', '-drive', 'if=none,id=ide0-hd0,file=RUNNING-VM.qcow2,format=qcow2'].concat([
        '-device',
        'virtio-blk-pci,drive=ide0-hd0,id=vd0',
        '-qmp',
        'unix:vm.qmp,server=on,wait=off',
      ]),
      { cwd: theirs.path, stdio: 'ignore' },
    );
    try {
      let real: Finished = { code: null, stdout: '', stderr: '' };
      for (let tries = 0; tries < 200; tries++) {
        real = await tsqmp(theirs, 'run', example('fleecing-today'), 'vm.qmp');
        // the socket appears when QEMU has started
        if (!real.stderr.includes("Couldn't connect")) break;
      }
      expect(real.stderr).toBe('');
      expect(real.code).toBe(0);
      expect(answers(mine.stdout)).toEqual(answers(real.stdout));
      const status = await tsqmp(theirs, '-c', 'query-status', '-c', 'query-version', 'vm.qmp');
      expect(status.stdout).toContain('"running": false');
      const human = await tsqmp(theirs, '-H', '-c', 'drive_del nosuch', 'vm.qmp');
      expect([human.code, human.stderr]).toEqual([1, "Error: Device 'nosuch' not found\n"]);
    } finally {
      machine.kill('SIGKILL');
      await new Promise((resolve) => machine.once('close', resolve));
    }
  });
});
