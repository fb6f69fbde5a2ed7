/* QEMU's own clients, unmodified, against our socket: the Python library qemu.qmp and its shell. */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

const program = `
import asyncio, sys
from qemu.qmp import QMPClient, EventListener, ExecuteError
async def main():
    client = QMPClient('test')
    jobs = EventListener(names={'JOB_STATUS_CHANGE', 'BLOCK_JOB_CANCELLED'})
    client.register_listener(jobs)
    await client.connect(sys.argv[1])
    print((await client.execute('query-version'))['qemu']['major'])
    for name in ('a', 'b'):
        await client.execute('blockdev-add', {'driver': 'null-co', 'node-name': name, 'size': 1048576, 'read-zeroes': True})
    await client.execute('blockdev-backup', {'job-id': 'j', 'device': 'a', 'target': 'b', 'sync': 'none'})
    await client.execute('block-job-cancel', {'device': 'j'})
    seen = []
    while not seen or seen[-1] != 'null':
        event = await jobs.get()
        seen.append(event['data'].get('status', event['event']))
    print(' '.join(word for word in seen if word != 'paused'))
    try:
        await client.execute('blockdev-del', {'node-name': 'nosuch'})
    except ExecuteError as error:
        print(error.received['error']['class'], '|', error)
    await client.execute('quit')
    try:
        await client.disconnect()
    except EOFError:
        pass # the program was faster
asyncio.run(main())
`;

describeWithPeers(['python3', 'qmp-shell'], 'real clients', () => {
  let folder: TempFolder;
  let daemon: ChildProcess;
  let ended: Promise<number | null>;
  beforeEach(async () => {
    folder = tempFolder('clients');
    const words = [
      '--daemon',
      '--strict',
      '--chardev',
      `socket,id=c,path=${folder.file('s')},server=on,wait=off`,
      '--monitor',
      'c',
      '--chardev',
      'stdio,id=o',
      '--monitor',
      'o',
    ];
    daemon = spawn(process.execPath, [builtProgram('tsqmp'), ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
    ended = new Promise((resolve) => daemon.on('close', resolve));
    // its greeting on the other channel says that the socket listens
    await new Promise((resolve) => daemon.stdout?.once('data', resolve));
  });
  afterEach(async () => {
    daemon.kill('SIGTERM');
    await ended;
    folder[Symbol.dispose]();
  });

  it('qemu.qmp connects, runs a job, hears its events, and ends the program', async () => {
    writeFileSync(folder.file('client.py'), program);
    const { stdout, stderr } = await run(peer('python3'), [folder.file('client.py'), folder.file('s')]);
    expect(stderr).toBe('');
    expect(stdout.split('\n')).toEqual([
      '11',
      expect.stringMatching(/^created running (?:running )*aborting BLOCK_JOB_CANCELLED concluded null$/),
      "GenericError | Failed to find node with node-name='nosuch'",
      '',
    ]);
    expect(await ended).toBe(0);
  });

  it('qmp-shell runs commands, transactions and shows answers', async () => {
    const input = ['blockdev-add driver=null-co node-name=n', 'query-block-exports', 'transaction(', 'abort', ')', 'nosuch', ''].join('\n');
    const { stdout } = await run(peer('qmp-shell'), [folder.file('s')], { input });
    expect(stdout).toContain('Connected to QEMU 11.1.2');
    const answers = [...stdout.matchAll(/\{"(?:return|error)".*/g)].map(([text]) => text);
    expect(answers).toEqual([
      '{"return": {}}',
      '{"return": []}',
      '{"error": {"class": "GenericError", "desc": "Transaction aborted using Abort action"}}',
      '{"error": {"class": "CommandNotFound", "desc": "The command nosuch has not been found"}}',
    ]);
  });
});
