/* Runs a process to its end and returns what it said. */
import { type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { inject } from 'vitest';

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export const projectRoot: string = join(import.meta.dirname, '..', '..');

/** The built program `tsimg`, `tsnbd` or `tsqmp`; throws when the sources could not be built. */
export function builtProgram(name: string): string {
  const problem = inject('distProblem');
  if (problem !== '') throw new Error(`dist/ is out of date, the build failed:\n${problem}`);
  return join(projectRoot, 'dist', `${name}.cjs`);
}

export function runSync(command: string, args: readonly string[], options: { cwd?: string; input?: string; env?: NodeJS.ProcessEnv } = {}): Finished {
  const done = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 256 * 1024 * 1024, ...options });
  if (done.error !== undefined) throw done.error;
  return { code: done.status, stdout: done.stdout, stderr: done.stderr };
}

export function run(command: string, args: readonly string[], options: SpawnOptions & { input?: string } = {}): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const { input, ...rest } = options;
    const child = spawn(command, args, { ...rest, stdio: ['pipe', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
    child.stdin.on('error', () => {});
    child.stdin.end(input ?? '');
  });
}
