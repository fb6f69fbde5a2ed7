/*
 * Runs one command line of the image program in two fresh copies of the fixture, once by the peer's qemu-img and once by
 * our program started through a link named qemu-img, and shows both as text that must be equal: exit code, stdout,
 * stderr, and what became of every file. Knows nothing of the cases.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { formatSize } from '../../src/core/util/size.ts';
import { makeFixture } from './img-fixture.ts';

/** One command line, as typed: words are split at blanks, single quotes keep a word together. */
export interface ImgCase {
  readonly line: string;
  /** Lines run before it, by the peer: both directories begin with what they left. */
  readonly before?: readonly string[];
  /** This file is held open for writing by the peer's qemu-io meanwhile. */
  readonly hold?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** The line changes no file: all such lines share a directory, which is compared at the end. */
  readonly readsOnly?: boolean;
  /**
   * How files that the program wrote are compared: byte for byte, by their guest data and its allocation through the peer's
   * compare, by the data alone, or by their length.
   */
  readonly files?: 'bytes' | 'content' | 'data' | 'size';
}

interface Outcome {
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Splits a line into words; `'…'` keeps blanks and may be empty. */
function splitLine(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quoted = false;
  for (const char of line) {
    if (char === "'") {
      quoted = !quoted;
      word ??= '';
    } else if (char === ' ' && !quoted) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + char;
  }
  if (word !== undefined) words.push(word);
  return words;
}

/** Node names that a program generated differ from run to run, and times. */
function normalise(text: string): string {
  return text.replace(/#block\d+/g, '#block').replace(/Run completed in \d+\.\d{3} seconds/g, 'Run completed in some seconds');
}

/** Writes the files of a directory to the disk: only then is it certain how much space each of them takes. */
function settled(dir: string): string {
  for (const name of readdirSync(dir)) {
    const fd = openSync(join(dir, name), 'r');
    fsyncSync(fd);
    closeSync(fd);
  }
  return dir;
}

/** Two copies of a file need not take the same space. Sizes that are those of the program's own files get one name. */
function withoutDiskSizes(text: string, dir: string): string {
  const sizes = new Set(readdirSync(dir).map((name) => statSync(join(dir, name)).blocks * 512));
  const texts = new Set([...sizes].map((size) => formatSize(size)));
  return text
    .replace(/"actual-size": (\d+)/g, (whole, size: string) => (sizes.has(Number(size)) ? '"actual-size": that of a file' : whole))
    .replace(/disk size: (.*)/g, (whole, size: string) => (texts.has(size) ? 'disk size: that of a file' : whole));
}

export class ImgComparison {
  readonly #root: string;
  readonly #template: string;
  readonly #program: (name: string) => string;
  readonly #ours: readonly string[];
  #runs = 0;
  #shared: { readonly peer: string; readonly ours: string } | undefined;

  /** `program(name)` finds a peer; `dist` is the built program; `more` are lines that add to the fixture. */
  constructor(program: (name: string) => string, dist: string, more: readonly string[] = []) {
    this.#program = program;
    this.#root = mkdtempSync(join(tmpdir(), 'tsimg-diff-'));
    this.#template = join(this.#root, 'template');
    mkdirSync(this.#template);
    makeFixture(this.#template, program);
    this.#play(more, this.#template);
    const link = join(this.#root, 'qemu-img');
    symlinkSync(resolve(dist), link);
    this.#ours = [process.execPath, link];
  }

  dispose(): void {
    rmSync(this.#root, { recursive: true, force: true });
  }

  /** What the peer and what we answered, as two texts. */
  async run(test: ImgCase): Promise<{ peer: string; ours: string }> {
    if (test.readsOnly === true) return this.#runShared(test);
    const id = this.#runs++;
    const peerDir = this.#copy(`${id}-peer`);
    const ourDir = join(this.#root, `${id}-ours`);
    try {
      this.#play(test.before ?? [], peerDir);
      this.#copy(`${id}-ours`, peerDir);
      const args = splitLine(test.line);
      const [peer, ours] = await Promise.all([this.#inDir(peerDir, test, [this.#program('qemu-img')], args), this.#inDir(ourDir, test, this.#ours, args)]);
      return {
        peer: show(test, peer) + this.#files(test, peerDir, peerDir),
        ours: show(test, ours) + this.#files(test, ourDir, peerDir),
      };
    } finally {
      rmSync(peerDir, { recursive: true, force: true });
      rmSync(ourDir, { recursive: true, force: true });
    }
  }

  /** Lines of the peer's programs. */
  #play(lines: readonly string[], cwd: string): void {
    for (const line of lines) {
      const words = splitLine(line);
      execFileSync(this.#program(words[0] ?? ''), words.slice(1), { cwd, stdio: 'pipe' });
    }
  }

  async #runShared(test: ImgCase): Promise<{ peer: string; ours: string }> {
    this.#shared ??= { peer: settled(this.#copy('shared-peer')), ours: settled(this.#copy('shared-ours')) };
    const args = splitLine(test.line);
    const [peer, ours] = await Promise.all([
      this.#inDir(this.#shared.peer, test, [this.#program('qemu-img')], args),
      this.#inDir(this.#shared.ours, test, this.#ours, args),
    ]);
    return { peer: withoutDiskSizes(show(test, peer), this.#shared.peer), ours: withoutDiskSizes(show(test, ours), this.#shared.ours) };
  }

  /** The shared directories after all lines, as texts: the fixture's state, the peer's and ours. */
  sharedFiles(): { before: string; peer: string; ours: string } {
    const list = (dir: string): string => this.#files({ line: '' }, dir, dir);
    const { peer = this.#template, ours = this.#template } = this.#shared ?? {};
    return { before: list(this.#template), peer: list(peer), ours: list(ours) };
  }

  #copy(name: string, from: string = this.#template): string {
    const dir = join(this.#root, name);
    // cp keeps holes, so both programs see the same allocation
    execFileSync('cp', ['-a', '--sparse=auto', from, dir]);
    return dir;
  }

  async #inDir(dir: string, test: ImgCase, program: readonly string[], args: readonly string[]): Promise<Outcome> {
    const holder = test.hold === undefined ? undefined : await hold(this.#program('qemu-io'), dir, test.hold);
    try {
      return await runProgram(program, args, dir, test.env ?? {});
    } finally {
      if (holder !== undefined) await release(holder);
    }
  }

  /** One line a file: name, size, and a digest of its bytes (or of its agreement with the peer's). */
  #files(test: ImgCase, dir: string, peerDir: string): string {
    const lines = readdirSync(dir)
      .sort()
      .map((name) => {
        const path = join(dir, name);
        const size = statSync(path).size;
        if (test.files === 'size' && this.#changed(name, path)) return `${name} ${size}`;
        const same = (test.files === 'content' || test.files === 'data') && this.#changed(name, path);
        return same ? `${name} ${this.#content(path, join(peerDir, name), test.files === 'content')}` : `${name} ${size} ${digest(path, size)}`;
      });
    return `files:\n${lines.join('\n')}\n`;
  }

  #changed(name: string, path: string): boolean {
    try {
      const template = join(this.#template, name);
      return statSync(template).size !== statSync(path).size || digest(template, statSync(path).size) !== digest(path, statSync(path).size);
    } catch {
      return true;
    }
  }

  #content(path: string, peerPath: string, strictly: boolean): string {
    if (path === peerPath) return 'content equal';
    try {
      execFileSync(this.#program('qemu-img'), ['compare', ...(strictly ? ['-s'] : []), path, peerPath], { stdio: 'pipe', cwd: dirname(path) });
      return 'content equal';
    } catch (error) {
      return `content differs: ${error instanceof Error ? error.message : String(error)}`;
    }
  }
}

function show(test: ImgCase, outcome: Outcome): string {
  return `$ qemu-img ${test.line}\nexit ${outcome.code}\nstdout:\n${normalise(outcome.stdout)}stderr:\n${normalise(outcome.stderr)}`;
}

function digest(path: string, size: number): string {
  if (size > 64 * 1024 * 1024) return 'large';
  return createHash('sha1').update(readFileSync(path)).digest('hex');
}

function runProgram(program: readonly string[], args: readonly string[], cwd: string, env: Readonly<Record<string, string>>): Promise<Outcome> {
  const [file = '', ...first] = program;
  return new Promise((done) => {
    const { NODE_EXTRA_CA_CERTS: _, ...inherited } = process.env;
    const child = execFile(
      file,
      [...first, ...args],
      { cwd, env: { ...inherited, LC_ALL: 'C', TZ: 'UTC', ...env }, maxBuffer: 16 * 1024 * 1024, encoding: 'latin1', timeout: 60_000 },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : (error.signal ?? error.code ?? 'failed to start');
        done({ code, stdout, stderr });
      },
    );
    child.stdin?.end();
  });
}

/** Starts qemu-io on `file` and waits until it has it open. */
function hold(qemuIo: string, dir: string, file: string): Promise<ChildProcess> {
  const child = spawn(qemuIo, [file], { cwd: dir, stdio: ['pipe', 'pipe', 'inherit'] });
  return new Promise((done, fail) => {
    child.stdout?.once('data', () => done(child));
    child.once('error', fail);
    child.once('exit', (code) => fail(new Error(`qemu-io ended with ${code}`)));
  });
}

function release(child: ChildProcess): Promise<void> {
  return new Promise((done) => {
    child.removeAllListeners('exit');
    child.once('exit', () => done());
    child.stdin?.end('quit\n');
  });
}
