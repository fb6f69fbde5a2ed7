/* The shell under a real terminal: what a user types, and what is on the screen afterwards. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { QmpClient } from '../../src/monitor/qmp-client.ts';
import { builtProgram, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';
import { describeWithTerminal, Terminal } from '../support/tmux.ts';

const tsqmp = `${process.execPath} ${builtProgram('tsqmp')}`;

async function withDisks(): Promise<TempFolder> {
  const folder = tempFolder('terminal');
  for (const name of ['VM.qcow2', 'BACKUP.qcow2']) {
    const made = await run(process.execPath, [builtProgram('tsimg'), 'create', '-q', '-f', 'qcow2', name, '4M'], { cwd: folder.path });
    expect(made.code).toBe(0);
  }
  return folder;
}

function open(folder: TempFolder, args = '--disk ide0-hd0=VM.qcow2', more: { env?: Record<string, string>; columns?: number } = {}): Promise<Terminal> {
  return Terminal.open(`${tsqmp} ${args}`, { cwd: folder.path, ...more, env: { HOME: folder.path, NODE_EXTRA_CA_CERTS: '', ...more.env } });
}

/** Whether the first MiB of the guest's disk is full of 0xaa, as anybody sees it. */
async function written(folder: TempFolder): Promise<boolean> {
  writeFileSync(folder.file('wanted.raw'), new Uint8Array(4 << 20).fill(0xaa, 0, 1 << 20));
  const compared = await run(process.execPath, [builtProgram('tsimg'), 'compare', '-F', 'raw', 'VM.qcow2', 'wanted.raw'], { cwd: folder.path });
  expect(compared.stderr).toBe('');
  return compared.code === 0;
}

/** A write of the guest's in QMP, as a monitor takes it. */
const qmpWrite = '{"execute":"qmp_capabilities"} {"execute":"human-monitor-command","arguments":{"command-line":"qemu-io ide0-hd0 \\"write -P 0xaa 0 1M\\""}}';

/** Lines as they are typed, and what each has to bring onto the screen. */
type Typed = readonly (readonly [line: string, answer: string])[];

const of2013: Typed = [
  [
    'blockdev-add backing=ide0-hd0 file.driver=file file.filename=BACKUP.qcow2 id=target0 if=none driver=qcow2',
    "note: blockdev-add: 'id' is spelled 'node-name' today",
  ],
  ['blockdev-backup device=ide0-hd0 sync=none target=target0', 'event JOB_STATUS_CHANGE status=running id=ide0-hd0'],
  ['nbd-server-start addr.type=unix addr.data.path=fleece.sock', '{"return": {}}'],
  ['nbd-server-add device=target0', '{"return": {}}'],
  ['guest write ide0-hd0 0 64k 0xaa', 'wrote 65536 bytes at offset 0'],
  ['map target0', 'has saved 1 of 64 clusters of 64 KiB'],
  ['nbd-server-remove name=target0', 'event BLOCK_EXPORT_DELETED id=target0'],
  ['block-job-complete device=ide0-hd0', 'event BLOCK_JOB_CANCELLED'],
  ['drive_del target0', ''],
];

const today: Typed = [
  ['blockdev-add driver=qcow2 node-name=target0 file.driver=file file.filename=BACKUP.qcow2 backing=ide0-hd0', '{"return": {}}'],
  ['blockdev-backup job-id=fleece device=ide0-hd0 target=target0 sync=none', 'event JOB_STATUS_CHANGE status=running id=fleece'],
  ['nbd-server-start addr.type=unix addr.data.path=fleece.sock', '{"return": {}}'],
  ['block-export-add type=nbd id=snap node-name=target0 name=target0', '{"return": {}}'],
  ['qemu-io ide0-hd0 "write -P 0xaa 0 64k"', 'wrote 65536/65536 bytes at offset 0'],
  ['query-block-jobs', '"offset": 65536'],
  ['block-export-del id=snap', 'event BLOCK_EXPORT_DELETED id=snap'],
  ['block-job-cancel device=fleece', 'event BLOCK_JOB_CANCELLED'],
  ['blockdev-del node-name=target0', '{"return": {}}'],
  ['nbd-server-stop', '{"return": {}}'],
];

describeWithTerminal('tsqmp on a terminal', () => {
  it.each<[title: string, flags: string, lines: Typed]>([
    ['of 2013', '', of2013],
    ['of today', '', today],
    ['of today under --strict', '--strict ', today],
  ])('carries out the workflow %s as it is typed', async (_title, flags, lines) => {
    using folder = await withDisks();
    await using terminal = await open(folder, `${flags}--disk ide0-hd0=VM.qcow2`);
    await terminal.until(
      /Welcome to the QMP low-level shell!\nA simulated machine in this process \(tsimg .*\); its answers are those of QEMU 11\.1\.2\.\n {2}disk ide0-hd0: VM\.qcow2 \(qcow2, 4 MiB\)\n'help' lists the commands, Tab completes them\.\n\n\(QEMU\)/,
    );
    for (const [line, answer] of lines) {
      await terminal.enter(line);
      // the next prompt tells that the line is done
      const screen = await terminal.until(new RegExp(`${escaped(line)}[^]*${escaped(answer)}[^]*\\n\\(QEMU\\)$`));
      expect(screen).not.toContain('"error"');
    }
    await terminal.press('C-d');
    await terminal.until('EXIT=0');
    const history = readFileSync(folder.file('.tsqmp_history'), 'utf8').trimEnd().split('\n');
    expect(history).toEqual(lines.map(([line]) => line));
    for (const name of ['VM.qcow2', 'BACKUP.qcow2']) {
      expect((await run(process.execPath, [builtProgram('tsimg'), 'check', name], { cwd: folder.path })).code).toBe(0);
    }
  });

  it('completes commands, arguments, words and names', async () => {
    using folder = await withDisks();
    await using terminal = await open(folder);
    await terminal.until('(QEMU)');
    await terminal.type('blockdev-b');
    await terminal.press('Tab');
    await terminal.until('(QEMU) blockdev-backup');
    await terminal.type('dev');
    await terminal.press('Tab');
    await terminal.until('blockdev-backup device=');
    await terminal.type('ide');
    await terminal.press('Tab');
    await terminal.until('device=ide0-hd0');
    await terminal.type('sync=n');
    await terminal.press('Tab');
    await terminal.until('sync=none');
    await terminal.press('C-c');
    await terminal.type('blockdev-add driver=qcow2 file.driver=file file.filename=BACK');
    await terminal.press('Tab');
    await terminal.until('file.filename=BACKUP.qcow2');
  });

  it('shows an event above the line that is being typed, also when that takes several rows', async () => {
    using folder = await withDisks();
    await using terminal = await open(folder, '--disk ide0-hd0=VM.qcow2 --qmp unix:vm.qmp', { columns: 40 });
    await terminal.until('(QEMU)');
    const typed = 'blockdev-add driver=qcow2 node-name=target0 file.driver=file file.filename=BACKUP.qcow2';
    await terminal.type(typed);
    await terminal.until(typed);
    await using client = await QmpClient.connect({ path: folder.file('vm.qmp') });
    await client.execute({ execute: 'stop' });
    await client.execute({ execute: 'cont' });
    const screen = await terminal.until('event RESUME');
    expect(screen.slice(screen.indexOf('event'))).toBe(`event STOP\nevent RESUME\n(QEMU) ${typed}`);
    await terminal.press('Enter');
    const answered = await terminal.until('{"return": {}}');
    expect(answered.match(/^\(QEMU\) blockdev-add/gm)).toHaveLength(1);
  });

  it('drops a line and a transaction on Ctrl-C, and ends what a line waits for', async () => {
    using folder = await withDisks();
    await using terminal = await open(folder);
    await terminal.until('(QEMU)');
    await terminal.type('quit');
    await terminal.press('C-c');
    await terminal.until('quit^C');
    await terminal.enter('transaction(');
    await terminal.until(/TRANS>$/);
    await terminal.press('C-c');
    await terminal.until(/TRANS> \^C\n\(QEMU\)$/);
    await terminal.enter('wait BLOCK_JOB_READY');
    await terminal.press('C-c');
    await terminal.until(/interrupted\n\(QEMU\)$/);
    await terminal.enter('query-status');
    await terminal.until('"running": true');
    await terminal.enter('quit');
    await terminal.until('EXIT=0');
  });

  it('gives the terminal to a program that a line starts, and takes it back', async () => {
    using folder = await withDisks();
    await using terminal = await open(folder);
    await terminal.until('(QEMU)');
    await terminal.enter('! echo ready; read answer; echo got $answer');
    await terminal.until(/^ready$/m);
    await terminal.enter('this');
    await terminal.until(/got this\n\(QEMU\)$/);
    await terminal.enter('! echo up; exec cat');
    await terminal.until(/^up$/m);
    await terminal.press('C-c');
    await terminal.until(/was ended by SIGINT\n\(QEMU\)$/);
    await terminal.enter('! false');
    await terminal.until("'false' ended with exit code 1");
    await terminal.press('Up', 'Up');
    await terminal.until(/\(QEMU\) ! echo up; exec cat$/);
  });

  it('tells what to do first, after QEMU’s own words, and paints only when it may', async () => {
    using folder = await withDisks();
    const args = '--disk ide0-hd0=VM.qcow2';
    await using coloured = await open(folder, args, { env: { TERM: 'xterm-256color' } });
    await coloured.enter('nbd-server-stop');
    await coloured.until('hint: start it first: nbd-server-start');
    expect(await coloured.screenWithColours()).toMatch(/\u001b\[31m\{"error": \{"class": "GenericError", "desc": "NBD server not running"\}\}/);
    await coloured.press('C-d');
    await coloured.until('EXIT=0');
    await using plain = await open(folder, args, { env: { NO_COLOR: '1' } });
    await plain.enter('nbd-server-stop');
    await plain.until('hint: start it first: nbd-server-start');
    expect(await plain.screenWithColours()).not.toContain('\u001b[31m');
  });

  it('takes several characters at once in the middle of a line, and a line with its prompt', async () => {
    using folder = await withDisks();
    await using terminal = await open(folder);
    await terminal.until(/\(QEMU\)$/);
    await terminal.type('(QEMU) qstatus');
    await terminal.press('Left', 'Left', 'Left', 'Left', 'Left', 'Left');
    await terminal.type('uery-');
    await terminal.until(/\(QEMU\) \(QEMU\) query-status$/);
    await terminal.press('Enter');
    await terminal.until('"running": true');
  });

  it('looks for earlier lines on Ctrl-R', async () => {
    using folder = await withDisks();
    await using terminal = await open(folder);
    for (const line of ['query-status', 'query-jobs', 'guest status']) {
      await terminal.enter(line);
      await terminal.until(new RegExp(`${line}\\n[^]*\\n\\(QEMU\\)$`));
    }
    await terminal.type('kept');
    await terminal.press('C-r');
    await terminal.until("(reverse-i-search)'': kept");
    await terminal.type('query');
    await terminal.until("(reverse-i-search)'query': query-jobs");
    await terminal.press('C-r');
    await terminal.until("(reverse-i-search)'query': query-status");
    await terminal.press('C-g');
    await terminal.until(/\(QEMU\) kept$/);
    await terminal.press('C-u', 'C-r');
    await terminal.type('qzz');
    await terminal.until("(failing reverse-i-search)'qzz'");
    await terminal.press('BSpace', 'BSpace');
    await terminal.type('uery-s');
    await terminal.until(/\(reverse-i-search\)'query-s': query-status$/);
    await terminal.press('Enter');
    await terminal.until(/"running": true.*"running": true.*\(QEMU\)$/s);
  });

  it('folds and paints replies to the width of the terminal, and wraps what it says beside them', async () => {
    using folder = await withDisks();
    await using terminal = await open(folder, undefined, { columns: 60, env: { TERM: 'xterm-256color' } });
    await terminal.enter('query-block-jobs');
    await terminal.until('{"return": []}');
    await terminal.enter('query-block');
    await terminal.until(/^ {12}"device": "ide0-hd0",$/m);
    expect(await terminal.screenWithColours()).toMatch(/\u001b\[36m"device"/);
    await terminal.enter('pretty off');
    await terminal.enter('query-block');
    await terminal.until(/^\{"return": \[\{.*"device": "ide0-hd0".*\]\}$/m);
    await terminal.enter('blockdev-backup device=ide0-hd0 target=x sync=non');
    await terminal.until(/^hint: did you mean 'none'\? sync is one of top, full, none,\n {2}incremental, bitmap$/m);
  });

  it('stops on Ctrl-Z with what the shell around it does, and goes on with fg and the line that was typed', async () => {
    using folder = await withDisks();
    await using terminal = await Terminal.open(`PS1='$ ' bash --norc -i`, { cwd: folder.path, env: { HOME: folder.path, NODE_EXTRA_CA_CERTS: '' } });
    await terminal.enter(`${tsqmp} --disk ide0-hd0=VM.qcow2`);
    await terminal.until(/\(QEMU\)$/);
    await terminal.enter('guest write ide0-hd0 0 1M 0xaa');
    await terminal.until(/wrote 1048576 bytes at offset 0\n\(QEMU\)$/);
    await terminal.type('query-sta');
    await terminal.until(/query-sta$/);
    for (const round of [1, 2]) {
      await terminal.press('C-z');
      await terminal.until(new RegExp(`(?:Stopped[^]*){${round}}\\$$`));
      await terminal.enter('fg');
      await terminal.until(/fg\n.*tsqmp.*\n\(QEMU\) query-sta$/);
    }
    await terminal.press('Tab');
    await terminal.until('query-status');
    await terminal.press('Enter');
    await terminal.until(/"running": true\}\}\n\(QEMU\)$/);
    await terminal.press('C-d');
    await terminal.until(/\n\$$/);
    // the code of fg is the job's
    await terminal.enter('echo CODE=$?');
    await terminal.until('CODE=0');
    expect(await written(folder)).toBe(true);
  });

  it('ends in good order when nothing can happen any more', async () => {
    using folder = await withDisks();
    // a fault as a stranger might make it: standard input is never read again
    writeFileSync(
      folder.file('deaf.cjs'),
      "require('node:fs').writeFileSync('pid', String(process.pid)); process.once('SIGUSR2', () => process.stdin.pause());",
    );
    await using terminal = await open(folder, undefined, { env: { NODE_OPTIONS: '--require ./deaf.cjs' } });
    await terminal.until(/\(QEMU\)$/);
    await terminal.enter('guest write ide0-hd0 0 1M 0xaa');
    await terminal.until(/wrote 1048576 bytes at offset 0\n\(QEMU\)$/);
    process.kill(Number(readFileSync(folder.file('pid'), 'utf8')), 'SIGUSR2');
    await terminal.until('EXIT=0');
    expect(await written(folder)).toBe(true);
  });

  it('warns when the view thaws', async () => {
    using folder = await withDisks();
    await using terminal = await open(folder);
    for (const line of [
      'blockdev-add backing=ide0-hd0 file.driver=file file.filename=BACKUP.qcow2 node-name=target0 driver=qcow2',
      'blockdev-backup device=ide0-hd0 sync=none target=target0',
      'nbd-server-start addr.type=unix addr.data.path=fleece.sock',
      'nbd-server-add device=target0',
      'block-job-cancel device=ide0-hd0',
    ]) {
      await terminal.enter(line);
    }
    await terminal.until("warning: the view of 'target0' is not frozen any more");
  });

  it('is a human monitor with -H', async () => {
    using folder = await withDisks();
    await using terminal = await open(folder, '-H --disk ide0-hd0=VM.qcow2');
    await terminal.until(/Welcome to the HMP shell!\nA simulated machine .*\n\n\(QEMU\)/s);
    await terminal.enter('info block');
    await terminal.until(/ide0-hd0 \(#block\d+\): VM\.qcow2 \(qcow2\)/);
    await terminal.enter('drive_del nosuch');
    await terminal.until("Error: Device 'nosuch' not found");
    await terminal.enter('quit');
    await terminal.until('EXIT=0');
  });
});

describeWithTerminal('tsqmp whose terminal is closed', () => {
  const socket = '--qmp unix:vm.qmp';
  const write = 'guest write ide0-hd0 0 1M 0xaa';
  const wait = 'wait NEVER timeout=60m';
  it.each<[title: string, args: string, typed: readonly string[], code: string]>([
    ['at the prompt', `--disk ide0-hd0=VM.qcow2 ${socket}`, [write], '0'],
    ['in a line that waits', `--disk ide0-hd0=VM.qcow2 ${socket}`, [write, wait], '0'],
    ['in a script', `--disk ide0-hd0=VM.qcow2 ${socket} run script`, [], '1'],
    ['as a daemon', `--daemon --disk ide0-hd0=VM.qcow2 ${socket} --chardev stdio,id=c --monitor chardev=c`, [qmpWrite], '0'],
  ])('ends in good order %s', async (_title, args, typed, code) => {
    using folder = await withDisks();
    writeFileSync(folder.file('script'), `${write}\n${wait}\n`);
    expect((await run('mkfifo', [folder.file('code')])).code).toBe(0);
    // the subshell outlives the terminal to tell the exit code
    const line = `(trap : HUP; ${tsqmp} ${args} 2>err.txt; echo $? >code)`;
    await using terminal = await Terminal.open(line, { cwd: folder.path, env: { HOME: folder.path, NODE_EXTRA_CA_CERTS: '' } });
    const ended = run('cat', [folder.file('code')]);
    await terminal.until(/\(QEMU\)|QMP/);
    for (const text of typed) {
      await terminal.enter(text);
      await terminal.until(text === wait ? wait : /wrote 1048576/);
    }
    if (typed.length === 0) await terminal.until(wait);
    expect(readdirSync(folder.path)).toContain('vm.qmp');
    await terminal.close();
    expect((await ended).stdout.trim()).toBe(code);
    expect(readFileSync(folder.file('err.txt'), 'utf8')).toBe(code === '0' ? '' : `interrupted\nscript:2: ${wait}: interrupted\n`);
    expect(readdirSync(folder.path)).not.toContain('vm.qmp');
    expect(await written(folder)).toBe(true);
  });
});

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
