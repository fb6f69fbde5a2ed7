/*
 * The stage on which a fault is played: the programs, the public library and QMP of one checkout (this one, or another
 * by TSIMG_CHECKOUT), and a folder of its own. Knows nothing below the public surface, so that old versions play too.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

export type Library = typeof import('../../src/index.ts');
export type Program = 'tsimg' | 'tsnbd' | 'tsqmp';

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly env?: NodeJS.ProcessEnv;
  /** After this the process is killed: code null, signal SIGKILL. Default 30 s. */
  readonly limitMs?: number;
}

export class Stage implements AsyncDisposable {
  /** A folder of the scene's own: the working directory of what it runs. */
  readonly folder: string;
  readonly checkout: string;
  readonly #children = new Set<ChildProcess>();

  constructor(checkout: string) {
    this.checkout = checkout;
    this.folder = mkdtempSync(join(tmpdir(), 'tsimg-fault-'));
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** The public library as the package exports it. */
  loadLibrary(): Promise<Library> {
    return import(/* @vite-ignore */ pathToFileURL(join(this.checkout, 'dist', 'index.js')).href) as Promise<Library>;
  }

  /** The words that start a program of the checkout. */
  command(program: Program): [string, string] {
    return [process.execPath, join(this.checkout, 'dist', `${program}.cjs`)];
  }

  /** Runs a program of the checkout to its end. */
  run(program: Program, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    const [node, file] = this.command(program);
    return this.exec(node, [file, ...args], options);
  }

  /** Runs a peer to its end. */
  peer(name: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return this.exec(peerPath(name), args, options);
  }

  exec(command: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    const child = this.start(command, args, options.env);
    return new Promise((resolve, reject) => {
      const stdout: Buffer[] = [];
      const stderr: Buffer[] = [];
      child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
      child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
      const timer = setTimeout(() => child.kill('SIGKILL'), options.limitMs ?? 30_000);
      child.on('error', reject);
      child.on('close', (code, signal) => {
        clearTimeout(timer);
        resolve({ code, signal, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() });
      });
      child.stdin?.on('error', () => {});
      child.stdin?.end(options.input ?? '');
    });
  }

  /** Starts a process that is killed with the stage at the latest. */
  start(command: string, args: readonly string[], env?: NodeJS.ProcessEnv): ChildProcess {
    const child = spawn(command, [...args], { cwd: this.folder, stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    this.#children.add(child);
    child.on('close', () => this.#children.delete(child));
    return child;
  }

  /** A storage daemon with one monitor on its standard streams, past the handshake. */
  async daemon(args: readonly string[] = []): Promise<QmpProcess> {
    const [node, file] = this.command('tsqmp');
    const daemon = new QmpProcess(this.start(node, [file, '--daemon', '--chardev', 'stdio,id=faults', '--monitor', 'faults', ...args]));
    await daemon.execute('qmp_capabilities');
    return daemon;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = [...this.#children].map((child) => new Promise((resolve) => child.once('close', resolve)));
    for (const child of this.#children) child.kill('SIGKILL');
    await Promise.all(ended);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}

/** Where the peers' programs are. */
export function peerPath(name: string): string {
  return join(process.env['TSIMG_PEERS'] ?? join(homedir(), '.cache', 'tsimg-peers'), 'bin', name);
}

/** The largest resident size that the process has had, in bytes. */
export function peakMemory(pid: number): number {
  const found = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(found?.[1] ?? 0) * 1024;
}

/** A reply of QMP in short: `return`, or the error's text. */
export type Reply = { readonly return: unknown } | { readonly error: { readonly class: string; readonly desc: string } };

export class QmpProcess {
  readonly child: ChildProcess;
  /** What came on standard error so far. */
  stderr = '';
  readonly events: Record<string, unknown>[] = [];
  readonly #replies = new Map<string, (reply: Reply | undefined) => void>();
  #rest = '';
  #count = 0;

  constructor(child: ChildProcess) {
    this.child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#receive(text));
    child.stdin?.on('error', () => {});
    child.on('close', () => {
      for (const settle of this.#replies.values()) settle(undefined);
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get isAlive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Sends a command. Undefined when the daemon ended, or when there is no reply within `limitMs` (30 s). */
  execute(command: string, args?: Readonly<Record<string, unknown>>, limitMs = 30_000): Promise<Reply | undefined> {
    const id = `f${++this.#count}`;
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), limitMs);
      this.#replies.set(id, (reply) => {
        clearTimeout(timer);
        this.#replies.delete(id);
        resolve(reply);
      });
      if (!this.isAlive) this.#replies.get(id)?.(undefined);
      else this.child.stdin?.write(`${JSON.stringify({ execute: command, ...(args === undefined ? {} : { arguments: args }), id })}\n`);
    });
  }

  #receive(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      // HMP's qemu-io prints among the replies
      if (!line.trim().startsWith('{')) continue;
      const message = JSON.parse(line) as Record<string, unknown>;
      if ('event' in message) this.events.push(message);
      else if (typeof message['id'] === 'string') this.#replies.get(message['id'])?.(message as unknown as Reply);
    }
  }
}

/** A reply as one line: `ok`, the error's text, or `no answer`. */
export function told(reply: Reply | undefined): string {
  if (reply === undefined) return 'no answer';
  return 'error' in reply ? reply.error.desc : 'ok';
}
