/*
 * Runs a command line of qemu-io in two fresh copies of the same images, once by the peer and once by our program started
 * through a link with the peer's name, and shows both as texts that must be equal: exit code, stdout, stderr, the images'
 * content. Rates and times vary and are left out.
 */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export interface IoCase {
  /** Options and the file; words are split at blanks. */
  readonly args: string;
  /** Commands, each given by `-c`. */
  readonly commands?: readonly string[];
  readonly stdin?: string;
  /** The text is the peer's own: only exit code and where it goes are compared. */
  readonly isProse?: boolean;
}

const images: readonly (readonly string[])[] = [
  ['img', 'create', '-q', '-f', 'qcow2', 'q.qcow2', '4M'],
  ['io', '-f', 'qcow2', '-c', 'write -P 17 64k 128k', 'q.qcow2'],
  ['img', 'create', '-q', '-f', 'raw', 'r.raw', '4M'],
  ['io', '-f', 'raw', '-c', 'write -P 5 1M 64k', 'r.raw'],
  ['img', 'create', '-q', '-f', 'qcow2', '-b', 'q.qcow2', '-F', 'qcow2', 'o.qcow2'],
  ['io', '-f', 'qcow2', '-c', 'write -P 34 128k 64k', 'o.qcow2'],
  ['img', 'create', '-q', '-f', 'qcow2', '-b', 'o.qcow2', '-F', 'qcow2', 'o2.qcow2'],
  ['img', 'create', '-q', '-f', 'qcow2', 'odd.qcow2', '1000000'],
  // the same disk several times, and one that is wrong
  ...['v0.raw', 'v1.raw', 'v2.raw', 'bad.raw'].flatMap((name) => [
    ['img', 'create', '-q', '-f', 'raw', name, '1M'],
    ['io', '-f', 'raw', '-c', 'write -P 7 0 64k', name],
  ]),
  ['io', '-f', 'raw', '-c', 'write -P 9 0 512', 'bad.raw'],
];

/** Configuration files of blkdebug. */
const ruleFiles: Readonly<Record<string, string>> = {
  once: '[inject-error]\nevent = "write_aio"\nerrno = "28"\nonce = "on"\n',
  states:
    '# two states\n\n[set-state]\nevent = "read_aio"\nstate = "1"\nnew_state = "2"\n[inject-error]\nevent = "write_aio"\nstate = "2"\nerrno = "5"\nonce = "on"\n',
  bad: '[inject-error]\nevent = write_aio\n',
  bad2: '[foo]\nevent = "write_aio"\n',
  bad3: '[inject-error]\nevent = "nope"\n',
  bad4: '[inject-error]\nerrno = "5"\n',
  bad5: '[inject-error]\nevent = "write_aio"\nfoo = "1"\n',
  bad6: '[inject-error]\nevent = "write_aio"\niotype = "1"\n',
};

/** A log of blklogwrites with two entries, a write and a flush, and numbers in it that are others. */
function writeLog(...changed: readonly (readonly [at: number, value: number])[]): Buffer {
  const log = Buffer.alloc(2048);
  log.write('rhswfsj', 0);
  for (const [at, value] of [[8, 1], [16, 2], [24, 512], [520, 1], [1552, 1], ...changed] as const) log.writeUInt32LE(value, at);
  return log.fill(7, 1024, 1536);
}

const logs: Readonly<Record<string, Buffer>> = {
  ok: writeLog(),
  version: writeLog([8, 2]),
  short: writeLog().subarray(0, 700),
  four: writeLog([16, 4]),
  flags: writeLog([1552, 16]),
  mark: writeLog([528, 8], [520, 0]),
  sector: writeLog([24, 4096]),
  sector3: writeLog([24, 3]),
};

export class IoComparison {
  readonly #root: string;
  readonly #template: string;
  readonly #program: (name: string) => string;
  readonly #link: string;
  #runs = 0;

  constructor(program: (name: string) => string, dist: string) {
    this.#program = program;
    this.#root = mkdtempSync(join(tmpdir(), 'tsio-diff-'));
    this.#template = join(this.#root, 'template');
    mkdirSync(this.#template);
    for (const [tool = '', ...args] of images) execFileSync(program(`qemu-${tool}`), args, { cwd: this.#template, stdio: 'pipe' });
    writeFileSync(join(this.#template, 'pattern'), 'abc');
    writeFileSync(join(this.#template, 'empty'), '');
    for (const [name, text] of Object.entries(ruleFiles)) writeFileSync(join(this.#template, `${name}.conf`), text);
    for (const [name, log] of Object.entries(logs)) writeFileSync(join(this.#template, `${name}.log`), log);
    this.#link = join(this.#root, 'qemu-io');
    symlinkSync(resolve(dist), this.#link);
  }

  dispose(): void {
    rmSync(this.#root, { recursive: true, force: true });
  }

  async run(test: IoCase): Promise<{ peer: string; ours: string }> {
    const id = this.#runs++;
    const [peer, ours] = await Promise.all([
      this.#outcome(test, join(this.#root, `${id}-peer`), [this.#program('qemu-io')]),
      this.#outcome(test, join(this.#root, `${id}-ours`), [process.execPath, this.#link]),
    ]);
    return { peer, ours };
  }

  async #outcome(test: IoCase, dir: string, [file = '', ...first]: readonly string[]): Promise<string> {
    cpSync(this.#template, dir, { recursive: true });
    const args = [...(test.commands ?? []).flatMap((line) => ['-c', line]), ...test.args.split(' ').filter((word) => word !== '')];
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
    const child = spawn(file, [...first, ...args], { cwd: dir, env: { ...env, LC_ALL: 'C' }, timeout: 60_000 });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('latin1').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('latin1').on('data', (text: string) => (stderr += text));
    child.stdin.on('error', () => {});
    child.stdin.end(test.stdin ?? '');
    const code = await new Promise((done) => child.on('close', (exit, signal) => done(exit ?? signal)));
    const shown = test.isProse === true ? `stdout: ${stdout !== ''}\n` : `stdout:\n${normalise(stdout)}`;
    const text = `exit ${String(code)}\n${shown}stderr:\n${stderr}${this.#files(dir)}`;
    rmSync(dir, { recursive: true, force: true });
    return text;
  }

  #files(dir: string): string {
    const digest = (name: string): string =>
      createHash('sha1')
        .update(readFileSync(join(dir, name)))
        .digest('hex');
    return readdirSync(dir)
      .sort()
      .map((name) => `${name} ${digest(name)}\n`)
      .join('');
  }
}

/** Times and rates differ from run to run. */
function normalise(text: string): string {
  return text.replace(/; [\d:.]+(?: sec)? \(.*\)/g, '; T').replace(/,\d+:\d\d:\d\d\.\d\d,.*/g, ',T');
}
