/* Completion as a shell asks for it: bash loads the script and completes a line. */
import { describe, expect, it } from 'vitest';
import { builtProgram, run, runSync } from '../support/run.ts';

const ask = (program: string, ...words: string[]): Promise<{ stdout: string; stderr: string; code: number | null }> =>
  run(process.execPath, [builtProgram(program), '--get-yargs-completions', program, ...words]);

describe('completion', () => {
  it('knows the commands of tsimg, the options of a command, formats and cache modes', async () => {
    expect((await ask('tsimg', 'c')).stdout.trim().split('\n').sort()).toEqual(['check', 'commit', 'compare', 'convert', 'create']);
    expect((await ask('tsimg', 'resize', '--s')).stdout).toBe('--shrink\n');
    expect((await ask('tsimg', 'create', '-f', '')).stdout.trim().split('\n').sort()).toEqual(['luks', 'qcow2', 'raw']);
    expect((await ask('tsimg', 'convert', '-t', 'write')).stdout.trim().split('\n').sort()).toEqual(['writeback', 'writethrough']);
  });

  it('knows the options of tsnbd and tsqmp', async () => {
    expect((await ask('tsnbd', '--detect-zeroes=')).stdout.trim().split('\n').sort()).toEqual([
      '--detect-zeroes=off',
      '--detect-zeroes=on',
      '--detect-zeroes=unmap',
    ]);
    expect((await ask('tsqmp', '--str')).stdout).toBe('--strict\n');
  });

  it('gives scripts that their shells can read', () => {
    for (const program of ['tsimg', 'tsio', 'tsnbd', 'tsqmp']) {
      const { stdout, code } = runSync(process.execPath, [builtProgram(program), '--completion', 'bash']);
      expect(code).toBe(0);
      expect(stdout).toContain(`# Installation: eval "$(${program} --completion bash)"`);
      expect(stdout).not.toContain(`${program} completion`);
      expect(runSync('bash', ['-n'], { input: stdout })).toEqual({ code: 0, stdout: '', stderr: '' });
      expect(runSync('bash', ['-c', `${stdout}\ncomplete -p ${program}`]).stdout).toContain(program);
    }
  });

  it('tells which shells there are', async () => {
    const { code, stderr } = await run(process.execPath, [builtProgram('tsimg'), '--completion', 'csh']);
    expect(code).toBe(1);
    expect(stderr).toContain('--completion expects bash, zsh, fish');
  });
});
