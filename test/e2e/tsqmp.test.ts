/* tsqmp as a process: one-shot commands, pipes, servers, signals, and what it says to wrong command lines. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram, type Finished, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

async function withDisks(): Promise<TempFolder> {
  const folder = tempFolder('tsqmp');
  for (const name of ['VM.qcow2', 'BACKUP.qcow2']) {
    const made = await run(process.execPath, [builtProgram('tsimg'), 'create', '-q', '-f', 'qcow2', name, '4M'], { cwd: folder.path });
    expect(made.code).toBe(0);
  }
  return folder;
}

function tsqmp(folder: TempFolder, args: readonly string[], input = ''): Promise<Finished> {
  return run(process.execPath, [builtProgram('tsqmp'), ...args], { cwd: folder.path, input });
}

const disk = ['--disk', 'd=VM.qcow2'];

/** A tsqmp that serves others until it is told to end. */
class Served implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  err = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#ended = once(child, 'close').then(([code]) => code as number | null);
  }

  /** Settles once the socket is served: the first line's answer comes when all is there. */
  static async start(folder: TempFolder, args: readonly string[]): Promise<Served> {
    const child = spawn(process.execPath, [builtProgram('tsqmp'), ...args], { cwd: folder.path, stdio: ['pipe', 'pipe', 'pipe'] });
    const served = new Served(child);
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      served.err += text;
    });
    await served.line('query-status', '{"return"');
    return served;
  }

  /** Writes a line and waits until a line of output begins so. */
  async line(text: string, answer: string): Promise<void> {
    const { stdin, stdout } = this.#child;
    if (stdin === null || stdout === null) throw new Error('no pipes');
    const lines = createInterface({ input: stdout });
    const found = new Promise<void>((resolve, reject) => {
      lines.on('line', (line) => (line.startsWith(answer) ? resolve() : undefined));
      void this.#ended.then(() => reject(new Error(`ended: ${this.err}`)));
    });
    stdin.write(`${text}\n`);
    await found;
    lines.close();
  }

  /** Writes a line and waits until standard error has this text: the line is being carried out then. */
  async lineThatWaits(text: string, sign: string): Promise<void> {
    this.#child.stdin?.write(`${text}\n`);
    const { stderr } = this.#child;
    while (stderr !== null && !this.err.includes(sign)) await once(stderr, 'data');
  }

  /** The exit code after the signal, or by itself. */
  end(signal?: NodeJS.Signals): Promise<number | null> {
    if (signal !== undefined) this.#child.kill(signal);
    return this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null) this.#child.kill('SIGKILL');
    await this.#ended;
  }
}

describe('one-shot commands', () => {
  it('print JSON, in order', async () => {
    using folder = await withDisks();
    const done = await tsqmp(folder, [...disk, '-c', 'query-status', '-c', 'query-block']);
    expect([done.code, done.stderr]).toEqual([0, '']);
    const [status, block] = done.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(status).toEqual({ return: { status: 'running', running: true } });
    expect(block.return[0]).toMatchObject({ device: 'd', inserted: { file: 'VM.qcow2', drv: 'qcow2' } });
  });

  it('stop at the first error: its text on standard error, nothing more', async () => {
    using folder = await withDisks();
    expect(await tsqmp(folder, [...disk, '-c', 'nbd-server-stop', '-c', 'query-status'])).toEqual({
      code: 1,
      stdout: '',
      stderr: 'tsqmp: NBD server not running\n',
    });
  });

  it('give a hint with --hints, after the message', async () => {
    using folder = await withDisks();
    const { stderr } = await tsqmp(folder, [...disk, '--hints', '-c', 'nbd-server-stop']);
    expect(stderr).toMatch(/^tsqmp: NBD server not running\nhint: start it first: .*\n$/);
  });

  it('speak to the human monitor with -H', async () => {
    using folder = await withDisks();
    const good = await tsqmp(folder, ['-H', ...disk, '-c', 'info status']);
    expect(good).toEqual({ code: 0, stdout: 'VM status: running\n', stderr: '' });
    const bad = await tsqmp(folder, ['-H', ...disk, '-c', 'drive_del nosuch']);
    expect(bad).toEqual({ code: 1, stdout: '', stderr: "Error: Device 'nosuch' not found\n" });
  });

  it('print several lines with -p and what is sent with -v', async () => {
    using folder = await withDisks();
    expect((await tsqmp(folder, [...disk, '-p', '-c', 'query-status'])).stdout).toBe(
      '{\n    "return": {\n        "running": true,\n        "status": "running"\n    }\n}\n',
    );
    // what is empty stays on its line, as qmp-shell has it
    expect((await tsqmp(folder, [...disk, '-p', '-c', 'query-jobs'])).stdout).toBe('{\n    "return": []\n}\n');
    expect((await tsqmp(folder, [...disk, '-p', '-c', 'stop'])).stdout).toBe('{\n    "return": {}\n}\n');
    expect((await tsqmp(folder, [...disk, '-v', '-c', 'query-status'])).stdout).toBe(
      '{"execute": "query-status", "arguments": {}}\n{"return": {"status": "running", "running": true}}\n',
    );
  });
});

describe('a server of ours', () => {
  it('is not offered what only looks into a machine of this process', async () => {
    using folder = await withDisks();
    await using _server = await Served.start(folder, [...disk, '--qmp', 'unix:vm.qmp']);
    const here = (await tsqmp(folder, ['-c', 'help'])).stdout;
    const there = (await tsqmp(folder, ['vm.qmp', '-c', 'help'])).stdout;
    for (const name of ['map NODE', 'blockers [NODE]', 'guest run DISK']) {
      expect(here).toContain(name);
      expect(there).not.toContain(name);
    }
    expect(there).toContain('graph [-v]');
  });

  it('answers one-shot commands, scripts and pictures, and ends by quit', async () => {
    using folder = await withDisks();
    await using server = await Served.start(folder, [...disk, '--qmp', 'unix:vm.qmp']);
    expect(await tsqmp(folder, ['-c', 'query-status', 'vm.qmp'])).toEqual({
      code: 0,
      stdout: '{"return": {"status": "running", "running": true}}\n',
      stderr: '',
    });
    expect((await tsqmp(folder, ['-H', '-c', 'drive_del nosuch', 'vm.qmp'])).stderr).toBe("Error: Device 'nosuch' not found\n");
    writeFileSync(folder.file('steps.qmp'), 'stop\nwait STOP\nqemu-io d "write 0 64k"\ncont\nwait RESUME timeout=10s\n');
    const script = await tsqmp(folder, ['run', 'steps.qmp', 'unix:vm.qmp']);
    expect([script.code, script.stderr]).toEqual([0, '']);
    const graph = await tsqmp(folder, ['-c', 'graph -v', 'vm.qmp']);
    expect(graph.stdout).toMatch(
      /^device 'd'\n└─ root: #block\d+ \[qcow2\]\n[\s\S]*\[file\] VM\.qcow2\n.*needs consistent-read, write, resize; shares consistent-read, write-unchanged\n$/,
    );
    const blockers = await tsqmp(folder, ['--hints', '-c', 'blockers', 'vm.qmp']);
    expect([blockers.code, blockers.stderr]).toEqual([
      1,
      "blockers: a server does not tell its operation blockers\nhint: 'graph -v' shows who uses which node; a command that is blocked names the reason\n",
    ]);
    expect((await tsqmp(folder, ['-c', 'quit', 'vm.qmp'])).code).toBe(0);
    expect(await server.end()).toBe(0);
    expect(existsSync(folder.file('vm.qmp'))).toBe(false);
  });

  it('is told about when it is not there', async () => {
    using folder = await withDisks();
    const { code, stdout, stderr } = await tsqmp(folder, ['-c', 'query-status', 'nosuch.qmp']);
    expect([code, stdout, stderr]).toEqual([1, '', "tsqmp: ERROR: Couldn't connect to nosuch.qmp: No such file or directory\n"]);
    expect((await tsqmp(folder, ['localhost:port'])).stderr).toBe('tsqmp: Bad port number: port\n');
  });
});

describe('signals', () => {
  it('end a machine that waits for input in order: the image is clean and free', async () => {
    using folder = await withDisks();
    await using machine = await Served.start(folder, [...disk, '--qmp', 'unix:vm.qmp']);
    await machine.line('blockdev-add driver=qcow2 node-name=t file.driver=file file.filename=BACKUP.qcow2 backing=d', '{"return"');
    await machine.line('blockdev-backup device=d target=t sync=none', '{"return"');
    await machine.line('nbd-server-start addr.type=unix addr.data.path=n.sock', '{"return"');
    await machine.line('nbd-server-add device=t', '{"return"');
    await machine.line('guest run d --seed 3', 'the guest runs');
    expect(await machine.end('SIGTERM')).toBe(0);
    expect([existsSync(folder.file('vm.qmp')), existsSync(folder.file('n.sock'))]).toEqual([false, false]);
    for (const name of ['VM.qcow2', 'BACKUP.qcow2']) {
      const check = await run(process.execPath, [builtProgram('tsimg'), 'check', name], { cwd: folder.path });
      expect([check.code, check.stderr]).toEqual([0, '']);
    }
  });

  it('end a script that waits, and it tells where', async () => {
    using folder = await withDisks();
    await using machine = await Served.start(folder, [...disk]);
    await machine.lineThatWaits('! echo up >&2; exec tail -f /dev/null', 'up');
    expect(await machine.end('SIGTERM')).toBe(1);
    expect(machine.err).toMatch(/<stdin>:2: .*: interrupted$/m);
  });
});

describe('images that are in use', () => {
  it('names the process that holds one, in the hint', async () => {
    using folder = await withDisks();
    await using _machine = await Served.start(folder, [...disk]);
    const other = await tsqmp(folder, ['--hints', ...disk, '-c', 'query-status']);
    expect(other.code).toBe(1);
    expect(other.stderr).toMatch(
      /^tsqmp: .*Failed to get "write" lock\nIs another process using the image \[.*VM\.qcow2\]\?\nhint: .*VM\.qcow2 is in use by process \d+ \(tsqmp\)\n$/,
    );
    const added = await tsqmp(folder, ['--hints', '-c', 'blockdev-add driver=qcow2 node-name=t file.driver=file file.filename=VM.qcow2']);
    expect(added.stderr).toMatch(/^tsqmp: .*Failed to get "write" lock\nhint: .*VM\.qcow2 is in use by process \d+ \(tsqmp\)\n$/);
  });
});

describe('wrong command lines', () => {
  it.each([
    [['--nosuch'], "tsqmp: unrecognized option '--nosuch'"],
    [['run'], 'tsqmp: run: a script is expected'],
    [['run', 'nosuch.qmp'], "tsqmp: Could not open 'nosuch.qmp': No such file or directory"],
    [['a', 'b'], "tsqmp: unexpected argument 'b'"],
    [['--disk', 'd=VM.qcow2', 'vm.qmp'], 'tsqmp: --disk starts a machine here, SERVER is another one: give one of them'],
    [['--disk', 'VM.qcow2'], 'tsqmp: --disk VM.qcow2: NAME=FILE is expected'],
    [['--disk', 'd='], 'tsqmp: --disk d=: NAME=FILE is expected'],
    [['--disk', 'd=VM.qcow2,foo=1'], "tsqmp: --disk d=VM.qcow2,foo=1: Parameter 'foo' is unexpected"],
    [['--disk', 'd=VM.qcow2,readonly=maybe'], "tsqmp: --disk d=VM.qcow2,readonly=maybe: Parameter 'readonly' expects 'on' or 'off'"],
    [['--disk', 'd=nosuch.qcow2'], "Could not open 'nosuch.qcow2': No such file or directory"],
    [['--disk', 'd=raw.img,format=qcow2'], 'Image is not in qcow2 format'],
    [['--disk', 'd=VM.qcow2,format=nosuch'], "Unknown driver 'nosuch'"],
    [['--disk', 'd=VM.qcow2', '--disk', 'd=BACKUP.qcow2'], "Duplicate ID 'd' for drive"],
    [['--disk', 'd=VM.qcow2', '--disk', 'd=VM.qcow2'], "Duplicate ID 'd' for drive"],
    [['--disk', 'd=VM.qcow2,node=d'], "Device name 'd' conflicts with an existing node name"],
    [['--disk', 'd=VM.qcow2', '--qmp', 'unix:no/folder/x'], 'Failed to bind socket to no/folder/x: No such file or directory'],
    [['--qmp', 'unix:'], 'tsqmp: --qmp unix:: unix:PATH or tcp:HOST:PORT is expected\n'],
    [['--qmp', 'tcp:1'], 'tsqmp: --qmp tcp:1: unix:PATH or tcp:HOST:PORT is expected\n'],
    [['--qmp', 'foo'], 'tsqmp: --qmp foo: unix:PATH or tcp:HOST:PORT is expected\n'],
    [['--qmp', 'tcp:127.0.0.1:99999'], 'tsqmp: --qmp tcp:127.0.0.1:99999: Bad port number: 99999\n'],
    [['--daemon', '--qmp', 'foo'], 'tsqmp: --qmp foo: unix:PATH or tcp:HOST:PORT is expected\n'],
    [['-c', 'query-status', '127.0.0.1:99999'], 'tsqmp: Bad port number: 99999\n'],
    [['-c', 'query-status', 'unix:'], 'tsqmp: The path of a socket is expected\n'],
    [['-c', 'query-status', ''], 'tsqmp: The path of a socket is expected\n'],
  ])('%s', async (args, message) => {
    using folder = await withDisks();
    writeFileSync(folder.file('raw.img'), Buffer.alloc(65536));
    const { code, stdout, stderr } = await tsqmp(folder, args);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain(message);
    expect(stderr).not.toMatch(/\n\s+at |internal error/);
    // nothing is left: no socket, and the images are free
    expect(readdirSync(folder.path).sort()).toEqual(['BACKUP.qcow2', 'VM.qcow2', 'raw.img']);
    expect((await tsqmp(folder, [...disk, '-c', 'query-status'])).code).toBe(0);
  });

  it('prints help and version', async () => {
    using folder = tempFolder('tsqmp');
    expect((await tsqmp(folder, ['--help'])).stdout).toMatch(/^Usage:\n {2}tsqmp \[OPTIONS\]/);
    expect((await tsqmp(folder, ['--version'])).stdout).toMatch(/^tsqmp \(tsimg \d+\.\d+\.\d+\), answers of QEMU 11\.1\.2\n$/);
  });
});

describeWithPeers(['qmp-shell'], 'lines as the peer’s qmp-shell sends them', () => {
  it('sends the same messages', async () => {
    using folder = await withDisks();
    const lines = [
      'query-status',
      'x a=1 b=-2 c=+3 d=1_000 e=0x10 f=1e3 g=null h=TRUE i=false',
      'x file.driver=file',
      'x a.b.c=1',
      'x l=[1,"two",{"three":3}] o={"a":[true,null]}',
      "x l=[True,False,None,'x']",
      'x l=[1,2,',
      'x a=b=c e=',
      'transaction( abort )',
      'transaction(',
      'abort a=1',
      'abort',
      ')',
    ];
    const text = `${lines.join('\n')}\n`;
    await using _server = await Served.start(folder, [...disk, '--qmp', 'unix:vm.qmp']);
    const messages = (stdout: string): string[] => [...stdout.matchAll(/\{"execute": .*/g)].map(([line]) => line);
    const theirs = await run(peer('qmp-shell'), ['-v', 'vm.qmp'], { cwd: folder.path, input: text });
    expect(messages(theirs.stdout)).toHaveLength(10);
    const ours: string[] = [];
    for (const line of ['', ...lines]
      .join('\n')
      .split(/\n(?!abort|\))/)
      .slice(1)) {
      const done = await tsqmp(folder, ['-v', 'vm.qmp'], `${line}\n`);
      ours.push(...messages(done.stdout));
    }
    expect(ours).toEqual(messages(theirs.stdout));
  });
});

describeWithPeers(['qemu-system-x86_64'], 'the shell on a real QEMU', () => {
  it('draws the graph, types human monitor commands, completes from its schema', async () => {
    using folder = await withDisks();
    const machine = spawn(
      peer('qemu-system-x86_64'),
      ['-machine', 'q35', '-nodefaults', '-display', 'none', '-S', '-drive', 'if=none,id=ide0-hd0,file=VM.qcow2,format=qcow2'].concat([
        '-device',
        'virtio-blk-pci,drive=ide0-hd0,id=vd0',
        '-qmp',
        'unix:vm.qmp,server=on,wait=off',
      ]),
      { cwd: folder.path, stdio: 'ignore' },
    );
    try {
      let first: Finished = { code: null, stdout: '', stderr: '' };
      for (let tries = 0; tries < 300; tries++) {
        first = await tsqmp(folder, ['-c', 'query-version', 'vm.qmp']);
        // the socket appears when QEMU has started
        if (!first.stderr.includes("Couldn't connect")) break;
      }
      expect(JSON.parse(first.stdout).return.qemu.major).toBeGreaterThanOrEqual(11);
      const input = [
        'blockdev-add driver=qcow2 node-name=target0 file.driver=file file.filename=BACKUP.qcow2 backing=ide0-hd0',
        'blockdev-backup job-id=j device=ide0-hd0 target=target0 sync=none',
        'nbd-server-start addr.type=unix addr.data.path=n.sock',
        'block-export-add type=nbd id=e0 node-name=target0',
        'graph',
        'info block-jobs',
        'help blockdev-backup',
        'map target0',
      ].join('\n');
      const { stdout, stderr, code } = await tsqmp(folder, ['vm.qmp'], `${input}\n`);
      expect(stdout).toMatch(/^device 'ide0-hd0'\n└─ root: #block\d+ \[copy-before-write\]$/m);
      expect(stdout).toMatch(/^export 'e0' \(nbd\)\n└─ root: target0 \[qcow2\] exported as 'e0'/m);
      expect(stdout).toMatch(/^job 'j': backup, running, 0 of 4194304 bytes$/m);
      expect(stdout).toContain('Type backup, device j: Completed 0 of 4194304 bytes');
      expect(stdout).toMatch(/^ {4}on-cbw-error= \(optional\) {2}break-guest-write\|break-snapshot –/m);
      expect([code, stderr]).toEqual([
        1,
        'map: only a machine in this process can be looked into\n<stdin>:8: map target0: map: only a machine in this process can be looked into\n',
      ]);
    } finally {
      machine.kill('SIGKILL');
      await once(machine, 'close');
    }
  });
});
