import { describe, expect, it } from 'vitest';
import { answerCompletion, type CompletionProgram, completionScript, completionWords } from '../../src/cli/completion.ts';
import { asksForCompletion, defineOptions, helpOption } from '../../src/cli/options.ts';

const createOptions = defineOptions({
  help: helpOption,
  format: { short: 'f', arg: 'FMT', help: 'format of the new image', complete: 'format' },
  output: { arg: 'KIND', help: 'form of the output', complete: ['human', 'json'] },
  imageOpts: { help: 'operand is an option string' },
  secret: { hidden: true, help: 'not shown' },
});

let loaded = 0;
const program: CompletionProgram = {
  name: 'tsimg',
  options: defineOptions({ help: helpOption, trace: { short: 'T', arg: 'TRACE', help: 'trace' } }),
  commands: [
    {
      name: 'create',
      summary: 'make an image',
      options: () => {
        loaded++;
        return createOptions;
      },
    },
    { name: 'check', summary: 'check an image', options: () => ({}) },
  ],
  values: (kind) => (kind === 'format' ? ['qcow2', 'qed', 'raw'] : undefined),
};

describe('completion', () => {
  it('offers the commands that begin with the word', async () => {
    const before = loaded;
    expect(await completionWords(program, ['tsimg', 'c'])).toEqual(['create', 'check']);
    expect(await completionWords(program, ['tsimg', 'cr'])).toEqual(['create']);
    expect(loaded).toBe(before);
  });

  it('offers the long options of the command that was typed, hidden ones left out', async () => {
    expect(await completionWords(program, ['tsimg', '-T', 'check', 'create', '--'])).toEqual(['--help', '--format', '--output', '--image-opts']);
    expect(await completionWords(program, ['tsimg', 'create', '--im'])).toEqual(['--image-opts']);
  });

  it('offers the values of the option before the word', async () => {
    expect(await completionWords(program, ['tsimg', 'create', '-f', 'q'])).toEqual(['qcow2', 'qed']);
    expect(await completionWords(program, ['tsimg', 'create', '--format=r'])).toEqual(['--format=raw']);
    expect(await completionWords(program, ['tsimg', 'create', '--output', ''])).toEqual(['human', 'json']);
  });

  it('writes a script for each shell that asks the program', async () => {
    for (const shell of ['bash', 'zsh', 'fish'] as const) {
      const script = await completionScript('tsimg', shell);
      expect(script).toContain('--get-yargs-completions');
      expect(script).toContain('tsimg');
    }
    expect(await completionScript('tsimg', 'zsh')).toContain('compdef');
  });
});

describe('a request for completion', () => {
  it('is answered with the words, one a line, or with the script of a shell', async () => {
    expect(asksForCompletion(['--get-yargs-completions', 'tsimg', 'cr'])).toBe(true);
    expect(await answerCompletion(program, ['--get-yargs-completions', 'tsimg', 'cr'])).toBe('create\n');
    expect(await answerCompletion(program, ['--completion', 'bash'])).toContain('tsimg --get-yargs-completions');
  });

  it('is refused for a shell that we do not know', async () => {
    await expect(answerCompletion(program, ['--completion', 'csh'])).rejects.toThrow('--completion expects bash, zsh, fish');
    await expect(answerCompletion(program, ['--completion'])).rejects.toThrow('--completion expects');
  });

  it('is nothing that a command line begins with otherwise', () => {
    expect(asksForCompletion(['create', '--completion'])).toBe(false);
    expect(asksForCompletion([])).toBe(false);
  });
});
