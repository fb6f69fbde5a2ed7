/* The workflow in the wrong order: QEMU's answer unchanged, then what to do first; and the graph is as it was before. */
import { describe, expect, it } from 'vitest';
import { MachineShell } from '../qmp-shell/machine-shell.ts';

const size = 4 * 1024 * 1024;
const added = ['blockdev-add driver=raw node-name=target0 file.driver=file file.filename=target.raw'];
const running = [...added, 'blockdev-backup job-id=j device=hd target=target0 sync=none'];
const exported = [...running, 'nbd-server-start addr.type=inet addr.data.host=127.0.0.1 addr.data.port="0"', 'nbd-server-add device=target0'];

const orders: readonly (readonly [title: string, before: readonly string[], line: string, message: string, hint: RegExp])[] = [
  [
    'backup before its target',
    [],
    'blockdev-backup device=hd target=target0 sync=none',
    "Cannot find device='target0' nor node-name='target0'",
    /blockdev-add first/,
  ],
  [
    'unknown source',
    added,
    'blockdev-backup job-id=j device=nosuch target=target0 sync=none',
    "Cannot find device='nosuch' nor node-name='nosuch'",
    /'nosuch'/,
  ],
  [
    'no such file',
    [],
    'blockdev-add driver=raw node-name=t file.driver=file file.filename=nosuch.raw',
    "Could not open 'nosuch.raw': No such file or directory",
    /tsimg create/,
  ],
  ['not qcow2', [], 'blockdev-add driver=qcow2 node-name=t file.driver=file file.filename=other.raw', 'Image is not in qcow2 format', /tsimg info/],
  ['name taken', added, 'blockdev-add driver=null-co node-name=target0 size=512', "Duplicate nodes with node-name='target0'", /another node-name/],
  ['raw with backing', [], 'blockdev-add driver=raw node-name=t backing=src file.driver=null-co', "Parameter 'backing' is unexpected", /driver=qcow2/],
  ['export before the server', added, 'nbd-server-add device=target0', 'NBD server not running', /nbd-server-start/],
  ['stop before start', [], 'nbd-server-stop', 'NBD server not running', /nbd-server-start/],
  ['server twice', exported, 'nbd-server-start addr.type=inet addr.data.host=127.0.0.1 addr.data.port="0"', 'NBD server already running', /nbd-server-stop/],
  ['remove what is not exported', exported, 'nbd-server-remove name=x', "Export 'x' is not found", /query-block-exports/],
  ['cancel what does not run', [], 'block-job-cancel device=j', "Block job 'j' not found", /query-jobs/],
  ['cancel what does not run, today', [], 'job-cancel id=j', 'Job not found', /query-jobs/],
  ['target is the source', [], 'blockdev-backup job-id=j device=src target=src sync=none', 'Source and target cannot be the same', /another node/],
  [
    'no job id with a node name',
    [...added, 'blockdev-add driver=null-co node-name=z size=4194304'],
    'blockdev-backup device=z target=target0 sync=none',
    "Invalid job ID ''",
    /job-id=NAME/,
  ],
  ['bad job id', added, 'blockdev-backup job-id=1bad device=hd target=target0 sync=none', "Invalid job ID '1bad'", /a letter first/],
  [
    'target too small',
    ['blockdev-add driver=raw node-name=small file.driver=file file.filename=small.raw'],
    'blockdev-backup device=hd target=small sync=none',
    'Source and target image have different sizes',
    /as large as the source/,
  ],
  [
    'read-only target',
    ['blockdev-add driver=raw node-name=ro read-only=true file.driver=file file.filename=target.raw'],
    'blockdev-backup device=hd target=ro sync=none',
    'Could not create node: Block node is read-only',
    /read-only=false/,
  ],
  ['negative speed', added, 'blockdev-backup device=hd target=target0 sync=none speed=-1', "Parameter 'speed' expects a non-negative value", /0 for no limit/],
  [
    'second backup onto the target',
    running,
    'blockdev-backup job-id=k device=src target=target0 sync=none',
    "Node 'target0' is busy: block device is in use by block job: backup",
    /end the job first/,
  ],
  [
    'deleting the target of a job',
    running,
    'blockdev-del node-name=target0',
    "Node 'target0' is busy: block device is in use by block job: backup",
    /end the job first/,
  ],
  [
    'the same in the human monitor',
    running,
    'drive_del target0',
    "Error: Node 'target0' is busy: block device is in use by block job: backup",
    /end the job first/,
  ],
  ['deleting what is exported', exported, 'drive_del target0', 'Error: Node target0 is in use', /nbd-server-remove/],
  ['finalizing what runs', running, 'job-finalize id=j', "Job 'j' in state 'running' cannot accept command verb 'finalize'", /after the job has ended/],
  ['dismissing what runs', running, 'job-dismiss id=j', "Job 'j' in state 'running' cannot accept command verb 'dismiss'", /after the job has ended/],
  [
    'resizing the target',
    running,
    'block_resize node-name=target0 size=512',
    "Node 'target0' is busy: block device is in use by block job: backup",
    /end the job first/,
  ],
  ['export id twice', exported, 'nbd-server-add device=target0', "Block export id 'target0' is already in use", /another id/],
  ['an unknown drive', [], 'drive_del nosuch', "Error: Device 'nosuch' not found", /graph/],
  ['an unknown command', [], 'block_passwd device=hd', 'The command block_passwd has not been found', /block-passwd|help/],
];

describe.each([false, true])('wrong orders, strict: %s', (strict) => {
  it.each(orders)('%s', async (_title, before, line, message, hint) => {
    await using shell = await MachineShell.start(size, { strict });
    for (const step of before) await shell.say(step);
    const graph = await shell.say('graph -v');
    const { failure } = await shell.run(line);
    expect(failure?.message).toBe(message);
    expect(failure?.hint).toMatch(hint);
    expect(await shell.say('graph -v')).toBe(graph);
  });
});

describe('old forms', () => {
  const old = 'blockdev-add id=target0 if=none driver=raw file.driver=file file.filename=target.raw';

  it('are accepted with a note each, and are QEMU’s errors under --strict', async () => {
    await using shell = await MachineShell.start(size);
    await shell.say(old);
    expect(shell.notes).toEqual(["blockdev-add: 'if=none' is gone: a node has no interface", "blockdev-add: 'id' is spelled 'node-name' today"]);
    await using strict = await MachineShell.start(size, { strict: true });
    expect((await strict.run(old)).failure?.message).toMatch(/^Parameter '(?:id|if)' is unexpected$/);
    expect(strict.notes).toEqual([]);
  });

  it('ends a backup by block-job-complete, which --strict refuses', async () => {
    await using shell = await MachineShell.start(size);
    for (const line of running) await shell.say(line);
    await shell.say('block-job-complete device=j');
    expect(shell.notes.at(-1)).toContain("'block-job-cancel' today");
    await using strict = await MachineShell.start(size, { strict: true });
    for (const line of running) await strict.say(line);
    expect((await strict.run('block-job-complete device=j')).failure?.message).toBe("Job 'j' in state 'running' cannot accept command verb 'complete'");
  });
});
