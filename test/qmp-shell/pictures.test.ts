/* graph, blockers, map, guest and help: what they show of a machine. */
import { describe, expect, it } from 'vitest';
import { driverEntries } from '../../src/engine/drivers.ts';
import { allCommands } from '../../src/monitor/catalogue.ts';
import { MachineShell } from './machine-shell.ts';

const size = 64 * 65536;

/** A backup of the disk onto the raw node `tgt`. */
async function withBackup(): Promise<MachineShell> {
  const shell = await MachineShell.start(size);
  await shell.say('blockdev-add driver=raw node-name=tgt file.driver=file file.filename=target.raw');
  await shell.say('blockdev-backup job-id=j device=hd target=tgt sync=none filter-node-name=cbw');
  return shell;
}

describe('graph', () => {
  it('is a tree from each user down to the files', async () => {
    await using shell = await MachineShell.start(size);
    expect((await shell.say('graph')).replace(/#block\d+/g, '#block')).toBe("device 'hd'\n└─ root: src [raw]\n   └─ file: #block [file] disk.raw\n");
  });

  it('shows jobs and filters, and each node once in full', async () => {
    await using shell = await withBackup();
    expect((await shell.say('graph')).replace(/#block\d+/g, '#block')).toBe(
      [
        "device 'hd'",
        '└─ root: cbw [copy-before-write]',
        '   ├─ file: src [raw]',
        '   │  └─ file: #block [file] disk.raw',
        '   └─ target: tgt [raw]',
        '      └─ file: #block [file] target.raw',
        "job 'j': backup, running, 0 of 4194304 bytes",
        '├─ main node: cbw [copy-before-write] (see above)',
        '└─ target: tgt [raw] (see above)',
        '',
      ].join('\n'),
    );
  });

  it('shows nodes that nobody uses', async () => {
    await using shell = await MachineShell.start(size);
    await shell.say('blockdev-add driver=null-co node-name=zero size=512');
    expect(await shell.say('graph')).toMatch(/^zero \[null-co\]/m);
  });

  it('tells what each edge needs and shares with -v', async () => {
    await using shell = await withBackup();
    const lines = (await shell.say('graph -v')).split('\n');
    const below = (edge: string): string | undefined => lines[lines.findIndex((line) => line.includes(edge)) + 1]?.trim();
    expect(below('root: cbw')).toBe('│    needs consistent-read, write; shares consistent-read, write-unchanged, resize');
    expect(below('main node: cbw')).toBe('│       needs nothing; shares everything');
  });

  it('refuses other words', async () => {
    await using shell = await MachineShell.start(size);
    expect((await shell.run('graph -x')).failure?.message).toBe('Usage: graph [-v]');
  });
});

describe('blockers', () => {
  it('has nothing to tell of an idle machine', async () => {
    await using shell = await MachineShell.start(size);
    expect(await shell.say('blockers')).toBe('No operation is blocked on any node.\n');
    expect(await shell.say('blockers hd')).toBe("No operation is blocked on 'hd'.\n");
    expect((await shell.run('blockers nosuch')).failure?.message).toBe("Cannot find device='nosuch' nor node-name='nosuch'");
  });

  it('tells what is blocked, why and by whom', async () => {
    await using shell = await withBackup();
    expect(await shell.say('blockers tgt')).toBe("tgt\n  block device is in use by block job: backup (by job 'j')\n    blocked: every operation\n");
    expect(await shell.say('blockers')).toContain("hd (node cbw)\n  block device is in use by block job: backup (by job 'j')\n");
  });
});

describe('map', () => {
  it('shows what copy-before-write has saved', async () => {
    await using shell = await withBackup();
    await shell.say('guest write hd 64k 128k 0x11');
    const picture = await shell.say('map tgt');
    expect(picture).toContain('copy-before-write (cbw) has saved 2 of 64 clusters of 64 KiB');
    expect(picture).toContain(`       0 |·**${'·'.repeat(61)}|`);
  });

  it('shows the same for the device, the filter and the node below', async () => {
    await using shell = await withBackup();
    await shell.say('guest write hd 0 1 0x11');
    for (const name of ['hd', 'cbw', 'src']) expect(await shell.say(`map ${name}`)).toContain('has saved 1 of 64 clusters');
  });

  it('has at most eight rows', async () => {
    await using shell = await MachineShell.start(4 * 1024 ** 3);
    const rows = (await shell.say('map hd')).split('\n').filter((line) => line.includes('|'));
    expect(rows).toHaveLength(8);
    expect(rows[1]).toMatch(/^ 512 MiB \|/);
  });

  it('knows only nodes and devices', async () => {
    await using shell = await MachineShell.start(size);
    expect((await shell.run('map nosuch')).failure?.message).toBe("Cannot find device='nosuch' nor node-name='nosuch'");
    expect((await shell.run('map')).failure?.message).toBe('Usage: map NODE');
  });
});

describe('guest', () => {
  it('runs no faster than its rate, stands still with the machine, and tells it', async () => {
    await using shell = await MachineShell.start(4 << 20);
    await shell.say('guest run hd --workload sequential-write --block-size 64k --rate 1k');
    await shell.say('stop');
    const status = await shell.say('guest status');
    expect(status).toMatch(/^stopped on hd: sequential-write, seed 1, at most 1 KiB\/s, [01] requests$/m);
    expect(status).toContain("the machine is stopped, and its guest with it: 'cont' lets both run");
    await shell.say('cont');
    // a minute a request: it ends all the same
    expect(await shell.say('guest stop')).not.toContain('running on');
  });

  it('has a line of help for everything that it does', async () => {
    await using shell = await MachineShell.start(4 << 20);
    const help = await shell.say('help guest');
    for (const verb of ['write', 'read', 'zero', 'discard', 'flush', 'run', 'stop', 'status']) expect(help).toContain(`guest ${verb}`);
    for (const option of ['--workload', '--seed', '--block-size', '--depth', '--rate', '--requests']) expect(help).toContain(option);
  });

  it('writes, reads, zeroes and discards', async () => {
    await using shell = await MachineShell.start(size);
    expect(await shell.say('guest write hd 512 1k 0x7f')).toBe('wrote 1024 bytes at offset 512\n');
    expect(await shell.say('guest read hd 0 2k')).toBe('read 2048 bytes at offset 0: 0x00: 1024, 0x7f: 1024\n');
    await shell.say('guest zero hd 512 512');
    expect(await shell.say('guest read hd 512 1k')).toBe('read 1024 bytes at offset 512: 0x00: 512, 0x7f: 512\n');
    expect(await shell.say('guest flush hd')).toBe('flushed\n');
  });

  it('does nothing while the machine is stopped', async () => {
    await using shell = await MachineShell.start(size);
    await shell.run('stop');
    for (const line of ['guest write hd 0 512', 'guest read hd 0 512', 'guest flush hd']) {
      expect((await shell.run(line)).failure?.message).toBe('The machine is stopped: its guest does nothing');
    }
    await shell.run('cont');
    await shell.say('guest write hd 0 512');
  });

  it('runs a workload until it is stopped', async () => {
    await using shell = await MachineShell.start(size);
    await shell.say('guest run hd --workload random-write --seed 5 --block-size 4k');
    expect(await shell.say('guest status')).toMatch(/^running on hd: random-write, seed 5/m);
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    expect(await shell.say('guest stop')).toMatch(/^hd: [1-9]\d* requests, [1-9]\d* bytes written, 0 errors\n$/);
  });

  it.each([
    ['guest', 'Usage: guest'],
    ['guest write hd 0', 'Usage: guest'],
    ['guest write nosuch 0 512', "The machine has no disk 'nosuch'"],
    ['guest write hd 4M 512', "Disk 'hd' has 4 MiB (4194304 bytes): 512 bytes at offset 4194304 do not lie on it"],
    ['guest run hd --rate 0', 'Invalid rate specified'],
    ['guest flush', 'Usage: guest flush DISK'],
    ['guest write hd 0 512 256', '256 is not a valid pattern byte'],
    ['guest stop nosuch', "The machine has no disk 'nosuch'"],
    ['guest write hd x 512', "Invalid offset specified: 'x'"],
    ['guest run hd --workload nosuch', "Unknown workload 'nosuch'"],
    ['guest run hd --seed', 'Invalid seed'],
  ])('%s', async (line, message) => {
    await using shell = await MachineShell.start(size);
    expect((await shell.run(line)).failure?.message).toContain(message);
  });
});

describe('help', () => {
  it('lists every command of all three kinds', async () => {
    await using shell = await MachineShell.start(size);
    const text = await shell.say('help');
    for (const name of [...(await shell.transport.commandNames()), 'drive_del', 'qemu-io', 'graph [-v]', 'wait EVENT']) expect(text).toContain(name);
  });

  it('tells the arguments of a command, of a human monitor command, and of its own', async () => {
    await using shell = await MachineShell.start(size);
    expect(await shell.say('help block_resize')).toBe(
      'block_resize – Change the size of a node\n    size=  integer – bytes\n    device= (optional)  string – a disk or a node\n' +
        '    node-name= (optional)  string – its name in the graph\n  example:\n    block_resize node-name=n0 size=2147483648\n',
    );
    expect(await shell.say('help drive_add')).toContain('drive_add');
    expect(await shell.say('help map')).toContain('map NODE');
    expect((await shell.run('help nosuch')).failure?.message).toBe("There is no command 'nosuch'");
    expect((await shell.run('help blockdev-bakup')).failure?.hint).toBe("did you mean 'blockdev-backup'?");
  });

  it('tells the options of a driver with a few words each, what is required first', async () => {
    await using shell = await MachineShell.start(size);
    const all = await shell.say('help blockdev-add');
    expect(all).toMatch(/^ {4}driver= [^=]*\bqcow2\b/m);
    expect(all).not.toContain('vmdk');
    for (const part of ['    file=  ', '    backing= (optional)  ', "'help blockdev-add driver=qcow2'", '  example:\n    blockdev-add '])
      expect(all).toContain(part);
    const qcow2 = (await shell.say('help blockdev-add driver=qcow2')).split('\n');
    const rows = qcow2.filter((line) => /^ {4}[\w-]+=/.test(line));
    expect(rows.length).toBeGreaterThan(20);
    for (const row of rows) expect(row).toMatch(/ – \S/);
    expect(rows.some((row) => row.startsWith('    lazy-refcounts='))).toBe(true);
    const firstOptional = rows.findIndex((row) => row.includes('(optional'));
    expect(rows.slice(firstOptional).every((row) => row.includes('(optional'))).toBe(true);
    expect(await shell.say('help block-export-add')).toMatch(/^ {4}name= \(optional\) {2}string/m);
  });

  it.each(driverEntries)("tells of $name what the driver's own table tells, in an example too", async ({ name, options }) => {
    await using shell = await MachineShell.start(size);
    const text = await shell.say(`help blockdev-add driver=${name}`);
    for (const option of options.own) {
      const row = text.split('\n').find((line) => line.startsWith(`    ${option.name}=`));
      expect(row, option.name).toContain(option.help);
      expect(row?.includes('(optional'), option.name).toBe(option.isRequired !== true);
    }
    expect(text).toMatch(new RegExp(`example:\\n {4}blockdev-add driver=${name} `));
  });

  it('shows every command with arguments in use, in a line that parses', async () => {
    await using shell = await MachineShell.start(size);
    for (const { name } of allCommands) {
      const text = await shell.say(`help ${name}`);
      // commands without arguments, and what the shell has a form of its own for
      if (!text.startsWith(`${name} –`) || (text.includes('(optional)') && !/^ {4}[\w-]+= {2}/m.test(text))) continue;
      const example = /example:\n {4}(.*)$/m.exec(text)?.[1] ?? '';
      expect(example, name).toMatch(new RegExp(`^${name}`));
    }
  });

  it('hints when a backup with sync=none has a target that does not read through the source', async () => {
    await using shell = await MachineShell.start(size);
    await shell.say('blockdev-add driver=raw node-name=alone file.driver=file file.filename=t.raw');
    const line = 'blockdev-backup device=src target=alone sync=none job-id=j';
    expect((await shell.run(line)).hint).toContain("'alone' does not read through 'src'");
    await shell.say('block-job-cancel device=j');
    expect((await shell.run('transaction( blockdev-backup device=src target=alone sync=none job-id=j )')).hint).toContain('backing=src');
    await shell.say('block-job-cancel device=j');
    expect((await shell.run('blockdev-backup device=src target=alone sync=full job-id=k')).hint).toBeUndefined();
  });
});
